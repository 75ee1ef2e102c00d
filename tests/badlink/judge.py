"""What the agent said, held against what was true. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from math import inf
from typing import Any

from oblix.testing.badlink import Counts, Way

from .stage import Account, Event, Sample, What
from .worlds import World

# Seconds within which a change must be noticed, under traffic. A silent name server shows when a look-up is given up, and the C library
# waits 5 s for one; the quality of a link shows after a few exchanges.
LIMITS: Mapping[What, float] = {
    "offline": 2.0,
    "portal": 2.0,
    "nameless": 5.0,
    "online": 10.0,
    "worse": 5.0,
    "better": 10.0,
}
QUALITY: frozenset[What] = frozenset({"worse", "better"})
BASE_RTT_MS = 0.25  # of the empty link, measured
ENOUGH = 700  # data segments from which on a loss is judged by the point
POINTS = 5.0
SHARE_OF_RATE = 0.25
WIDE = 100.0  # Mbit/s: what may be said of a link without a limit; a round trip of 300 ms and 300 kB never get near it
LONGEST_PACKET = 1500 * 8  # bits


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was judged: what was true, what was said, how soon, and whether that is right."""

    truth: str
    said: str
    soon: str
    right: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """How a real change was noticed: after how many seconds (`None`: never), and whether in time and with a right reason."""

    what: What
    said: str
    seconds: float | None
    right: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that was judged of one world.

    Attributes:
        detections: Seconds until each change of offline and online was noticed.
        flaps: Changes of state beyond the real ones.
    """

    findings: tuple[Finding, ...]
    detections: tuple[float, ...]
    flaps: int

    @property
    def right(self) -> bool:
        return all(finding.right for finding in self.findings)


def judge(world: World, account: Account) -> Verdict:
    """The verdict on one world."""
    if not account.samples:
        return Verdict((Finding("a program that runs", account.errors or "nothing", "—", False),), (), 0)
    noticed = list(_noticed(world, account))
    states, flaps = _changes(world, account)
    findings = [*_figures(account), *_gathered(noticed), states, _last(world, account)]
    if account.strangers:
        findings.append(Finding("nobody else is asked", ", ".join(account.strangers), "", False))
    changes = [notice for notice in noticed if notice.what not in QUALITY]
    return Verdict(tuple(findings), tuple(notice.seconds for notice in changes if notice.seconds is not None), flaps)


def _last(world: World, account: Account) -> Finding:
    last = account.samples[-1]
    wrong = not world.is_away and any(sample.state == "disconnected" for sample in account.samples)
    said = last.state + ", and disconnected meanwhile" * wrong
    right = last.state in world.ends and not wrong
    return Finding(f"{' or '.join(world.ends)} at the end", f"{said} ({last.reason})", "", right)


# --- figures ---


def _figures(account: Account) -> Iterator[Finding]:
    up, down = account.up, account.down
    rtt = up.delay_ms + down.delay_ms + (up.jitter_ms + down.jitter_ms) / 2 + BASE_RTT_MS
    # A packet's own length is part of its way over a narrow link: from next to nothing up to that of the longest packet.
    longest = rtt + max(LONGEST_PACKET / (way.rate_mbps or inf) / 1000 for way in (up, down))
    truth = f"{rtt:.3g} ms" if longest - rtt < 1 else f"{rtt:.3g} to {longest:.3g} ms"
    tolerance = max(5.0, 0.15 * rtt)
    yield _figure(
        account, truth, "latency_ms", " ms", lambda said: rtt - tolerance <= said <= max(longest, rtt + tolerance)
    )
    if account.counts is not None:
        segments = int(account.samples[-1].metrics.get("segments_up") or 0)
        yield _loss(account, "up", account.counts.up, segments)
        yield _loss(account, "down", account.counts.down, 0)
    for name, way, is_sent in (("up", up, account.sent_up), ("down", down, account.sent_down)):
        if is_sent and (way.rate_mbps is not None or not way.loss):
            yield _rate(account, name, way)


def _figure(account: Account, truth: str, key: str, unit: str, fits: Callable[[float], bool]) -> Finding:
    last = account.samples[-1].metrics.get(key)
    if last is None:
        return Finding(truth, f"no {key}", "", False)
    return Finding(truth, f"{last:.3g}{unit}", _since(account, lambda sample: _fits(sample, key, fits)), fits(last))


def _fits(sample: Sample, key: str, fits: Callable[[float], bool]) -> bool:
    said = sample.metrics.get(key)
    return said is not None and fits(said)


def _loss(account: Account, name: str, counts: Counts, segments: int) -> Finding:
    true, metrics = counts.segment_loss_percent, account.samples[-1].metrics
    said, interval = metrics.get(f"loss_{name}_percent"), metrics.get(f"loss_{name}_interval")
    truth = f"loss {name} {true:.1f} %"
    if said is None and interval is None:
        # A receiver does not see what did not come; a sender that has sent nothing knows nothing.
        return Finding(truth, "cannot be seen" if name == "down" else "unknown", "", name == "down" or segments == 0)
    between = "" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})"
    words = f"{'—' if said is None else f'{said:.1f} %'}{between}" + (f", {segments} segments" if segments else "")
    if segments >= ENOUGH:
        close = said is not None and abs(said - true) <= POINTS
        enough = next(s.at for s in account.samples if (s.metrics.get("segments_up") or 0) >= ENOUGH) - account.began
        return Finding(truth, words, f"{enough:.1f} s", close)
    return Finding(truth, words, "", interval is not None and interval[0] <= true <= interval[1])


def _rate(account: Account, name: str, way: Way) -> Finding:
    rate, key = way.rate_mbps, f"bandwidth_{name}_mbps"
    if rate is not None:
        near = SHARE_OF_RATE * rate
        return _figure(account, f"{rate:g} Mbit/s {name}", key, " Mbit/s", lambda said: abs(said - rate) <= near)
    said = account.samples[-1].metrics.get(key)  # a transfer that the link did not limit tells nothing of its rate
    words = "unknown" if said is None else f"{said:.3g} Mbit/s"
    return Finding(f"no limit {name}", words, "", said is None or said >= WIDE)


def _since(account: Account, holds: Callable[[Sample], bool]) -> str:
    """Seconds from the last real change of the link, or from the beginning, to the time from which on it held."""
    begin = max([account.began, *(event.at for event in account.events if event.what in ("online", "worse", "better"))])
    since = None
    for sample in account.samples:
        if sample.at >= begin:
            since = (since or sample.at) if holds(sample) else None
    return "never" if since is None else f"{since - begin:.1f} s"


# --- changes ---


def _noticed(world: World, account: Account) -> Iterator[Notice]:
    """How soon each change was noticed. What was over before it had to be noticed is not judged, nor what began while held down."""
    events = account.events
    for event, after in zip_longest(events, events[1:]):
        end = after.at if after is not None else float("inf")
        samples = [sample for sample in account.samples if event.at <= sample.at < end]
        before = next((sample for sample in reversed(account.samples) if sample.at < event.at), None)
        if event.what in ("offline", "nameless", "portal") and before is not None and before.state == "disconnected":
            continue
        seconds = next((sample.at - event.at for sample in samples if _tells(event, sample)), None)
        if seconds is None and end - event.at < _limit(world, event):
            continue
        said = "not noticed" if seconds is None else _words(world, event, samples)
        right = seconds is not None and seconds <= _limit(world, event) and said is not None
        yield Notice(event.what, said or f"for another reason: {samples[-1].reason}", seconds, right)


def _gathered(notices: Sequence[Notice]) -> Iterator[Finding]:
    """A line for each kind of change; of those that came again and again, the worst."""
    for what in dict.fromkeys(notice.what for notice in notices):
        same = [notice for notice in notices if notice.what == what]
        worst = max(same, key=lambda notice: (not notice.right, notice.seconds or 0.0))
        soon = "never" if worst.seconds is None else f"{worst.seconds:.1f} s"
        times, most = (f"{what}, {len(same)} times", f"{soon} at most") if len(same) > 1 else (what, soon)
        yield Finding(times, worst.said, most, all(notice.right for notice in same))


def _limit(world: World, event: Event) -> float:
    return LIMITS[event.what] + (world.patience if event.what == "offline" else 0.0)


def _tells(event: Event, sample: Sample) -> bool:
    if event.what == "portal":
        return sample.state != "optimal" and sample.metrics.get("captive_portal") is True
    if event.what == "nameless":
        return sample.state in ("degraded", "disconnected")
    if event.what in QUALITY:
        return sample.state == ("degraded" if event.what == "worse" else "optimal")
    return (sample.state == "disconnected") == (event.what == "offline")


def _words(world: World, event: Event, samples: Sequence[Sample]) -> str | None:
    """What was said, or `None` when it was never said with a right reason."""
    telling = [sample for sample in samples if _tells(event, sample)]
    if event.what in ("online", *QUALITY) or not world.words:
        return telling[0].state
    right = [sample for sample in telling if any(word in sample.reason for word in world.words)]
    return f"{right[0].state}: {right[0].reason}" if right else None


def _changes(world: World, account: Account) -> tuple[Finding, int]:
    """Changes of state, against the real ones and those that come of knowing more."""
    told = [sample.state for sample in account.samples if sample.state != "unknown"]
    changes = sum(one != other for one, other in pairwise(told))
    real = len(account.events)
    flaps = max(0, changes - real - world.learns)
    learned = f" and {world.learns} by learning" if world.learns else ""
    return Finding(f"{real} changes{learned}", f"{changes} changes of state", "", flaps == 0), flaps


def outcomes(account: Account) -> dict[str, Any]:
    """What became of the prompts."""
    return dict(account.samples[-1].outcomes) if account.samples else {}
