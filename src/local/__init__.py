"""One machine: the embedded Nessie, Redis and MLflow of a project folder, and the demo."""
