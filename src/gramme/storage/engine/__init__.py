"""The ordered key/value engine: contract, write batches, and the implementation in memory."""
