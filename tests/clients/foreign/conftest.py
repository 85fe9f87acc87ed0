"""Clients that are no dependency of Gramme: `make clients` installs them into .clients and says where by an
environment variable; without it nothing here is collected."""

from __future__ import annotations

import os

if "FOREIGN_CLIENTS" not in os.environ:
    collect_ignore_glob = ["test_*.py"]
