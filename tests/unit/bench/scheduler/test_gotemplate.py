"""The part of Go's text/template that workload templates use."""

from __future__ import annotations

import pytest

from services.bench.scheduler import gotemplate
from services.bench.scheduler.errors import FileError

VALUES = {"Index": 7, "Count": 20, "prefix": "pod"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("name-{{.Index}}", "name-7"),
        ("{{ .Index }}/{{ $.Count }}", "7/20"),
        ("{{.prefix}}-{{mod .Index 3}}", "pod-1"),
        ("{{div .Index 2}}", "3"),
        ("{{Mod .Index 4}}", "3"),
        ("{{AddInt .Index 1 2}}", "10"),
        ("{{DivideFloat .Index 2}}", "3.5"),
        ("{{DivideInt .Index 2}}", "3"),
        ("{{MultiplyInt (AddInt .Index 1) 2}}", "16"),
        ("{{ .Index | AddInt 1 }}", "8"),
        ("{{SubtractInt .Count .Index}}", "13"),
        ("a {{- .Index -}} b", "a7b"),
        ("a {{/* said to readers */}} b", "a  b"),
        ('{{ "text" }}', "text"),
        ("{{ true }}", "true"),
    ],
)
def test_actions_are_replaced(text: str, expected: str) -> None:
    assert gotemplate.render(text, VALUES) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{{.Missing}}", "no value .Missing"),
        ("{{if .Index}}x{{end}}", "'if' is not supported"),
        ("{{shout .Index}}", "no function or value 'shout'"),
        ("{{div .Index 0}}", "division by zero"),
        ("{{Mod .Index}}", "missing"),
        ("{{}}", "empty"),
        ("{{(AddInt 1 2}}", "parenthesis"),
        ("{{AddInt .prefix 1}}", "cannot take 'pod' for a number"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(FileError, match=complaint.replace("(", r"\(")):
        gotemplate.render(text, VALUES)
