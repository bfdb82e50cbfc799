"""From a batch of features to scores, in one process."""
