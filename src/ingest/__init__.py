"""What `asgard ingest` reads: files and JDBC tables, as rows with nothing lost, and the ledger of what landed."""
