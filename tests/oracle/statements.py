"""PartiQL statements for the comparison: valid, and nearly so.

Left out is what Local is known to do wrong (decision 0061): ORDER BY, literals in front of key attributes, key values
of another type, parameters too many.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

Body = dict[str, Any]

_TABLES: Final = st.sampled_from(["hash-only", "with-range"])
_LITERALS: Final = st.sampled_from(
    ["1", "-2.5", "0", "'a'", "'ab'", "''", "'it''s'", "'N'", "TRUE", "NULL", "[1, 'a']", "{'x': 'a'}", "<<'a', 'b'>>"]
)
_PARAMETERS: Final = st.sampled_from(
    [{"S": "a"}, {"N": "1"}, {"BOOL": True}, {"SS": ["a", "b"]}, {"L": [{"N": "1"}]}, {"M": {"x": {"S": "a"}}}]
)
_VALUES: Final = st.one_of(_LITERALS, st.just("?"))
_NAMES: Final = st.sampled_from(["s", "n", "l", "m", "ss", "ns", "b", "q"])
_PATHS: Final = st.one_of(_NAMES, st.sampled_from(["m.x", "m.y", "l[0]", "l[1]", "m['x']", '"s"']))
_OPERANDS: Final = st.one_of(_PATHS, _VALUES, st.builds("size({})".format, _PATHS))
_TESTS: Final = st.one_of(
    st.builds("{} {} {}".format, _PATHS, st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="]), _OPERANDS),
    st.builds("{} BETWEEN {} AND {}".format, _PATHS, _VALUES, _VALUES),
    st.builds("{} {}IN ({}, {})".format, _PATHS, st.sampled_from(["", "NOT "]), _OPERANDS, _VALUES),
    st.builds("{} IS {}{}".format, _PATHS, st.sampled_from(["", "NOT "]), st.sampled_from(["MISSING", "NULL"])),
    st.builds("{}({}, {})".format, st.sampled_from(["begins_with", "CONTAINS"]), _PATHS, _VALUES),
    st.builds("attribute_type({}, '{}')".format, _PATHS, st.sampled_from(["S", "N", "L", "NULL", "SS"])),
)
_CONDITIONS: Final = st.recursive(
    _TESTS,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=3,
)
_SUMS: Final = st.builds("{} {} {}".format, _PATHS, st.sampled_from(["+", "-"]), st.one_of(_PATHS, _VALUES))
_SETS: Final = st.one_of(
    st.builds("SET {} = {}".format, _PATHS, st.one_of(_VALUES, _PATHS, _SUMS)),
    st.builds("SET {0} = list_append({0}, {1})".format, _PATHS, _VALUES),
    st.builds("SET {} = if_not_exists({}, {})".format, _PATHS, _PATHS, _VALUES),
    st.builds("SET {0} = {1}({0}, <<'a'>>)".format, _NAMES, st.sampled_from(["set_add", "set_delete"])),
    st.builds("REMOVE {}".format, _PATHS),
)
_HASHES: Final = st.sampled_from(["'a'", "'b'", "'c'"])
_RANGES: Final = st.sampled_from(["1", "2", "3"])


@st.composite
def _key(draw: st.DrawFn, table: str) -> str:
    key = f"pk = {draw(_HASHES)}"
    return f"{key} AND sk = {draw(_RANGES)}" if table == "with-range" else key


@st.composite
def _insert(draw: st.DrawFn, table: str) -> str:
    members = draw(st.dictionaries(_NAMES, _VALUES, max_size=5))
    members["pk"] = draw(_HASHES)
    if table == "with-range":
        members["sk"] = draw(_RANGES)
    return f'INSERT INTO "{table}" VALUE {{{", ".join(f"{name!r}: {value}" for name, value in members.items())}}}'


@st.composite
def _change(draw: st.DrawFn, table: str) -> str:
    where = draw(_key(table))
    if draw(st.booleans()):
        where += f" AND {draw(_CONDITIONS)}"
    if not draw(st.integers(0, 3)):
        return f'DELETE FROM "{table}" WHERE {where}{draw(st.sampled_from(["", " RETURNING ALL OLD *"]))}'
    actions = " ".join(draw(st.lists(_SETS, min_size=1, max_size=2)))
    returning = draw(st.sampled_from(["", " RETURNING ALL OLD *", " RETURNING ALL NEW *"]))
    return f'UPDATE "{table}" {actions} WHERE {where}{returning}'


@st.composite
def _select(draw: st.DrawFn, table: str) -> str:
    columns = draw(st.one_of(st.just("*"), st.lists(_PATHS, min_size=1, max_size=2).map(", ".join)))
    terms = []
    keyed = draw(st.integers(0, 3))
    if keyed:
        terms.append(draw(st.sampled_from(["pk = 'a'", "pk IN ('a', 'b')", "pk IN ['c', 'a']"])))
        if keyed > 1 and table == "with-range":
            terms.append(draw(st.sampled_from(["sk = 1", "sk > 1", "sk <= 2", "sk BETWEEN 1 AND 2", "sk IN (1, 3)"])))
    if draw(st.booleans()):
        terms.append(draw(_CONDITIONS))
    return f'SELECT {columns} FROM "{table}"' + (" WHERE " if terms else "") + " AND ".join(terms)


@st.composite
def statements(draw: st.DrawFn) -> tuple[str, Body]:
    """ExecuteStatement."""
    table = draw(_TABLES)
    kind = draw(st.sampled_from([_insert, _change, _change, _select, _select]))
    body: Body = {"Statement": draw(kind(table))}
    parameters = draw(st.lists(_PARAMETERS, min_size=(count := body["Statement"].count("?")), max_size=count))
    if parameters:
        body["Parameters"] = parameters
    if "UPDATE" in body["Statement"] and draw(st.booleans()):
        body["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return "ExecuteStatement", body
