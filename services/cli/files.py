"""Reading the manifests that ``-f`` names: a file, a directory of files, or ``-`` for stdin."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from services.api import manifests
from services.api.manifests import Manifest, ManifestError, Validate
from services.cli.errors import Refused, UsageError
from services.cli.streams import Streams

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Document:
    """A manifest and the file it came from ("-" for stdin)."""

    source: str
    manifest: Manifest

    @property
    def place(self) -> str:
        return f"{'stdin' if self.source == '-' else self.source}, document {self.manifest.document}"


def read(names: Sequence[str], validate: Validate, streams: Streams) -> list[Document]:
    """Every document of every file, before anything is sent: one that does not parse stops them all.

    Raises ``UsageError`` for files that cannot be read, ``Refused`` for what is in them.
    """
    documents = []
    for source in _sources(names):
        try:
            loaded = manifests.load(_text(source), validate=validate, source=source)
        except ManifestError as failure:
            raise Refused(f"{failure}", hint=_hint(failure)) from failure
        documents += [Document(source, manifest) for manifest in loaded]
    for document in documents:
        for warning in document.manifest.warnings:
            streams.warn(f"{document.place}: {warning}")
    if not documents:
        raise UsageError("no objects in what -f names")
    return documents


def _hint(failure: ManifestError) -> str:
    if any(fault.unknown for fault in failure.faults):
        return "nothing was changed; --validate=warn lets unknown fields pass with a warning, --validate=ignore without"
    return "nothing was changed"


def _sources(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        path = pathlib.Path(name)
        if name != "-" and path.is_dir():
            inside = sorted(str(file) for file in path.iterdir() if file.suffix in SUFFIXES)
            if not inside:
                raise UsageError(f"no {', '.join(SUFFIXES)} files in {name}")
            found += inside
        else:
            found.append(name)
    return found


def _text(source: str) -> str:
    try:
        data = sys.stdin.buffer.read() if source == "-" else pathlib.Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as failure:
        raise UsageError(f"{source} cannot be read: {failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise Refused(f"{source} is not UTF-8 text: {failure.reason} at byte {failure.start}") from failure
