"""PartiQL statements alone: against the equivalent native operations, and what only statements have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.caller import HASH_TABLE, RANGE_TABLE, Caller, event

pytestmark = pytest.mark.seconds(6)


def _caller() -> Caller:
    caller = Caller()
    caller.create_tables()
    return caller


def _execute(caller: Caller, statement: str, *parameters: Any, **members: Any) -> Any:
    body = {"Statement": statement, **members}
    if parameters:
        body["Parameters"] = list(parameters)
    return caller.call("ExecuteStatement", body)


def _items(caller: Caller, statement: str, *parameters: Any, **members: Any) -> list[Any]:
    items: list[Any] = _execute(caller, statement, *parameters, **members)["Items"]
    return items


def _pages(caller: Caller, statement: str, *parameters: Any, **members: Any) -> list[list[Any]]:
    """All pages of a SELECT."""
    pages = []
    while True:
        answer = _execute(caller, statement, *parameters, **members)
        pages.append(answer["Items"])
        assert ("NextToken" in answer) == ("LastEvaluatedKey" in answer)
        if "NextToken" not in answer:
            return pages
        members["NextToken"] = answer["NextToken"]
        assert len(pages) < 500


def _invalid(caller: Caller, statement: str, *parameters: Any, **members: Any) -> str:
    body = {"Statement": statement, **members}
    if parameters:
        body["Parameters"] = list(parameters)
    return caller.invalid("ExecuteStatement", body)


# --- against native operations: conditions in two languages

_PLAIN = ["a", "b", "n", "s", "size", "pk", "sk"]
_PATHS = [(f'"{name}"', f"#{name}") for name in _PLAIN] + [
    ("m.x", "#m.#x"),
    ("l[0]", "#l[0]"),
    ("m['x'].q", "#m.#x.#q"),
]
_NAMES = {f"#{name}": name for name in [*_PLAIN, "m", "x", "l", "q"]}
_SCALARS: list[tuple[str, Any]] = [
    ("1", {"N": "1"}),
    ("-2.50", {"N": "-2.5"}),
    ("'x'", {"S": "x"}),
    ("'it''s'", {"S": "it's"}),
    ("TRUE", {"BOOL": True}),
    ("NULL", {"NULL": True}),
    ("''", {"S": ""}),
    ("'N'", {"S": "N"}),
    ("3", {"N": "3"}),
    ("'a'", {"S": "a"}),
]
_VALUES: list[tuple[str, Any]] = [
    *_SCALARS,
    ("[1, 'x']", {"L": [{"N": "1"}, {"S": "x"}]}),
    ("{'x': 1}", {"M": {"x": {"N": "1"}}}),
    ("<<'a', 'b'>>", {"SS": ["a", "b"]}),
    ("<<1>>", {"NS": ["1"]}),
]

_paths = st.sampled_from(_PATHS).map(lambda path: ("path", path))
_values = st.tuples(st.sampled_from(_VALUES), st.booleans()).map(lambda value: ("value", *value))
_operands = st.one_of(_paths, _values, _paths.map(lambda path: ("size", path)))
_tests = st.one_of(
    st.tuples(st.just("compare"), st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), _operands, _operands),
    st.tuples(st.just("between"), _paths, _values, _values),
    st.tuples(st.just("in"), _paths, st.lists(_operands, min_size=1, max_size=3)),
    st.tuples(st.just("call"), st.sampled_from(["contains", "begins_with", "attribute_type"]), _paths, _values),
    st.tuples(st.just("missing"), st.booleans(), _paths),
)
_conditions = st.recursive(
    _tests,
    lambda inner: st.one_of(
        st.tuples(st.just("AND"), inner, inner),
        st.tuples(st.just("OR"), inner, inner),
        st.tuples(st.just("NOT"), inner),
    ),
    max_leaves=4,
)
_keyed = st.one_of(
    _conditions,
    st.tuples(
        st.just("AND"),
        st.one_of(
            st.sampled_from(["a", "b", "c"]).map(
                lambda pk: ("compare", "=", ("path", _PATHS[5]), ("value", (f"'{pk}'", {"S": pk}), True))
            ),
            st.just(("in", ("path", _PATHS[5]), [("value", (f"'{pk}'", {"S": pk}), False) for pk in "ba"])),
        ),
        st.one_of(
            _conditions,
            st.tuples(
                st.just("compare"),
                st.sampled_from(["=", "<>", "<", "<=", ">", ">="]),
                st.just(("path", _PATHS[6])),
                st.sampled_from([("value", _SCALARS[0], False), ("value", _SCALARS[8], True)]),
            ),
            st.just(("in", ("path", _PATHS[6]), [("value", _SCALARS[8], True), ("value", _SCALARS[0], False)])),
        ),
    ),
)


class _Languages:
    """Writes one condition as PartiQL with parameters, and as an expression with placeholders."""

    def __init__(self) -> None:
        self.parameters: list[Any] = []
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {}

    def complete(self, statement: dict[str, Any], native: dict[str, Any], shows: bool) -> None:
        """Give the statement its parameters, and both the wish to be shown the item if the condition fails."""
        if self.parameters:
            statement["Parameters"] = self.parameters
        if shows:
            native["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
            statement["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"

    def native(self, text: str) -> str:
        self.names |= {
            name: _NAMES[name] for name in _NAMES if name in text.replace(".", " ").replace("[", " ").split(" ")
        }
        return text

    def operand(self, operand: Any) -> tuple[str, str]:
        if operand[0] == "path":
            return operand[1][0], self.native(operand[1][1])
        if operand[0] == "size":
            partiql, native = self.operand(operand[1])
            return f"size({partiql})", f"size({native})"
        (literal, value), is_parameter = operand[1:]
        placeholder = f":{len(self.values)}"
        self.values[placeholder] = value
        if is_parameter:
            self.parameters.append(value)
        return "?" if is_parameter else literal, placeholder

    def condition(self, node: Any) -> tuple[str, str]:
        kind = node[0]
        if kind in ("AND", "OR"):
            left, right = self.condition(node[1]), self.condition(node[2])
            return f"({left[0]}) {kind} ({right[0]})", f"({left[1]}) {kind} ({right[1]})"
        if kind == "NOT":
            partiql, native = self.condition(node[1])
            return f"NOT ({partiql})", f"NOT ({native})"
        if kind == "compare":
            left, right = self.operand(node[2]), self.operand(node[3])
            return f"{left[0]} {node[1]} {right[0]}", f"{left[1]} {node[1]} {right[1]}"
        if kind == "between":
            path, low, high = (self.operand(operand) for operand in node[1:])
            return f"{path[0]} BETWEEN {low[0]} AND {high[0]}", f"{path[1]} BETWEEN {low[1]} AND {high[1]}"
        if kind == "in":
            path = self.operand(node[1])
            choices = [self.operand(choice) for choice in node[2]]
            partiql, native = (", ".join(choice[at] for choice in choices) for at in (0, 1))
            return f"{path[0]} IN ({partiql})", f"{path[1]} IN ({native})"
        if kind == "missing":
            partiql, native = self.operand(node[2])
            if node[1]:
                return f"{partiql} IS MISSING", f"attribute_not_exists({native})"
            return f"{partiql} IS NOT MISSING", f"attribute_exists({native})"
        path, value = self.operand(node[2]), self.operand(node[3])
        return f"{node[1].upper()}({path[0]}, {value[0]})", f"{node[1]}({path[1]}, {value[1]})"

    def members(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        if self.values:
            members["ExpressionAttributeValues"] = self.values
        if self.names:
            members["ExpressionAttributeNames"] = self.names
        return members


_attributes = st.dictionaries(
    st.sampled_from(["a", "b", "n", "s", "size", "m", "l"]),
    st.sampled_from([value for _, value in _VALUES]),
    max_size=4,
)
_tables = st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), _attributes, max_size=9)


def _fill(caller: Caller, rows: dict[tuple[str, int], dict[str, Any]], table: str = "events") -> None:
    for (pk, sk), attributes in rows.items():
        caller.call("PutItem", {"TableName": table, "Item": event(pk, sk, **attributes)})


def _answer(caller: Caller, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = caller.raw(operation, json.dumps(body).encode())
    return answer.status, json.loads(answer.whole_body())


def _sorted(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))


def _text(answer: dict[str, Any]) -> str:
    """The text of a fault without the member that a native request names first."""
    return str(answer["message"]).partition("Expression: ")[2] or str(answer["message"])


_ABOUT_KEYS = (
    "Key attribute's data type should match",
    "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty",
)
"""What a statement is told about key values and a Scan's filter is not."""


