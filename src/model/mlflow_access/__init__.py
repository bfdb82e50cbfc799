"""The connection to MLflow's server."""
