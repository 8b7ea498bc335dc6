"""What is found by looking at the values themselves: statistics of weights, and what differs between two models."""