@settings(deadline=None, max_examples=300)
@given(rows=_tables, condition=_keyed, limit=st.none() | st.integers(1, 4), descending=st.none() | st.booleans())
def test_a_select_gives_what_a_scan_with_the_same_filter_gives(
    rows: dict[tuple[str, int], dict[str, Any]], condition: Any, limit: int | None, descending: bool | None
) -> None:
    caller = _caller()
    _fill(caller, rows)
    languages = _Languages()
    partiql, native = languages.condition(condition)
    status, scanned = _answer(
        caller, "Scan", {"TableName": "events", "FilterExpression": native, **languages.members()}
    )
    statement = f"SELECT * FROM events WHERE {partiql}"
    body: dict[str, Any] = {"Statement": statement}
    if languages.parameters:
        body["Parameters"] = languages.parameters
    mine, answer = _answer(caller, "ExecuteStatement", body)
    if mine != 200:
        assert str(answer["message"]).startswith(_ABOUT_KEYS) or (status, _text(scanned)) == (mine, _text(answer))
        return
    assert status == 200
    members = {} if limit is None else {"Limit": limit}
    pages = _pages(caller, statement, *languages.parameters, **members)
    assert _sorted([item for page in pages for item in page]) == _sorted(scanned["Items"])
    if descending is None:
        return
    ordered = f"{statement} ORDER BY sk {'DESC' if descending else 'ASC'}"
    body["Statement"] = ordered
    if _answer(caller, "ExecuteStatement", body)[0] != 200:
        return  # it is no statement about partition keys
    items = [item for page in _pages(caller, ordered, *languages.parameters, **members) for item in page]
    assert _sorted(items) == _sorted(scanned["Items"])
    for pk in "abc":
        sks = [int(item["sk"]["N"]) for item in items if item["pk"]["S"] == pk]
        assert sks == sorted(sks, reverse=descending)


