"""TLS for servers and clients: file names in, gRPC credentials out."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

import grpc


@dataclass(frozen=True)
class TlsConfig:
    """PEM files. A server needs ``cert_file`` and ``key_file``; ``client_ca_file`` makes it demand client certificates.

    A client verifies the server against ``client_ca_file`` (its CA bundle) and shows ``cert_file`` if one is given.
    """

    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""


def server_credentials(tls: TlsConfig) -> grpc.ServerCredentials:
    """Raises ``OSError`` when a file cannot be read."""
    roots = _read(tls.client_ca_file)
    return grpc.ssl_server_credentials(
        [(pathlib.Path(tls.key_file).read_bytes(), pathlib.Path(tls.cert_file).read_bytes())],
        root_certificates=roots,
        require_client_auth=roots is not None,
    )


def channel_credentials(tls: TlsConfig) -> grpc.ChannelCredentials:
    """Raises ``OSError`` when a file cannot be read."""
    return grpc.ssl_channel_credentials(_read(tls.client_ca_file), _read(tls.key_file), _read(tls.cert_file))


def _read(file: str) -> bytes | None:
    return pathlib.Path(file).read_bytes() if file else None
