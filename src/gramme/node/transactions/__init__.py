"""Transactions: held items, the ledger, coordinators and recovery (docs/design/transactions.md)."""