_updates = st.lists(
    st.sampled_from(
        [
            ("SET a = 1", "SET", "a = :one"),
            ("SET b = a", "SET", "b = a"),
            ("SET n = n + 1", "SET", "n = n + :one"),
            ("SET n = ? - n", "SET", "n = :one - n"),
            ("SET l = list_append(l, [1])", "SET", "l = list_append(l, :list)"),
            ("SET s = if_not_exists(s, 'x')", "SET", "s = if_not_exists(s, :x)"),
            ("SET m.x = 'x'", "SET", "m.x = :x"),
            ("SET l[0] = 'x'", "SET", "l[0] = :x"),
            ("REMOVE a", "REMOVE", "a"),
            ("REMOVE l[0]", "REMOVE", "l[0]"),
            ("REMOVE m.x", "REMOVE", "m.x"),
            ("SET b = set_add(b, <<'q'>>)", "ADD", "b :set"),
            ("SET b = set_delete(b, <<'q'>>)", "DELETE", "b :set"),
            ("SET sk = 1", "SET", "sk = :one"),
        ]
    ),
    min_size=1,
    max_size=3,
)
_UPDATE_VALUES = {":one": {"N": "1"}, ":list": {"L": [{"N": "1"}]}, ":x": {"S": "x"}, ":set": {"SS": ["q"]}}
_RETURNING = {
    "": "NONE",
    " RETURNING ALL OLD *": "ALL_OLD",
    " RETURNING ALL NEW *": "ALL_NEW",
    " RETURNING MODIFIED OLD *": "UPDATED_OLD",
    " RETURNING MODIFIED NEW *": "UPDATED_NEW",
}


def _two_tables(rows: dict[tuple[str, int], dict[str, Any]]) -> Caller:
    caller = Caller()
    for name in ("mine", "theirs"):
        caller.call("CreateTable", {**RANGE_TABLE, "TableName": name})
        _fill(caller, rows, name)
    return caller


