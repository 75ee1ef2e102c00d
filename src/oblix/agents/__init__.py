"""The senses: agents that look at the machine, the network, or whatever a user's own agent looks at, and vote."""

from oblix.agents.base import BaseAgent
from oblix.agents.connectivity import ConnectivityAgent
from oblix.agents.resource_monitor import ResourceMonitor
from oblix.types.report import AgentReport

__all__ = ["AgentReport", "BaseAgent", "ConnectivityAgent", "ResourceMonitor"]
