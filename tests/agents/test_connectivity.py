"""The agent that watches the way to the cloud, on real sockets of this machine."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from oblix.agents import AgentReport, ConnectivityAgent
from oblix.agents.connectivity import Quality
from oblix.errors import ConfigurationError
from oblix.types.attempt import Attempt
from oblix.types.traffic import Endpoint, Exchange, TcpInfo

from .probes.hosts import PORTAL, Host, host, refused, silent

LONG = 1800.0  # seconds between two looks: none but those that are asked for


class Around:
    """What a client would tell."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.endpoints = list(endpoints)
        self.changes = 0

    def cloud_endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(self.endpoints)

    def inference_processes(self) -> frozenset[int]:
        return frozenset()

    def has_local_server(self) -> bool:
        return False

    def runs_here(self, model_id: str) -> bool:
        return False

    def spent(self, period: str) -> None:
        return None

    def network_changed(self) -> None:
        self.changes += 1


@pytest.fixture
def api() -> Iterator[Host]:
    with host() as made:
        yield made


def at(port: int) -> Endpoint:
    return Endpoint("http", "127.0.0.1", port)


def agent_for(*endpoints: Endpoint, **settings: Any) -> ConnectivityAgent:
    agent = ConnectivityAgent(**{"latency_threshold": 2000.0, **settings})
    agent.attach(Around(*endpoints))
    return agent


def with_agent(agent: ConnectivityAgent, work: Callable[[ConnectivityAgent], Awaitable[None]]) -> None:
    async def main() -> None:
        await agent.initialize()
        await work(agent)
        await agent.shutdown()

    asyncio.run(main())


async def until(agent: ConnectivityAgent, true: Callable[[AgentReport], object]) -> AgentReport:
    """The first report of which it is true; the clock only guards against hanging."""
    async with asyncio.timeout(30):
        while not true(report := await agent.check()):
            await asyncio.sleep(0.01)
    return report


def says(ms: float, report: AgentReport) -> bool:
    return bool(report.metrics["latency_ms"] == pytest.approx(ms, abs=1))


def is_known(report: AgentReport) -> bool:
    return report.state != "unknown"


def is_cut(report: AgentReport) -> bool:
    return report.state == "disconnected"


# --- what it says ---


def test_a_host_that_answers_quickly_is_optimal(api: Host) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, is_known)
        assert (report.state, report.target, report.vote, report.lean) == ("optimal", "hybrid", None, None)
        assert report.reason.endswith("ms, 0 % loss")
        metrics = report.metrics
        assert (metrics["packet_loss_percent"], metrics["bandwidth_mbps"], metrics["loss_down_percent"]) == (
            0,
            None,
            None,
        )
        assert (metrics["loss_up_percent"], metrics["loss_up_interval"], metrics["segments_up"]) == (None, None, 0)
        assert 0 <= metrics["latency_ms"] < 2000
        assert metrics["measured_by"]["latency_ms"] == "probe"
        assert metrics["endpoints"][f"127.0.0.1:{api.port}"]["state"] == "up"
        assert agent.peek() is not None

    with_agent(agent_for(api.endpoint(), check_interval=LONG), work)


def test_a_host_that_refuses_speaks_for_the_edge_and_is_told_apart_from_a_cut_cable() -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, is_cut)
        assert (report.target, report.vote, report.proceed) == ("local", "edge", True)
        assert report.reason == (
            "no hooked cloud endpoint can be reached (connection refused): the network works, the provider does not"
        )
        assert report.metrics["latency_ms"] is None

    with_agent(agent_for(at(refused())), work)


def test_one_endpoint_that_answers_is_a_network_that_works(api: Host) -> None:
    other = refused()

    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, lambda report: "connection refused" in report.reason)
        assert (report.state, report.target) == ("optimal", "hybrid")
        assert report.reason.endswith("the network works, but not 127.0.0.1: connection refused")
        told = report.metrics["endpoints"]
        assert told[f"127.0.0.1:{other}"]["trouble"] == "connection refused"
        assert told[f"127.0.0.1:{api.port}"]["trouble"] is None

    with_agent(agent_for(api.endpoint(), at(other), check_interval=LONG), work)


def test_a_host_that_is_silent_is_found_out_by_a_burst() -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, is_cut)
        assert report.reason == (
            "no hooked cloud endpoint can be reached (no answer): the network seems down, or this provider does"
        )

    with silent() as port:
        with_agent(agent_for(at(port)), work)


def test_a_stranger_in_the_hosts_place_is_a_portal(api: Host) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        assert (await until(agent, is_known)).state == "optimal"
        api.says = PORTAL
        agent.notice(Attempt("openai:gpt", "cloud", "failed", kind="protocol"))
        report = await until(agent, is_cut)
        assert "captive portal" in report.reason
        assert report.metrics["captive_portal"] is True

    with_agent(agent_for(api.endpoint(), check_interval=LONG), work)


