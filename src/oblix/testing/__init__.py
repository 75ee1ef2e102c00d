"""Public test tools: a scripted model, a virtual clock, a real Ollama-protocol server to kill, a network whose cable can be pulled."""

from __future__ import annotations

from oblix.testing.clock import VirtualClockLoop, run
from oblix.testing.netns import NetworkPair
from oblix.testing.ollama_options import OllamaOptions
from oblix.testing.scripted import Block, Cut, Enter, Fail, ScriptedModel, Wait

__all__ = [
    "Block",
    "Cut",
    "Enter",
    "Fail",
    "NetworkPair",
    "OllamaOptions",
    "ScriptedModel",
    "VirtualClockLoop",
    "Wait",
    "run",
]
