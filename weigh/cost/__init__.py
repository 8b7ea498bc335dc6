"""What a model costs: pure functions from a model, a workload, a device and an engine to Figures."""
