"""Certificates for tests: a CA of their own, and what it signs. Made by the ``openssl`` binary."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from dataclasses import dataclass


class NotToBeHad(Exception):
    """There is no ``openssl`` on PATH."""


@dataclass(frozen=True)
class Pair:
    """PEM files."""

    cert_file: str
    key_file: str


class Authority:
    """Signs certificates for a day. Raises ``NotToBeHad``."""

    def __init__(self, directory: pathlib.Path, name: str) -> None:
        if shutil.which("openssl") is None:
            raise NotToBeHad("no openssl binary")
        self._directory = directory
        self._name = name
        self._own = self._pair(name)
        self._run("req", "-x509", *self._new_key(self._own, name), "-out", self._own.cert_file)

    @property
    def ca_file(self) -> str:
        return self._own.cert_file

    def sign(self, name: str, alternatives: str = "") -> Pair:
        """A certificate of ``name``, for servers and clients. ``alternatives``: as in "IP:127.0.0.1,DNS:localhost"."""
        pair = self._pair(f"{self._name}-{name}")
        request, extensions = f"{pair.cert_file}.csr", f"{pair.cert_file}.ext"
        alternative = f"subjectAltName={alternatives}\n" if alternatives else ""
        pathlib.Path(extensions).write_text(f"{alternative}extendedKeyUsage=serverAuth,clientAuth\n")
        self._run("req", *self._new_key(pair, name), "-out", request)
        signed_by = ("-CA", self._own.cert_file, "-CAkey", self._own.key_file, "-CAcreateserial")
        self._run(
            "x509", "-req", "-in", request, *signed_by, "-days", "1", "-extfile", extensions, "-out", pair.cert_file
        )
        return pair

    def _pair(self, name: str) -> Pair:
        return Pair(str(self._directory / f"{name}.pem"), str(self._directory / f"{name}.key"))

    @staticmethod
    def _new_key(pair: Pair, name: str) -> tuple[str, ...]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", pair.key_file)
        return (*curve, "-subj", f"/CN={name}")

    @staticmethod
    def _run(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30)
