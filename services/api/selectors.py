"""Label and field selectors: parsing, and matching what a store knows of an object.

Grammar and meaning are Kubernetes' (apimachinery ``pkg/labels``, ``pkg/fields``). Selectors are immutable and hashable;
two selectors that were written differently and mean the same requirements are equal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from services.api import names
from services.api.pb.ursa.meta.v1 import meta_pb2


class SelectorError(ValueError):
    """``field`` names the request field or the path inside a selector message; ``message`` says what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Attributes:
    """What selectors see of an object: its labels and its selectable fields."""

    labels: Mapping[str, str]
    fields: Mapping[str, str]


class HasAttributes(Protocol):
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def fields(self) -> Mapping[str, str]: ...


IN, NOT_IN, EXISTS, DOES_NOT_EXIST, GREATER, LESS = "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """``values`` sorted and without repetition. NotIn holds where the key is absent; Gt and Lt compare integers."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == IN:
            return value is not None and value in self.values
        if self.operator == NOT_IN:
            return value is None or value not in self.values
        if self.operator == EXISTS:
            return value is not None
        if self.operator == DOES_NOT_EXIST:
            return value is None
        return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        if value is None or not _INTEGER.fullmatch(value):
            return False
        return int(value) > int(self.values[0]) if self.operator == GREATER else int(value) < int(self.values[0])

    def __str__(self) -> str:
        match self.operator, self.values:
            case ("In", (value,)):
                return f"{self.key}={value}"
            case ("NotIn", (value,)):
                return f"{self.key}!={value}"
            case ("Exists", _):
                return self.key
            case ("DoesNotExist", _):
                return f"!{self.key}"
            case (("Gt" | "Lt") as operator, values):
                return f"{self.key}{'>' if operator == GREATER else '<'}{values[0]}"
            case (operator, values):
                return f"{self.key} {operator.lower()} ({','.join(values)})"


_INTEGER = re.compile(r"-?[0-9]{1,18}")
_TOKEN = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")
_COMPARISONS = {"=": IN, "==": IN, "!=": NOT_IN, ">": GREATER, "<": LESS}


class _LabelParser:
    """Recursive descent over the tokens of one label selector."""

    def __init__(self, text: str, field: str) -> None:
        self._field = field
        self._text = text
        self._tokens = [match.group(1) for match in _TOKEN.finditer(text)]
        self._at = 0

    def parse(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while self._peek():
            found.append(self._requirement())
            if not self._peek():
                break
            self._expect(",")
            if not self._peek():
                raise self._error("expected a requirement after ','")
        return tuple(sorted(set(found)))

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return Requirement(self._key(), DOES_NOT_EXIST)
        key = self._key()
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, EXISTS)
        self._next()
        if operator in ("in", "notin"):
            values = self._set()
            return Requirement(key, IN if operator == "in" else NOT_IN, values)
        if operator not in _COMPARISONS:
            raise self._error(f"expected one of =, ==, !=, in, notin, <, > after {key!r}, found {operator!r}")
        value = self._value()
        if operator in "<>" and not _INTEGER.fullmatch(value):
            raise self._error(f"{key}{operator}{value}: the value must be an integer")
        return Requirement(key, _COMPARISONS[operator], (value,))

    def _set(self) -> tuple[str, ...]:
        self._expect("(")
        values = {self._value()}
        while self._peek() == ",":
            self._next()
            values.add(self._value())
        self._expect(")")
        return tuple(sorted(values))

    def _key(self) -> str:
        key = self._next()
        faults = names.qualified_name(key)
        if faults:
            raise self._error(f"key {key!r}: {faults[0]}")
        return key

    def _value(self) -> str:
        if self._peek() in ("", ",", ")"):
            return ""
        value = self._next()
        faults = names.label_value(value)
        if faults:
            raise self._error(f"value {value!r}: {faults[0]}")
        return value

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, token: str) -> None:
        found = self._next()
        if found != token:
            raise self._error(f"expected {token!r}, found {found or 'the end'!r}")

    def _error(self, message: str) -> SelectorError:
        return SelectorError(self._field, f"unable to parse {self._text!r}: {message}")


@dataclass(frozen=True)
class LabelSelector:
    """All requirements must hold; none means everything."""

    requirements: tuple[Requirement, ...] = ()

    @staticmethod
    def parse(text: str, field: str = "label_selector") -> LabelSelector:
        """Raises ``SelectorError``. Example: ``app=web,tier in (a,b),!canary``."""
        return LabelSelector(_LabelParser(text, field).parse()) if text.strip() else _EVERY_LABEL

    @staticmethod
    def from_message(message: meta_pb2.LabelSelector, field: str = "labelSelector") -> LabelSelector:
        """An empty message means everything; whoever has an unset one must decide (Kubernetes: nothing)."""
        found = [Requirement(key, IN, (value,)) for key, value in message.match_labels.items()]
        for index, expression in enumerate(message.match_expressions):
            found.append(_from_expression(expression, f"{field}.matchExpressions[{index}]"))
        return LabelSelector(tuple(sorted(set(found))))

    @staticmethod
    def from_labels(labels: Mapping[str, str]) -> LabelSelector:
        return LabelSelector(tuple(sorted(Requirement(key, IN, (value,)) for key, value in labels.items())))

    @property
    def everything(self) -> bool:
        return not self.requirements

    def matches(self, labels: Mapping[str, str]) -> bool:
        for requirement in self.requirements:  # noqa: SIM110 (per object: a loop is twice as fast as all())
            if not requirement.matches(labels):
                return False
        return True

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


