"""Training a version: its rows, its script or function, and the records of the training."""
