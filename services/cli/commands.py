"""kubectl's verbs as commands: options in, one request as a value, one coroutine run."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import options
from services.cli.errors import UsageError
from services.cli.options import OBJECTS, Cascade, DryRun, Format, Validate

if TYPE_CHECKING:
    from services.cli.cluster import Cluster
    from services.cli.streams import Streams

Work = Callable[["Cluster", "Streams"], Coroutine[Any, Any, int]]

create_app = typer.Typer(no_args_is_help=False, help="Make objects: from files, or a tenant or namespace by name.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the ``ursa`` command."""
    for function in (get, describe, watch, apply, delete, scale):
        app.command(rich_help_panel=OBJECTS)(function)
    app.add_typer(create_app, name="create", rich_help_panel=OBJECTS)
    app.command("api-resources", rich_help_panel=OBJECTS)(api_resources)


def execute(work: Work, context: pathlib.Path | None, partition: str = "") -> None:
    """Run one verb against the cluster of ``context`` and end with its exit code."""
    from services.cli import context as contexts
    from services.cli.cluster import Cluster, explain
    from services.cli.running import run
    from services.cli.streams import Streams
    from services.rpc.status import StatusError

    async def connected() -> int:
        async with Cluster(contexts.load(context), forced=partition) as cluster:
            return await work(cluster, Streams())

    try:
        code = run(connected())
    except StatusError as failure:
        raise explain(failure) from failure
    raise typer.Exit(code)


def get(
    words: options.Words = None,
    output: options.Output = Format.TABLE,
    tenant: options.Tenant = "",
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    all_tenants: options.AllTenants = False,
    selector: options.Labels = "",
    field_selector: options.Fields = "",
    limit: options.Limit = 0,
    chunk_size: options.ChunkSize = 500,
    resource_version: options.ResourceVersion = None,
    watch: options.Watch = False,
    watch_only: options.WatchOnly = False,
    output_watch_events: options.WatchEvents = False,
    show_labels: options.ShowLabels = False,
    no_headers: options.NoHeaders = False,
    ignore_not_found: options.IgnoreNotFound = False,
    partition: options.Partition = "",
    context: options.ContextFile = None,
) -> None:
    """Print objects: `get pods`, `get pod web -o yaml`, `get nodes -o wide`, `get tenants`."""
    from services.cli import output as outputs
    from services.cli import selection
    from services.cli.verbs import get as verb
    from services.cli.verbs import watch as watching
    from services.cli.verbs.fetch import Query

    request = verb.Request(
        wanted=selection.parse(words or []),
        where=where_of(tenant, namespace, all_tenants, all_namespaces),
        query=Query(selector, field_selector, limit, chunk_size, resource_version),
        format=outputs.Format(output.value),
        labels=show_labels,
        headers=not no_headers,
        ignore_not_found=ignore_not_found,
    )
    if watch or watch_only:
        wanted = watching.Request(request, events=output_watch_events, only=watch_only)
        execute(lambda cluster, streams: watching.watch(cluster, wanted, streams), context, partition)
    execute(lambda cluster, streams: verb.get(cluster, request, streams), context, partition)


def watch(
    words: options.Words = None,
    output: options.Output = Format.TABLE,
    tenant: options.Tenant = "",
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    all_tenants: options.AllTenants = False,
    selector: options.Labels = "",
    field_selector: options.Fields = "",
    show_labels: options.ShowLabels = False,
    watch_only: options.WatchOnly = False,
    partition: options.Partition = "",
    context: options.ContextFile = None,
) -> None:
    """Print objects, then every change, with what happened."""
    from services.cli import output as outputs
    from services.cli import selection
    from services.cli.verbs import get as verb
    from services.cli.verbs import watch as watching
    from services.cli.verbs.fetch import Query

    shown = verb.Request(
        wanted=selection.parse(words or []),
        where=where_of(tenant, namespace, all_tenants, all_namespaces),
        query=Query(selector, field_selector),
        format=outputs.Format(output.value),
        labels=show_labels,
    )
    request = watching.Request(shown, events=True, only=watch_only)
    execute(lambda cluster, streams: watching.watch(cluster, request, streams), context, partition)


