"""What a client program can hear from an endpoint instead of an answer."""

from __future__ import annotations

from gramme.kernel.errors import GrammeError


class ServiceError(GrammeError):
    """The endpoint refused a request: `name` is the error's type without its prefix."""

    def __init__(self, name: str, message: str, status: int) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name
        self.status = status


class Unreachable(GrammeError):
    """No answer, or only transient errors, after all attempts. The request may have been carried out."""
