"""The senses: agents that look at the machine, the network, or whatever a user's own agent looks at, and vote."""

from typing import TYPE_CHECKING, Any

from oblix.agents.base import BaseAgent
from oblix.types.report import AgentReport

if TYPE_CHECKING:
    from oblix.agents.connectivity import ConnectivityAgent
    from oblix.agents.cost import CostAgent
    from oblix.agents.power import PowerAgent
    from oblix.agents.resource_monitor import ResourceMonitor

__all__ = ["AgentReport", "BaseAgent", "ConnectivityAgent", "CostAgent", "PowerAgent", "ResourceMonitor"]


def __getattr__(name: str) -> Any:
    """The built-in agents, imported at first use: they and their probes are an eighth of what `import oblix` would take."""
    if name == "ConnectivityAgent":
        from oblix.agents.connectivity import ConnectivityAgent

        return ConnectivityAgent
    if name == "CostAgent":
        from oblix.agents.cost import CostAgent

        return CostAgent
    if name == "PowerAgent":
        from oblix.agents.power import PowerAgent

        return PowerAgent
    if name == "ResourceMonitor":
        from oblix.agents.resource_monitor import ResourceMonitor

        return ResourceMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
