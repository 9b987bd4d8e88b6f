"""Messages with a few fields of another one, at the same numbers: to look at stored bytes without parsing all of them.

Parsing follows protobuf's own rules (fields in any order, occurrences of a message merged); what is not in the excerpt
is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

# Enums are varints on the wire, as numbers are.
_SCALARS = {FieldDescriptorProto.TYPE_ENUM: FieldDescriptorProto.TYPE_INT32}


def excerpt(message: type[Message], paths: Iterable[str]) -> type[Any]:
    """The type with the fields at ``paths`` ("spec.node_name", "items.metadata.uid"). A path that ends at a message
    gives its bytes, and whether it is there (``HasField``); an enum is a number."""
    file = FileDescriptorProto(name="excerpt.proto", package="excerpt", syntax="proto3")
    _add(file.message_type.add(name="Root"), ".excerpt.Root", message.DESCRIPTOR, sorted(set(paths)))
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("excerpt.Root"))


def _add(target: DescriptorProto, name: str, source: Any, paths: Iterable[str]) -> None:
    for head, rests in _grouped(paths):
        field = source.fields_by_name[head]
        taken = target.field.add(name=head, number=field.number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        if rests:
            taken.type, taken.type_name = FieldDescriptorProto.TYPE_MESSAGE, f"{name}.{head.title()}"
            if field.is_repeated:
                taken.label = FieldDescriptorProto.LABEL_REPEATED
            _add(target.nested_type.add(name=head.title()), taken.type_name, field.message_type, rests)
            continue
        is_message = field.message_type is not None
        taken.type = FieldDescriptorProto.TYPE_BYTES if is_message else _SCALARS.get(field.type, field.type)
        if field.is_repeated:
            taken.label = FieldDescriptorProto.LABEL_REPEATED
        elif is_message or field.has_presence:
            taken.proto3_optional = True
            taken.oneof_index = len(target.oneof_decl)
            target.oneof_decl.add(name=f"_{head}")


def _grouped(paths: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        head, _, rest = path.partition(".")
        found.setdefault(head, [])
        if rest:
            found[head].append(rest)
    yield from found.items()
