"""Descriptors for reflection that state the JSON name of every field.

Those of generated Python code leave out a JSON name that follows from the field's name. Clients that print JSON from
reflected descriptors (grpcurl) then show ``resource_version`` where the JSON form says ``resourceVersion``.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor


def pool_of(services: Iterable[str]) -> descriptor_pool.DescriptorPool:
    """A pool with the files that define ``services`` and all that they import.

    A service that the default pool does not know is left out: reflection then says so itself.
    """
    known = descriptor_pool.Default()
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()
    for service in services:
        try:
            file = known.FindFileContainingSymbol(service)
        except KeyError:
            continue
        _add(file, pool, added)
    return pool


def _add(file: FileDescriptor, pool: descriptor_pool.DescriptorPool, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add(dependency, pool, added)
    definition = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(definition)
    for message in definition.message_type:
        _name(message)
    pool.AddSerializedFile(definition.SerializeToString())


def _name(message: descriptor_pb2.DescriptorProto) -> None:
    for field in message.field:
        if not field.json_name:
            field.json_name = json_name(field.name)
    for nested in message.nested_type:
        _name(nested)


def json_name(field_name: str) -> str:
    """The JSON name that protobuf gives a field which names none: "pod_ip" is "podIp" (protobuf's ToJsonName)."""
    first, *rest = field_name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
