"""As much of Go's text/template as workload templates use: fields, literals, function calls, pipes, trimming.

``{{.Index}}``, ``{{ $.Count }}``, ``{{Mod .Index 3}}``, ``{{ .Index | mod 3 }}``, ``{{ AddInt (Mod .Index 3) 1 }}``.
Control structures are refused by name. The functions are those of scheduler_perf's ``create.go``, and ``div`` and
``mod`` of its v1.32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from services.bench.scheduler.errors import FileError

_ACTION = re.compile(r"(?P<left>[ \t\r\n]*)\{\{(?P<trim>-(?=\s))?(?P<body>.*?)(?P<after>(?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<mark>[()|])|(?P<word>[^\s()|"]+))')
_CONTROL = frozenset(("if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FileError(f"cannot take {value!r} for a number")
    try:
        return float(value)
    except ValueError:
        raise FileError(f"cannot take {value!r} for a number") from None


def _divided(dividend: Any, divisor: Any) -> float:
    if not _number(divisor):
        raise FileError("division by zero")
    return _number(dividend) / _number(divisor)


def _remainder(dividend: Any, divisor: Any) -> int:
    if not int(_number(divisor)):
        raise FileError("division by zero")
    return int(math.fmod(int(_number(dividend)), int(_number(divisor))))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "AddFloat": lambda *numbers: math.fsum(map(_number, numbers)),
    "AddInt": lambda *numbers: int(math.fsum(map(_number, numbers))),
    "SubtractFloat": lambda a, b: _number(a) - _number(b),
    "SubtractInt": lambda a, b: int(_number(a) - _number(b)),
    "MultiplyFloat": lambda *numbers: math.prod(map(_number, numbers)),
    "MultiplyInt": lambda *numbers: int(math.prod(map(_number, numbers))),
    "DivideFloat": _divided,
    "DivideInt": lambda a, b: int(_divided(a, b)),
    "Mod": _remainder,
    "mod": _remainder,
    "div": lambda a, b: int(_divided(a, b)),
}


def render(text: str, values: Mapping[str, Any]) -> str:
    """The text with every action replaced. Raises ``FileError``."""
    parts: list[str] = []
    position, trim_next = 0, False
    for action in _ACTION.finditer(text):
        before = text[position : action.start()]
        blank = action["left"]
        parts.append(_trimmed(before + ("" if action["trim"] else blank), trim_next))
        if not action["body"].strip().startswith("/*"):
            parts.append(_shown(_Pipeline(action["body"], values).value()))
        position, trim_next = action.end(), action["after"] is not None
    parts.append(_trimmed(text[position:], trim_next))
    return "".join(parts)


def _trimmed(text: str, left: bool) -> str:
    return text.lstrip(" \t\r\n") if left else text


def _shown(value: Any) -> str:
    """As fmt.Print does: no trailing ``.0``, lower-case booleans."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)


class _Pipeline:
    def __init__(self, body: str, values: Mapping[str, Any]) -> None:
        self._values = values
        self._tokens = [found.group(found.lastgroup or 0) for found in _TOKEN.finditer(body)]
        self._at = 0
        self._body = body.strip()

    def value(self) -> Any:
        if not self._tokens:
            raise FileError("an empty template action")
        result = self._piped()
        if self._at < len(self._tokens):
            raise FileError(f"cannot read the template action {self._body!r}")
        return result

    def _piped(self) -> Any:
        result = self._command(())
        while self._peek() == "|":
            self._at += 1
            result = self._command((result,))
        return result

    def _command(self, piped: tuple[Any, ...]) -> Any:
        name = self._peek()
        if name in _CONTROL:
            raise FileError(f"the template action {name!r} is not supported")
        if name is not None and name in FUNCTIONS:
            self._at += 1
            arguments = []
            while self._peek() not in (None, ")", "|"):
                arguments.append(self._operand())
            try:
                return FUNCTIONS[name](*arguments, *piped)
            except TypeError as wrong:
                raise FileError(f"{self._body!r}: {wrong}") from None
        if piped:
            raise FileError(f"{self._body!r}: {name!r} is not a function")
        return self._operand()

    def _operand(self) -> Any:
        token = self._peek()
        self._at += 1
        if token is None:
            raise FileError(f"cannot read the template action {self._body!r}")
        if token == "(":
            result = self._piped()
            if self._peek() != ")":
                raise FileError(f"{self._body!r}: a parenthesis is open")
            self._at += 1
            return result
        if token.startswith('"'):
            return token[1:-1]
        if token.startswith((".", "$.")):
            return self._field(token.removeprefix("$").removeprefix("."))
        if token in ("true", "false"):
            return token == "true"
        for read in (int, float):
            try:
                return read(token)
            except ValueError:
                continue
        raise FileError(f"{self._body!r}: no function or value {token!r}")

    def _field(self, name: str) -> Any:
        if name not in self._values:
            raise FileError(f"{self._body!r}: no value .{name}; there are {', '.join(sorted(self._values))}")
        return self._values[name]

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None
