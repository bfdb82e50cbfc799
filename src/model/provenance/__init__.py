"""Where a prediction or a version came from: explain, compare and reproduce."""
