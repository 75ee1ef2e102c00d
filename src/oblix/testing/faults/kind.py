"""What a kind of fault is, and which of its combinations can be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, get_args

from oblix.errors import FailureKind
from oblix.testing.faults.exchange import Exchange, Moment
from oblix.testing.faults.wires import ALL_WIRES, Wire

Family = Literal["status", "connection", "protocol", "stream", "in_band", "slow", "bomb"]
Failures = frozenset[FailureKind]
MOMENTS: tuple[Moment, ...] = get_args(Moment)
ANY: frozenset[Moment] = frozenset(MOMENTS)
BEFORE: frozenset[Moment] = frozenset({"before_headers"})
AFTER: frozenset[Moment] = ANY - BEFORE
INSIDE: frozenset[Moment] = frozenset({"before_first_token", "mid_stream"})
END: frozenset[Moment] = frozenset({"at_end"})

_TIMEOUTS: dict[Moment, FailureKind] = {
    "before_headers": FailureKind.TIMEOUT_FIRST_TOKEN,
    "before_first_token": FailureKind.TIMEOUT_FIRST_TOKEN,
    "mid_stream": FailureKind.TIMEOUT_IDLE,
    "at_end": FailureKind.TIMEOUT_IDLE,
}
_TOO_LATE = {
    "status": "a status line comes before the headers, never after them",
    "connection": "by then the headers have come",
    "protocol": "it is told by the headers, or by nothing",
    "stream": "no byte of the stream has come yet, or none is left",
    "in_band": "an error event needs an answer to stand in",
    "slow": "another kind of this family pauses there",
    "bomb": "there is no room for it there",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: a row of the tables.

    Attributes:
        name: As in `Fault(name, moment)`.
        family: Where it goes wrong.
        about: One sentence.
        act: Does it, when the moment has come. A plain function, or a coroutine function where it takes time.
        moments: When it can happen. What changes the head of an answer happens before the headers.
        wires: Protocols in which it can happen.
        failures: Right classifications; with `in_time`, the timer's of the moment are right as well.
        by_wire: Other right classifications, where a protocol says less or more.
        in_time: Only a timer notices it.
        harmless: It must be answered well.
        may_answer: A whole answer is right as well as a failure.
        billed: The moments at which a provider bills the request; `None` stands for the rule of `bills`.
        prepare: Changes the answer before its first byte.
        of_upstream: It hits the upstream as a whole, before any request is read; play it as the `default`.
        closes_port: Nothing listens any more while it is played.
        elsewhere: Why it cannot happen at any other moment.
    """

    name: str
    family: Family
    about: str
    act: Callable[[Exchange], Awaitable[None] | None]
    _: KW_ONLY
    moments: frozenset[Moment] = AFTER
    wires: frozenset[Wire] = ALL_WIRES
    failures: Failures = frozenset()
    by_wire: Mapping[Wire, Failures] = field(default_factory=dict)
    in_time: bool = False
    harmless: bool = False
    may_answer: bool = False
    billed: frozenset[Moment] | None = None
    prepare: Callable[[Exchange, Moment], None] | None = None
    of_upstream: bool = False
    closes_port: bool = False
    elsewhere: str = ""

    def expects(self, moment: Moment, wire: Wire | None = None) -> Failures:
        """The failure kinds that are a right classification; empty for a harmless kind, which must be answered."""
        found = self.by_wire.get(wire, self.failures) if wire else self.failures.union(*self.by_wire.values())
        if self.in_time:
            found |= {_TIMEOUTS[moment], FailureKind.TIMEOUT_TOTAL}
        return found

    def bills(self, moment: Moment) -> bool:
        """Whether a provider bills the request: the tokens of its input, and those that it generated.

        Unless the row says otherwise: what is answered well is billed, and what breaks after the headers; an error that is told
        before the first token is not.
        """
        if self.billed is not None:
            return moment in self.billed
        if self.harmless:
            return True
        return moment != "before_headers" and not (self.family == "in_band" and moment == "before_first_token")


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault at a moment: `before_headers`, `before_first_token`, `mid_stream` (half of the text has left) or `at_end`."""

    kind: str
    moment: Moment

    def __post_init__(self) -> None:
        if self.moment not in MOMENTS:
            raise ValueError(f"{self.moment!r} is no moment; there are {', '.join(MOMENTS)}")


def why_not(kind: Kind, moment: Moment, wire: Wire) -> str | None:
    """Why a kind cannot happen at a moment in a protocol, in words; `None` where it can."""
    if wire not in kind.wires:
        return f"{kind.name}: the {wire} protocol has no such thing"
    if moment not in kind.moments:
        return f"{kind.name}: {kind.elsewhere or _TOO_LATE[kind.family]}"
    return None


def failures(*kinds: FailureKind) -> Failures:
    """A set of them."""
    return frozenset(kinds)


def wires(*names: Wire) -> frozenset[Wire]:
    """A set of them."""
    return frozenset(names)
