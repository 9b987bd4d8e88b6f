"""The command ``ursa logs``: of pods, and of the one-box's own components."""

from __future__ import annotations

import datetime
import re
from typing import Annotated

import typer

from services.base.clock import SystemClock
from services.cli import options
from services.cli.errors import CliError, UsageError
from services.cli.options import OBJECTS

COMPONENT = "component"
COMPONENT_TAIL = 100
_PODS = ("pod", "pods", "po")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNIT_S = (3600.0, 60.0, 1.0, 0.001)


def register(app: typer.Typer) -> None:
    """Add it to the ``ursa`` command."""
    app.command(rich_help_panel=OBJECTS)(logs)


def logs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="POD | component/NAME", help="web; pod/web; component/tp-1: as in `ursa status`", show_default=False
        ),
    ] = None,
    container: Annotated[
        str, typer.Option("--container", "-c", metavar="NAME", help="Which one of the pod.", show_default=False)
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Of the container before its last restart.")] = (
        False
    ),
    tail: Annotated[
        int | None,
        typer.Option(
            help="How many lines from the end; -1: all. All of a pod, 10 with a selector, 100 of a component.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="DURATION", help="Only what is newer: 5s, 2m, 3h.", show_default=False)
    ] = "",
    since_time: Annotated[
        str, typer.Option(metavar="TIME", help="Only what came after: 2026-01-31T12:00:00Z.", show_default=False)
    ] = "",
    limit_bytes: Annotated[
        int, typer.Option(metavar="N", help="At most so many bytes of each log; 0: all.", show_default=False)
    ] = 0,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Begin each line with its time.")] = False,
    all_containers: Annotated[bool, typer.Option("--all-containers", help="Of every container of the pod.")] = False,
    prefix: Annotated[bool, typer.Option("--prefix", help="Begin each line with its pod and container.")] = False,
    max_log_requests: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many logs may be followed at once.")
    ] = 5,
    selector: options.Labels = "",
    tenant: options.Tenant = "",
    namespace: options.Namespace = "",
    home: options.HomeDirectory = None,
    context: options.ContextFile = None,
) -> None:
    """What the containers of a pod printed; or the log of a component of the one-box.

    `logs web`, `logs web -c app --tail 20`, `logs -f web`, `logs -p web` (before its last restart), `logs -l app=web`,
    `logs component/scheduler-tp-1 -f`. Hollow nodes run nothing, so their pods have no logs: `ursa up --runtime
    process` runs the commands of pods on this machine.
    """
    from services.cli.commands import execute, where_of
    from services.cli.verbs import logs as verb

    words = words or []
    since_ns = _since(since, since_time)
    verb.check(
        words,
        selector,
        tail=tail,
        limit_bytes=limit_bytes,
        since=since_ns is None or since_ns >= 0,
        both=bool(since and since_time),
    )
    kind, slash, name = (words[0] if words else "").partition("/")
    if slash and kind == COMPONENT:
        from services.cli.onebox import logs as components
        from services.cli.onebox.home import Home

        components.show(Home.at(home), name, follow=follow, tail=COMPONENT_TAIL if tail is None else tail)
        return
    if slash and kind not in _PODS:
        raise UsageError(f"there are no logs of {kind!r}", hint="logs are of pods: POD or pod/POD; or component/NAME")
    pod = name if slash else kind
    request = verb.Request(
        where_of(tenant, namespace),
        pod,
        selector,
        container,
        all_containers=all_containers,
        follow=follow,
        previous=previous,
        tail=tail,
        since_ns=since_ns,
        limit_bytes=limit_bytes,
        timestamps=timestamps,
        prefix=prefix,
        at_once_max=max_log_requests,
    )
    try:
        execute(lambda cluster, streams: verb.logs(cluster, request, streams), context)
    except CliError as failure:
        raise _with_hint(failure, pod, options_home=home) from failure


def _with_hint(failure: CliError, name: str, *, options_home: object) -> CliError:
    """Whoever named a component as if it were a pod is told how to name it."""
    import pathlib

    from services.cli.onebox.home import Home

    home = Home.at(options_home if isinstance(options_home, pathlib.Path) else None)
    if name and home.log(name).exists():
        return type(failure)(failure.message, hint=f"the log of the component: `ursa logs {COMPONENT}/{name}`")
    return failure


def _since(duration: str, moment: str) -> int | None:
    """Nanoseconds since the Unix epoch; negative for a duration that is not more than 0. Raises ``UsageError``."""
    if moment:
        try:
            parsed = datetime.datetime.fromisoformat(moment)
        except ValueError:
            raise UsageError(f"--since-time {moment!r} is no RFC 3339 time", hint="e.g. 2026-01-31T12:00:00Z") from None
        if parsed.tzinfo is None:
            raise UsageError(f"--since-time {moment!r} names no time zone", hint="e.g. 2026-01-31T12:00:00Z")
        return max(0, round(parsed.timestamp() * 1e9))
    if not duration:
        return None
    match = _DURATION.fullmatch(duration)
    if match is None or not duration:
        raise UsageError(f"--since {duration!r} is no duration", hint="e.g. 5s, 2m, 3h, 1h30m")
    seconds = sum(float(text) * unit for text, unit in zip(match.groups(), _UNIT_S, strict=True) if text)
    return max(0, round((SystemClock().time() - seconds) * 1e9)) if seconds > 0 else -1
