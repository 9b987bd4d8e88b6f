"""Settings of all tests.

Property tests draw new examples on a developer's machine and the same ones in CI: a change must not be turned away for
a fault that it did not bring. Deadlines are off, because these machines are shared and noisy.

Temporary files, and so the data of the tests' etcds, are kept in memory where there is room: a shared disk that stands
still for seconds would fail tests of what we promise within one. SIGKILL loses nothing of either. TMPDIR overrules it.
"""

from __future__ import annotations

import os
import pathlib
import tempfile

from hypothesis import settings

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

_MEMORY = "/dev/shm"
_FREE_BYTES_MIN = 12 << 30


def _memory_has_room() -> bool:
    try:
        files = os.statvfs(_MEMORY)
    except OSError:
        return False
    usable = os.access(_MEMORY, os.W_OK) and not files.f_flag & os.ST_NOEXEC
    return usable and min(files.f_bavail * files.f_frsize, _available_bytes()) >= _FREE_BYTES_MIN


def _available_bytes() -> int:
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return int(found["MemAvailable"].split()[0]) << 10


if "TMPDIR" not in os.environ and _memory_has_room():
    os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY


def pytest_report_header() -> str:
    return f"temporary files: {tempfile.gettempdir()}"
