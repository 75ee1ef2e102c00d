"""A public fault server: upstreams on real sockets that speak OpenAI, Anthropic and Ollama, play faults, bill, and record every byte.

::

    async with FaultServer() as server:
        cloud = server.upstream("cloud", wire="openai")
        cloud.play("REQ-00017", Fault("reset", "mid_stream"))  # for the requests whose body has this marker
        await client.hook_model("openai", "played", endpoint=cloud.url, api_key="any")
        ...
        assert secret not in cloud.received

To add a kind, add one row to the table of its family (`statuses`, `connections`, `framing` and `protocol`, `streams`, `in_band`, `slow`,
`bombs`), with a small function that does it to an `Exchange`, if none of those there does.
"""

from __future__ import annotations

from oblix.testing.faults.books import BillRow, Received
from oblix.testing.faults.exchange import Exchange, Moment, Tempo
from oblix.testing.faults.kind import MOMENTS, Fault, Kind
from oblix.testing.faults.kinds import KINDS, impossible
from oblix.testing.faults.manner import Manner
from oblix.testing.faults.rules import RULES
from oblix.testing.faults.sayings import Saying
from oblix.testing.faults.server import FaultServer
from oblix.testing.faults.upstream import Upstream
from oblix.testing.faults.wires import Wire

__all__ = [
    "KINDS",
    "MOMENTS",
    "RULES",
    "BillRow",
    "Exchange",
    "Fault",
    "FaultServer",
    "Kind",
    "Manner",
    "Moment",
    "Received",
    "Saying",
    "Tempo",
    "Upstream",
    "Wire",
    "impossible",
]
