"""Start, find and stop Nessie, MLflow and Redis on this machine."""
