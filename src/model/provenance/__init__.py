"""The origin of predictions and versions: explain, compare and reproduce."""
