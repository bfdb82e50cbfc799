"""What every room may use: settings, errors, names, logging, git provenance, the one Spark session."""
