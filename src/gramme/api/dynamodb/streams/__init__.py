"""DynamoDB Streams: the four operations that read the changes of a table, and what CreateTable and UpdateTable say."""
