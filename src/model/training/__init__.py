"""Training a version: its rows, its script or function, and what is recorded of it."""
