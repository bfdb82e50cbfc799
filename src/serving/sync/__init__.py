"""Keeping Redis equal to a published snapshot: what changed, writing it, verifying it."""
