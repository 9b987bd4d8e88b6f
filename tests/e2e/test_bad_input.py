"""Bad input gets a clear error that names what is wrong, a non-zero exit code, and changes nothing."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest

from tests.e2e import manifests
from tests.support.cluster import OneBox, onebox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

POD = manifests.POD.format(name="bad")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneBox]:
    options = ("--no-examples", "--nodes", "1", "--tenant-partitions", "1", "--resource-partitions", "1")
    with onebox(tmp_path_factory.mktemp("bad-input") / "home", *options) as running:
        running.ursa("create", "tenant", "red")
        yield running


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        pytest.param("kind: Pod\n  metadata: [", "line 2", id="malformed YAML"),
        pytest.param(POD.replace("resources:", "resorces:"), "spec.containers[0].resorces", id="unknown field"),
        pytest.param(POD.replace("kind: Pod", "kind: Pot"), "Pot", id="unknown kind"),
        pytest.param(POD.replace("10m", "-10m"), "spec.containers[0].resources.requests[cpu]", id="negative quantity"),
        pytest.param(
            POD.replace("16Mi", "99999999999999Ei"), "spec.containers[0].resources.requests[memory]", id="absurd"
        ),
        pytest.param(POD.replace("16Mi", "16Mx"), "spec.containers[0].resources.requests[memory]", id="no quantity"),
        pytest.param(POD.replace("name: bad", "name: Bad_Name"), "metadata.name", id="not RFC 1123"),
        pytest.param(POD.replace("name: bad", "name: " + "a" * 300), "metadata.name", id="name too long"),
        pytest.param(
            POD.replace("name: bad", "name: bad\n  annotations: {big: " + "x" * (2 << 20) + "}"),
            "1048576",
            id="2 MiB object",
        ),
        pytest.param(
            POD.replace("name: bad", 'name: bad\n  resourceVersion: "abc"'),
            "metadata.resourceVersion",
            id="RV is no number",
        ),
        pytest.param(POD.replace("    image: busybox\n", ""), "spec.containers[0].image", id="no image"),
    ],
)
def test_a_bad_manifest_is_refused_and_changes_nothing(box: OneBox, manifest: str, complaint: str) -> None:
    refused = box.run("apply", "--tenant", "red", "-f", "-", stdin=manifest)
    assert refused.returncode == 1, (refused.stdout, refused.stderr[:2000])
    assert complaint in refused.stderr, refused.stderr[:2000]
    assert len(refused.stderr) < 2000 and "Traceback" not in refused.stderr
    assert box.items("pods", "--tenant", "red", "-A") == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(("get", "pods"), "tenant", id="no tenant"),
        pytest.param(("get", "pods", "--tenant", "nobody"), "nobody", id="unknown tenant"),
        pytest.param(("apply", "--tenant", "nobody", "-f", "-"), "nobody", id="apply to an unknown tenant"),
        pytest.param(("get", "pods", "--tenant", "red", "-l", "a in ("), "selector", id="bad selector"),
        pytest.param(
            ("get", "pods", "--tenant", "red", "--resource-version", "abc"), "--resource-version", id="RV is no number"
        ),
        pytest.param(("get", "pots", "--tenant", "red"), "pots", id="unknown resource"),
        pytest.param(("get", "pod", "absent", "--tenant", "red"), "absent", id="not found"),
        pytest.param(("delete", "pod", "absent", "--tenant", "red"), "absent", id="delete of nothing"),
        pytest.param(("create", "tenant", "Not A Name"), "metadata.name", id="tenant name"),
    ],
)
def test_a_bad_request_is_refused_by_name(box: OneBox, words: tuple[str, ...], complaint: str) -> None:
    refused = box.run(*words, stdin=POD)
    assert refused.returncode in (1, 2), refused.stdout
    assert complaint in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr


def test_unknown_fields_pass_only_when_asked(box: OneBox) -> None:
    odd = manifests.POD.format(name="odd").replace("image: busybox", "image: busybox\n    colour: blue")
    warned = box.run("apply", "--tenant", "red", "--validate=warn", "-f", "-", stdin=odd)
    assert warned.returncode == 0 and "spec.containers[0].colour" in warned.stderr
    box.ursa("delete", "pod", "odd", "--tenant", "red")
    ignored = box.run("apply", "--tenant", "red", "--validate=ignore", "-f", "-", stdin=odd)
    assert ignored.returncode == 0 and "colour" not in ignored.stderr
    assert "colour" not in json.dumps(box.items("pods", "odd", "--tenant", "red"))
    box.ursa("delete", "pod", "odd", "--tenant", "red")


def test_one_bad_document_stops_the_whole_file(box: OneBox, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(manifests.POD.format(name="good") + "---\n" + POD.replace("resources:", "resorces:"))
    refused = box.run("apply", "--tenant", "red", "-f", str(path))
    assert refused.returncode == 1 and "two.yaml" in refused.stderr
    assert box.items("pods", "--tenant", "red", "-A") == []
