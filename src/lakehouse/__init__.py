"""The lakehouse: Nessie, tables, snapshots and the Write-Audit-Publish run. The only room that talks to Nessie."""
