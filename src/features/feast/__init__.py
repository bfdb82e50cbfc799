"""Feast's registry, configuration and offline store over the gold files. The only package that imports Feast."""
