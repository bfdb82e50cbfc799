"""A log of sampled lookups, and the check that the published snapshots gave the same values."""
