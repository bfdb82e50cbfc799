"""Training sets: joined, digested, and written with a manifest."""
