"""The DynamoDB data model: values, schema, expressions, pure evaluation."""
