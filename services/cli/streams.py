"""Where a command's words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from services.cli.errors import OK, CliError, PartitionUnreachable


class Streams:
    """``out`` is what was asked for, ``note`` is for the person, ``warn`` and ``fail`` say what is wrong."""

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr

    def out(self, text: str) -> None:
        print(text, file=self._stdout)

    def flush(self) -> None:
        self._stdout.flush()

    def note(self, text: str) -> None:
        print(text, file=self._stderr)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=self._stderr)

    def fail(self, failures: Sequence[CliError], *, partial: bool = False) -> int:
        """Print them all; the exit code: that of a refusal before that of an unreachable partition, 0 for none.

        ``partial``: other partitions' results were printed, so an unreachable one is a warning.
        """
        for failure in failures:
            if partial and isinstance(failure, PartitionUnreachable):
                self.warn(failure.message)
            else:
                for line in failure.lines():
                    self.note(line)
        return min((failure.exit_code for failure in failures), default=OK)
