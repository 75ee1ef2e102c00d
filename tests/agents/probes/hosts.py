"""Hosts on loopback: one that answers `HEAD /` as an API would, one that refuses, one that is silent."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from oblix.types.traffic import Endpoint

API = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://login.portal.example/\r\nContent-Length: 0\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"


class Host:
    """Takes connections on a port of its own, answers each head with `says`, and keeps what it was asked."""

    def __init__(self, says: bytes = API, context: ssl.SSLContext | None = None) -> None:
        self.says = says
        self.heads: list[bytes] = []
        self.connections = 0
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def endpoint(self, scheme: str = "http", host: str = "127.0.0.1") -> Endpoint:
        return Endpoint(scheme, host, self.port)

    def close(self) -> None:
        """Refuse from now on."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        try:
            with connection:
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                with connection:
                    while head := connection.recv(4096):
                        self.heads.append(head)
                        connection.sendall(self.says)
        except OSError:
            return


@contextmanager
def host(says: bytes = API, context: ssl.SSLContext | None = None) -> Iterator[Host]:
    made = Host(says, context)
    try:
        yield made
    finally:
        made.close()


def refused() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        port: int = made.getsockname()[1]
        return port


@contextmanager
def silent() -> Iterator[int]:
    """A port with a full backlog: it drops what comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for one in crowd:
                one.close()


class Papers(NamedTuple):
    """A certificate that signs itself, and its key."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made


def papers(folder: Path, name: str) -> Papers:
    """New ones, for `name` and for `localhost`."""
    made = Papers(folder / f"{name}.crt", folder / f"{name}.key")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "1",
            ),
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(made.key)),
            *("-out", str(made.certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return made
