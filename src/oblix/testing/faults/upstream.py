"""One upstream: a port of its own, what it plays, what it was asked and what it bills."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from oblix.testing.faults.books import BillRow, Received
from oblix.testing.faults.connection import Connection
from oblix.testing.faults.exchange import Exchange, cached_of, written
from oblix.testing.faults.kind import Fault, Kind
from oblix.testing.faults.kinds import KINDS, impossible
from oblix.testing.faults.manner import Manner
from oblix.testing.faults.questions import read_question
from oblix.testing.faults.sayings import Saying, stream
from oblix.testing.faults.sideline import answer_sideline
from oblix.testing.faults.texts import pieces_of
from oblix.testing.faults.wire_http import Asked, marker_of, whole
from oblix.testing.faults.wires import FORMATS, ErrorWords, Wire
from oblix.types.spec import Price

if TYPE_CHECKING:
    from oblix.testing.faults.server import FaultServer

BACKLOG = 4096  # connections that wait to be accepted; the system's own limit may be lower


class Upstream:
    """One server of the protocol `wire`, as a client sees it; made by `FaultServer.upstream`.

    Attributes:
        name: Of the upstream; its answers begin with it.
        wire: Its protocol.
        server: Where it belongs.
        price: What it bills with.
        requests: All that it was asked, in order, chats and side questions.
        connections: How many were accepted so far.
        bill: What a provider would bill, in order of acceptance.
        manner: How it answers when it is well; may be changed at any time.
        rules: Says what is wrong with a chat's body, which is then refused (400) and not billed; `None` takes everything.
    """

    def __init__(self, server: FaultServer, name: str, wire: Wire, price: Price) -> None:
        self.name, self.wire, self.price = name, wire, price
        self.requests: list[Received] = []
        self.bill: list[BillRow] = []
        self.manner = Manner()
        self.rules: Callable[[Any], ErrorWords | None] | None = None
        self._sayings: dict[str, Saying] = {}
        self.server = server
        self._format = FORMATS[wire]
        self._plays: dict[str, tuple[Fault, int | None]] = {}
        self._default: Fault | None = None
        self._bytes = bytearray()
        self.connections = 0
        self._open: dict[Connection, None] = {}
        self._port = 0
        self._listener: socket.socket | None = None
        self._listen()

    # What a test says

    @property
    def port(self) -> int:
        """Its port at 127.0.0.1."""
        return self._port

    @property
    def root(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The base address, as `hook_model(endpoint=…)` of the wire's provider takes it."""
        return self.root + self._format.base_path

    def play(self, marker: str, fault: Fault, *, times: int | None = None) -> None:
        """Play `fault` for every chat whose body contains `marker`, or for the first `times` of them.

        Raises:
            ValueError: The fault cannot be, with the reason.
        """
        if self._kind(fault).of_upstream:
            raise ValueError(f"{fault.kind} hits all requests of an upstream: set it as `default`")
        if marker_of(marker.encode()) != marker:
            raise ValueError(f"{marker!r} is no marker; write `REQ-` and five or more digits")
        self._plays[marker] = (fault, times)

    def say(self, marker: str, saying: Saying) -> None:
        """Answer every healthy chat with this marker so."""
        self._sayings[marker] = saying

    @property
    def default(self) -> Fault | None:
        """What is played for requests without a fault of their own; `None` is health.

        Before the headers it hits side questions as well (`/api/show`, …); later moments belong to chats only.
        """
        return self._default

    @default.setter
    def default(self, fault: Fault | None) -> None:
        closes_port = fault is not None and self._kind(fault).closes_port
        self._default = fault
        if closes_port:
            self._deafen()
        elif self._listener is None:
            self._listen()

    # What a test asks

    def answer_for(self, marker: str) -> str:
        """The whole text of a healthy answer to a request with this marker (empty for none), at this upstream alone."""
        return "".join(pieces_of(self.name, marker, self.manner.lengths))

    def would_bill(self, body: bytes) -> BillRow:
        """What it would bill for a chat with this body if it were well, and heard to the end."""
        question, marker = read_question(body), marker_of(body)
        thoughts, pieces, _ = written(question, self.name, marker, self.manner)
        prompt = question.input_tokens
        return BillRow(marker, prompt, self.price, thoughts + len(pieces), cached_of(prompt, self.manner))

    def sent_text(self, marker: str, attempt_no: int = 1) -> str:
        """The text that has left so far for the chat with this marker, the first, second, … of them (1-based); empty if it never came."""
        found = [asked for asked in self.requests if asked.marker == marker and self._is_chat(asked)]
        return found[attempt_no - 1].text if 0 < attempt_no <= len(found) else ""

    @property
    def received(self) -> bytes:
        """Every byte of every connection, in the order of arrival: what must not be here has not been sent."""
        return bytes(self._bytes)

    @property
    def open_connections(self) -> int:
        """How many are open now."""
        return len(self._open)

    # What its connections tell it

    def joined(self, connection: Connection) -> int:
        """A connection opened; its number, from 1."""
        self._open[connection] = None
        self.connections += 1
        return self.connections

    def greet(self, connection: Connection) -> None:
        """Play what hits a connection before any request."""
        if self._default is not None and (kind := KINDS[self._default.kind]).of_upstream:
            kind.act(self._exchange(connection, self._received(connection, Asked("", "", b"", b""))))

    def parted(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open.pop(connection, None)

    def note(self, data: bytes) -> None:
        """Bytes came."""
        self._bytes += data

    def asked(self, connection: Connection, asked: Asked) -> None:
        """A whole request came: answer it, or play its fault."""
        received = self._received(connection, asked)
        self.requests.append(received)
        is_chat = self._is_chat(received)
        received.fault = self._fault_for(received) if is_chat else self._fault_beside()
        if received.fault is not None:
            exchange = self._exchange(connection, received)
            kind, moment = KINDS[received.fault.kind], received.fault.moment
            if is_chat and kind.bills(moment):
                self._accept_for(exchange)
            connection.play(exchange, kind, moment)
        elif is_chat:
            self._answer(connection, received)
        else:
            connection.transport.write(answer_sideline(self.wire, asked))

    def _answer(self, connection: Connection, received: Received) -> None:
        """As an upstream does that is well."""
        if self.rules is not None and (wrong := self.rules(received.json)) is not None:
            connection.transport.write(whole(400, self._format.error(wrong)))
            return
        exchange = self._exchange(connection, received)
        self._accept_for(exchange)
        if saying := self._sayings.get(received.marker):
            exchange.answer_with(stream(self.wire, saying, received.json, exchange.question.input_tokens))
        elif self.manner.pause is None:
            exchange.answer()
        else:
            connection.answer_slowly(exchange, self.manner.pause)

    def _accept_for(self, exchange: Exchange) -> None:
        """From here on it costs."""
        prompt = exchange.question.input_tokens
        exchange.bill = BillRow(exchange.request.marker, prompt, self.price, 0, cached_of(prompt, self.manner))
        self.bill.append(exchange.bill)

    def _received(self, connection: Connection, asked: Asked) -> Received:
        now = asyncio.get_running_loop().time()
        marker = marker_of(asked.body)
        return Received(marker, asked.method, asked.path, asked.head, asked.body, now, connection.number)

    def _exchange(self, connection: Connection, received: Received) -> Exchange:
        return Exchange(
            connection,
            received,
            upstream=self.name,
            wire=self._format,
            tempo=self.server.tempo,
            manner=self.manner,
            trap=lambda: self.server.trap(self.wire).root,
        )

    def _is_chat(self, asked: Received) -> bool:
        return asked.method == "POST" and asked.path.endswith(self._format.chat_path)

    def _fault_for(self, asked: Received) -> Fault | None:
        fault, times = self._plays.get(asked.marker, (None, None))
        if fault is None:
            return self._default
        if times is not None:
            if times <= 0:
                return self._default
            self._plays[asked.marker] = (fault, times - 1)
        return fault

    def _fault_beside(self) -> Fault | None:
        """What a side question meets: a server that is down is down for all, one that breaks its streams answers these well."""
        fault = self._default
        return fault if fault and fault.moment == "before_headers" and not KINDS[fault.kind].harmless else None

    def _kind(self, fault: Fault) -> Kind:
        if fault.kind not in KINDS:
            raise ValueError(f"there is no kind {fault.kind!r}; see KINDS")
        if reason := impossible(fault.kind, fault.moment, self.wire):
            raise ValueError(reason)
        return KINDS[fault.kind]

    # Its socket

    def _listen(self) -> None:
        # asyncio turns Nagle's algorithm off only where the protocol is named; with it, an answer in two writes takes 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the same port again, after `refuse`
        listener.setblocking(False)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(BACKLOG)
        self._port = int(listener.getsockname()[1])
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take every connection that waits. By hand, because a server object would need an `await` where a test has none."""
        while True:
            try:
                raw, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            raw.setblocking(False)
            self.server.join(asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(self), raw))

    def _deafen(self) -> None:
        """Close the port, and reset what is open."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        for connection in list(self._open):
            connection.abort()

    def close(self) -> None:
        """Close the port and every connection."""
        self._deafen()