@pytest.mark.parametrize(
    ("settings", "state", "reason"),
    [
        ({"latency_threshold": 1e-9}, "degraded", "is above 1e-09 ms"),
        ({"latency_threshold": 2000.0}, "optimal", "0 % loss"),
        ({"latency_threshold": 2000.0, "bandwidth_threshold": 1e6}, "optimal", "0 % loss"),  # acts where measured only
    ],
)
def test_thresholds_act(api: Host, settings: dict[str, float], state: str, reason: str) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, is_known)
        assert report.state == state
        assert reason in report.reason

    with_agent(agent_for(api.endpoint(), **settings), work)


@pytest.mark.parametrize(("given", "told"), [(True, True), (False, False), (None, None)])
def test_metered_is_told_and_moves_nothing(api: Host, given: bool | None, told: bool | None) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, is_known)
        assert (report.state, report.lean, report.metrics["metered"]) == ("optimal", None, told)
        assert ("metered" in report.reason) is (told is True)

    with_agent(agent_for(api.endpoint(), metered=given), work)


def test_judging_a_quality_knows_no_past() -> None:
    agent = ConnectivityAgent()
    assert agent.judge(Quality(100.0, 0.0, 50.0)).reason == "100 ms, 0 % loss, 50 Mbit/s"
    report = agent.judge(Quality(300.0, 20.0, 1.0))
    assert (report.state, report.target, report.lean) == ("degraded", "hybrid", "edge")
    assert report.reason == (
        "latency 300 ms is above 200 ms, packet loss 20 % is above 10 %, bandwidth 1 Mbit/s is below 5 Mbit/s"
    )
    assert agent.judge(Quality(190.0)).state == "optimal"


# --- what it hears ---


def answer(endpoint: Endpoint, ms: float, number: int, *, lost: int = 0, **found: Any) -> Exchange:
    tcp = TcpInfo(rtt_ms=ms, min_rtt_ms=ms, segments=number, resent=lost, unanswered=0, silence=0.0)
    return Exchange(endpoint, time.monotonic(), "answer", connection=1, tcp=tcp, **found)


def test_real_traffic_is_believed_and_makes_looks_needless(api: Host) -> None:
    """With a look due every twentieth of a second, if it were not for the traffic."""

    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, is_known)
        agent.observe(answer(api.endpoint(), 100.0, 1))
        await asyncio.sleep(0.1)
        before = api.connections
        for number in range(2, 40):
            agent.observe(answer(api.endpoint(), 100.0, number))
            await asyncio.sleep(0.01)
        assert api.connections - before <= 2
        report = await until(agent, lambda report: report.metrics["segments_up"] == 39)
        assert report.metrics["latency_ms"] == pytest.approx(100.0, abs=1)
        assert report.metrics["measured_by"]["latency_ms"] == "traffic"
        assert report.metrics["loss_up_interval"][0] == 0.0

    with_agent(agent_for(api.endpoint(), check_interval=0.05), work)


def test_states_follow_the_traffic_with_hysteresis(api: Host) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        assert (await until(agent, is_known)).state == "optimal"
        number, told = 1, []
        for ms in (250.0, 190.0, 165.0, 120.0):
            for _ in range(12):
                number += 1
                agent.observe(answer(api.endpoint(), ms, 2 * number))
            told.append((await until(agent, partial(says, ms))).state)
        assert told == ["degraded", "degraded", "degraded", "optimal"]

    with_agent(agent_for(api.endpoint(), latency_threshold=200.0, check_interval=LONG), work)


def test_rates_and_losses_are_told_with_their_source(api: Host) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, is_known)
        agent.observe(answer(api.endpoint(), 20.0, 10))
        agent.observe(answer(api.endpoint(), 20.0, 910, lost=180, up_mbps=1.2, down_mbps=8.0))
        report = await until(agent, lambda report: report.state == "degraded")
        metrics = report.metrics
        assert (metrics["bandwidth_mbps"], metrics["bandwidth_up_mbps"], metrics["bandwidth_down_mbps"]) == (
            1.2,
            1.2,
            8.0,
        )
        assert metrics["loss_up_percent"] == pytest.approx(20, abs=1)
        assert "packet loss 20 % is above 10 %" in report.reason
        assert "bandwidth 1 Mbit/s is below 5 Mbit/s" in report.reason

    with_agent(agent_for(api.endpoint(), check_interval=LONG), work)


def test_an_attempt_that_failed_on_the_way_makes_it_look_at_once(api: Host) -> None:
    """With half an hour between two readings."""

    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, is_known)
        await asyncio.sleep(0.1)  # the start and the first check may have asked for a reading each
        api.close()
        for attempt in (
            Attempt("ollama:phi", "edge", "failed", kind="connect"),
            Attempt("openai:gpt", "cloud", "failed", kind="server_error"),
            Attempt("openai:gpt", "cloud", "ok"),
        ):
            agent.notice(attempt)
        await asyncio.sleep(0.05)
        assert (await agent.check()).state == "optimal"
        agent.notice(Attempt("openai:gpt", "cloud", "failed", kind="connect"))
        await until(agent, is_cut)

    with_agent(agent_for(api.endpoint(), check_interval=LONG), work)


