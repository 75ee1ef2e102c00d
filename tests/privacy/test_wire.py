"""The same promise, seen from the wire: in a network of its own, a private prompt makes no packet that leaves the machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from oblix.testing import netns
from oblix.testing.netns import NetworkPair

pytestmark = pytest.mark.netns

# Asks once for each quick kind of fault at home, with one cloud that is known by its name and one by its address.
ASK = """
import asyncio, sys
from oblix import OblixClient, OblixError
from oblix.testing.faults import KINDS, Fault, FaultServer, impossible
from oblix.types.spec import Timeouts

KEY, SOON = "sk-canary-0123456789abcdef", Timeouts(connect=0.2, first_token=0.4, idle=0.4)

async def main(is_private, away):
    quick = [kind for kind in KINDS.values() if kind.family in ("status", "connection") and not (kind.in_time or kind.of_upstream)]
    faults = [Fault(kind.name, "before_headers") for kind in quick if not impossible(kind.name, "before_headers", "ollama")]
    async with FaultServer() as server, OblixClient(store=":memory:") as client:
        edge = server.upstream("edge", wire="ollama")
        await client.hook_model("ollama", "played", edge.url, timeouts=SOON)
        await client.hook_model("openai", "named", "http://cloud.example.test:9/v1", KEY, timeouts=SOON)
        await client.hook_model("claude", "near", f"http://{away}:9", KEY, timeouts=SOON)
        for number, fault in enumerate(faults[:None if is_private else 2]):
            edge.play(f"REQ-{number:06d}", fault)
            try:
                await client.execute(f"Tell me of REQ-{number:06d}.", private=is_private, deadline=1.0)
            except OblixError as error:
                pass
    print(len(faults))

asyncio.run(main(sys.argv[1] == "private", sys.argv[2]))
"""
# Counts the IPv4 packets that arrive over the cable, and says how many whenever it is asked.
SNIFF = """
import socket, sys
cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
cable.bind(("cable0", 0))
cable.setblocking(False)
seen = 0
print("ready", flush=True)
for _ in sys.stdin:
    try:
        while cable.recv(65536):
            seen += 1
    except BlockingIOError:
        print(seen, flush=True)
"""


@pytest.fixture(name="network")
def _network(require: Callable[[object, str], None]) -> Iterator[NetworkPair]:
    reason = netns.available()
    require(reason is None, str(reason))
    with NetworkPair(subnet=8) as pair:
        yield pair


@contextmanager
def sniffer(network: NetworkPair) -> Iterator[Callable[[], int]]:
    """Asks how many packets came out of `home` so far."""
    words = [*network.in_away, sys.executable, "-c", SNIFF]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        asked, told = child.stdin, child.stdout
        assert told.readline() == "ready\n"

        def count() -> int:
            asked.write("\n")
            asked.flush()
            return int(told.readline())

        yield count
        asked.close()


def ask(network: NetworkPair, how: str) -> int:
    """Ask in `home`; how many faults were there to be played."""
    words = [*network.in_home, sys.executable, "-c", ASK, how, network.away_address]
    return int(subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout)


def test_a_private_prompt_makes_no_packet(network: NetworkPair) -> None:
    """No connection, no look-up of a name, nothing else; then public prompts show that the sniffer hears."""
    with sniffer(network) as count:
        before = count()
        assert ask(network, "private") > 20
        assert count() == before
        ask(network, "public")
        assert count() > before
