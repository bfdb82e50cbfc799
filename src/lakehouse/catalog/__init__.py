"""Nessie, Iceberg's metadata and files, snapshots, and the tags that hold them."""
