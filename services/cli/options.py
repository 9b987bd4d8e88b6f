"""The options that several commands share, each written down once."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated

import typer

OBJECTS = "Objects"
ONEBOX = "One-box cluster"
MORE = "More"


class Format(enum.StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class StatusFormat(enum.StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class NodeRuntime(enum.StrEnum):
    HOLLOW = "hollow"
    PROCESS = "process"


class Validate(enum.StrEnum):
    STRICT = "strict"
    WARN = "warn"
    IGNORE = "ignore"


class DryRun(enum.StrEnum):
    NONE = "none"
    CLIENT = "client"
    SERVER = "server"


class Cascade(enum.StrEnum):
    BACKGROUND = "background"
    FOREGROUND = "foreground"
    ORPHAN = "orphan"


Words = Annotated[
    list[str] | None, typer.Argument(metavar="TYPE [NAME...]", help="pods web; pod/web; pods,nodes", show_default=False)
]
ContextFile = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--context", metavar="FILE", envvar="URSA_CONTEXT", help="Where the partitions are.", show_default=False
    ),
]
HomeDirectory = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--home", metavar="DIR", envvar="URSA_HOME", help="Data directory, .ursa by default.", show_default=False
    ),
]
Tenant = Annotated[
    str, typer.Option("--tenant", "-t", metavar="NAME", envvar="URSA_TENANT", help="Whose objects.", show_default=False)
]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NAME", help="default unless given.", show_default=False)
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Objects of every namespace.")]
AllTenants = Annotated[bool, typer.Option("--all-tenants", help="Objects of every tenant, in every namespace.")]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]
ResultOutput = Annotated[
    Format | None, typer.Option("--output", "-o", help="Print the results: json, yaml, name.", show_default=False)
]
Labels = Annotated[
    str,
    typer.Option(
        "--selector", "-l", metavar="SELECTOR", help="By label: app=web,tier in (a,b),!old", show_default=False
    ),
]
Fields = Annotated[
    str, typer.Option("--field-selector", metavar="SELECTOR", help="By field: status.phase=Running", show_default=False)
]
Limit = Annotated[int, typer.Option("--limit", min=0, help="At most so many objects; 0: all.")]
ChunkSize = Annotated[int, typer.Option("--chunk-size", min=0, max=10_000, help="Objects per request; 0: all at once.")]
ResourceVersion = Annotated[
    int | None,
    typer.Option("--resource-version", min=0, metavar="N", help="0: any age, N: not older than N.", show_default=False),
]
Partition = Annotated[
    str, typer.Option("--partition", metavar="NAME", help="Ask this partition, right or wrong.", show_default=False)
]
Files = Annotated[
    list[str] | None,
    typer.Option(
        "--filename", "-f", metavar="FILE", help="A file, a directory, or - for stdin; repeatable.", show_default=False
    ),
]
ValidateOption = Annotated[
    Validate, typer.Option("--validate", help="What becomes of fields that the API does not know.")
]
DryRunOption = Annotated[DryRun, typer.Option("--dry-run", help="client: send no write; server: check, store nothing.")]
CascadeOption = Annotated[
    Cascade,
    typer.Option("--cascade", help="Dependents: they go after it, before it, or stay without an owner."),
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Then print every change.")]
WatchOnly = Annotated[bool, typer.Option("--watch-only", help="Print changes only.")]
WatchEvents = Annotated[
    bool, typer.Option("--output-watch-events", help="Say what happened: ADDED, MODIFIED, DELETED.")
]
ShowLabels = Annotated[bool, typer.Option("--show-labels", help="Labels as the last column.")]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="No header line.")]
IgnoreNotFound = Annotated[bool, typer.Option("--ignore-not-found", help="An object that is not there is no error.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Until the objects are gone.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")]
GracePeriod = Annotated[
    int | None,
    typer.Option(
        "--grace-period", min=0, metavar="SECONDS", help="0: at once, unconfirmed by the node.", show_default=False
    ),
]
