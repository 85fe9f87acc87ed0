"""What is wrong with a statement."""

from gramme.kernel.errors import InvalidInput


class InvalidStatement(InvalidInput):
    """The statement cannot be carried out as it stands: a ValidationException with the service's text."""


class NoStatement(InvalidStatement):
    """The text breaks the grammar, or is a statement that the service does not have."""


class NoKey(InvalidStatement):
    """The WHERE clause does not name a whole primary key."""

    def __init__(self) -> None:
        super().__init__("Where clause does not contain a mandatory equality on all key attributes")
