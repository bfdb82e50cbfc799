"""Jobs, one module each, started by the command line or spark-submit, with their options, output and exit codes."""
