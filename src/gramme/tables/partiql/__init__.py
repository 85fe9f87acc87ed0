"""PartiQL for DynamoDB: statements as syntax trees, and as the native requests that they mean (no I/O)."""
