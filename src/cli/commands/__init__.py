"""The commands that only look, or that change what is registered."""
