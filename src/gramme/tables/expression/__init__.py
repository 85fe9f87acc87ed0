"""The expression language: lexer, parser, condition, update, projection, key condition."""
