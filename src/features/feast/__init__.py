"""Feast's registry, configuration and offline store over the gold files. The only room that knows Feast."""
