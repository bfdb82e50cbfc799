"""What every package may use: settings, errors, names, logging, git provenance, the one Spark session."""
