"""`asgard demo`: run the complete retail example, starting with an empty folder."""
