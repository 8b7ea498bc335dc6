"""Running a model: over which devices it lies, what each part does in a step, how long that takes, and the Figures."""
