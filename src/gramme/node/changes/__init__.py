"""What a write changes besides its item: index entries, change records, and those who consume these."""
