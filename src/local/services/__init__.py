"""Nessie, MLflow and Redis on this machine: started once, found again, stopped."""
