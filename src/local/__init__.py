"""Everything for one machine: the local Nessie, Redis and MLflow of a project folder, and the demo."""
