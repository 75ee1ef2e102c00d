"""The one place that sends prompts: connections, caps, error mapping, and the egress guard before every socket.

Two lanes never share a connection: `edge` ignores proxies and refuses addresses away from home, `cloud` honours proxies.
What goes to a home address never passes a proxy, on either lane. Redirects are never followed (a key would travel with them), no
cookie is kept. aiohttp is imported at first use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from oblix._version import __version__
from oblix.errors import AttemptFailed, FailureKind
from oblix.models.address import is_home_address, is_loopback
from oblix.models.connections import connector, is_new, socket_at_home, was_heard
from oblix.models.foreign import ShutDown, dropped, foreign, off_protocol, translate
from oblix.models.forwarders import Lookout
from oblix.models.traffic import Traffic, endpoint_of
from oblix.types.request import Request
from oblix.types.spec import ModelSpec, Place

if TYPE_CHECKING:
    import aiohttp

MAX_ERROR_BODY = 64 << 10  # bytes; an error text longer than this is cut
KEEP_ALIVE = (
    4.0  # seconds; below uvicorn's and node's 5 s, so that we never reuse a connection that the peer is closing
)
# Seconds for the end of the body after the proof of completion; then the connection is dropped. It mostly comes in the same packet, and the
# reply waits for it.
END_GRACE = 0.25
# Seconds. A connection that was dead already says so within a round trip; who takes longer has read the request, and may charge for it.
RESEND_WITHIN = 0.5

Lane = tuple[Place, bool]  # the place, and whether its connections are kept for later


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send: asked for before a name is even resolved. A private prompt has leave for the edge only.

    For a prompt it is made by `of`, which reads every label; made by hand, it is for questions that carry no prompt.
    """

    spec: ModelSpec
    private: bool

    @classmethod
    def of(cls, spec: ModelSpec, request: Request) -> Permit:
        """The permit for a request, its messages included."""
        return cls(spec, request.is_private)

    def check(self) -> None:
        """Raise `AttemptFailed(policy)` where a private prompt would leave home."""
        if self.private and self.spec.place != "edge":
            raise self.refusal(f"a private prompt may not be sent to {self.spec.id}, which is a cloud model")

    def refusal(self, message: str, hint: str | None = None) -> AttemptFailed:
        """The failure for what is not permitted."""
        return AttemptFailed(FailureKind.POLICY, message, hint=hint)


# What the present task asks to send. The guard reads it where the connection is made, so that no layer between has to hand it on.
_asked: ContextVar[Permit] = ContextVar("oblix_permit")


class Answer:
    """An HTTP answer whose body is read in pieces. Always `close()` it; only a body read to its end keeps the connection."""

    def __init__(self, response: aiohttp.ClientResponse, spec: ModelSpec, open_: set[Answer]) -> None:
        self._response = response
        self._open = open_
        open_.add(self)
        self._spec = spec
        self.status = response.status
        self._is_whole = False  # read to its end, with the proof if it is an answer
        self.headers: Mapping[str, str] = response.headers
        self.content_type = response.content_type

    async def next(self) -> bytes:
        """The next piece of the body, `b""` at its end.

        Raises:
            AttemptFailed: `truncated`, when the connection breaks before the body's end.
        """
        try:
            return await self._response.content.readany()
        except foreign() as error:
            raise translate(error, self._spec, answered=True) from error

    async def read(self, cap: int = MAX_ERROR_BODY) -> bytes:
        """The body, up to `cap` bytes."""
        parts, size = [], 0
        while size < cap and (piece := await self.next()):
            parts.append(piece)
            size += len(piece)
        self._is_whole = self._response.content.at_eof()
        return b"".join(parts)[:cap]

    async def finish(self) -> None:
        """After the proof of completion: read what is left, so that the connection can be used again. Never fails."""
        content = self._response.content
        self._is_whole = True
        if content.at_eof():
            return
        try:
            async with asyncio.timeout(END_GRACE):
                while await content.readany():
                    pass
        except foreign():
            return  # the answer is whole; close() drops a connection that cannot be kept

    def abort(self) -> None:
        """Wake whoever reads with an error: the client is shut down."""
        self._response.content.set_exception(ShutDown())
        self._response.close()

    def close(self) -> None:
        """Give the connection back if the answer was whole, else drop it.

        That stops the peer's work; and of a peer whose answer failed more may come, which would be taken for the next one's.
        """
        self._open.discard(self)
        content = self._response.content
        if self._is_whole and content.at_eof() and content.exception() is None:
            self._response.release()
        else:
            self._response.close()


