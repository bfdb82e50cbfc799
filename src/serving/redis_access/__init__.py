"""Redis: the connection, its retries, the stored state of a view, and the fence before every write."""
