"""What nodes know of tables once nothing changes any more: what the catalog says, of every table that they know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gramme.kernel.ids import NodeId
from gramme.tables.descriptor import TableDescriptor


def outdated(
    catalog: Iterable[TableDescriptor], nodes: Iterable[tuple[NodeId, Mapping[str, TableDescriptor]]]
) -> str | None:
    """The first descriptor that a node would serve by and that is not the catalog's; None if there is none."""
    tables = {table.name: table for table in catalog}
    for node, known in nodes:
        for name, table in known.items():
            if table != tables.get(name):
                return f"node {node} knows table {name} as version {table.version} of {table.table_id} ({table.status})"
    return None
