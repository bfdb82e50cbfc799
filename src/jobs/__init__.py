"""Jobs: one module each, started by the command line and by spark-submit; and their options, output and exit codes."""
