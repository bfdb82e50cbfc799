"""A model's files: their formats, signature, segments and environment, and what they promise."""
