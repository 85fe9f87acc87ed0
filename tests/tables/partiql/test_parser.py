"""The grammar of statements: what is a statement and what is not, and that nothing but a refusal comes of the rest."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gramme.tables.expression.grammar import STATEMENT
from gramme.tables.expression.nodes import And, Call, Compare, Not, Or, Path, SetAction, Value
from gramme.tables.expression.request import parsed_condition
from gramme.tables.partiql.errors import InvalidStatement
from gramme.tables.partiql.nodes import Column, Delete, Exists, Insert, Order, Parameter, Select, Update
from gramme.tables.partiql.parser import parse_statement
from gramme.tables.partiql.requests import bind
from gramme.tables.partiql.text import Names, condition_text, update_text
from gramme.tables.requests import ReturnValues


def _where(condition: str) -> Select:
    body = parse_statement(f"SELECT * FROM things WHERE {condition}").body
    assert isinstance(body, Select)
    return body


def _refusal(text: str) -> str:
    with pytest.raises(InvalidStatement) as refused:
        parse_statement(text)
    return str(refused.value)


def test_select() -> None:
    text = 'select a, m."x y"[2], l[0][1] -- which\nFROM "my.table".by_name /* why */ WHERE a = ? ORDER BY a DESC, b;'
    statement = parse_statement(text)
    assert statement.body == Select(
        "my.table",
        "by_name",
        (
            Column("a", Path(("a",))),
            Column("x y[2]", Path(("m", "x y", 2))),
            Column("l[0][1]", Path(("l", 0, 1))),
        ),
        Compare("=", Path(("a",)), Value(":0")),
        (Order("a", True), Order("b", False)),
    )
    assert statement.values == {":0": Parameter(0)}
    assert statement.parameters == 1


def test_insert_takes_all_literals() -> None:
    statement = parse_statement(
        """INSERT INTO things VALUE {'s': 'it''s', 'n': -1.50e2, 'p': +.5, 't': TRUE, 'z': null, 'q': ?,
        'l': [1, 'a', [FALSE]], 'm': {'x': {}}, 'ss': <<'b', 'a'>>, 'ns': <<1, 2.0>>}"""
    )
    assert isinstance(statement.body, Insert)
    values = bind(statement, [{"B": "AAEC"}])
    assert {name: values[value.placeholder] for name, value in statement.body.attributes} == {
        "s": {"S": "it's"},
        "n": {"N": "-150"},
        "p": {"N": "0.5"},
        "t": {"BOOL": True},
        "z": {"NULL": True},
        "q": {"B": "AAEC"},
        "l": {"L": [{"N": "1"}, {"S": "a"}, {"L": [{"BOOL": False}]}]},
        "m": {"M": {"x": {"M": {}}}},
        "ss": {"SS": ["b", "a"]},
        "ns": {"NS": ["1", "2"]},
    }


def test_update_and_delete() -> None:
    update = parse_statement(
        "UPDATE things SET a = 1, b = 2 REMOVE c SET d = 3 WHERE k = 4 RETURNING MODIFIED OLD *"
    ).body
    assert isinstance(update, Update)
    assert [type(action).__name__ for action in update.actions] == [
        "SetAction",
        "SetAction",
        "RemoveAction",
        "SetAction",
    ]
    assert update.returning is ReturnValues.UPDATED_OLD
    delete = parse_statement("DELETE FROM things WHERE k = 4 RETURNING ALL OLD *").body
    assert delete == Delete("things", Compare("=", Path(("k",)), Value(":0")), ReturnValues.ALL_OLD)
    exists = parse_statement("EXISTS(SELECT * FROM things WHERE k = 4)").body
    assert isinstance(exists, Exists)
    assert exists.table == "things"


def test_precedence() -> None:
    a, b, c = (Compare("=", Path((name,)), Value(f":{at}")) for at, name in enumerate("abc"))
    assert _where("a = 1 OR b = 2 AND c = 3").where == Or((a, And((b, c))))
    assert _where("(a = 1 OR b = 2) AND c = 3").where == And((Or((a, b)), c))
    assert _where("NOT a = 1 AND NOT NOT b = 2").where == And((Not(a), b))
    assert _where("((a = 1) AND (b = 2 AND c = 3))").where == And((a, b, c))


def test_words_that_mean_the_same() -> None:
    assert _where("a IS NOT MISSING").where == Call("attribute_exists", (Path(("a",)),))
    assert _where("a is missing").where == Call("attribute_not_exists", (Path(("a",)),))
    assert _where("a != 1").where == _where("a <> 1").where
    assert _where("a NOT IN (1, 2)").where == _where("NOT a IN [1, 2]").where
    assert _where("a IN <<1, 2>>").where == _where("a IN (1, 2)").where
    assert _where("a NOT BETWEEN 1 AND 2").where == _where("NOT (a BETWEEN 1 AND 2)").where
    assert _where("BEGINS_WITH(a, 'x') = FALSE").where == _where("NOT begins_with(a, 'x')").where
    assert _where("TRUE <> Contains(a, 'x')").where == Not(Call("contains", (Path(("a",)), Value(":1"))))


def test_sums_become_chains() -> None:
    body = parse_statement("UPDATE things SET n = n - (a - (b + 1)) + 2 - 3 WHERE k = 1").body
    assert isinstance(body, Update)
    action = body.actions[0]
    assert isinstance(action, SetAction)
    names = Names()
    assert update_text(body.actions, names) == "SET #0 = #0 - #1 + #2 + :0 + :1 - :2"
    assert names.names == {"#0": "n", "#1": "a", "#2": "b"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ";",
        "SELECT",
        "SELECT *",
        "SELECT * FROM",
        "SELECT FROM things",
        "SELECT a, FROM things",
        "SELECT * FROM things WHERE",
        "SELECT * FROM things WHERE a =",
        "SELECT * FROM things WHERE a = 'x",
        'SELECT * FROM "things',
        "SELECT * FROM things /* open",
        "SELECT * FROM things WHERE a = #",
        "SELECTT * FROM x",
        "SELECT *, a FROM things",
        "SELECT * FROM things WHERE (a = 1",
        "SELECT * FROM things WHERE a = 1)",
        "SELECT * FROM things WHERE a = 1 = 2",
        "SELECT * FROM things WHERE a BETWEEN 1 OR 2",
        "SELECT * FROM things WHERE a = 1; SELECT * FROM things",
        "SELECT * FROM things WHERE a IS NOT",
        "SELECT date FROM t",
        "SELECT * FROM things WHERE order = 1",
        "INSERT things VALUE {}",
        "INSERT INTO things VALUES {'a': 1}",
        "INSERT INTO things VALUE {'a' 1}",
        "INSERT INTO things VALUE {'a': 1",
        "UPDATE things WHERE a = 1",
        "UPDATE things REMOVE a, b WHERE k = 1",
        "UPDATE things SET a WHERE k = 1",
        "DELETE things WHERE a = 1",
        "UPDATE things SET a = 1 WHERE k = 1 RETURNING ALL OLD",
        "UPDATE things SET a = 1 RETURNING ALL OLD * WHERE k = 1",
        "UPDATE things SET a = b = 1 WHERE k = 1",
        "SELECT * FROM things WHERE a IN ()",
        "\0",
        "é",
        "SELECT é FROM things",
    ],
)
def test_malformed(text: str) -> None:
    assert _refusal(text) == f"Statement wasn't well formed, can't be processed: {text}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT a AS b FROM things", "Aliasing is not supported"),
        ("SELECT a FROM things t", "Aliasing is not supported"),
        ("SELECT a, a FROM things", "Duplicate identifiers in select clause: a"),
        ("SELECT x.a, y.a FROM things", "Duplicate identifiers in select clause: a"),
        ("SELECT COUNT(*) FROM things", "Unexpected path component at 1:8:5"),
        ("SELECT 'a' FROM things", "Unexpected path component at 1:8:3"),
        ("SELECT DISTINCT a FROM things", "Unsupported token in expression: DISTINCT"),
        ("SELECT VALUE a FROM things", "Select projection doesn't support value or pivot keywords"),
        ("SELECT m.* FROM things", "Changing item's hierarchy while reading isn't supported"),
        ("SELECT * FROM things, others", "Only select from a single table or index is supported."),
        ("SELECT * FROM things.a.b", "A path may contain at most 2 components in the FROM clause"),
        ("SELECT * FROM 'things'", "Unexpected from source"),
        ("SELECT * FROM things GROUP BY a", "Unsupported clause: GROUP BY"),
        ("SELECT * FROM things LIMIT 5", "Unsupported clause: LIMIT at 1:28:1"),
        (
            "SELECT * FROM ab",
            "Table name should be within the length [3, 255] and only contain 'a-z', 'A-Z', '0-9', '-', '_', '.'.",
        ),
        ("SELECT * FROM things ORDER BY a.b", "Argument to ORDER BY must be of type VariableReference. Type: PATH"),
        ("SELECT * FROM things WHERE a", "WHERE clause must contain an expression that resolves to a boolean"),
        ("SELECT * FROM things WHERE a AND b = 1", "The arguments to AND/OR must be Expressions"),
        ("SELECT * FROM things WHERE a + 1 = 2", "Unsupported operator in Condition Expression. Operator: +"),
        ("SELECT * FROM things WHERE a LIKE 'x'", "Unsupported operator in Condition Expression. Operator: like"),
        ("SELECT * FROM things WHERE a = MISSING", "MISSING must be compared using IS operator"),
        ("SELECT * FROM things WHERE foo(a)", "Unrecognized function: foo"),
        ("SELECT * FROM things WHERE a[-1] = 2", "List index is not within the allowable range; index: [-1] at 1:31:1"),
        ("SELECT * FROM things WHERE a[1.5] = 2", "Unexpected path component at 1:30:3"),
        ('SELECT * FROM things WHERE "" = 2', "Path component cannot be an empty string"),
        ("SELECT * FROM things WHERE a = [?]", "Unsupported data type: Parameter under key root.0 at 1:33:1"),
        ("INSERT INTO things VALUE {'a': b}", "Unsupported data type: b under key root at 1:32:1"),
        (
            "INSERT INTO things VALUE {a: 1}",
            "Tuple keys must be of type String. Actual type: VariableReference under root at 1:27:1",
        ),
        ("INSERT INTO things VALUE {'a': 1, 'a': 2}", "Duplicate keys in tuple. Key: a under root at 1:35:3"),
        ("INSERT INTO things VALUE {'a': <<>>}", "Empty bags are not supported at 1:32:2"),
        (
            "INSERT INTO things\nVALUE {'a': <<1, 'b'>>}",
            "Unsupported data type in Bag. DynamoDB only supports either numbers or strings in bags at 2:18:3",
        ),
        (
            "INSERT INTO things VALUE ?",
            "Unsupported format in item expression. Please use struct format {...} to express item values for insert "
            "statement. at 1:26:1",
        ),
        ("INSERT INTO things VALUE {'a': 1} RETURNING ALL OLD *", "RETURNING is not supported in INSERT"),
        ("INSERT INTO things << {'a': 1} >>", "Unsupported operation: InsertOp"),
        (
            "INSERT INTO things VALUE {'a': 1E200}",
            "Number overflow. Attempting to store a number with magnitude larger than supported range",
        ),
        ("UPDATE things.idx SET a = 1 WHERE k = 1", "This operation is not supported on an index"),
        (
            "UPDATE things SET a = set_add(b, <<1>>) WHERE k = 1",
            "The first argument to SET_ADD must equal the assignment value",
        ),
        (
            "UPDATE things SET a = set_delete(a, 1) WHERE k = 1",
            "The second argument to SET_DELETE must be a value with type SET",
        ),
        (
            "UPDATE things SET a = -b WHERE k = 1",
            "Incorrect number of operands for operator or function; operator or function: -, number of operands: 1",
        ),
        (
            "DELETE FROM things WHERE k = 1 RETURNING ALL NEW *",
            "Invalid returning clause: RETURNING ALL NEW *. Only RETURNING ALL OLD * is allowed in DELETE statements.",
        ),
        (
            "UPDATE things SET a = 1 WHERE k = 1 RETURNING ALL NEW a",
            "Expected '*' after ( MODIFIED | ALL ) ( NEW | OLD ) in RETURNING clause",
        ),
        ("DROP TABLE things", "Unsupported operation: DropTable"),
        ("things", "Unsupported operation: VariableReference"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    assert _refusal(text) == message


@pytest.mark.parametrize(
    "inner",
    [
        "(" * 4000 + "a = 1" + ")" * 4000,
        "NOT " * 2000 + "a = 1",
        "a = " + "[" * 4000 + "]" * 4000,
        "a = " + "{'x':" * 1500 + "1" + "}" * 1500,
        "(a = 1 AND " * 700,
        "a = " + "-" * 4000 + "1",
        "a = " + "(" * 4000,
        "size(" * 1500 + "a" + ")" * 1500 + " > 1",
        "a = " + "1 + " * 2000 + "1",
        "a IN (" * 1200 + "1" + ")" * 1200,
        "a" + ".b" * 4000 + " = 1",
        "a" + "[0]" * 2600 + " = 1",
        "/* " * 2700,
        "a = 'x" + "''" * 4000,
        "a=1 OR " * 1100 + "a=1",
    ],
)
def test_depth_is_bounded(inner: str) -> None:
    """Whatever is long or deep is taken or refused, and never exhausts Python's stack."""
    text = f"SELECT * FROM things WHERE {inner}"
    try:
        body = parse_statement(text).body
    except InvalidStatement:
        return
    assert isinstance(body, Select)
    assert body.where is not None
    condition_text(body.where, Names())


