"""Public test tools: a scripted model, a virtual clock, servers to kill, upstreams that play faults, networks that can be cut."""

from __future__ import annotations

from oblix.testing.clock import VirtualClockLoop, run
from oblix.testing.faults import Fault, FaultServer
from oblix.testing.netns import NetworkPair
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.proxy import Line, TcpProxy
from oblix.testing.scripted import Block, Cut, Enter, Fail, ScriptedModel, Wait
from oblix.types.chunk import End, Progress

__all__ = [
    "Block",
    "Cut",
    "End",
    "Enter",
    "Fail",
    "Fault",
    "FaultServer",
    "Line",
    "NetworkPair",
    "OllamaOptions",
    "Progress",
    "ScriptedModel",
    "TcpProxy",
    "VirtualClockLoop",
    "Wait",
    "run",
]
