"""Two etcd binaries to test against: the machine's own, and Debian trixie's 3.5.16.

The first is ``URSA_ETCD`` or ``etcd`` on PATH; Debian bookworm's is 3.4.23, whose progress responses must not be
trusted. The second, whose may, is ``URSA_ETCD_TRUSTED`` or is fetched once into ``.cache/etcd-3.5.16`` with apt, from
the Debian mirror that this machine is configured with; apt gets lists of its own, so the machine's stay as they are.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from services.storage.etcd import versions

ROOT = pathlib.Path(__file__).parents[2]
CACHED = ROOT / ".cache" / "etcd-3.5.16"
_SUITE = "trixie"
_KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TIMEOUT_S = 180


class NotToBeHad(Exception):
    """Why this machine has no such binary, in words for a skipped test."""


def machines_own() -> str | None:
    """The etcd binary of this machine, or None."""
    return os.environ.get("URSA_ETCD") or shutil.which("etcd")


@functools.cache
def trusted() -> str:
    """An etcd whose progress can be trusted. Raises ``NotToBeHad``; a second call does not try the network again."""
    chosen = os.environ.get("URSA_ETCD_TRUSTED")
    if chosen:
        return chosen
    own = machines_own()
    if own is not None and is_trusted(own):
        return own
    binary = CACHED / "usr" / "bin" / "etcd"
    if not binary.exists():
        _fetch(CACHED)
    if not is_trusted(str(binary)):
        raise NotToBeHad(f"{binary} is etcd {version_of(str(binary))}, whose progress is not trusted either")
    return str(binary)


def is_trusted(binary: str) -> bool:
    """Its progress responses never overtake an event."""
    return versions.progress_trusted([version_of(binary)])


@functools.cache
def version_of(binary: str) -> str:
    """``3.5.16``; "" if the binary does not say."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    found = re.search(r"etcd Version: (\S+)", said)
    return found.group(1) if found else ""


def debian_mirror(etc_apt: pathlib.Path = pathlib.Path("/etc/apt")) -> str | None:
    """Where this machine's apt gets Debian's main archive from; None if it is no Debian."""
    for path in (etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text(errors="replace")
            entries = _stanzas(text) if path.suffix == ".sources" else _lines(text)
            for uri, suite, components in entries:
                # Security updates and third parties have other archives; a main archive holds every suite.
                if (
                    "main" in components
                    and re.fullmatch(r"[a-z]+", suite)
                    and "/debian" in uri
                    and "security" not in uri
                ):
                    return uri.rstrip("/")
    return None


def _lines(text: str) -> list[tuple[str, str, list[str]]]:
    """One-line format: ``deb [options] uri suite component...``."""
    found = []
    for line in text.splitlines():
        words = re.sub(r"\[[^]]*\]", "", line.partition("#")[0]).split()
        if len(words) >= 4 and words[0] == "deb":
            found.append((words[1], words[2], words[3:]))
    return found


def _stanzas(text: str) -> list[tuple[str, str, list[str]]]:
    """deb822 format."""
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        pairs = (line.partition(":") for line in stanza.splitlines() if not line.startswith("#"))
        fields = {name.strip().lower(): value.split() for name, _, value in pairs}
        if "deb" in fields.get("types", ()) and fields.get("uris") and fields.get("suites"):
            found.append((fields["uris"][0], fields["suites"][0], fields.get("components", [])))
    return found


def _fetch(target: pathlib.Path) -> None:
    mirror = debian_mirror()
    if mirror is None or not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise NotToBeHad("no second etcd: this machine is no Debian with a mirror to fetch trixie's package from")
    if not _KEYRING.exists():
        raise NotToBeHad(f"no second etcd: {_KEYRING} is missing, so a package could not be verified")
    with tempfile.TemporaryDirectory(prefix="ursa-apt-") as home:
        base = pathlib.Path(home)
        for part in ("state/lists/partial", "cache/archives/partial", "download"):
            (base / part).mkdir(parents=True)
        (base / "state" / "status").touch()
        (base / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirror} {_SUITE} main\n")
        _apt(base, "update")
        _apt(base, "download", "etcd-server")
        (package,) = (base / "download").glob("etcd-server_*.deb")
        # Unpacked beside and moved: an interrupted fetch leaves nothing that looks whole.
        target.parent.mkdir(exist_ok=True)
        unpacked = pathlib.Path(tempfile.mkdtemp(prefix=".etcd-", dir=target.parent))
        subprocess.run(["dpkg", "-x", str(package), str(unpacked)], check=True, timeout=_TIMEOUT_S)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)


def _apt(base: pathlib.Path, *command: str) -> None:
    options = {
        "Dir::State": base / "state",
        "Dir::State::status": base / "state" / "status",
        "Dir::Cache": base / "cache",
        "Dir::Etc::sourcelist": base / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "APT::Sandbox::User": "root",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    try:
        done = subprocess.run(
            ["apt-get", "-qq", *settings, *command],
            cwd=base / "download",
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"no second etcd: apt-get {command[0]} took more than {_TIMEOUT_S} s") from None
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise NotToBeHad(f"no second etcd: apt-get {command[0]}: {reason[0]}")
