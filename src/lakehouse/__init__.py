"""The lakehouse: Nessie, tables, snapshots and the Write-Audit-Publish run. The only package that talks to Nessie."""
