"""The Write-Audit-Publish run: attempt, audit, publish, and what is recorded of them."""
