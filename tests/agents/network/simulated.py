"""A link with losses and cuts on a clock of its own, and a client that talks over it: hours in seconds, the same for the same seed."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from oblix.agents.network.picture import Picture
from oblix.agents.network.reach import STEADY
from oblix.types.traffic import Endpoint, Exchange, TcpInfo, Trouble

HOST = Endpoint("https", "api.example", 443)
PULSE = 0.25  # as the traffic tells it
KNOCK_EVERY, KNOCK_PATIENCE, KNOCKS = 0.04, 0.15, 30
LOOK_EVERY = 2.0
RTO = 0.2


@dataclass
class Link:
    """Loses packets by chance, each way, and all of them while it is cut."""

    rng: random.Random
    loss_up: float = 0.0
    loss_down: float = 0.0
    rtt: float = 0.02
    cuts: list[tuple[float, float]] = field(default_factory=list)
    sent: int = 0
    lost_up: int = 0

    def is_up(self, at: float) -> bool:
        return not any(begin <= at < end for begin, end in self.cuts)

    def passes(self, at: float) -> tuple[bool, bool]:
        """Whether a packet arrives, and whether its answer does."""
        self.sent += 1
        arrives = self.is_up(at + self.rtt / 2) and self.rng.random() >= self.loss_up
        self.lost_up += not arrives
        return arrives, arrives and self.is_up(at + self.rtt) and self.rng.random() >= self.loss_down


@dataclass
class Connection:
    """The kernel's counters of one connection."""

    segments: int = 0
    resent: int = 0
    spurious: int = 0
    unanswered: int = 0
    heard_at: float = 0.0
    asked: int = 0  # answers that are awaited


class Client:
    """Prompts on one kept connection, with pulses, bursts and looks as the real parts make them."""

    def __init__(self, link: Link, *, every: float = 0.3) -> None:
        self.link, self.every = link, every
        self.picture = Picture()
        self.now = 0.0
        self.states: list[tuple[float, str, str | None]] = []
        self._tcp = Connection()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._burst = 0  # knocks of the present burst; 0: none
        self._looking = False
        self.at(0.0, self._connect)
        self.at(0.1, self._prompt)
        self.at(PULSE, self._pulse)

    def at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), act))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
        self.now = until

    @property
    def state(self) -> str:
        return self.picture.way(HOST).reach.state

    def tell(self, exchange: Exchange) -> None:
        self.picture.take(exchange)
        self.settle()

    def settle(self) -> None:
        self.picture.settle(self.now)
        way = self.picture.way(HOST)
        reach = way.reach
        if not self.states or self.states[-1][1] != reach.state:
            self.states.append((self.now, reach.state, reach.trouble))
        if way.is_suspect() and not self._burst:
            self._burst = 1
            self._knock()
        if reach.state == "down" and not self._looking:
            self._looking = True
            self.at(self.now + self._pause(), self._look)

    def _told(self, step: str, **found: object) -> None:
        self.tell(Exchange(HOST, self.now, step, **found))  # type: ignore[arg-type]

    def _info(self) -> TcpInfo:
        tcp = self._tcp
        return TcpInfo(
            rtt_ms=1000 * self.link.rtt,
            min_rtt_ms=1000 * self.link.rtt,
            segments=tcp.segments,
            resent=tcp.resent,
            spurious=tcp.spurious,
            unanswered=tcp.unanswered,
            silence=self.now - tcp.heard_at,
        )

    def _connect(self) -> None:
        self._tcp.heard_at = self.now
        self._told("connect", connection=1, connect_ms=1000 * self.link.rtt, tcp=self._info())

    def _prompt(self) -> None:
        if self._tcp.asked == 0:  # one at a time, as a person asks
            self._tcp.asked = 1
            self._send(RTO + self.link.rtt, had_arrived=False, again=False)
        self.at(self.now + self.every, self._prompt)

    def _send(self, rto: float, *, had_arrived: bool, again: bool) -> None:
        tcp = self._tcp
        tcp.segments += 1
        tcp.resent += again
        if again:
            tcp.unanswered += 1
        arrives, answered = self.link.passes(self.now)
        if answered:
            if again and had_arrived:
                tcp.spurious += 1  # told by the acknowledgement that came with the answer
            self.at(self.now + self.link.rtt, self._answer)
        else:
            self.at(
                self.now + rto, lambda: self._send(min(2 * rto, 60.0), had_arrived=had_arrived or arrives, again=True)
            )

    def _answer(self) -> None:
        self._tcp.unanswered, self._tcp.heard_at, self._tcp.asked = 0, self.now, 0
        self._told("answer", connection=1, first_byte_ms=1000 * self.link.rtt, tcp=self._info())

    def _pulse(self) -> None:
        if self._tcp.asked and self._tcp.unanswered:
            self._told("pulse", connection=1, tcp=self._info())
        self.at(self.now + PULSE, self._pulse)

    def _knock(self) -> None:
        if not self.picture.way(HOST).is_suspect() or self._burst > KNOCKS:
            self._burst = 0
            return
        self._burst += 1
        sent = self.now
        _, answered = self.link.passes(sent)
        if answered:
            self.at(sent + self.link.rtt, lambda: self._probed(self.link.rtt))
        else:
            self.at(sent + KNOCK_PATIENCE, lambda: self._probed(KNOCK_PATIENCE, "silence"))
        self.at(sent + KNOCK_EVERY, self._knock)

    def _probed(self, waited: float, trouble: Trouble | None = None) -> None:
        self._told("connect", is_probe=True, connect_ms=1000 * waited, trouble=trouble, lookup_ms=None)

    def _look(self) -> None:
        """A first packet, and another one after a second."""
        self._looking = False
        if self.link.passes(self.now)[1]:
            self.at(self.now + self.link.rtt, lambda: self._probed(self.link.rtt))
        elif self.link.passes(self.now + 1.0)[1]:
            self.at(self.now + 1.0 + self.link.rtt, lambda: self._probed(1.0 + self.link.rtt))
        else:
            self.at(self.now + 2.0, lambda: self._probed(2.0, "silence"))
        if self.state == "down":
            self._looking = True
            self.at(self.now + max(2.1, self._pause()), self._look)

    def _pause(self) -> float:
        good_at = self.picture.way(HOST).reach.good_at
        return LOOK_EVERY if good_at is None else max(0.1, min(LOOK_EVERY, good_at + STEADY - self.now))
