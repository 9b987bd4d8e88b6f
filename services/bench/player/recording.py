"""A run's requests as a file: JSON lines that can be played again at the same times.

The first line is a header (format and version, benchmark, parameters, seed, places, templates), each further line one
request with the time at which it was sent, the last one says how many there are and what came out. A lifetime, a size
or a name is never drawn again: the file is the schedule.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from services.bench.player.requests import Place, Request, Resource, Scenario, Settling, Step, Template, Verb

FORMAT = "ursa-bench-recording"
VERSION = 1
REPLAY = "replay"


class RecordingError(Exception):
    """The file is not a recording that can be played; names file, line and field."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: str
    version: int
    benchmark: str
    seed: int
    parameters: dict[str, Any]
    places: tuple[Place, ...]
    templates: dict[str, Template]


class Footer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line: how many requests there are, how many pods are there after the last, and the figures with their
    units."""

    requests: int
    pods: int
    figures: dict[str, tuple[float, str]]


@dataclass(frozen=True)
class Recording:
    """``requests``: in the order of their times."""

    header: Header
    requests: Sequence[Request]
    footer: Footer


def header(benchmark: str, seed: int, parameters: Mapping[str, Any], scenario: Scenario) -> Header:
    return Header(FORMAT, VERSION, benchmark, seed, dict(parameters), scenario.places, scenario.templates)


def write(path: pathlib.Path, recording: Recording) -> None:
    """Raises ``OSError``."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        for line in (recording.header, *recording.requests, recording.footer):
            file.write(encoder.encode(line))
            file.write(b"\n")


def read(path: pathlib.Path) -> Recording:
    """Raises ``RecordingError`` naming the line and the field, ``OSError``."""
    lines = path.read_bytes().split(b"\n")
    if not lines[-1]:
        del lines[-1]
    if len(lines) < 2:
        raise RecordingError(f"{path}: {len(lines)} lines; a recording has a header, requests and an end")
    found = _header(path, lines[0])
    decoder = msgspec.json.Decoder(Request)
    requests = [_decode(path, number, line, decoder) for number, line in enumerate(lines[1:-1], 2)]
    footer = _footer(path, len(lines), lines[-1])
    if footer.requests != len(requests):
        raise RecordingError(f"{path}:{len(lines)}: requests: {footer.requests}, but the file has {len(requests)}")
    places = {(place.tenant, place.namespace) for place in found.places}
    last_s = 0.0
    for number, request in enumerate(requests, 2):
        if problem := _problem(request, found.templates, places, last_s):
            raise RecordingError(f"{path}:{number}: {problem}")
        last_s = request.at_s
    return Recording(found, requests, footer)


def _header(path: pathlib.Path, line: bytes) -> Header:
    # The version is looked at first: another version's header may have other fields.
    kind = _decode(path, 1, line, msgspec.json.Decoder(dict[str, Any]))
    if kind.get("format") != FORMAT:
        raise RecordingError(f"{path}:1: format: {kind.get('format')!r} is not {FORMAT!r}; was it made by --record?")
    if kind.get("version") != VERSION:
        raise RecordingError(f"{path}:1: version: {kind.get('version')!r} is not known; this is version {VERSION}")
    found: Header = _decode(path, 1, line, msgspec.json.Decoder(Header))
    return found


def _footer(path: pathlib.Path, number: int, line: bytes) -> Footer:
    try:
        return msgspec.json.decode(line, type=Footer)
    except (msgspec.DecodeError, msgspec.ValidationError) as wrong:
        raise RecordingError(f"{path}:{number}: the end is missing: the file is cut short ({wrong})") from wrong


def _decode(path: pathlib.Path, number: int, line: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as wrong:
        # msgspec says "... - at `$.verb`"
        text, _, place = str(wrong).partition(" - at `$")
        field = place.rstrip("`").lstrip(".")
        raise RecordingError(f"{path}:{number}: {field + ': ' if field else ''}{text}") from wrong
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise RecordingError(f"{path}:{number}: {wrong}") from wrong


def _problem(request: Request, templates: Mapping[str, Template], places: set[tuple[str, str]], last_s: float) -> str:
    """What cannot be played, its field first; "" if all can."""
    makes_pods = request.verb is Verb.CREATE and request.resource in (Resource.PODS, Resource.REPLICA_SETS)
    if request.at_s < last_s:
        return f"t: {request.at_s} is before the request of the line above ({last_s})"
    if (request.tenant, request.namespace) not in places:
        return f"tenant, ns: {request.tenant}/{request.namespace} is not among the places of the header"
    if makes_pods and request.template not in templates:
        return f"template: {request.template!r} is not among those of the header"
    if (request.resource is Resource.PODS) != bool(request.count):
        return f"count: {request.count} {request.resource} of one name"
    if request.verb is Verb.SCALE and request.resource in (Resource.PODS, Resource.SERVICES):
        return f"verb: {request.resource} cannot be scaled"
    if request.verb is Verb.UPDATE and request.count > 1:
        return f"count: {request.count}; pods are updated one by one"
    if request.lifetimes_s and len(request.lifetimes_s) != request.count:
        return f"lifetimes: {len(request.lifetimes_s)} of {request.count} pods"
    return ""


def scenario(recording: Recording, speed: float) -> Scenario:
    """The recording as one step, ``speed`` times as fast; lifetimes stay what they are."""
    due: Iterable[Request] = recording.requests
    if speed != 1.0:
        due = [msgspec.structs.replace(request, at_s=request.at_s / speed) for request in due]
    step = Step(REPLAY, list(due), paced=True, settling=Settling.PODS, pods=recording.footer.pods)
    return Scenario(recording.header.places, recording.header.templates, (step,))
