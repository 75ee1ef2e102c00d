"""The agent that watches the way to the cloud: by what real traffic tells, and by a look at the hooked endpoints where there is none."""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from collections.abc import Mapping
from typing import Any

from oblix.agents.base import BaseAgent, Surroundings
from oblix.agents.network.picture import Figures
from oblix.agents.network.verdict import (
    Limits,
    Quality,
    exceeded,
    exceeded_surely,
    in_words,
    quality,
    who_is_missing,
    why_cut,
    words_of,
)
from oblix.agents.network.way import Way
from oblix.agents.survey import Survey
from oblix.agents.thresholds import in_quotes
from oblix.errors import ConfigurationError
from oblix.types.attempt import Attempt
from oblix.types.report import AgentReport
from oblix.types.traffic import Endpoint, Exchange

__all__ = ["ConnectivityAgent", "Quality"]

SETTLING = 0.002  # seconds between two looks whether the sensor's thread has seen a change of the network
WAIT = 0.08  # seconds that a prompt waits for a first or an overdue reading; below the agents' deadline of 0.1
ROUTE_EVERY = 0.2  # seconds between two looks at the routing table, where the system does not tell of changes
BUILD_EVERY = 0.25  # seconds after which traffic that goes well is taken in: 60 µs; what goes wrong is taken in at once
_AGES_AFTER = 2.0  # seconds after which a report is put together anew for its ages
_POOR_FOR = 3600.0  # seconds for which a poor figure counts that is not measured again
_ON_THE_WAY = frozenset(
    {"local_network", "dns", "connect", "timeout_connect", "tls", "protocol"}
)  # failures worth a look


