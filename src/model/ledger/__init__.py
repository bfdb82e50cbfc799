"""The ledger that decides versions and stages, and its projection into MLflow's tags and aliases."""