_SOUP = [
    "SELECT",
    "*",
    "FROM",
    "things",
    "WHERE",
    "a",
    "b",
    "pk",
    "=",
    "<>",
    "<",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<<",
    ">>",
    ",",
    ".",
    ":",
    ";",
    "?",
    "'x'",
    "''",
    '"q"',
    "1",
    "-1",
    "1e5",
    "0",
    "AND",
    "OR",
    "NOT",
    "IN",
    "BETWEEN",
    "IS",
    "MISSING",
    "NULL",
    "TRUE",
    "size",
    "contains",
    "begins_with",
    "list_append",
    "set_add",
    "SET",
    "REMOVE",
    "UPDATE",
    "INSERT",
    "INTO",
    "VALUE",
    "DELETE",
    "RETURNING",
    "ALL",
    "OLD",
    "NEW",
    "MODIFIED",
    "EXISTS",
    "ORDER",
    "BY",
    "DESC",
    "+",
    "-",
    "||",
    "%",
    "/",
    "--",
    "\n",
    "/*",
    "*/",
    "`1`",
    "é",
    "\0",
    "@",
    "'",
    '"',
]
_STATEMENTS = [
    "SELECT a, m.x FROM things.idx WHERE pk = ? AND (a > 1 OR NOT b IN ('x', 2)) ORDER BY sk DESC",
    "INSERT INTO things VALUE {'pk': ?, 'l': [1, {'a': <<'x'>>}], 'n': -5}",
    "UPDATE things SET a = a + 1 SET l = list_append(l, [1]) REMOVE m.x WHERE pk = 'k' RETURNING ALL NEW *",
    "DELETE FROM things WHERE pk = 'k' AND size(a) BETWEEN 1 AND 2 RETURNING ALL OLD *",
    "EXISTS(SELECT * FROM things WHERE pk = 1 AND contains(a, 'x'))",
]