def _fault_of_condition(caller: Caller, native: dict[str, Any]) -> str | None:
    """What is wrong with the condition alone: of an UPDATE it is judged first, of an UpdateItem last."""
    names, values = native.get("ExpressionAttributeNames", {}), native.get("ExpressionAttributeValues", {})
    used = {name: value for name, value in values.items() if name not in _UPDATE_VALUES}
    body = {"TableName": "theirs", "Key": native["Key"], "ConditionExpression": native["ConditionExpression"]}
    body |= {"ExpressionAttributeNames": names} if names else {}
    body |= {"ExpressionAttributeValues": used} if used else {}
    status, answer = _answer(caller, "DeleteItem", body)
    return _text(answer) if status == 400 else None


def _same_write(caller: Caller, statement: dict[str, Any], operation: str, native: dict[str, Any]) -> None:
    """Both do the same, and leave the same."""
    mine, answer = _answer(caller, "ExecuteStatement", statement)
    if mine == 400 and str(answer["message"]).startswith("Multiple conditions on same key"):
        return  # the condition drawn demands another value of a key attribute
    status, expected = _answer(caller, operation, native)
    assert mine == status, (answer, expected)
    if mine == 200:
        attributes = expected.get("Attributes")
        assert answer == {"Items": [] if attributes is None else [attributes]}
    else:
        name, theirs = (body["__type"].rpartition("#")[2] for body in (answer, expected))
        if operation == "PutItem" and theirs == "ConditionalCheckFailedException":
            assert (name, answer["message"]) == ("DuplicateItemException", "Duplicate primary key exists in table")
        else:
            assert (name, answer.get("Item")) == (theirs, expected.get("Item"))
            assert _text(answer) == _text(expected) or _text(answer) == _fault_of_condition(caller, native)
    contents = [_sorted(caller.call("Scan", {"TableName": name})["Items"]) for name in ("mine", "theirs")]
    assert contents[0] == contents[1]


@settings(deadline=None, max_examples=120)
@given(
    rows=_tables,
    sk=st.integers(0, 2),
    condition=st.none() | _conditions,
    updates=_updates,
    returning=st.sampled_from(list(_RETURNING)),
    shows=st.booleans(),
)
def test_an_update_does_what_update_item_does(
    rows: dict[tuple[str, int], dict[str, Any]],
    sk: int,
    condition: Any,
    updates: list[Any],
    returning: str,
    shows: bool,
) -> None:
    languages = _Languages()
    partiql = " ".join(update[0] for update in updates)
    languages.parameters += [{"N": "1"}] * partiql.count("?")
    sections: dict[str, list[str]] = {}
    for _, section, action in updates:
        sections.setdefault(section, []).append(action)
    order = ("SET", "REMOVE", "ADD", "DELETE")
    update = " ".join(f"{section} {', '.join(sections[section])}" for section in order if section in sections)
    where, guard = f"pk = 'a' AND sk = {sk}", "attribute_exists(pk)"
    if condition is not None:
        mine, theirs = languages.condition(condition)
        where, guard = f"{where} AND ({mine})", f"{guard} AND ({theirs})"
    members = languages.members()
    used = {name: value for name, value in _UPDATE_VALUES.items() if name in update}
    members["ExpressionAttributeValues"] = {**languages.values, **used}
    if not members["ExpressionAttributeValues"]:
        del members["ExpressionAttributeValues"]
    native = {
        "TableName": "theirs", "Key": event("a", sk), "UpdateExpression": update, "ConditionExpression": guard,
        "ReturnValues": _RETURNING[returning], **members,
    }  # fmt: skip
    statement: dict[str, Any] = {"Statement": f"UPDATE mine {partiql} WHERE {where}{returning}"}
    languages.complete(statement, native, shows)
    _same_write(_two_tables(rows), statement, "UpdateItem", native)


@settings(deadline=None, max_examples=100)
@given(
    rows=_tables, sk=st.integers(0, 2), condition=st.none() | _conditions, returns=st.booleans(), shows=st.booleans()
)
def test_a_delete_does_what_delete_item_does(
    rows: dict[tuple[str, int], dict[str, Any]], sk: int, condition: Any, returns: bool, shows: bool
) -> None:
    languages = _Languages()
    where = f"pk = 'a' AND sk = {sk}"
    native: dict[str, Any] = {"TableName": "theirs", "Key": event("a", sk)}
    if condition is not None:
        mine, theirs = languages.condition(condition)
        where = f"{where} AND ({mine})"
        native |= {"ConditionExpression": f"attribute_not_exists(pk) OR ({theirs})", **languages.members()}
    statement: dict[str, Any] = {"Statement": f"DELETE FROM mine WHERE {where}"}
    if returns:
        statement["Statement"] += " RETURNING ALL OLD *"
        native["ReturnValues"] = "ALL_OLD"
    languages.complete(statement, native, shows)
    _same_write(_two_tables(rows), statement, "DeleteItem", native)


