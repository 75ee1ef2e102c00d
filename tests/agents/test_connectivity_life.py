"""What the agent lives through: a pulled cable, a sleeping machine, a fork, and a loop that is blocked."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from oblix.agents import ConnectivityAgent, survey
from oblix.testing import netns
from oblix.types.attempt import Attempt
from oblix.types.traffic import Endpoint, Exchange

from .probes.hosts import Host, host
from .test_connectivity import Around, is_known, until

PROGRAM = """
import asyncio, sys, threading
from oblix.agents import ConnectivityAgent
from oblix.types.traffic import Endpoint

class Around:
    changes = 0
    def cloud_endpoints(self):
        return (Endpoint("http", sys.argv[1], int(sys.argv[2])),)
    def network_changed(self):
        self.changes += 1

async def main():
    around, agent = Around(), ConnectivityAgent(check_interval=1800, latency_threshold=2000)
    agent.attach(around)
    await agent.initialize()
    for line in sys.stdin:
        wanted = line.strip()
        while (report := await agent.check()).state != wanted:
            await asyncio.sleep(0.01)
        print(around.changes, report.reason, flush=True)

asyncio.run(main())
"""
SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
import socketserver, threading
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 404 Not Found\\r\\nContent-Length: 0\\r\\n\\r\\n")
server = socketserver.ThreadingTCPServer(("0.0.0.0", 0), Answer)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.mark.netns
def test_a_pulled_cable_is_told_by_the_kernel_and_one_change_is_one(require: Callable[[object, str], None]) -> None:
    """With half an hour between two looks, and no traffic: netlink alone can tell. Back needs two contacts."""
    reason = netns.available()
    require(reason is None, reason or "")
    with netns.NetworkPair() as pair:
        server = subprocess.Popen([*pair.in_away, sys.executable, "-c", SERVER, "."], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        child = subprocess.Popen(
            [*pair.in_home, sys.executable, "-c", PROGRAM, pair.away_address, port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            with child:

                def wait_for(state: str) -> str:
                    assert child.stdin is not None
                    assert child.stdout is not None
                    child.stdin.write(f"{state}\n")
                    child.stdin.flush()
                    return child.stdout.readline().strip()

                assert wait_for("optimal").startswith("0 ")
                pair.pull_link()
                assert wait_for("disconnected") == "1 the link cable0 is down"
                pair.plug_link()
                assert wait_for("optimal").startswith("2 ")
                child.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        finally:
            server.kill()
            with server:
                pass


def agent_for(api: Host) -> tuple[ConnectivityAgent, Around]:
    around = Around(api.endpoint())
    agent = ConnectivityAgent(check_interval=1800, latency_threshold=2000)
    agent.attach(around)
    return agent, around


def test_a_machine_that_slept_knows_nothing_of_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that everything is timed by sleeps with it."""
    slept = 0.0
    real = survey._asleep()
    monkeypatch.setattr(survey, "_asleep", lambda: real + slept)

    async def main(api: Host) -> None:
        nonlocal slept
        agent, around = agent_for(api)
        await agent.initialize()
        await until(agent, is_known)
        await asyncio.sleep(0.1)
        before = api.connections
        assert agent.peek() is not None
        slept = 3600.0
        assert agent.peek() is None
        assert around.changes == 1
        assert not (await until(agent, lambda report: not report.stale)).stale
        assert api.connections > before
        assert agent.peek() is not None
        await agent.shutdown()

    with host() as api:
        asyncio.run(main(api))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_a_fork_the_child_looks_for_itself() -> None:
    async def see(agent: ConnectivityAgent) -> str:
        await agent.initialize()
        return (await until(agent, is_known)).state

    with host() as api:
        agent, _ = agent_for(api)
        assert asyncio.run(see(agent)) == "optimal"
        agent._survey._lock.acquire()  # as a thread would hold it at that moment
        agent._survey._looking.add(api.endpoint())
        child = os.fork()
        if child == 0:
            try:
                agent._survey.look_now()
                seen = asyncio.run(see(agent))
                os._exit(0 if seen == "optimal" and not agent._survey._lock.locked() else 1)
            finally:
                os._exit(2)  # it must not go on as a second test run
        assert os.waitpid(child, 0)[1] == 0
        agent._survey._lock.release()
        asyncio.run(agent.shutdown())


def test_a_loop_that_is_blocked_does_not_stop_the_looks() -> None:
    """The seed's `input()` blocks the loop: what the thread saw meanwhile is in the very next report."""

    async def main(api: Host) -> None:
        agent, around = agent_for(api)
        await agent.initialize()
        await until(agent, is_known)
        api.close()
        agent._survey.look_now()
        end = time.monotonic() + 30
        while agent._survey.picture.way(around.endpoints[0]).reach.state != "down" and time.monotonic() < end:
            time.sleep(0.01)  # on the loop, as `input()` is
        report = agent.peek()
        assert report is not None
        assert report.state == "disconnected"
        await agent.shutdown()

    with host() as api:
        asyncio.run(main(api))


def test_what_is_told_after_the_end_starts_nothing_again() -> None:
    """The client closes its agents first, and then what is in flight."""

    async def main(api: Host) -> None:
        agent, _ = agent_for(api)
        await agent.initialize()
        await until(agent, is_known)
        await agent.shutdown()
        agent.observe(Exchange(api.endpoint(), time.monotonic(), "connect", trouble="silence"))
        agent.notice(Attempt("openai:gpt", "cloud", "failed", kind="connect"))
        for thread in threading.enumerate():
            if thread.name in ("oblix-sensor-connectivity_monitor", "oblix-netlink"):
                thread.join(10)
                assert not thread.is_alive()

    with host() as api:
        asyncio.run(main(api))


def test_failures_in_a_row_are_no_reason_for_a_row_of_looks() -> None:
    async def main(api: Host) -> None:
        agent, _ = agent_for(api)
        await agent.initialize()
        await until(agent, is_known)
        for _ in range(60):
            agent.notice(Attempt("openai:gpt", "cloud", "failed", kind="protocol"))
            await asyncio.sleep(0.01)
        assert api.connections <= 3
        await agent.shutdown()

    with host() as api:
        asyncio.run(main(api))


def test_a_look_at_an_endpoint_that_is_unhooked_meanwhile_does_no_harm() -> None:
    async def main(api: Host) -> None:
        agent, around = agent_for(api)
        await agent.initialize()
        await until(agent, is_known)
        around.endpoints[:] = [Endpoint("http", "127.0.0.1", 9)]
        report = await until(agent, lambda report: report.state == "disconnected")
        assert list(report.metrics["endpoints"]) == ["127.0.0.1:9"]
        around.endpoints.clear()
        assert (await agent.check()).state == "unknown"
        await agent.shutdown()

    with host() as api:
        asyncio.run(main(api))
