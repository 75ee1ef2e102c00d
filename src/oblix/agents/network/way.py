"""What is known of the way to one endpoint."""

from __future__ import annotations

from oblix.agents.network.counters import Gain
from oblix.agents.network.figure import Figure, Source
from oblix.agents.network.latency import Latency, Sample
from oblix.agents.network.reach import Reach
from oblix.agents.network.silence import Silence
from oblix.types.traffic import Endpoint, Exchange, Trouble

QUICK_NO_MS = 900.0  # a resolver that fails sooner said no; one that fails later heard nothing, which may be loss
_QUICK_PROOF = 2  # quick failures in a row
_SLOW_CHANCE = 1e-4  # that loss alone explains look-ups that stay without an answer; each is two packets (A and AAAA) and two answers
_SAME_QUESTION = (
    5.0  # seconds; all prompts that wait for a name share one look-up, whose packets are sent again after so long
)
_SAME_NO = 0.1
_GIVEN_UP = 0.5  # seconds of silence at the end of an answer: it was not silence that ended it
_GRAIN = 0.05  # seconds; the kernel tells the length of a silence in ticks, so that its beginning seems to move
_FAILURES = 2  # connections in a row that were reset, or failed for no reason that has a name
_OUTAGE = 6  # packets in a row; also where 20 % are lost each way, that is a short outage in 499 of 500 cases, and no share of anything
_BULK_BYTES = 30_000  # in one go, from which our own data makes a queue; 0.25 s of a link of 1 Mbit/s
_BULK_RATE = 30_000  # bytes a second; answers of models come at a tenth of it
_RESENT_AFTER_MS = 900.0  # a first packet that is lost is sent again after a second (RFC 6298); what took longer was