@settings(deadline=None, max_examples=60)
@given(
    rows=_tables,
    sk=st.integers(0, 2),
    item=st.dictionaries(
        st.sampled_from(["a", "é f", "m"]), st.tuples(st.sampled_from(_VALUES), st.booleans()), max_size=3
    ),
)
def test_an_insert_does_what_a_guarded_put_item_does(
    rows: dict[tuple[str, int], dict[str, Any]], sk: int, item: dict[str, Any]
) -> None:
    parameters = [value for (_, value), is_parameter in item.values() if is_parameter]
    members = [f"'{name}': {'?' if is_parameter else literal}" for name, ((literal, _), is_parameter) in item.items()]
    members += ["'pk': 'a'", f"'sk': {sk}"]
    statement: dict[str, Any] = {"Statement": "INSERT INTO mine VALUE {" + ", ".join(members) + "}"}
    if parameters:
        statement["Parameters"] = parameters
    attributes = {name: value for name, ((_, value), _) in item.items()}
    native = {
        "TableName": "theirs",
        "Item": event("a", sk, **attributes),
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    _same_write(_two_tables(rows), statement, "PutItem", native)


# --- what only SELECT has


def _numbered(caller: Caller) -> Caller:
    for pk in "ab":
        for sk in range(5):
            item = event(
                pk, sk, m={"M": {"x": {"N": str(sk)}, "l": {"L": [{"S": "p"}, {"S": "q"}]}}}, s={"S": f"s{9 - sk}"}
            )
            caller.call("PutItem", {"TableName": "events", "Item": item})
    return caller


def test_columns_have_the_names_of_their_last_members() -> None:
    caller = _numbered(_caller())
    statement = "SELECT m.x, m.l[1], m.l[0], pk, gone FROM events WHERE pk = 'a' AND sk = 3"
    assert _items(caller, statement) == [{"x": {"N": "3"}, "l[1]": {"S": "q"}, "l[0]": {"S": "p"}, "pk": {"S": "a"}}]
    assert _items(caller, "SELECT gone FROM events WHERE pk = 'a' AND sk = 3") == [{}]
    assert _invalid(caller, "SELECT m.x, m FROM events").startswith("Two document paths overlap with each other")


def test_the_order_of_several_collections() -> None:
    caller = _numbered(_caller())

    def order(clause: str) -> list[str]:
        statement = f"SELECT pk, sk FROM events WHERE pk IN ('b', 'a') AND sk IN (1, 3) {clause}"
        return [item["pk"]["S"] + item["sk"]["N"] for item in _items(caller, statement)]

    assert order("") == ["a1", "a3", "b1", "b3"]
    assert order("ORDER BY sk DESC") == ["a3", "a1", "b3", "b1"]
    assert order("ORDER BY pk DESC") == ["b1", "b3", "a1", "a3"]
    assert order("ORDER BY pk DESC, sk DESC") == ["b3", "b1", "a3", "a1"]


@pytest.mark.parametrize(
    ("clauses", "message"),
    [
        ("ORDER BY sk", "Must have WHERE clause in the statement when using ORDER BY clause."),
        (
            "WHERE s = 'x' ORDER BY sk",
            "Must have at least one non-optional hash key condition in WHERE clause when using ORDER BY clause.",
        ),
        ("WHERE pk = 'a' ORDER BY s", "Variable reference s in ORDER BY clause must be part of the primary key"),
        ("WHERE pk = 1", "Key attribute's data type should match its data type in table's schema: Key pk"),
        (
            "WHERE begins_with(s, 1)",
            "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
        ),
        (
            "WHERE " + "s = 'x' AND " * 160 + "s = 'x'",
            "The expression contains too many operators; operator count: 301",
        ),
        (
            f"WHERE s IN ({', '.join(['1'] * 101)})",
            "The IN operator is provided with too many operands; number of operands: 101",
        ),
    ],
)
def test_refused_selects(clauses: str, message: str) -> None:
    caller = _caller()
    assert _invalid(caller, f"SELECT * FROM events {clauses}") == message
    assert caller.backend.requests == []


def test_a_keyed_select_reads_its_keys_only() -> None:
    caller = _numbered(_caller())
    caller.backend.requests.clear()
    assert len(_items(caller, "SELECT * FROM events WHERE pk = 'a' AND sk > 1 AND sk < 4")) == 2
    assert len(caller.backend.requests) == 1
    answer = _execute(
        caller,
        "SELECT * FROM events WHERE pk = 'a' AND sk IN (1, 2, 77)",
        ReturnConsumedCapacity="TOTAL",
        ConsistentRead=True,
    )
    assert answer["ConsumedCapacity"] == {"TableName": "events", "CapacityUnits": 3.0}  # each key is a read of its own


def test_a_token_goes_on_with_its_own_statement_only() -> None:
    caller = _numbered(_caller())
    statement = "SELECT * FROM events WHERE pk = ?"
    first = _execute(caller, statement, {"S": "a"}, Limit=2)
    assert first["LastEvaluatedKey"] == event("a", 1)
    token = first["NextToken"]
    rest = _execute(caller, statement, {"S": "a"}, NextToken=token)
    assert [item["sk"]["N"] for item in rest["Items"]] == ["2", "3", "4"]
    assert "NextToken" not in rest
    for other, parameter in ((statement, {"S": "b"}), (statement + " ", {"S": "a"})):
        assert _invalid(caller, other, parameter, NextToken=token) == "Invalid NextToken"
    for bad in ("x", token[:-8], "é", token + "AAAA", "AAAA" * 8000):
        assert _invalid(caller, statement, {"S": "a"}, NextToken=bad) == "Invalid NextToken"


def test_limit_counts_before_the_filter() -> None:
    caller = _numbered(_caller())
    pages = _pages(caller, "SELECT sk FROM events WHERE pk = 'a' AND s = 's5'", Limit=2)
    assert pages == [[], [], [{"sk": {"N": "4"}}]]


# --- tables and trouble


def test_unknown_tables_and_members() -> None:
    caller = _caller()
    for statement in ("SELECT * FROM nope", "INSERT INTO nope VALUE {'pk': 'a'}", "DELETE FROM nope WHERE pk = 'a'"):
        assert caller.refuse("ExecuteStatement", {"Statement": statement})[0] == "ResourceNotFoundException"
    assert caller.invalid("ExecuteStatement", {}).startswith("1 validation error detected: Value null at 'statement'")
    assert "less than or equal to 8192" in _invalid(caller, "SELECT * FROM events" + " " * 8192)
    exists = "EXISTS(SELECT * FROM events WHERE pk = 'a' AND sk = 1 AND s = 'x')"
    assert _invalid(caller, exists) == "EXISTS can only be used in ExecuteTransaction write requests."


def test_a_table_that_was_created_again_is_found_again() -> None:
    caller = _caller()
    _execute(caller, "INSERT INTO users VALUE {'pk': 'a'}")
    stale = caller.backend.cache["users"]
    caller.call("DeleteTable", {"TableName": "users"})
    caller.call("CreateTable", HASH_TABLE)
    for statement in ("SELECT * FROM users WHERE pk = 'a'", "INSERT INTO users VALUE {'pk': 'b'}"):
        caller.backend.cache["users"] = stale
        assert _items(caller, statement) == []
    caller.backend.cache["users"] = stale
    answer = caller.call("BatchExecuteStatement", {"Statements": [{"Statement": "SELECT * FROM users WHERE pk = 'b'"}]})
    assert answer == {"Responses": [{"TableName": "users", "Item": {"pk": {"S": "b"}}}]}


def test_long_sums_are_refused_in_peace() -> None:
    caller = _caller()
    caller.call("PutItem", {"TableName": "users", "Item": {"pk": {"S": "a"}, "n": {"N": "1"}}})
    for count, is_taken in ((300, True), (301, False), (3900, False)):
        statement = f"UPDATE users SET n={'+'.join(['n'] * (count + 1))} WHERE pk='a'"
        status, answer = _answer(caller, "ExecuteStatement", {"Statement": statement})
        assert (status == 200) == is_taken
        if not is_taken:
            assert answer["message"] == "The expression contains too many operators; operator count: 301"
