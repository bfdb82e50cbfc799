"""Thin entrypoints: each module is one job, read from top to bottom; the same parameters serve CLI and spark-submit."""