_EVERY_LABEL = LabelSelector()


def _from_expression(expression: meta_pb2.LabelSelectorRequirement, path: str) -> Requirement:
    values = tuple(sorted(set(expression.values)))
    if expression.operator in (IN, NOT_IN):
        if not values:
            raise SelectorError(f"{path}.values", f"must be specified when operator is {expression.operator}")
    elif expression.operator in (EXISTS, DOES_NOT_EXIST):
        if values:
            raise SelectorError(f"{path}.values", f"may not be specified when operator is {expression.operator}")
    else:
        raise SelectorError(
            f"{path}.operator", f"{expression.operator!r} is not one of In, NotIn, Exists, DoesNotExist"
        )
    return Requirement(expression.key, expression.operator, values)


@dataclass(frozen=True, slots=True, order=True)
class FieldRequirement:
    name: str
    value: str
    equal: bool

    def __str__(self) -> str:
        return f"{self.name}{'=' if self.equal else '!='}{_escape(self.value)}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _split_terms(text: str) -> Iterator[str]:
    """Split at commas that are not escaped; escapes stay in."""
    term, escaped = "", False
    for character in text:
        if character == "," and not escaped:
            yield term
            term = ""
            continue
        escaped = character == "\\" and not escaped
        term += character
    yield term


def _unescape(value: str, fail: str) -> str:
    plain, escaped = "", False
    for character in value:
        if escaped:
            if character not in "\\,=":
                raise SelectorError(fail, f"invalid escape sequence in {value!r}")
            plain, escaped = plain + character, False
        elif character == "\\":
            escaped = True
        elif character == "=":
            raise SelectorError(fail, f"unescaped '=' in {value!r}")
        else:
            plain += character
    if escaped:
        raise SelectorError(fail, f"invalid escape sequence in {value!r}")
    return plain


@dataclass(frozen=True)
class FieldSelector:
    """Equality and inequality on a kind's selectable fields; all must hold."""

    requirements: tuple[FieldRequirement, ...] = ()

    @staticmethod
    def parse(text: str, allowed: Collection[str], field: str = "field_selector") -> FieldSelector:
        """Raises ``SelectorError``; a field that is not in ``allowed`` is refused. Example: ``spec.nodeName=n1``."""
        found: set[FieldRequirement] = set()
        for term in _split_terms(text):
            if term.strip():
                found.add(_field_requirement(term.strip(), allowed, field))
        return FieldSelector(tuple(sorted(found)))

    @property
    def everything(self) -> bool:
        return not self.requirements

    def matches(self, fields: Mapping[str, str]) -> bool:
        for requirement in self.requirements:
            if (fields.get(requirement.name, "") == requirement.value) is not requirement.equal:
                return False
        return True

    def required(self, name: str) -> str | None:
        """The value that an ``=`` requirement on ``name`` demands."""
        for requirement in self.requirements:
            if requirement.equal and requirement.name == name:
                return requirement.value
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


_TERM = re.compile(r"([^=!]*)(!=|==|=)(.*)", re.DOTALL)


def _field_requirement(term: str, allowed: Collection[str], field: str) -> FieldRequirement:
    match = _TERM.fullmatch(term)
    if match is None:
        raise SelectorError(field, f"invalid selector {term!r}: must be name=value, name==value or name!=value")
    name, operator, value = match.groups()
    if name not in allowed:
        supported = ", ".join(sorted(allowed))
        raise SelectorError(field, f"field label not supported: {name!r}; supported are {supported}")
    return FieldRequirement(name, _unescape(value, field), operator != "!=")


@dataclass(frozen=True)
class Selection:
    """A label and a field selector: what one LIST or WATCH is about."""

    label: LabelSelector = LabelSelector()
    field: FieldSelector = FieldSelector()

    @staticmethod
    def parse(label_selector: str, field_selector: str, allowed: Collection[str]) -> Selection:
        """From the strings of a request; raises ``SelectorError`` naming the request's field."""
        if not label_selector and not field_selector:
            return EVERYTHING
        return Selection(LabelSelector.parse(label_selector), FieldSelector.parse(field_selector, allowed))

    @cached_property
    def everything(self) -> bool:
        return not self.label.requirements and not self.field.requirements

    def matches(self, attributes: HasAttributes) -> bool:
        # What is not asked for is not decoded; labels first, which stores keep decoded.
        return (not self.label.requirements or self.label.matches(attributes.labels)) and (
            not self.field.requirements or self.field.matches(attributes.fields)
        )

    def required(self, field_name: str) -> str | None:
        """The value that an ``=`` requirement on this field demands: the key of an index lookup."""
        return self.field.required(field_name)


EVERYTHING = Selection()


def from_message(message: meta_pb2.LabelSelector, field: str = "labelSelector") -> LabelSelector:
    """``LabelSelector.from_message``."""
    return LabelSelector.from_message(message, field)
