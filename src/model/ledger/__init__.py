"""The truth about versions and stages, and its projection into MLflow's tags and aliases."""
