"""The HTML report of a lakehouse: its tables, runs, features, models and online store."""
