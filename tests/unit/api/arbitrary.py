"""Hypothesis strategies: any message of a type, from its descriptor."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from services.api.kinds import KINDS, Kind

_INTS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(0, 2**63 - 1),
}
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_DEPTH_MAX = 4

kinds: st.SearchStrategy[Kind] = st.sampled_from(list(KINDS.values()))


@st.composite
def messages(draw: st.DrawFn, kind: Kind) -> Any:
    """Any object of a kind, with a name, and with neither header nor resource version."""
    message = kind.message()
    _fill(draw, message, 0)
    message.ClearField("api_version")
    message.ClearField("kind")
    message.metadata.ClearField("resource_version")
    message.metadata.name = message.metadata.name or "name"
    return message


def _fill(draw: st.DrawFn, message: Any, depth: int) -> None:
    fields = [field for field in message.DESCRIPTOR.fields if field.message_type is None or depth < _DEPTH_MAX]
    if not fields:
        return
    for field in draw(st.lists(st.sampled_from(fields), max_size=4, unique=True)):
        _set(draw, message, field, depth)


def _set(draw: st.DrawFn, message: Any, field: Any, depth: int) -> None:
    held = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _fill_map(draw, held, field.message_type.fields_by_name["value"], depth)
    elif field.is_repeated and field.message_type is not None:
        for _ in range(draw(st.integers(0, 3))):
            _fill_one(draw, held.add(), depth)
    elif field.is_repeated:
        held.extend(draw(st.lists(_scalar(field), max_size=3)))
    elif field.message_type is not None:
        held.SetInParent()
        _fill_one(draw, held, depth)
    else:
        setattr(message, field.name, draw(_scalar(field)))


def _fill_map(draw: st.DrawFn, held: Any, value: Any, depth: int) -> None:
    if value.message_type is None:
        held.update(draw(st.dictionaries(_TEXT, _scalar(value), max_size=4)))
        return
    for key in draw(st.sets(_TEXT, max_size=4)):
        held[key].SetInParent()
        _fill_one(draw, held[key], depth)


def _fill_one(draw: st.DrawFn, message: Any, depth: int) -> None:
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = draw(st.integers(-62135596800, 253402300799))  # years 1 to 9999
        message.nanos = draw(st.integers(0, 999_999)) * 1000
    elif name == "google.protobuf.Value":
        if draw(st.booleans()):
            message.string_value = draw(_TEXT)
        else:
            message.number_value = draw(st.integers(-(2**31), 2**31 - 1))
    else:
        _fill(draw, message, depth + 1)


def _scalar(field: Any) -> st.SearchStrategy[Any]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    return _INTS.get(field.cpp_type, _TEXT)
