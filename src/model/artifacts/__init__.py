"""A model's files: their formats, manifest, signature, segments and environment."""
