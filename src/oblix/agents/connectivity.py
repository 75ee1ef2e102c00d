"""The agent that watches the way to the cloud: TCP connect times to the hooked endpoints, and to nobody else."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from oblix.agents.base import BaseAgent, Surroundings
from oblix.agents.probes.link import Link, has_route, measure
from oblix.agents.sensor import Sensor
from oblix.errors import ConfigurationError
from oblix.types.attempt import Attempt
from oblix.types.report import AgentReport
from oblix.types.traffic import Endpoint

WAIT = 0.08  # seconds that a prompt waits for a first or an overdue reading; below the agents' deadline of 0.1
ROUTE_EVERY = 0.2  # seconds between two looks at the routing table; one look costs some 15 µs for each endpoint
HISTORY = 20  # readings that latency and loss are taken from, while they are younger than HISTORY_SECONDS
HISTORY_SECONDS = 300.0


class Quality(NamedTuple):
    """How good the way to the cloud is; `None` for what was not measured."""

    latency_ms: float | None = None
    packet_loss_percent: float | None = None
    bandwidth_mbps: float | None = None


class ConnectivityAgent(BaseAgent):
    """Reports `optimal`, `degraded`, `disconnected`, or `unknown` when no cloud model is hooked.

    Args:
        latency_threshold: Milliseconds for a TCP connection to the nearest endpoint; above it the network is degraded.
        packet_loss_threshold: Percent of failed connections.
        bandwidth_threshold: Mbit/s; acts where the bandwidth has been measured.
        check_interval: Seconds between two readings.
    """

    def __init__(
        self,
        name: str = "connectivity_monitor",
        latency_threshold: float = 200.0,
        packet_loss_threshold: float = 10.0,
        bandwidth_threshold: float = 5.0,
        check_interval: float = 30,
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
                raise ConfigurationError(
                    f"{key}={value!r} is no positive number.", hint="Leave it out for the default."
                )
        self.latency_threshold = float(latency_threshold)
        self.packet_loss_threshold = float(packet_loss_threshold)
        self.bandwidth_threshold = float(bandwidth_threshold)
        self.check_interval = float(check_interval)
        self._surroundings: Surroundings | None = None
        self._history: deque[tuple[float, tuple[Link, ...]]] = deque(maxlen=HISTORY)
        self._sensor: Sensor[tuple[Link, ...]] = Sensor(name, _Measure(self), self.check_interval)
        self._route_at = float("-inf")
        self._route = True
        self._made: tuple[float, tuple[Endpoint, ...], AgentReport] | None = None
        weakref.finalize(self, self._sensor.stop)

    def attach(self, surroundings: Surroundings) -> None:
        """Learn which endpoints are hooked."""
        self._surroundings = surroundings

    async def initialize(self) -> bool:
        """Start the sensor."""
        if self._endpoints():
            self._sensor.start()
        return await super().initialize()

    async def check(self, **kwargs: Any) -> AgentReport:
        """The state of the network; waits at most 80 ms, and only when the last reading is overdue."""
        report = self.peek()
        if report is not None:
            return report
        came = await self._sensor.refresh(WAIT)
        return self._report(stale=not came)

    def peek(self) -> AgentReport | None:
        """The report, if the last reading is no older than `check_interval` and the routes still stand."""
        endpoints = self._endpoints()
        if not endpoints:
            return AgentReport(state="unknown", reason="no cloud endpoint is hooked, so none is measured")
        latest = self._sensor.latest
        if latest is None or time.monotonic() - latest.at > 1.1 * self.check_interval + WAIT:
            return None
        if {link.endpoint for link in latest.value} != set(endpoints):
            return None  # hooked since
        if self._routes_changed(latest.value):
            self._sensor.poke()
            return self._report()
        if self._made is None or self._made[0] != latest.at or not self._route:
            return self._report()
        return self._made[2]

    def notice(self, attempt: Attempt) -> None:
        """A cloud attempt that failed on the way is a reason to look again now."""
        if attempt.place == "cloud" and attempt.kind in ("local_network", "dns", "connect", "timeout_connect"):
            self._sensor.poke()

    async def shutdown(self) -> None:
        """Stop the sensor."""
        self._sensor.stop()
        await super().shutdown()

    def metrics(self) -> dict[str, Any]:
        """Figures of the last readings: milliseconds, percent, Mbit/s, seconds; `None` for what was not measured."""
        now, latest = time.monotonic(), self._sensor.latest
        recent = [links for at, links in tuple(self._history) if now - at <= HISTORY_SECONDS]
        if not recent and latest is not None:
            recent = [latest.value]  # readings are further apart than the history reaches
        best = [
            min(times)
            for links in recent
            if (times := [link.connect_ms for link in links if link.connect_ms is not None])
        ]
        total = sum(len(links) for links in recent)
        failed = sum(link.trouble is not None for links in recent for link in links)
        return {
            "latency_ms": round(sorted(best[-5:])[len(best[-5:]) // 2], 2) if best else None,
            "packet_loss_percent": round(100 * failed / total, 1) if total else None,
            "bandwidth_mbps": None,
            "age_seconds": round(now - latest.at, 1) if latest else None,
            "endpoints": {
                f"{link.endpoint.host}:{link.endpoint.port}": link.trouble or round(link.connect_ms or 0.0, 2)
                for link in (latest.value if latest else ())
            },
        }

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return self._surroundings.cloud_endpoints() if self._surroundings else ()

    def _measure(self) -> tuple[Link, ...]:
        links = measure(self._endpoints())
        self._history.append((time.monotonic(), links))
        self._route_at = float("-inf")
        return links

    def _routes_changed(self, links: tuple[Link, ...]) -> bool:
        """Whether routes went or came since the last look. This is how a pulled plug is noticed between two readings."""
        now = time.monotonic()
        if now - self._route_at < ROUTE_EVERY:
            return False
        self._route_at = now
        addresses = [link.address for link in links if link.address is not None]
        before, self._route = self._route, not addresses or any(has_route(address) for address in addresses)
        return before != self._route

    def _report(self, *, stale: bool = False) -> AgentReport:
        latest, metrics = self._sensor.latest, self.metrics()
        if latest is None:
            return AgentReport(state="unknown", reason="not measured yet", metrics=metrics, stale=True)
        working = [link for link in latest.value if link.trouble is None]
        if not self._route or not working:
            report = AgentReport(
                state="disconnected", target="local", reason=self._why_cut(latest.value), metrics=metrics, stale=stale
            )
        else:
            report = self.judge(Quality(*(metrics[name] for name in Quality._fields)), metrics=metrics, stale=stale)
        self._made = (latest.at, self._endpoints(), report)
        return report

    def _why_cut(self, links: tuple[Link, ...]) -> str:
        if not self._route:
            return "no network route to any hooked cloud endpoint"
        told = {link.trouble for link in links}
        whose = (
            "the network seems down"
            if any(link.local for link in links)
            else "the network works, the provider does not"
        )
        return f"no hooked cloud endpoint can be reached ({', '.join(sorted(filter(None, told)))}): {whose}"

    def judge(self, quality: Quality, *, metrics: Mapping[str, Any] | None = None, stale: bool = False) -> AgentReport:
        """What a network of that quality means, by the thresholds."""
        limits = (
            ("latency", quality.latency_ms, "ms", "above", self.latency_threshold),
            ("packet loss", quality.packet_loss_percent, "%", "above", self.packet_loss_threshold),
            ("bandwidth", quality.bandwidth_mbps, "Mbit/s", "below", self.bandwidth_threshold),
        )
        poor = [
            f"{name} {value:.0f} {unit} is {side} {limit:g} {unit}"
            for name, value, unit, side, limit in limits
            if value is not None and (value > limit if side == "above" else value < limit)
        ]
        found = quality._asdict() if metrics is None else metrics
        if poor:
            return AgentReport(
                state="degraded", target="hybrid", lean="edge", reason=", ".join(poor), metrics=found, stale=stale
            )
        return AgentReport(state="optimal", target="hybrid", reason=_words(quality), metrics=found, stale=stale)


def _words(quality: Quality) -> str:
    told = (
        None if quality.latency_ms is None else f"{quality.latency_ms:.0f} ms",
        None if quality.packet_loss_percent is None else f"{quality.packet_loss_percent:.0f} % loss",
        None if quality.bandwidth_mbps is None else f"{quality.bandwidth_mbps:.0f} Mbit/s",
    )
    return ", ".join(filter(None, told))


class _Measure:
    """Calls back without keeping the agent alive: a client that is dropped must not leave a sensor behind."""

    def __init__(self, agent: ConnectivityAgent) -> None:
        self._agent = weakref.ref(agent)

    def __call__(self) -> tuple[Link, ...]:
        agent = self._agent()
        return agent._measure() if agent is not None else ()
