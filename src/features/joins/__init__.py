"""Point-in-time joins: by DuckDB and by Spark, with the same result."""