def describe(
    words: options.Words = None,
    tenant: options.Tenant = "",
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    all_tenants: options.AllTenants = False,
    selector: options.Labels = "",
    show_events: Annotated[bool, typer.Option("--show-events/--no-events", help="Events about the object.")] = True,
    partition: options.Partition = "",
    context: options.ContextFile = None,
) -> None:
    """Everything about an object on one page, with its events."""
    from services.cli import selection
    from services.cli.verbs import describe as verb
    from services.cli.verbs.fetch import Query

    request = verb.Request(
        selection.parse(words or []),
        where_of(tenant, namespace, all_tenants, all_namespaces),
        Query(selector),
        events=show_events,
    )
    execute(lambda cluster, streams: verb.describe(cluster, request, streams), context, partition)


def apply(
    filename: options.Files = None,
    tenant: options.Tenant = "",
    namespace: options.Namespace = "",
    validate: options.ValidateOption = Validate.STRICT,
    dry_run: options.DryRunOption = DryRun.NONE,
    output: options.ResultOutput = None,
    partition: options.Partition = "",
    context: options.ContextFile = None,
) -> None:
    """Make the objects of files, or change those that exist to what the files say."""
    _submit(filename, tenant, namespace, validate, dry_run, output, partition, context, merge=True)


def delete(
    words: options.Words = None,
    filename: options.Files = None,
    tenant: options.Tenant = "",
    namespace: options.Namespace = "",
    all_namespaces: options.AllNamespaces = False,
    selector: options.Labels = "",
    field_selector: options.Fields = "",
    every: Annotated[bool, typer.Option("--all", help="Every object of the type in the namespace.")] = False,
    grace_period: options.GracePeriod = None,
    cascade: options.CascadeOption = Cascade.BACKGROUND,
    wait: options.Wait = True,
    timeout: options.Timeout = 120.0,
    dry_run: options.DryRunOption = DryRun.NONE,
    ignore_not_found: options.IgnoreNotFound = False,
    output: options.ResultOutput = None,
    partition: options.Partition = "",
    context: options.ContextFile = None,
) -> None:
    """End objects: `delete pod web`, `delete pods -l app=web`, `delete -f FILE`."""
    from services.cli import files, selection
    from services.cli.streams import Streams
    from services.cli.verbs import delete as verb
    from services.cli.verbs.fetch import Query

    if bool(words) == bool(filename):
        raise UsageError("name objects, or files with -f")
    documents = files.read(filename, "ignore", Streams()) if filename else []
    wanted = [] if filename else selection.parse(words or [])
    selected = bool(selector or field_selector or every)
    if any(not one.names for one in wanted) and not selected:
        raise UsageError("delete which ones?", hint="give names, a selector with -l, or --all")
    if any(one.names for one in wanted) and selected:
        raise UsageError("names and a selector do not go together")
    request = verb.Request(
        wanted,
        where_of(tenant, namespace, False, all_namespaces),
        Query(selector, field_selector),
        documents=documents,
        grace_s=grace_period,
        policy=cascade.value.capitalize(),
        wait=wait,
        wait_s=timeout,
        dry_run=dry_run.value,
        ignore_not_found=ignore_not_found,
        names_only=output is Format.NAME,
    )
    execute(lambda cluster, streams: verb.delete(cluster, request, streams), context, partition)


