"""Whether two answers say the same, and where DynamoDB Local is known to say something else than the service.

`KNOWN` and its reasons are listed in docs/decisions/0031-known-deviations-of-dynamodb-local.md.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

from tests.oracle.tables import described

Answer = tuple[int, dict[str, Any]]

_EXPRESSION: Final = r"Invalid (Condition|Filter|KeyCondition|Update|Projection)Expression: "

KNOWN: Final[list[tuple[str, str]]] = [
    (r"A value provided cannot be converted into a number", r"The parameter cannot be converted to a numeric value"),
    (r"not supported for the type (STRING|NUMBER|BINARY|BOOLEAN|NULL|LIST|MAP)", r"not supported for the type \w+"),
    (r"Query condition missed key schema element", r"Query condition missed key schema element: \w+"),
    (
        _EXPRESSION + "Invalid attribute type name found; type: ",
        _EXPRESSION + "Invalid attribute type name found; type: ",
    ),
    (r"(Type mismatch for Index Key|Invalid attribute value type)$", r"Type mismatch for Index Key \w+ Expected: "),
    # Of several faults another one comes first.
    ("([Ii]ndex [Kk]ey|Invalid attribute value type)", "Provided list of item keys contains duplicates"),
    ("Provided list of item keys contains duplicates", "[Ii]ndex [Kk]ey"),
    (_EXPRESSION + "Incorrect operand type", _EXPRESSION + "The first operand must be distinct"),
    (_EXPRESSION, _EXPRESSION + "The BETWEEN operator requires"),
    ("The document path provided", "The provided expression refers to an attribute"),
    ("The provided expression refers to an attribute", "The document path provided"),
    ("An operand in the update expression", "(The document path|The provided expression)"),
    ("(The document path|The provided expression)", "An operand in the update expression"),
    (r".", r"(ADD action is|DELETE action with value is) not supported for the type"),
    (_EXPRESSION + "Two document paths overlap", _EXPRESSION + "Two document paths overlap"),
    ("^Two document paths overlap", "^Two document paths overlap"),  # of a statement: the other path first
    ("^Incorrect operand type", "^Incorrect operand type"),  # of a statement: that of another action
]
"""Texts of errors in which Local differs from the service: (pattern of Local's, pattern of ours)."""

_BEFORE_THE_CONDITION: Final = re.compile(
    r"is not supported for the type|Cannot update attribute \w+\. This attribute is part of the key"
)
"""Faults of a request that the service reports before it looks at the item, and Local after the condition."""


def difference(operation: str, body: dict[str, Any], ours: Answer, local: Answer) -> str | None:
    """What differs, None if nothing of account does."""
    if (ours[0] == 200) != (local[0] == 200):
        return "one succeeded"
    if _text(ours) == _TWICE:
        return None  # Local sees that only if the actions before it can be done
    canceled = _name(ours) == _CANCELED
    if canceled and _name(local) in (_CANCELED, "ValidationException"):
        return None if _same_reasons(ours[1], local) else "the reasons differ"
    if ours[0] == 200:
        return None if _rows(operation, body, ours[1]) == _rows(operation, body, local[1]) else "the answers differ"
    if operation in _OF_TABLES:
        return None if _name(ours) == _name(local) else "the errors' types differ"  # Local has texts of its own
    if _name(ours) != _name(local):
        if _name(local) == "ConditionalCheckFailedException" and _BEFORE_THE_CONDITION.search(_text(ours)):
            return None
        return "the errors' types differ"
    return None if _same_text(_text(ours), _text(local)) else "the errors' texts differ"


_TWICE: Final = "Transaction request cannot include multiple operations on one item"
_CANCELED: Final = "TransactionCanceledException"


def _same_reasons(ours: dict[str, Any], local: Answer) -> bool:
    """Local reports an update that cannot be applied as a fault of the request, and stops at a ValidationError."""
    mine = [_reason(reason) for reason in ours["CancellationReasons"]]
    texts = [str(text) for code, text, _ in mine if code == "ValidationError"]
    if any(_BEFORE_THE_CONDITION.search(text) for text in texts):
        return True
    theirs = [_reason(reason) for reason in local[1].get("CancellationReasons", [])]
    faults = [str(text) for code, text, _ in theirs if code == "ValidationError"] if theirs else [_text(local)]
    if faults or not theirs:
        return any(_same_text(text, fault) for text in texts for fault in faults)
    return mine == theirs


def _reason(reason: dict[str, Any]) -> tuple[str, str | None, Any]:
    text = reason.get("Message")
    return reason["Code"], None if text is None else text.rstrip("."), normal(reason.get("Item"))


def _rows(operation: str, body: dict[str, Any], answer: dict[str, Any]) -> Any:
    """A success in a form that can be compared: rows that have no order are sorted."""
    if operation in _OF_TABLES:
        return described(answer)
    shown = normal(answer)
    if operation == "Query" and "IndexName" in body:  # rows with equal keys of the index have no order
        shown["Keys"] = [row["g"] for row in shown["Items"]]
        shown["Items"].sort(key=_printed)
    if operation in ("Scan", "ExecuteStatement"):
        shown["Items"].sort(key=_printed)
    if operation == "TransactGetItems":  # Local shows an item of which the projection leaves nothing
        shown["Responses"] = [entry if entry.get("Item") else {} for entry in shown["Responses"]]
    if operation == "BatchGetItem":
        for rows in shown["Responses"].values():
            rows.sort(key=_printed)
    if _returns_part(operation, body):
        shown.pop("Attributes", None)
    if operation == "Query" and shown["ScannedCount"] == body["Limit"]:
        shown.pop("LastEvaluatedKey", None)  # Local leaves it out where it knows that nothing follows
    return shown


_OF_TABLES: Final = (
    "CreateTable", "DescribeTable", "DeleteTable", "ListTables", "UpdateTimeToLive", "DescribeTimeToLive",
)  # fmt: skip


def _returns_part(operation: str, body: dict[str, Any]) -> bool:
    """Whether only the updated part of a nested attribute is returned, where Local returns all of it."""
    update = body.get("UpdateExpression", "")
    return operation == "UpdateItem" and body["ReturnValues"].startswith("UPDATED") and ("." in update or "[" in update)


def only_removes(operation: str, body: dict[str, Any]) -> bool:
    """Whether this is an update that makes no item where there is none, though Local makes one."""
    if operation != "UpdateItem":
        return False
    edits = body.get("AttributeUpdates")
    if edits is not None:
        return all(edit["Action"] == "DELETE" for edit in edits.values())
    return str(body["UpdateExpression"]).startswith(("REMOVE", "DELETE"))


def _printed(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def normal(value: Any) -> Any:
    """An answer with sets in one order and numbers in one notation, without what Local adds unasked."""
    if isinstance(value, dict):
        return {name: _content(name, content) for name, content in value.items() if name != "ConsumedCapacity"}
    if isinstance(value, list):
        return [normal(element) for element in value]
    return value


def _content(name: str, content: Any) -> Any:
    if name == "N" and isinstance(content, str):
        return _number(content)
    if name in ("SS", "NS", "BS") and isinstance(content, list):
        return sorted(map(_number, content) if name == "NS" else content)
    return normal(content)


def _number(text: str) -> str:
    return str(Decimal(text).normalize() + 0)


def _name(answer: Answer) -> str:
    name = str(answer[1].get("__type")).rpartition("#")[2]
    return "DuplicateItemException" if name == "DuplicateItem" else name  # as Local names it, and no SDK knows it


def _text(answer: Answer) -> str:
    return str(answer[1].get("message", answer[1].get("Message")))


def _same_text(ours: str, local: str) -> bool:
    if ours == local:
        return True
    return any(re.search(theirs, local) and re.search(mine, ours) for theirs, mine in KNOWN)
