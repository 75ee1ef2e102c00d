"""From the picture of the network to a state, in words and numbers, with hysteresis on every threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from oblix.agents.network.picture import Figures
from oblix.agents.network.way import Way
from oblix.types.traffic import OURS, Trouble

State = Literal["optimal", "degraded", "disconnected", "unknown"]
_BACK = 0.8  # of a threshold, which a figure must come below before it counts as good again; 1 / 0.8 for rates

_WORDS: dict[Trouble, str] = {
    "lookup": "its name cannot be looked up",
    "no_route": "no route",
    "silence": "no answer",
    "refused": "connection refused",
    "reset": "connection reset",
    "certificate": "no trusted connection",
    "portal": "something else answers in its place",
    "other": "the connection failed",
}


class Quality(NamedTuple):
    """How good the way to the cloud is; `None` for what was not measured."""

    latency_ms: float | None = None
    packet_loss_percent: float | None = None
    bandwidth_mbps: float | None = None


class Limits(NamedTuple):
    """Above (latency, loss) or below (bandwidth) which a network counts as degraded."""

    latency_ms: float = 200.0
    packet_loss_percent: float = 10.0
    bandwidth_mbps: float = 5.0


def quality(figures: Figures) -> Quality:
    """The three figures that are judged: the worst known direction of each."""
    latency, loss, handshakes, up, down = figures
    percent = loss.percent if loss is not None else None if handshakes is None else handshakes.value
    rates = [rate.value for rate in (up, down) if rate is not None]
    return Quality(None if latency is None else latency.value, percent, min(rates, default=None))


def exceeded(found: Quality, limits: Limits, before: frozenset[str] = frozenset()) -> frozenset[str]:
    """Which limits are exceeded. One that was exceeded `before` still is, until the figure is better by a fifth."""
    poor: set[str] = set()
    for name, value, limit in zip(Quality._fields, found, limits, strict=True):
        if value is None:
            poor |= before & {name}  # not measured again: nothing says that it got better
            continue
        ease = _BACK if name in before else 1.0
        if value < limit / ease if name == "bandwidth_mbps" else value > limit * ease:
            poor.add(name)
    return frozenset(poor)


def exceeded_surely(figures: Figures, limits: Limits, before: frozenset[str]) -> frozenset[str]:
    """The same for measured figures: a loss counts once it is more than chance."""
    poor = exceeded(quality(figures), limits, before)
    name = "packet_loss_percent"
    if name in poor and name not in before and not (figures.loss and figures.loss.is_above(limits.packet_loss_percent)):
        return poor - {name}
    return poor


def in_words(found: Quality, limits: Limits, poor: frozenset[str]) -> str:
    """What is poor, else what was measured."""
    told = zip(
        Quality._fields, ("latency", "packet loss", "bandwidth"), found, ("ms", "%", "Mbit/s"), limits, strict=True
    )
    wrong = [_complaint(label, value, unit, limit) for name, label, value, unit, limit in told if name in poor]
    if wrong:
        return ", ".join(wrong)
    good = zip(found, ("{:.0f} ms", "{:.0f} % loss", "{:.0f} Mbit/s"), strict=True)
    return ", ".join(form.format(value) for value, form in good if value is not None)


def why_cut(ways: Sequence[Way]) -> str:
    """Why none of them can be reached, and whose fault that is."""
    told = {way.reach.trouble or "other" for way in ways}
    if told == {"no_route"}:
        return "no network route to any hooked cloud endpoint"
    if told == {"lookup"}:
        return _no_names(ways)
    if "portal" in told or (told == {"certificate"} and len(ways) > 1):
        return "a captive portal, or another stranger, answers in place of the hooked cloud endpoints: sign in to the network"
    reached = [way for way in ways if way.reach.trouble not in OURS]
    if reached and all(way.is_proxied for way in reached):
        whose = "the proxy refuses, or cannot reach the provider"
    elif reached:
        whose = "the network works, the provider does not"
    elif len(ways) > 1:
        whose = "the network seems down"
    else:  # with one endpoint nobody can tell, and nobody else is asked
        whose = "the network seems down, or this provider does"
    words = ", ".join(sorted(_WORDS[trouble] for trouble in told))
    return f"no hooked cloud endpoint can be reached ({words}): {whose}"


def who_is_missing(ways: Sequence[Way]) -> str:
    """Which endpoints cannot be reached while others can; empty when all can."""
    missing = [
        f"{way.endpoint.host}: {_WORDS[way.reach.trouble or 'other']}" for way in ways if way.reach.state == "down"
    ]
    return f"the network works, but not {', '.join(missing)}" if missing else ""


def words_of(trouble: Trouble | None) -> str | None:
    """A trouble as a person reads it."""
    return None if trouble is None else _WORDS[trouble]


def _no_names(ways: Sequence[Way]) -> str:
    hosts = ", ".join(sorted({way.endpoint.host for way in ways}))
    if any(way.answers_by_address_at >= way.reach.since for way in ways):
        return f"names cannot be looked up ({hosts}): the DNS is dead, addresses still answer"
    return f"names cannot be looked up ({hosts}): the DNS is dead, or the network"


def _complaint(label: str, value: float | None, unit: str, limit: float) -> str:
    if value is None:
        return f"{label} was poor when it was last measured"
    side = "below" if label == "bandwidth" else "above"
    if value >= limit if side == "below" else value <= limit:
        return f"{label} {value:.0f} {unit} is hardly better than {limit:g} {unit}"
    return f"{label} {value:.0f} {unit} is {side} {limit:g} {unit}"
