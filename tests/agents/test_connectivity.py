"""The way to the cloud, measured on real sockets of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from oblix.agents import AgentReport, ConnectivityAgent
from oblix.agents.base import Endpoint
from oblix.agents.probes.link import Link, has_route, measure
from oblix.errors import ConfigurationError
from oblix.types.attempt import Attempt


class Around:
    """What a client would tell."""

    def __init__(self, *ports: int) -> None:
        self.ports = list(ports)

    def cloud_endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(Endpoint("http", "127.0.0.1", port) for port in self.ports)

    def inference_processes(self) -> frozenset[int]:
        return frozenset()

    def has_local_server(self) -> bool:
        return False


class Listener:
    """A host that takes connections, and counts them."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.count = 0

    def connections(self) -> int:
        """How many came, so far."""
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return self.count
            self.count += 1

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.fixture
def refused() -> int:
    """A port at which nobody listens."""
    made = Listener()
    made.close()
    return made.port


def agent_for(*ports: int, **settings: float) -> ConnectivityAgent:
    agent = ConnectivityAgent(**settings)  # type: ignore[arg-type]  # only the numbers are given
    agent.attach(Around(*ports))
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


def test_a_host_that_answers_quickly_is_optimal(listener: Listener) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, lambda report: report.state == "optimal")
        assert (report.target, report.vote, report.lean) == ("hybrid", None, None)
        assert report.reason.endswith("ms, 0 % loss")
        assert report.metrics["packet_loss_percent"] == 0.0
        assert report.metrics["bandwidth_mbps"] is None
        assert 0 <= report.metrics["latency_ms"] < 2000
        assert list(report.metrics["endpoints"]) == [f"127.0.0.1:{listener.port}"]
        assert agent.peek() is report

    with_agent(agent_for(listener.port, latency_threshold=2000), work)


def test_a_host_that_refuses_speaks_for_the_edge_and_is_told_apart_from_a_cut_cable(refused: int) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, lambda report: report.state == "disconnected")
        assert (report.target, report.vote, report.proceed) == ("local", "edge", True)
        assert report.reason == (
            "no hooked cloud endpoint can be reached (connection refused): the network works, the provider does not"
        )
        assert report.metrics["packet_loss_percent"] == 100.0
        assert report.metrics["latency_ms"] is None

    with_agent(agent_for(refused), work)


def test_a_name_that_nobody_knows_looks_like_a_cut_cable() -> None:
    (link,) = measure((Endpoint("https", "nowhere.invalid", 443),))
    assert (link.connect_ms, link.trouble, link.local) == (None, "nowhere.invalid cannot be looked up", True)
    assert measure((Endpoint("https", "bad host\0", 443),))[0].trouble == "bad host\0 cannot be looked up"


def test_one_endpoint_that_answers_is_a_network_that_works(listener: Listener, refused: int) -> None:
    """Half of the connections fail: the network is there, and poor."""

    async def work(agent: ConnectivityAgent) -> None:
        report = await until(agent, lambda report: report.state == "degraded")
        assert (report.target, report.vote, report.lean) == ("hybrid", None, "edge")
        assert report.reason == "packet loss 50 % is above 10 %"
        assert report.metrics["endpoints"][f"127.0.0.1:{refused}"] == "connection refused"

    with_agent(agent_for(listener.port, refused, latency_threshold=2000), work)


@pytest.mark.parametrize(
    ("settings", "state", "reason"),
    [
        ({"latency_threshold": 1e-9}, "degraded", "is above 1e-09 ms"),
        ({"latency_threshold": 2000.0}, "optimal", "0 % loss"),
        ({"latency_threshold": 2000.0, "bandwidth_threshold": 1e6}, "optimal", "0 % loss"),  # acts where measured only
    ],
)
def test_thresholds_act(listener: Listener, settings: dict[str, float], state: str, reason: str) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        assert reason in (await until(agent, lambda report: report.state == state)).reason

    with_agent(agent_for(listener.port, **settings), work)


def test_a_loss_threshold_of_its_own_acts(listener: Listener, refused: int) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, lambda report: report.state == "optimal")

    with_agent(agent_for(listener.port, refused, latency_threshold=2000, packet_loss_threshold=60.0), work)


def test_a_host_that_goes_away_is_noticed_at_the_next_reading(listener: Listener) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, lambda report: report.state in ("optimal", "degraded"))
        listener.close()
        await until(agent, lambda report: report.state == "disconnected")

    with_agent(agent_for(listener.port, check_interval=0.02), work)


