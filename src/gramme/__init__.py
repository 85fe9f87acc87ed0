"""Gramme: a distributed database that implements Amazon's DynamoDB and Dynamo designs."""

__version__ = "0.1.0"
