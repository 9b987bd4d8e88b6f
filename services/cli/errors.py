"""What the ``ursa`` command says when it cannot do what was asked, and the exit codes it ends with.

CliError
├── UsageError            exit 2: the command line or an input file is wrong; nothing was sent
├── Refused               exit 1: a server refused, an object is missing, a wait ran out
└── PartitionUnreachable  exit 3: a partition did not answer; other partitions' results were printed
"""

from __future__ import annotations

OK = 0
REFUSED = 1
USAGE = 2
UNREACHABLE = 3


class CliError(Exception):
    """An error meant for the person at the terminal: ``message`` says what happened, ``hint`` what to do now."""

    exit_code = REFUSED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def lines(self) -> list[str]:
        """What goes to stderr."""
        return [f"error: {self.message}"] + ([f"hint: {self.hint}"] if self.hint else [])


class UsageError(CliError):
    exit_code = USAGE


class Refused(CliError):
    exit_code = REFUSED


class PartitionUnreachable(CliError):
    exit_code = UNREACHABLE
