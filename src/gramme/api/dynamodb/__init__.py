"""The DynamoDB wire API (JSON 1.0)."""