class Way:
    """Takes in what happens on one way, in the order in which it happens."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.reach = Reach()
        self.latency = Latency()
        self.silence = Silence()
        self.up: Figure | None = None
        self.down: Figure | None = None
        self.told_at = float("-inf")
        self.is_proxied = False
        self.was_verified = False  # the certificate was right once
        self.works_since = float("-inf")  # when the last outage ended that was too short to be told
        self.cut_since: float | None = None  # when an outage began that was just found out
        self.trouble: Trouble | None = None  # of the last contact, whatever it means
        self.answers_by_address_at = float("-inf")
        self.lookup_ms: float | None = None  # the newest of each
        self.tls_ms: float | None = None
        self.first_byte_ms: float | None = None
        self._names_refused = 0
        self._names_unanswered = 0
        self._name_failed_at = float("-inf")  # for real traffic
        self._failures = 0

    def take(self, exchange: Exchange) -> int:
        """Take in what was seen. Gives how many packets turn out to have been lost on a way that works."""
        self.told_at = max(self.told_at, exchange.at)
        self.is_proxied = exchange.is_proxied
        if exchange.step == "pulse":
            return self._pulse(exchange)
        self.trouble = exchange.trouble
        if exchange.trouble is None:
            return self._good(exchange)
        return self._bad(exchange, exchange.trouble)

    def works_at(self, at: float) -> bool:
        """Whether what began then can tell anything of a way that works."""
        return self.reach.state == "up" and at >= max(self.reach.since, self.works_since)

    def learn(self, exchange: Exchange, gain: Gain | None) -> None:
        """Take in the figures of what was seen on a way that works."""
        if exchange.trouble is not None:
            return
        self.lookup_ms = self.lookup_ms if exchange.lookup_ms is None else exchange.lookup_ms
        self.tls_ms = self.tls_ms if exchange.tls_ms is None else exchange.tls_ms
        self.first_byte_ms = self.first_byte_ms if exchange.first_byte_ms is None else exchange.first_byte_ms
        by: Source = "probe" if exchange.is_probe else "traffic"
        if exchange.up_mbps is not None:
            self.up = Figure(exchange.up_mbps, exchange.at, by)
        if exchange.down_mbps is not None:
            self.down = Figure(exchange.down_mbps, exchange.at, by)
        if exchange.step == "connect" and exchange.connect_ms is not None and not _was_resent(exchange):
            self.latency.add(Sample(exchange.at, exchange.connect_ms, by, True))
        elif gain is not None and gain.round_trip_ms is not None:
            self.latency.add(Sample(exchange.at, gain.round_trip_ms, by, False))

    def forget(self) -> None:
        """The figures are those of another network."""
        self.latency, self.up, self.down = Latency(), None, None

    def settle(self, now: float, share: float, name_share: float) -> None:
        """Draw the conclusion from silence, if it is time to.

        Args:
            share: Of packets that get no answer on this way when it works, in [0, 1], at the most.
            name_share: The same as it was seen.
        """
        if self.reach.state == "down":
            return
        chance = (1 - (1 - name_share) ** 2) ** self._names_unanswered
        if self.silence.is_cut(now, share):
            self.cut_since = self.silence.heard_at
            self.reach = self.reach.failure(now, "silence")
        elif self._names_refused >= _QUICK_PROOF or chance < _SLOW_CHANCE:
            self.reach = self.reach.failure(now, "lookup")

    def is_in_doubt(self) -> bool:
        """Whether there is anything to draw a conclusion from."""
        return self.is_suspect() or self.has_doubtful_name()

    def is_suspect(self) -> bool:
        """Whether packets went unanswered, and nobody knows yet what that means."""
        return self.reach.state != "down" and self.silence.packets > 0

    def has_doubtful_name(self) -> bool:
        """Whether a look-up failed, and nobody knows yet what that means."""
        return self.reach.state != "down" and self._is_name_in_doubt

    @property
    def _is_name_in_doubt(self) -> bool:
        return self._names_refused > 0 or self._names_unanswered > 0

    def _pulse(self, exchange: Exchange) -> int:
        tcp, lost = exchange.tcp, 0
        if exchange.trouble == "lookup":
            self._nameless(exchange)
        if tcp is None or tcp.unanswered is None:
            return 0
        heard_at = exchange.at - (tcp.silence or 0.0)
        if tcp.silence is not None and tcp.rtt_ms is not None and heard_at > self.silence.heard_at + _GRAIN:
            lost = self._heard(heard_at)
            self.reach = self.reach.contact(heard_at)
        self.silence.unanswered(exchange.connection, tcp.unanswered, exchange.at)
        return lost

    def _good(self, exchange: Exchange) -> int:
        if exchange.step == "answer" and not _was_heard(exchange):
            return self._left(exchange)
        self._failures = 0
        if exchange.tls_ms is not None:
            self.was_verified = True
        if not exchange.is_probe or exchange.lookup_ms is not None:
            self._names_refused = 0
            self._names_unanswered = 0
        elif self._is_name_in_doubt:  # we knew the address from before: the name is still in doubt
            self.answers_by_address_at = exchange.at
            if self.reach.state == "down":
                self.reach = self.reach.failure(exchange.at, "lookup")
            return self._heard(exchange.at)
        self.silence.unanswered(exchange.connection, 0, exchange.at)
        lost = self._heard(exchange.at)
        self.reach = self.reach.contact(exchange.at)
        return lost

    def _left(self, exchange: Exchange) -> int:
        """Nobody waits any more for an answer that did not come: no contact, whatever else it means."""
        if exchange.tcp is None:
            return 0
        lost = self._pulse(exchange)
        if exchange.tcp.unanswered:
            self.silence.given_up(exchange.connection, exchange.at)
        return lost

    def _bad(self, exchange: Exchange, trouble: Trouble) -> int:
        at, is_connect = exchange.at, exchange.step == "connect"
        if (
            trouble == "no_route" and exchange.is_probe
        ):  # the routing table says so; what a call says may be one address of several
            self.reach = self.reach.failure(at, trouble)
            return 0
        if trouble in ("silence", "no_route"):
            self._lost(exchange)
            return 0
        if trouble == "lookup":
            self._nameless(exchange)
            return 0
        self.silence.unanswered(exchange.connection, 0, at)
        lost = self._heard(at)  # the host said something, or what stands before it did
        self._failures = self._failures + 1 if trouble in ("reset", "other") and is_connect else 0
        if trouble == "portal" or (trouble == "certificate" and self.was_verified):
            self.reach = self.reach.failure(at, "portal")
        elif is_connect and (trouble in ("refused", "certificate") or self._failures >= _FAILURES):
            self.reach = self.reach.failure(at, trouble)
        return lost

    def _nameless(self, exchange: Exchange) -> None:
        is_no = exchange.step != "pulse" and exchange.lookup_ms is not None and exchange.lookup_ms < QUICK_NO_MS
        if not exchange.is_probe:
            since, self._name_failed_at = exchange.at - self._name_failed_at, exchange.at
            if since < (_SAME_NO if is_no else _SAME_QUESTION):
                return
        self._names_refused += is_no
        self._names_unanswered += not is_no
        if self.reach.state == "down":  # where the way is cut, that is why no name is found
            self.reach = self.reach.failure(exchange.at, self.reach.trouble or "lookup")

    def _lost(self, exchange: Exchange) -> None:
        """A connection was not made, or one that was in use died: what it had sent last got no answer."""
        waited = 0.0 if exchange.trouble == "no_route" else (exchange.connect_ms or 1000.0) / 1000
        self.silence.given_up(exchange.connection, exchange.at - waited)
        if self.reach.state == "down":
            self.reach = self.reach.failure(exchange.at, self.reach.trouble or "silence")

    def _heard(self, at: float) -> int:
        before = self.silence.heard_at
        lost = self.silence.heard(at)
        if lost >= _OUTAGE:
            self.cut_since, self.works_since = before, at
            return 0
        return lost if self.reach.state == "up" else 0


def bulk_since(exchange: Exchange, gain: Gain) -> float | None:
    """When our own data began to fill the way, `None` when it did not."""
    span = exchange.at - gain.since
    if exchange.up_mbps and gain.sent_bytes:
        return exchange.at - max(gain.busy, gain.sent_bytes / 125_000 / exchange.up_mbps)
    if gain.sent_bytes >= _BULK_BYTES:
        return exchange.at - min(span, gain.busy) if gain.busy else gain.since
    if exchange.down_mbps or (gain.received_bytes >= _BULK_BYTES and gain.received_bytes >= _BULK_RATE * span):
        return gain.since
    return None


def _was_heard(exchange: Exchange) -> bool:
    """Whether an answer came to its end, rather than that somebody gave up waiting for it."""
    tcp = exchange.tcp
    if tcp is None or tcp.silence is None:
        return exchange.first_byte_ms is not None
    return not tcp.unanswered and tcp.silence < _GIVEN_UP


def _was_resent(exchange: Exchange) -> bool:
    if exchange.tcp is not None and exchange.tcp.resent:
        return True
    return exchange.tcp is None and (exchange.connect_ms or 0.0) > _RESENT_AFTER_MS
