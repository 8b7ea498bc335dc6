"""What it costs to train: memory of each device, time of a step, the schedule of a pipeline, which layout is legal."""
