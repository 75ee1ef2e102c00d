"""Looks at one endpoint on the way that real traffic would take: name, connection, proxy, certificate, and who answers."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import closing
from functools import cache

from oblix.agents.probes import portal
from oblix.agents.probes.dialling import Tell, dial
from oblix.agents.probes.names import Address, Names
from oblix.agents.probes.proxies import Proxy, proxy_to
from oblix.models import tcp_info
from oblix.types.traffic import Endpoint, Exchange, Trouble

PATIENCE = 2.0  # seconds for each step: a packet that is lost once is sent again after one second
_MOST_HEAD = 16384  # bytes of an answer's head


class Scout:
    """One endpoint. One look at a time; for a thread that may wait some seconds."""

    def __init__(self, endpoint: Endpoint, names: Names) -> None:
        self.endpoint = endpoint
        self._names = names
        self._usual: portal.Said | None = None
        self._was_asked = False

    def addresses(self) -> tuple[Address, ...]:
        """Where the first packet goes to, as far as that is known without a look-up."""
        return self._names.known(*self._first_stop(proxy_to(self.endpoint)))

    def look(self, tell: Tell, *, in_doubt: bool = False) -> None:
        """Connect, see who is there, hang up. Tells what came of it; of the name as well, where that fails.

        Args:
            in_doubt: Somebody else may answer. Without TLS that is asked at the first look, and then only for this reason: no byte is sent
                that need not be.
        """
        proxy = proxy_to(self.endpoint)
        host, port = self._first_stop(proxy)
        found = self._names.look_up(host, port, PATIENCE)
        is_proxied = proxy is not None
        for _ in range(found.failures):
            tell(self._exchange(is_proxied, lookup_ms=found.lookup_ms, trouble="lookup"))
        if not found.addresses:
            return
        lookup_ms = None if found.failed else found.lookup_ms
        connection, _, connect_ms, trouble = dial(found.addresses, PATIENCE)
        if connection is None:
            tell(self._exchange(is_proxied, lookup_ms=lookup_ms, connect_ms=connect_ms, trouble=trouble))
            return
        tcp = tcp_info.read(connection)
        with closing(connection):
            connection.settimeout(PATIENCE)
            tls_ms, trouble = self._see_who_is_there(connection, proxy, in_doubt=in_doubt)
        tell(
            self._exchange(
                is_proxied, lookup_ms=lookup_ms, connect_ms=connect_ms, tls_ms=tls_ms, trouble=trouble, tcp=tcp
            )
        )

    def _first_stop(self, proxy: Proxy | None) -> tuple[str, int]:
        return (proxy.host, proxy.port) if proxy else (self.endpoint.host, self.endpoint.port)

    def _exchange(self, is_proxied: bool, **found: object) -> Exchange:
        return Exchange(self.endpoint, time.monotonic(), "connect", is_probe=True, is_proxied=is_proxied, **found)  # type: ignore[arg-type]

    def _see_who_is_there(
        self, connection: socket.socket, proxy: Proxy | None, *, in_doubt: bool
    ) -> tuple[float | None, Trouble | None]:
        """Milliseconds for the secured connection, and what is wrong."""
        if proxy is not None and not proxy.is_plain:
            return None, None  # that it takes connections is enough to know; nothing is said to it in plain text
        try:
            if self.endpoint.scheme == "https":
                if proxy is not None and (trouble := self._tunnel(connection, proxy)):
                    return None, trouble
                return self._verify(connection)
            return None, self._ask(connection, proxy) if in_doubt or proxy or not self._was_asked else None
        except ssl.SSLError:  # a certificate of somebody else, or somebody who does not even speak TLS
            return None, "certificate"
        except ConnectionResetError:
            return None, "reset"
        except (
            TimeoutError
        ):  # it took the connection, so that the way is there; what it is busy with is no trouble of the network's
            return None, None
        except OSError:
            return None, "other"

    def _verify(self, connection: socket.socket) -> tuple[float, None]:
        began = time.monotonic()
        with _trust().wrap_socket(connection, server_hostname=self.endpoint.host):
            return 1000 * (time.monotonic() - began), None

    def _tunnel(self, connection: socket.socket, proxy: Proxy) -> Trouble | None:
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        said = self._exchange_heads(connection, f"CONNECT {host}:{self.endpoint.port}", proxy)
        if said is None:
            return "other"
        return None if said.status == 200 else "refused"

    def _ask(self, connection: socket.socket, proxy: Proxy | None) -> Trouble | None:
        """`HEAD /`: no prompt, no key, no cost; who redirects it or shows a page is not the API that was there before."""
        self._was_asked = True
        path = f"http://{self.endpoint.host}:{self.endpoint.port}/" if proxy else "/"
        try:
            said = self._exchange_heads(connection, f"HEAD {path}", proxy)
        except TimeoutError:
            return None
        if proxy is not None and portal.is_refused_by_proxy(said):
            return "refused"
        if portal.is_stranger(said, self.endpoint.host, self._usual):
            return "portal"
        self._usual = self._usual or said
        return None

    def _exchange_heads(self, connection: socket.socket, line: str, proxy: Proxy | None) -> portal.Said | None:
        login = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy and proxy.authorization else ""
        host = f"{self.endpoint.host}:{self.endpoint.port}"
        connection.sendall(f"{line} HTTP/1.1\r\nHost: {host}\r\n{login}User-Agent: oblix\r\n\r\n".encode())
        head, deadline = b"", time.monotonic() + PATIENCE
        while b"\r\n\r\n" not in head and len(head) < _MOST_HEAD:
            connection.settimeout(max(0.001, deadline - time.monotonic()))  # of the whole head, also where it drips
            if not (piece := connection.recv(4096)):
                break
            head += piece
        connection.settimeout(PATIENCE)
        return portal.parse(head.partition(b"\r\n\r\n")[0])


@cache
def _trust() -> ssl.SSLContext:
    """Whom real traffic trusts as well. Reading the certificates takes 20 ms: once."""
    return ssl.create_default_context()
