"""Operations to commands and back: the DynamoDB wire API, admin."""
