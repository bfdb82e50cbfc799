"""Score batches of features, in one process."""
