"""The picture of the network: what the ways to all hooked endpoints tell together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import sqrt
from typing import NamedTuple

from oblix.agents.network.counters import Counters
from oblix.agents.network.figure import FORGET, Figure, fresh
from oblix.agents.network.loss import Loss, LossCount
from oblix.agents.network.silence import LEAST_SHARE
from oblix.agents.network.way import Way, bulk_since
from oblix.types.traffic import Endpoint, Exchange

_LEAST_NAME_SHARE = 0.05  # a name is asked for rarely, so that a false alarm is a hundred times rarer than for packets
_FEW_TRIES = 20  # below which nothing is made of them
_MOST_TRIES = 200  # contacts that the share without an answer is taken from


class Figures(NamedTuple):
    """How good the ways that work are; `None` for what is not known."""

    latency_ms: Figure | None = None
    loss: Loss | None = None
    handshake_loss: Figure | None = None
    up_mbps: Figure | None = None
    down_mbps: Figure | None = None


class Picture:
    """Takes in everything that is seen, by real calls and by looks, and knows the state of each way.

    One thread at a time.
    """

    def __init__(self) -> None:
        self._ways: dict[Endpoint, Way] = {}
        self._counters = Counters()
        self._loss = LossCount()
        self._tries = _Tries()
        self.networks = 1  # how many it has seen

    def take(self, exchange: Exchange) -> None:
        """Take in one contact, in the order of their times, as far as that can be had."""
        way = self.way(exchange.endpoint)
        lost = way.take(exchange)
        self._forget_cut(way)
        self._count_try(way, exchange, lost)
        if exchange.tcp is not None and exchange.tcp.unanswered:
            return  # what it sent last is neither lost nor arrived yet: that is told once it is answered
        gain = self._counters.gain(exchange)
        if not way.works_at(exchange.at if gain is None else gain.since):
            return
        if gain is not None:
            self._loss.add(exchange.at, gain.segments, gain.lost, gain.resent)
            if (since := bulk_since(exchange, gain)) is not None:
                for each in self._ways.values():  # they share the first part of the way, which mostly is the slowest
                    each.latency.disturbed(since, exchange.at)
        way.learn(exchange, gain)

    def settle(self, now: float) -> None:
        """Draw the conclusions that time alone allows."""
        for way in self._ways.values():
            if way.is_in_doubt():
                seen = self.unanswered_share(now)
                way.settle(now, max(LEAST_SHARE, seen), max(_LEAST_NAME_SHARE, seen))
                self._forget_cut(way)

    def _count_try(self, way: Way, exchange: Exchange, lost: int) -> None:
        """A packet was answered, after so many that were not."""
        if exchange.trouble is not None and not lost:
            return
        if exchange.step == "connect" and exchange.tcp is not None and exchange.tcp.resent:
            if not way.works_at(exchange.at - (exchange.connect_ms or 0.0) / 1000):
                return
            lost = max(lost, exchange.tcp.resent)
        if exchange.step != "pulse" or lost:
            self._tries.add(_Try(exchange.at, 1 + lost, lost, exchange.is_probe))

    def _forget_cut(self, way: Way) -> None:
        """What was sent again in a time that turns out to have been a cut was not lost by chance."""
        if way.cut_since is not None:
            self._loss.forget_since(way.cut_since)
            way.cut_since = None

    def forget(self) -> None:
        """This is another network: its figures are not those of the last one. What is reached, and who is trusted, goes on."""
        self.networks += 1
        self._loss = LossCount()
        self._tries = _Tries()
        for way in self._ways.values():
            way.forget()

    def way(self, endpoint: Endpoint) -> Way:
        """What is known of one."""
        if endpoint not in self._ways:
            self._ways[endpoint] = Way(endpoint)
        return self._ways[endpoint]

    def ways(self, endpoints: Iterable[Endpoint]) -> tuple[Way, ...]:
        """What is known of each."""
        return tuple(self.way(endpoint) for endpoint in endpoints)

    def figures(self, endpoints: Iterable[Endpoint], now: float) -> Figures:
        """Of the ways that work: the shortest latency, the loss of all together, the newest rates."""
        ways = [way for way in self.ways(endpoints) if way.reach.state == "up"]
        latencies = [figure for way in ways if (figure := way.latency.estimate(now))]
        return Figures(
            min(latencies, key=lambda figure: figure.value, default=None),
            self._loss.estimate(now),
            self._handshake_loss(now),
            _newest(now, (way.up for way in ways)),
            _newest(now, (way.down for way in ways)),
        )

    def unanswered_share(self, now: float) -> float:
        """Of the packets on ways that work, how many got no answer: the highest that is likely, in [0, 1]."""
        tries = self._tries
        if tries.packets < _FEW_TRIES:
            return LEAST_SHARE
        share = _likely(tries.lost, tries.packets)
        loss = self._loss.estimate(now)
        return share if loss is None else max(share, _likely(loss.resent_share * loss.segments, loss.segments))

    def _handshake_loss(self, now: float) -> Figure | None:
        """Percent lost in one direction, if both lose alike: a handshake does not tell which of its packets was lost."""
        tries = self._tries
        if tries.newest is None or now - tries.newest.at > FORGET:
            return None
        if tries.lost and tries.packets < _FEW_TRIES:
            return None  # one of two is no share
        percent = 100 * (1 - sqrt(1 - tries.lost / tries.packets))
        return Figure(percent, tries.newest.at, "probe" if tries.newest.is_probe else "traffic")


class _Try(NamedTuple):
    """A contact: the packet that was answered, and those before it that were not."""

    at: float
    packets: int
    lost: int
    is_probe: bool


class _Tries:
    """The latest of them, added up."""

    def __init__(self) -> None:
        self.packets = self.lost = 0
        self._all: deque[_Try] = deque()

    @property
    def newest(self) -> _Try | None:
        return self._all[-1] if self._all else None

    def add(self, one: _Try) -> None:
        self._all.append(one)
        self.packets, self.lost = self.packets + one.packets, self.lost + one.lost
        if len(self._all) > _MOST_TRIES:
            oldest = self._all.popleft()
            self.packets, self.lost = self.packets - oldest.packets, self.lost - oldest.lost


def _likely(count: float, total: float) -> float:
    """The share, and one standard deviation more."""
    share = min(1.0, count / total)
    return share + sqrt(share * (1 - share) / total)


def _newest(now: float, figures: Iterable[Figure | None]) -> Figure | None:
    known = [figure for each in figures if (figure := fresh(each, now))]
    return max(known, key=lambda figure: figure.at, default=None)
