"""What goes to stdout: tables, JSON, YAML, names."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Sequence
from typing import Any

from services.api import manifests
from services.cli import columns
from services.cli.columns import View
from services.cli.items import Item

GAP = "   "


class Format(enum.StrEnum):
    """``-o``."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, widths: Sequence[int] | None = None) -> list[str]:
    """Columns as wide as their widest cell (at least ``widths``), three blanks apart, as kubectl's."""
    lines = [list(header), *(list(row) for row in rows)]
    least = widths or [0] * len(header)
    sizes = [max(least[column], *(len(line[column]) for line in lines)) for column in range(len(header))]
    return [GAP.join(cell.ljust(size) for cell, size in zip(line, sizes, strict=True)).rstrip() for line in lines]


def item_table(items: Sequence[Item], view: View) -> list[str]:
    """One table of objects of one kind."""
    chosen = columns.of(items[0].kind, view)
    return table([column.header for column in chosen], columns.rows(items, chosen, view))


def document(item: Item) -> dict[str, Any]:
    """The object in Kubernetes' JSON form."""
    return manifests.to_dict(item.kind, item.object)


def listing(items: Iterable[Item]) -> dict[str, Any]:
    """Several objects as one, as kubectl does it; positions of different partitions have no common version."""
    return manifests.list_dict([document(item) for item in items])


def as_json(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False)


def as_yaml(value: Any) -> str:
    return manifests.yaml_text(value).rstrip("\n")