def scale(
    words: options.Words = None,
    replicas: Annotated[int, typer.Option("--replicas", metavar="N", help="How many pods there are to be.")] = -1,
    filename: options.Files = None,
    tenant: options.Tenant = "",
    namespace: options.Namespace = "",
    selector: options.Labels = "",
    every: Annotated[bool, typer.Option("--all", help="Every object of the type in the namespace.")] = False,
    current_replicas: Annotated[
        int | None, typer.Option("--current-replicas", min=0, metavar="N", help="Only if there are to be N now.")
    ] = None,
    resource_version: options.ResourceVersion = None,
    dry_run: options.DryRunOption = DryRun.NONE,
    output: options.ResultOutput = None,
    partition: options.Partition = "",
    context: options.ContextFile = None,
) -> None:
    """Set how many pods a workload has: `scale rs/web --replicas 3`, `scale -f FILE --replicas 3`."""
    from services.cli import files, selection
    from services.cli.streams import Streams
    from services.cli.verbs import scale as verb
    from services.cli.verbs.fetch import Query

    if replicas < 0:
        raise UsageError("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    if bool(words) == bool(filename):
        raise UsageError("name objects, or files with -f")
    wanted = selection.parse(words) if words else []
    selected = bool(selector or every)
    if any(not one.names for one in wanted) and not selected:
        raise UsageError("scale which ones?", hint="give names, a selector with -l, or --all")
    if any(one.names for one in wanted) and selected:
        raise UsageError("names and a selector do not go together")
    if output not in (None, Format.NAME):
        raise UsageError(f"-o {output.value} does not fit here", hint="name does")
    request = verb.Request(
        wanted,
        where_of(tenant, namespace),
        replicas,
        Query(selector),
        documents=files.read(filename, "ignore", Streams()) if filename else [],
        current=current_replicas,
        resource_version=resource_version or 0,
        dry_run=dry_run.value,
        names_only=output is Format.NAME,
    )
    execute(lambda cluster, streams: verb.scale(cluster, request, streams), context, partition)


@create_app.callback(invoke_without_command=True)
def create(
    call: typer.Context,
    filename: options.Files = None,
    tenant: options.Tenant = "",
    namespace: options.Namespace = "",
    validate: options.ValidateOption = Validate.STRICT,
    dry_run: options.DryRunOption = DryRun.NONE,
    output: options.ResultOutput = None,
    partition: options.Partition = "",
    context: options.ContextFile = None,
) -> None:
    """Make the objects of files (`create -f FILE`), a tenant or a namespace."""
    if call.invoked_subcommand:
        return
    _submit(filename, tenant, namespace, validate, dry_run, output, partition, context, merge=False)


@create_app.command("tenant")
def create_tenant(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    description: Annotated[str, typer.Option("--description", help="For people.", show_default=False)] = "",
    partition: Annotated[
        str, typer.Option("--partition", metavar="TP", help="Its tenant partition; chosen by name if not given.")
    ] = "",
    dry_run: options.DryRunOption = DryRun.NONE,
    output: options.ResultOutput = None,
    context: options.ContextFile = None,
) -> None:
    """Make a tenant, with a namespace `default`."""
    from services.cli.verbs import create as verb

    shown = _results(output)
    execute(
        lambda cluster, streams: verb.tenant(cluster, name, description, dry_run.value, shown, streams),
        context,
        partition,
    )


@create_app.command("namespace")
def create_namespace(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    tenant: options.Tenant = "",
    dry_run: options.DryRunOption = DryRun.NONE,
    output: options.ResultOutput = None,
    partition: options.Partition = "",
    context: options.ContextFile = None,
) -> None:
    """Make a namespace of a tenant."""
    from services.cli.verbs import create as verb

    where, shown = where_of(tenant), _results(output)
    execute(
        lambda cluster, streams: verb.namespace(cluster, name, where, dry_run.value, shown, streams), context, partition
    )


create_app.command("ns", hidden=True)(create_namespace)


def api_resources() -> None:
    """The types there are, with their short names and who serves them."""
    from services.api.kinds import KINDS
    from services.cli.output import table

    rows = [
        [kind.resource, ",".join(kind.short_names), kind.api_version, kind.scope.value, kind.name, _servers(kind)]
        for kind in KINDS.values()
    ]
    for line in table(["NAME", "SHORTNAMES", "APIVERSION", "SCOPE", "KIND", "SERVED BY"], rows):
        print(line)


def _servers(kind: Any) -> str:
    return ", ".join(f"{partition} partitions" for partition in sorted(kind.partitions, reverse=True))


def where_of(tenant: str, namespace: str = "", all_tenants: bool = False, all_namespaces: bool = False) -> Any:
    """The scope that options name. A tenant from the environment gives way to --all-tenants. Raises ``UsageError``."""
    from services.cli.verbs.scope import Where

    where = Where("" if all_tenants else tenant, namespace, all_tenants, all_namespaces)
    where.check()
    return where


def _results(output: Format | None) -> Any:
    from services.cli import output as outputs

    if output in (Format.TABLE, Format.WIDE):
        raise UsageError(f"-o {output.value} does not fit here", hint="json, yaml or name do")
    return outputs.Format(output.value) if output else None


def _submit(
    filename: list[str] | None,
    tenant: str,
    namespace: str,
    validate: Validate,
    dry_run: DryRun,
    output: Format | None,
    partition: str,
    context: pathlib.Path | None,
    *,
    merge: bool,
) -> None:
    from services.cli import files
    from services.cli.streams import Streams
    from services.cli.verbs import submit as verb

    if not filename:
        raise UsageError("which objects?", hint="name a file with -f FILE (or -f - for stdin)")
    documents = files.read(filename, validate.value, Streams())
    request = verb.Request(documents, where_of(tenant, namespace), merge, dry_run.value, _results(output))
    execute(lambda cluster, streams: verb.submit(cluster, request, streams), context, partition)