class ConnectivityAgent(BaseAgent):
    """Reports `optimal`, `degraded`, `disconnected`, or `unknown` when no cloud model is hooked or nothing was seen yet.

    Only hooked endpoints are ever contacted, and only while real traffic does not tell enough of them.

    Args:
        latency_threshold: Milliseconds for a round trip to the nearest endpoint; above it the network is degraded.
        packet_loss_threshold: Percent of packets lost, in the worst direction that is known.
        bandwidth_threshold: Mbit/s, in the slower direction that is known; acts where it was measured.
        check_interval: Seconds without traffic after which an endpoint is looked at.
        metered: Whether the connection costs by volume, where you know better than the system.
        rng: Of the jitter between looks.
    """

    def __init__(
        self,
        name: str = "connectivity_monitor",
        latency_threshold: float = 200.0,
        packet_loss_threshold: float = 10.0,
        bandwidth_threshold: float = 5.0,
        check_interval: float = 30,
        *,
        metered: bool | None = None,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(name)
        given = {
            "latency_threshold": latency_threshold,
            "packet_loss_threshold": packet_loss_threshold,
            "bandwidth_threshold": bandwidth_threshold,
            "check_interval": check_interval,
        }
        for key, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                but, instead = in_quotes(key, value)
                hint = instead or "Leave it out for the default."
                raise ConfigurationError(f"{key}={value!r} is no positive number{but}.", hint=hint)
        if packet_loss_threshold > 100:
            told = f"packet_loss_threshold={packet_loss_threshold!r} can never be passed: it is in percent."
            raise ConfigurationError(told, hint="Give percent, above 0 and up to 100.")
        if metered is not None and not isinstance(metered, bool):
            raise ConfigurationError(f"metered={metered!r} is neither True, False nor None.", hint="Leave it out.")
        self.latency_threshold = float(latency_threshold)
        self.packet_loss_threshold = float(packet_loss_threshold)
        self.bandwidth_threshold = float(bandwidth_threshold)
        self.check_interval = float(check_interval)
        self.metered = metered
        self._survey = Survey(name, self.check_interval, rng)
        self._made: AgentReport | None = None
        self._made_at = float("-inf")
        self._made_for: tuple[Endpoint, ...] = ()
        self._good_until = float("-inf")  # when the knowledge that the report stands on is overdue
        self._route_at = float("-inf")
        self._poor: frozenset[str] = frozenset()
        self._known_at: dict[str, float] = {}
        self._networks = 1
        weakref.finalize(self, self._survey.sensor.stop)
        weakref.finalize(self, self._survey.watch.stop)

    def attach(self, surroundings: Surroundings) -> None:
        """Learn which endpoints are hooked. An agent belongs to one client: the last one that it was hooked to."""
        self._survey.surroundings = surroundings

    async def initialize(self) -> bool:
        """Start to look."""
        self._survey.start()
        return await super().initialize()

    async def shutdown(self) -> None:
        """Stop looking."""
        self._survey.stop()
        await super().shutdown()

    async def check(self, **kwargs: Any) -> AgentReport:
        """The state of the network; waits at most 80 ms, and only when nothing recent is known, or the network changed a moment ago."""
        patience = time.monotonic() + WAIT
        while self._survey.is_unsettled() and time.monotonic() < patience:  # noqa: ASYNC110  a thread settles it
            await asyncio.sleep(SETTLING)
        report = self.peek()
        if report is not None:
            return report
        if (left := patience - time.monotonic()) > 0:
            await self._survey.sensor.refresh(left)
        return self._report()

    def peek(self) -> AgentReport | None:
        """The report, if what is known is no older than `check_interval`, and the network is the one that it was."""
        survey, now = self._survey, time.monotonic()
        endpoints = survey.endpoints()
        if not endpoints:
            told = "no cloud model with a key is hooked, so no way to one is measured"
            return AgentReport(state="unknown", reason=told)
        if not survey.watch.is_running and now - self._route_at > ROUTE_EVERY:
            self._route_at = now
            survey.network_may_have_changed()
        survey.see_sleep(now)
        age = now - self._made_at
        if (
            survey.has_news
            or age > _AGES_AFTER
            or (age > BUILD_EVERY and survey.is_behind())
            or endpoints != self._made_for
        ):
            self._report()
        if survey.is_unsettled() or now > self._good_until or survey.woke_at > self._made_at:
            return None
        return self._made

    def notice(self, attempt: Attempt) -> None:
        """A cloud attempt that failed on the way is a reason to look again now."""
        if attempt.place == "cloud" and attempt.kind in _ON_THE_WAY:
            self._survey.look_now()

    def observe(self, exchange: Exchange) -> None:
        """What real traffic tells."""
        self._survey.tell(exchange)

    def metrics(self) -> dict[str, Any]:
        """Figures: milliseconds, percent, Mbit/s, seconds; `None` for what was not measured."""
        return dict(self._report().metrics)

    def judge(self, quality: Quality, *, metrics: Mapping[str, Any] | None = None, stale: bool = False) -> AgentReport:
        """What a network of that quality means, by the thresholds."""
        return self._judged(
            quality, exceeded(quality, self._limits), quality._asdict() if metrics is None else metrics, stale
        )

    @property
    def _limits(self) -> Limits:
        return Limits(self.latency_threshold, self.packet_loss_threshold, self.bandwidth_threshold)

    def _judged(
        self, found: Quality, poor: frozenset[str], metrics: Mapping[str, Any], stale: bool, also: str = ""
    ) -> AgentReport:
        reason = "; ".join(filter(None, (in_words(found, self._limits, poor), also)))
        if poor:
            return AgentReport(
                state="degraded", target="hybrid", lean="edge", reason=reason, metrics=metrics, stale=stale
            )
        return AgentReport(state="optimal", target="hybrid", reason=reason, metrics=metrics, stale=stale)

    def _report(self) -> AgentReport:
        """Put a report together, if the picture is to be had; else the one of before will do for a moment."""
        survey, now = self._survey, time.monotonic()
        with survey.open_picture(wait=False) as picture:
            if picture is None:
                return self._made or AgentReport(state="unknown", reason="not measured yet", stale=True)
            survey.has_news = False
            endpoints = survey.endpoints()
            ways = picture.ways(endpoints)
            told_at = max((way.told_at for way in ways), default=float("-inf"))
            overdue = told_at + 1.1 * self.check_interval + WAIT if told_at >= survey.woke_at else survey.woke_at
            report = self._conclude(ways, picture.figures(endpoints, now), now, stale=now > overdue)
        self._made, self._made_at, self._made_for = report, now, endpoints
        self._good_until = overdue if all(way.told_at > float("-inf") for way in ways) else float("-inf")
        return report

    def _conclude(self, ways: tuple[Way, ...], figures: Figures, now: float, *, stale: bool) -> AgentReport:
        metrics = self._metrics(ways, figures, now)
        states = {way.reach.state for way in ways}
        if "up" in states:
            self._poor = exceeded_surely(figures, self._limits, self._still_poor(figures, now))
            also = ", ".join(filter(None, (who_is_missing(ways), "metered" if metrics["metered"] else "")))
            return self._judged(quality(figures), self._poor, metrics, stale, also)
        if states == {"down"}:
            reason = why_cut(ways)
            if self._survey.standpoint.is_unplugged:
                reason = f"the link {self._survey.standpoint.device} is down"
            return AgentReport(state="disconnected", target="local", reason=reason, metrics=metrics, stale=stale)
        told = ", ".join(sorted({words for way in ways if (words := words_of(way.trouble))}))
        reason = f"not known yet: {told}" if told else "not measured yet"
        return AgentReport(state="unknown", reason=reason, metrics=metrics, stale=True)

    def _still_poor(self, figures: Figures, now: float) -> frozenset[str]:
        """Which limits were exceeded before: by this network, and within the last hour."""
        if self._networks != (networks := self._survey.picture.networks):
            self._networks, self._poor = networks, frozenset()
        known = {name for name, value in zip(Quality._fields, quality(figures), strict=True) if value is not None}
        self._known_at |= dict.fromkeys(known, now)
        return frozenset(name for name in self._poor if now - self._known_at.get(name, now) <= _POOR_FOR)

    def _metrics(self, ways: tuple[Way, ...], figures: Figures, now: float) -> dict[str, Any]:
        latency, loss, handshakes, up, down = figures
        found, here = quality(figures), self._survey.standpoint
        measured = {
            "latency_ms": latency and latency.by,
            "packet_loss_percent": "traffic" if loss else handshakes and handshakes.by,
            "bandwidth_up_mbps": up and up.by,
            "bandwidth_down_mbps": down and down.by,
        }
        told_at = max((way.told_at for way in ways), default=float("-inf"))
        return {
            "latency_ms": _rounded(found.latency_ms, 2),
            "packet_loss_percent": _rounded(found.packet_loss_percent, 1),
            "loss_up_percent": None if loss is None else round(loss.percent, 1),
            "loss_up_interval": None if loss is None else [round(loss.low, 1), round(loss.high, 1)],
            "loss_down_percent": None,  # a receiver does not see what did not come
            "loss_down_interval": None,
            "segments_up": 0 if loss is None else loss.segments,
            "bandwidth_mbps": _rounded(found.bandwidth_mbps, 2),
            "bandwidth_up_mbps": _rounded(up and up.value, 2),
            "bandwidth_down_mbps": _rounded(down and down.value, 2),
            "age_seconds": round(now - told_at, 1) if told_at > float("-inf") else None,
            "ages": {
                name: None if figure is None else round(now - figure.at, 1)
                for name, figure in zip(measured, (latency, loss or handshakes, up, down), strict=True)
            },
            "measured_by": measured,
            "captive_portal": self._sees_portal(ways),
            "metered": here.is_metered if self.metered is None else self.metered,
            "connection_type": here.kind,
            "endpoints": {f"{way.endpoint.host}:{way.endpoint.port}": _endpoint(way, now) for way in ways},
        }

    def _sees_portal(self, ways: tuple[Way, ...]) -> bool | None:
        """`None` while nobody was seen whose certificate or manner could be wrong."""
        if any(way.reach.trouble == "portal" for way in ways):
            return True
        return False if any(way.reach.state == "up" and way.was_verified for way in ways) else None


def _endpoint(way: Way, now: float) -> dict[str, Any]:
    latency = way.latency.estimate(now)
    return {
        "state": way.reach.state,
        "latency_ms": _rounded(latency and latency.value, 2),
        "lookup_ms": _rounded(way.lookup_ms, 2),
        "tls_ms": _rounded(way.tls_ms, 2),
        "first_byte_ms": _rounded(way.first_byte_ms, 2),
        "trouble": words_of(way.reach.trouble or way.trouble),
        "age_seconds": round(now - way.told_at, 1) if way.told_at > float("-inf") else None,
        "proxied": way.is_proxied,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
