"""Pipelines that show Asgard at work."""
