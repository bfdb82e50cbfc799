"""Online lookups: the request, its round trips, and the results."""
