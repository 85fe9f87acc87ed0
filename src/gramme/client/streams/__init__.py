"""Consumers of table streams: following one (`tail`), and working through one together (`subscriber`)."""
