"""`asgard demo`: the whole story on the retail example, from nothing."""
