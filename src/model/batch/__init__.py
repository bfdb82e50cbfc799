"""Batch predictions: what to predict, from which snapshots, into which table."""
