"""What each interval of a table was computed from, and so what is missing, partial, stale or in doubt."""