class Transport:
    """The connections of one client, on one event loop."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, aiohttp.ClientSession] = {}
        self._answers: set[Answer] = set()
        self.traffic = Traffic(lambda: endpoint_of(_asked.get().spec.endpoint or ""))
        self.is_ready = False
        self._preparing: asyncio.Task[None] | None = None
        self._proxies: dict[str, str | None] = {}
        self._lookout = Lookout()
        self.shared: dict[str, Any] = {}  # what the models at one address know of each other

    async def prepare(self) -> None:
        """Import aiohttp (some 150 ms of CPU) on a thread, once for all who wait, so that no first prompt stops the loop."""
        if self.is_ready:
            return
        if self._preparing is None:
            self._preparing = asyncio.create_task(asyncio.to_thread(_import_client))
        await asyncio.shield(self._preparing)
        self.is_ready, self._preparing = True, None

    async def post(
        self,
        url: str,
        *,
        body: bytes,
        permit: Permit,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 5.0,
    ) -> Answer:
        """Send a JSON body and give the answer as soon as its headers are there.

        Args:
            connect_timeout: Seconds for name look-up and connection; what comes after is the caller's to time.

        Raises:
            AttemptFailed: of the kind that fits, `policy` when the guard refuses.
        """
        return await self._send("POST", url, body, permit, headers, connect_timeout)

    async def get(
        self, url: str, *, permit: Permit, headers: Mapping[str, str] | None = None, connect_timeout: float = 2.0
    ) -> Answer:
        """Ask without a body; otherwise as `post`."""
        return await self._send("GET", url, None, permit, headers, connect_timeout)

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        permit: Permit,
        headers: Mapping[str, str] | None,
        connect_timeout: float,
    ) -> Answer:
        permit.check()
        _asked.set(permit)
        place = permit.spec.place
        proxy = None
        if place == "cloud":
            proxy = self._proxies[url] if url in self._proxies else await self._find_proxy(url)

        def ask(lane: Lane) -> Awaitable[aiohttp.ClientResponse]:
            session = self._lanes.get(lane) or self._open(lane)
            timeout = _timeout(connect_timeout)
            return session.request(
                method, url, data=body, headers=headers, allow_redirects=False, proxy=proxy, timeout=timeout
            )

        try:
            response = await _answered(ask, place)
        except foreign() as error:
            raise translate(error, permit.spec, answered=False) from error
        if 300 <= response.status < 400 or response.headers.get("content-encoding", "identity") != "identity":
            response.close()
            raise off_protocol(response, permit.spec)
        return Answer(response, permit.spec, self._answers)

    def _open(self, lane: Lane) -> aiohttp.ClientSession:
        import aiohttp

        place, keep = lane
        session = self._lanes[lane] = aiohttp.ClientSession(
            connector=self._connect_home(keep) if place == "edge" else self._connect_out(keep),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # no compression, no compression bombs
            headers={
                "User-Agent": f"oblix/{__version__}",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
            },
        )
        return session

    def _connect_home(self, keep: bool) -> aiohttp.TCPConnector:
        from oblix.models.resolver import Resolver

        return connector()(
            resolver=Resolver(home_only=True), socket_factory=socket_at_home, guard=self._see_peer, **_keeping(keep)
        )

    def _connect_out(self, keep: bool) -> aiohttp.TCPConnector:
        from oblix.models.resolver import Resolver
        from oblix.models.tapped import looking_up, telling_connector

        return telling_connector()(
            resolver=Resolver(home_only=False, around=looking_up), traffic=self.traffic, **_keeping(keep)
        )

    async def _see_peer(self, connection: aiohttp.connector.Connection) -> None:
        """The last look before a byte leaves on the edge lane: at the peer that the socket has, whatever was resolved or kept.

        Raises:
            AttemptFailed: kind `policy`, for a peer away from home, and for a private prompt where a forwarder listens.
        """
        permit, protocol = _asked.get(), cast("Any", connection.protocol)
        peer = connection.transport and connection.transport.get_extra_info("peername")
        if not peer:
            raise ConnectionResetError("the peer left before anything was sent")
        host, port = str(peer[0]), int(peer[1])
        if not is_home_address(host):
            raise permit.refusal(
                f"{permit.spec.id} at {permit.spec.endpoint} led to {host}, which is away from home",
                "If the server is not yours, hook it with place='cloud'.",
            )
        if not permit.private or permit.spec.is_declared or protocol.passed is permit:
            return
        if is_loopback(host) and (found := await self._lookout.forwarder_at(host, port)) is not None:
            raise permit.refusal(
                f"{permit.spec.id} at {permit.spec.endpoint} is not answered here: {found.name!r} (process {found.pid}) listens there "
                "and passes on what it gets; a private prompt may not be sent to it",
                f"If it leads to a machine of yours, hook {permit.spec.id} with place='edge'; else ask an engine on this machine.",
            )
        protocol.passed = permit  # several questions of one attempt go over one connection

    async def _find_proxy(self, url: str) -> str | None:
        """The proxy that the environment names for `url`, looked up once.

        aiohttp's own `trust_env` looks at every request, twice on another thread (200 µs), and takes logins out of `~/.netrc`, which
        clash with our `Authorization`.
        """
        self._proxies[url] = await asyncio.to_thread(_proxy_of, url)
        return self._proxies[url]

    def forget_idle(self) -> None:
        """The network is another one: give up the connections to the cloud that are kept for later. From any thread.

        What is in flight goes on. It may well come to its end, and if not, its timers tell.
        """
        for (place, _), session in tuple(self._lanes.items()):
            connector: Any = session.connector
            if place == "cloud" and connector is not None:
                with suppress(RuntimeError):  # its loop is closed
                    connector._loop.call_soon_threadsafe(self._forget, connector)

    def _forget(self, connector: Any) -> None:
        self._proxies.clear()
        connector.forget_idle()

    async def close(self) -> None:
        """Close every connection."""
        self._proxies.clear()
        for answer in list(self._answers):
            answer.abort()
        lanes, self._lanes = list(self._lanes.values()), {}
        for session in lanes:
            await session.close()
        self.traffic.close()

    def abandon(self) -> None:
        """Let go of everything without a running loop, quietly: for a program that leaves without `shutdown`."""
        self._preparing = None
        self.traffic.close()
        lanes, self._lanes = list(self._lanes.values()), {}
        for session in lanes:
            connector = session.connector
            session.detach()
            if connector is None:
                continue
            if _runs_elsewhere(connector._loop):
                connector._loop.call_soon_threadsafe(connector._close)
                continue
            if connector._loop.is_closed():
                kept = [protocol for row in connector._conns.values() for protocol, _ in row]
                for protocol in (*kept, *connector._acquired):
                    _drop(protocol.transport)
            connector._close()


async def _answered(ask: Callable[[Lane], Awaitable[aiohttp.ClientResponse]], place: Place) -> aiohttp.ClientResponse:
    """What `ask` gets on a kept connection; where that was dead already, on a new one."""
    is_new.set(False)
    clock = asyncio.get_running_loop().time
    sent = clock()
    try:
        return await ask((place, True))
    except dropped() as error:
        # The peer had closed a kept connection before our request reached it: once more, on a new one. No byte of an answer had come.
        # llama.cpp closes right after an answer while it announces to keep the connection, so that every seventh of requests without
        # a pause between them met a dead one.
        if is_new.get() or was_heard(error) or clock() - sent > RESEND_WITHIN:
            raise
        return await ask((place, False))


def _import_client() -> None:
    import oblix.models.resolver  # noqa: F401  imports aiohttp


def _proxy_of(url: str) -> str | None:
    """As the environment has it (`HTTPS_PROXY`, `NO_PROXY`, …). May ask the system, and block, where that is not Linux."""
    from urllib.request import getproxies, proxy_bypass  # takes 25 ms to import

    parts = urlsplit(url)
    if is_home_address(parts.hostname or ""):  # it would leave home on its way home, or reach the proxy's own loopback
        return None
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _runs_elsewhere(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop is busy on another thread, which alone may touch its connections."""
    return loop.is_running() and asyncio._get_running_loop() is not loop


def _drop(transport: Any) -> None:
    """Close a socket whose loop is closed already.

    Expected: `close()` does. It asks the loop, which refuses; the socket would stay open, with a ResourceWarning at the end.
    """
    inner = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    if inner is not None:
        transport._closed = True
        transport = inner
    end = getattr(transport, "_call_connection_lost", None)  # asyncio's own; uvloop's transports close themselves
    if end is not None and transport._sock is not None:
        with suppress(RuntimeError):  # somebody who still waits cannot be told: the loop is closed
            end(None)


def _keeping(keep: bool) -> dict[str, Any]:
    """How a connector keeps connections and addresses."""
    return {
        "limit": 0,
        "ttl_dns_cache": 30,
        "keepalive_timeout": KEEP_ALIVE if keep else None,
        "force_close": not keep,
    }


@cache
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    """Only the connection is timed here."""
    import aiohttp

    return aiohttp.ClientTimeout(total=None, connect=connect)
