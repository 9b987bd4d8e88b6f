"""What can go wrong.

BenchError
├── FileError         a workload file or template cannot be read as one
├── NotSupported      a workload needs something that Ursa does not have: listed with its reason, never run
└── WorkloadFailed    a workload ran and did not reach its end; the others go on
"""

from __future__ import annotations


class BenchError(Exception):
    """Anything of this package."""


class FileError(BenchError):
    """A workload file or a template is wrong; the message names the file and the place in it."""


class NotSupported(BenchError):
    """The message says what is missing."""


class WorkloadFailed(BenchError):
    """The message says how far the workload came and why it went no further."""
