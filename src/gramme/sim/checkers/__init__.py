"""Checkers of recorded histories and of replicas; they know nothing of the simulator and serve real processes too."""
