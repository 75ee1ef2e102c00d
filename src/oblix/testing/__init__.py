"""Public test tools: a real Ollama-protocol server that can be killed, and a network whose cable can be pulled."""

from __future__ import annotations

from oblix.testing.netns import NetworkPair
from oblix.testing.ollama_options import OllamaOptions

__all__ = ["NetworkPair", "OllamaOptions"]
