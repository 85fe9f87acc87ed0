"""The one error of the expression language."""

from __future__ import annotations

from gramme.kernel.errors import InvalidInput


class InvalidExpression(InvalidInput):
    """An expression, its names or its values are invalid: a ValidationException with the service's whole text."""