def test_a_host_that_comes_back_is_believed_after_a_while(api: Host) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        agent.observe(Exchange(api.endpoint(), time.monotonic(), "connect", trouble="refused"))
        await until(agent, is_cut)
        assert (await until(agent, lambda report: not is_cut(report))).state == "optimal"

    with_agent(agent_for(api.endpoint(), check_interval=0.2), work)


# --- whom it asks ---


def test_without_a_cloud_model_nothing_is_measured() -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await agent.check()
        assert (report.state, report.target) == ("unknown", "hybrid")
        assert report.reason == "no cloud model with a key is hooked, so no way to one is measured"

    with_agent(agent_for(), work)
    with_agent(ConnectivityAgent(), work)


def test_only_hooked_endpoints_are_contacted_and_later_hooks_count(api: Host) -> None:
    around = Around(api.endpoint())
    agent = ConnectivityAgent(check_interval=LONG, latency_threshold=2000)
    agent.attach(around)

    with host() as other:

        async def work(agent: ConnectivityAgent) -> None:
            await until(agent, is_known)
            assert api.connections > 0
            assert other.connections == 0
            around.endpoints.append(other.endpoint())
            name = f"127.0.0.1:{other.port}"
            await until(agent, lambda report: report.metrics["endpoints"].get(name, {}).get("state") == "up")
            assert other.connections > 0

        with_agent(agent, work)


def test_nothing_is_touched_before_the_first_use(api: Host) -> None:
    agent = agent_for(api.endpoint())
    assert api.connections == 0
    agent.observe(answer(api.endpoint(), 20.0, 1))
    assert api.connections == 0


def test_a_reading_is_not_taken_for_each_prompt(api: Host) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, is_known)
        before = api.connections
        for _ in range(50):
            await agent.check()
        assert api.connections == before

    with_agent(agent_for(api.endpoint(), check_interval=LONG), work)


def test_a_host_that_hangs_stops_neither_the_others_nor_the_exit(api: Host) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, is_known)
        assert report.state == "optimal"

    with silent() as port:
        with_agent(agent_for(at(port), api.endpoint()), work)


def test_an_agent_that_is_dropped_leaves_no_sensor_behind(api: Host) -> None:
    agent = agent_for(api.endpoint(), check_interval=0.01, name="dropped")
    asyncio.run(agent.initialize())
    del agent
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "oblix-sensor-dropped":
            thread.join(10)
            assert not thread.is_alive()


def test_the_report_is_the_same_object_while_nothing_is_new(api: Host) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, is_known)
        await asyncio.sleep(0.1)
        first = agent.peek()
        assert first is not None
        assert agent.peek() is first or agent.peek() is agent.peek()

    with_agent(agent_for(api.endpoint(), check_interval=LONG), work)


def test_old_knowledge_is_marked_stale(api: Host) -> None:
    """The sensor hangs in a turn, and what it knows grows old."""
    hanging = threading.Event()

    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, is_known)
        agent._survey.sensor._read = hanging.wait  # type: ignore[assignment]  # gives something, in the end
        report = await until(agent, lambda report: report.stale)
        assert report.state == "optimal"
        hanging.set()

    with_agent(agent_for(api.endpoint(), check_interval=0.3), work)


# --- settings ---


@pytest.mark.parametrize(
    "setting", ["latency_threshold", "packet_loss_threshold", "bandwidth_threshold", "check_interval"]
)
@pytest.mark.parametrize("value", [0, -1, "200", True, None, float("nan")], ids=repr)
def test_settings_that_cannot_be_are_refused(setting: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting}={value!r} is no positive number"):
        ConnectivityAgent(**{setting: value})  # type: ignore[arg-type]  # wrong on purpose


def test_a_number_in_quotes_is_told_as_one() -> None:
    with pytest.raises(ConfigurationError, match="is no positive number, but a text") as failed:
        ConnectivityAgent(latency_threshold="300")  # type: ignore[arg-type]  # wrong on purpose
    assert failed.value.hint == "Write it without quotes: latency_threshold=300."
    with pytest.raises(ConfigurationError, match="but a text") as failed:
        ConnectivityAgent(latency_threshold="low")  # type: ignore[arg-type]  # wrong on purpose
    assert failed.value.hint == "Leave it out for the default."


def test_more_than_all_packets_cannot_be_lost() -> None:
    with pytest.raises(ConfigurationError, match=r"packet_loss_threshold=100\.5 can never be passed: it is in percent"):
        ConnectivityAgent(packet_loss_threshold=100.5)
    assert ConnectivityAgent(packet_loss_threshold=100).packet_loss_threshold == 100.0


def test_metered_is_true_false_or_left_to_the_system() -> None:
    with pytest.raises(ConfigurationError, match="metered='yes' is neither True, False nor None"):
        ConnectivityAgent(metered="yes")  # type: ignore[arg-type]  # wrong on purpose


def test_the_documented_defaults() -> None:
    agent = ConnectivityAgent()
    assert agent.name == "connectivity_monitor"
    assert (agent.latency_threshold, agent.packet_loss_threshold) == (200.0, 10.0)
    assert (agent.bandwidth_threshold, agent.check_interval) == (5.0, 30.0)