@pytest.mark.parametrize("seed", range(4))
def test_soup_is_parsed_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    parsed = 0
    for _ in range(3000):
        words = rng.choice(_STATEMENTS).split(" ") if rng.random() < 0.8 else []
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(words) + 1)
            words[at : at + rng.randrange(3)] = [rng.choice(_SOUP) for _ in range(rng.randrange(3))]
        try:
            parse_statement(rng.choice(("", " ")).join(words) if rng.random() < 0.05 else " ".join(words))
            parsed += 1
        except InvalidStatement:
            pass
    assert parsed > 100


_PATHS = st.sampled_from(["a", "m.x", "l[0]", '"size"', '"a b"'])
_VALUES = st.sampled_from(["1", "'x'", "?", "-2.5", "TRUE"])
_TESTS = st.one_of(
    st.builds("{} {} {}".format, _PATHS, st.sampled_from(["=", "<>"]), _VALUES),
    st.builds("{} IS {}MISSING".format, _PATHS, st.sampled_from(["", "NOT "])),
    st.builds("contains({}, {})".format, _PATHS, _VALUES),
    st.builds("{} {}IN ({}, {})".format, _PATHS, st.sampled_from(["", "NOT "]), _VALUES, _VALUES),
)
_CONDITIONS = st.recursive(
    _TESTS,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("NOT ({})".format, inner),
        st.builds("(({}))".format, inner),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(condition=_CONDITIONS)
def test_a_condition_means_the_same_in_the_expression_language(condition: str) -> None:
    statement = parse_statement(f"SELECT * FROM things WHERE {condition}")
    assert isinstance(statement.body, Select)
    assert statement.body.where is not None
    values = bind(statement, [{"S": "p"}] * statement.parameters)
    names = Names()
    text = condition_text(statement.body.where, names)
    assert parsed_condition(text, names.names, values, STATEMENT).root == statement.body.where


def test_the_same_text_is_parsed_once() -> None:
    text = "SELECT * FROM things WHERE cached = 1"
    assert parse_statement(text) is parse_statement(text)


def test_parameters_are_counted() -> None:
    statement = parse_statement("SELECT * FROM things WHERE a = ? AND b = '?'")
    assert bind(statement, [{"N": "1"}]) == {":0": {"N": "1"}, ":1": {"S": "?"}}
    for parameters in ([], [{"N": "1"}, {"N": "2"}]):
        with pytest.raises(InvalidStatement, match="Number of parameters in request and statement don't match"):
            bind(statement, parameters)
