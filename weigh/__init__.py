"""weigh: what is in a model's parameters, and what they cost."""

__version__ = "0.1.0"
