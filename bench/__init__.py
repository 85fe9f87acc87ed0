"""Measurements of Gramme against real processes: `make bench`, or `python -m bench --help`."""
