"""How a view's rows are written in Redis: `packed` (Asgard's own layout) and `feast` (Feast's)."""
