"""What is recorded is what is played again; a file that cannot be played says where and why."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bench.player import recording
from services.bench.player.recording import Footer, Header, Recording, RecordingError
from services.bench.player.requests import Place, Request, Resource, Template, Verb

PLACE = Place("tp-1", "bench-tp-1", "default")
FINITE = st.floats(0, 1e6, allow_nan=False)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    resource = draw(st.sampled_from(list(Resource)))
    verbs = {Verb.CREATE, Verb.DELETE, Verb.UPDATE}
    if resource in (Resource.REPLICA_SETS, Resource.ENDPOINT_SLICES):
        verbs.add(Verb.SCALE)
    verb = draw(st.sampled_from(sorted(verbs)))
    of_pods = resource is Resource.PODS
    count = (1 if verb is Verb.UPDATE else draw(st.integers(1, 5))) if of_pods else 0
    creates_pods = of_pods and verb is Verb.CREATE
    lifetimes = draw(st.just(()) | st.tuples(*[FINITE] * count)) if creates_pods else ()
    return Request(
        at_s=draw(FINITE),
        step=draw(st.sampled_from(["saturate", "scale"])),
        verb=verb,
        resource=resource,
        tenant=PLACE.tenant,
        namespace=PLACE.namespace,
        name=draw(st.text("abc-", min_size=1, max_size=8)),
        template="pause" if verb is Verb.CREATE else "",
        first=draw(st.integers(0, 10**6)) if of_pods else 0,
        count=count,
        replicas=draw(st.integers(0, 300)),
        lifetimes_s=lifetimes,
    )


def of(found: list[Request]) -> Recording:
    ordered = sorted(found, key=lambda request: request.at_s)
    header = Header(
        recording.FORMAT, 1, "load", 7, {"nodes": 4, "rate": 2.5}, (PLACE,), {"pause": Template(padding_bytes=3)}
    )
    return Recording(header, ordered, Footer(len(ordered), 12, {"pod_startup_p99": (81.5, "ms")}))


@given(found=st.lists(requests(), max_size=12))
def test_what_is_written_is_read(found: list[Request], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("recording") / "run.jsonl"
    written = of(found)
    recording.write(path, written)
    assert recording.read(path) == written


def test_a_replay_is_one_step_at_the_recorded_times() -> None:
    pods = [
        Request(at_s, "saturate", Verb.CREATE, Resource.PODS, PLACE.tenant, "default", "a", "pause", index, 1)
        for index, at_s in enumerate((0.5, 1.0, 4.0))
    ]
    (step,) = recording.scenario(of(pods), 1.0).steps
    assert step.requests == pods and step.paced and step.pods == 12
    (twice,) = recording.scenario(of(pods), 2.0).steps
    assert [request.at_s for request in twice.requests] == [0.25, 0.5, 2.0]


GOOD = {"t": 1.0, "step": "s", "verb": "create", "of": "pods", "tenant": "bench-tp-1", "ns": "default", "name": "a",
        "template": "pause", "count": 2}  # fmt: skip


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != field}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        pytest.param(GOOD | {"verb": "creat"}, "3: verb: Invalid enum value 'creat'", id="verb"),
        pytest.param(GOOD | {"t": -1}, "3: t: Expected `float` >= 0", id="negative time"),
        pytest.param(GOOD | {"t": 0.5}, "3: t: 0.5 is before the request of the line above (1.0)", id="order"),
        pytest.param(GOOD | {"count": "2"}, "3: count: Expected `int`, got `str`", id="type"),
        pytest.param(GOOD | {"count": 0}, "3: count: 0 pods of one name", id="count"),
        pytest.param(GOOD | {"colour": 1}, "3: Object contains unknown field `colour`", id="unknown field"),
        pytest.param(without("name"), "3: Object missing required field `name`", id="missing field"),
        pytest.param(GOOD | {"template": "big"}, "3: template: 'big' is not among those of the header", id="template"),
        pytest.param(GOOD | {"tenant": "x"}, "3: tenant, ns: x/default is not among the places", id="place"),
        pytest.param(GOOD | {"lifetimes": [1.0]}, "3: lifetimes: 1 of 2 pods", id="lifetimes"),
        pytest.param(GOOD | {"lifetimes": [1.0, -2]}, "3: lifetimes[1]: Expected `float` >= 0", id="lifetime"),
        pytest.param(GOOD | {"verb": "scale"}, "3: verb: pods cannot be scaled", id="scaled pods"),
        pytest.param(GOOD | {"verb": "update"}, "3: count: 2; pods are updated one by one", id="updated batch"),
    ],
)
def test_a_bad_request_is_named_by_line_and_field(line: dict[str, Any], complaint: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run.jsonl"
    good = of([])
    lines = [msgspec.json.encode(good.header), json.dumps(GOOD).encode(), json.dumps(line).encode()]
    path.write_bytes(b"\n".join([*lines, msgspec.json.encode(Footer(2, 0, {})), b""]))
    with pytest.raises(RecordingError) as found:
        recording.read(path)
    assert str(found.value).startswith(f"{path}:{complaint}"), found.value


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param(lambda lines: [b'{"format": "x"}', *lines[1:]], ":1: format: 'x' is not", id="format"),
        pytest.param(
            lambda lines: [lines[0].replace(b'"version":1', b'"version":9'), *lines[1:]],
            ":1: version: 9 is not known; this is version 1",
            id="version",
        ),
        pytest.param(
            lambda lines: [lines[0].replace(b'"seed":7', b'"seed":"7"'), *lines[1:]],
            ":1: seed: Expected `int`, got `str`",
            id="seed",
        ),
        pytest.param(lambda lines: lines[:-1], ":2: the end is missing: the file is cut short", id="cut short"),
        pytest.param(lambda lines: [lines[0], lines[-1]], ":2: requests: 1, but the file has 0", id="a line lost"),
        pytest.param(lambda lines: [lines[0], b"{oops", lines[-1]], ":2: JSON is malformed", id="no JSON"),
        pytest.param(lambda lines: [], "0 lines; a recording has a header", id="empty"),
    ],
)
def test_a_bad_file_is_refused(
    change: Callable[[list[bytes]], list[bytes]], complaint: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "run.jsonl"
    one = Request(0.5, "s", Verb.CREATE, Resource.PODS, PLACE.tenant, "default", "a", "pause", 0, 1)
    recording.write(path, of([one]))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"".join(line + b"\n" for line in change(lines)))
    with pytest.raises(RecordingError) as found:
        recording.read(path)
    assert complaint in str(found.value), found.value