def test_an_attempt_that_failed_on_the_way_makes_it_look_at_once(listener: Listener) -> None:
    """With half an hour between two readings."""

    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, lambda report: report.state in ("optimal", "degraded"))
        await asyncio.sleep(0.1)  # the start and the first check may have asked for a reading each
        listener.close()
        for attempt in (
            Attempt("ollama:phi", "edge", "failed", kind="connect"),
            Attempt("openai:gpt", "cloud", "failed", kind="server_error"),
            Attempt("openai:gpt", "cloud", "ok"),
        ):
            agent.notice(attempt)
        await asyncio.sleep(0.05)
        assert (await agent.check()).state != "disconnected"
        agent.notice(Attempt("openai:gpt", "cloud", "failed", kind="connect"))
        await until(agent, lambda report: report.state == "disconnected")

    with_agent(agent_for(listener.port, check_interval=1800), work)


def test_without_a_cloud_model_nothing_is_measured() -> None:
    async def work(agent: ConnectivityAgent) -> None:
        report = await agent.check()
        assert (report.state, report.target) == ("unknown", "hybrid")
        assert report.reason == "no cloud endpoint is hooked, so none is measured"
        assert agent._sensor.latest is None

    with_agent(agent_for(), work)
    with_agent(ConnectivityAgent(), work)


def test_only_hooked_endpoints_are_contacted_and_later_hooks_count(listener: Listener) -> None:
    other = Listener()
    around = Around(listener.port)
    agent = ConnectivityAgent(check_interval=1800)
    agent.attach(around)

    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, lambda report: report.state in ("optimal", "degraded"))
        assert listener.connections() > 0
        assert other.connections() == 0
        around.ports.append(other.port)
        report = await until(agent, lambda report: len(report.metrics["endpoints"]) == 2)
        assert report.state in ("optimal", "degraded")
        assert other.connections() > 0

    with_agent(agent, work)
    other.close()


def test_a_reading_is_not_taken_for_each_prompt(listener: Listener) -> None:
    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, lambda report: report.state in ("optimal", "degraded"))
        before = listener.connections()
        for _ in range(50):
            await agent.check()
        assert listener.connections() == before

    with_agent(agent_for(listener.port, check_interval=1800), work)


def test_where_a_proxy_leads_the_way_the_proxy_is_measured(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.port}")
    monkeypatch.setenv("no_proxy", "direct.invalid")
    through, direct = measure((Endpoint("https", "api.invalid", 443), Endpoint("https", "direct.invalid", 443)))
    assert through.trouble is None
    assert through.address == ("127.0.0.1", listener.port)
    assert direct.trouble == "direct.invalid cannot be looked up"
    assert listener.connections() == 1


def test_silence_is_told_after_its_time() -> None:
    """A listener with a full backlog drops what comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        (link,) = measure((Endpoint("http", "127.0.0.1", port),), timeout=0.05)
        for one in crowd:
            one.close()
    assert (link.connect_ms, link.trouble, link.local) == (None, "no answer within 0 s", True)


def test_all_endpoints_are_measured_at_once_and_in_their_order(listener: Listener, refused: int) -> None:
    endpoints = tuple(Endpoint("http", "127.0.0.1", port) for port in (refused, listener.port, refused - 1))
    links = measure(endpoints)
    assert [link.endpoint for link in links] == list(endpoints)
    assert [link.trouble is None for link in links][:2] == [False, True]
    assert measure(()) == ()


def test_this_machine_has_a_route_to_itself() -> None:
    assert has_route(("127.0.0.1", 9))


@pytest.mark.parametrize(
    "setting", ["latency_threshold", "packet_loss_threshold", "bandwidth_threshold", "check_interval"]
)
@pytest.mark.parametrize("value", [0, -1, "200", True, None, float("nan")], ids=repr)
def test_settings_that_cannot_be_are_refused(setting: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting}={value!r} is no positive number"):
        ConnectivityAgent(**{setting: value})  # type: ignore[arg-type]  # wrong on purpose


def test_the_documented_defaults() -> None:
    agent = ConnectivityAgent()
    assert agent.name == "connectivity_monitor"
    assert (agent.latency_threshold, agent.packet_loss_threshold) == (200.0, 10.0)
    assert (agent.bandwidth_threshold, agent.check_interval) == (5.0, 30.0)


def test_a_route_that_comes_back_after_a_long_pause_has_figures(listener: Listener) -> None:
    """With more than five minutes between two readings, the last one is the only one there is."""

    async def work(agent: ConnectivityAgent) -> None:
        await until(agent, lambda report: report.state in ("optimal", "degraded"))
        at, links = agent._history[0]
        agent._history[0] = (at - 1000.0, links)
        metrics = agent.metrics()
        assert metrics["latency_ms"] is not None
        assert metrics["packet_loss_percent"] == 0.0

    with_agent(agent_for(listener.port, check_interval=1800), work)


def test_links_are_values() -> None:
    assert Link(Endpoint("http", "a", 1)) == Link(Endpoint("http", "a", 1))
