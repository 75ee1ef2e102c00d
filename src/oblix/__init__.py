"""Oblix: one call that runs a prompt where it should run, on this machine or in the cloud, and tells you why."""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from oblix._version import __version__

if TYPE_CHECKING:
    from oblix.agents import AgentReport, BaseAgent
    from oblix.client import OblixClient, Stream
    from oblix.client.wishes import Wishes
    from oblix.decision.policy import Policy, Rule, When
    from oblix.errors import (
        AllModelsFailed,
        BudgetExceeded,
        ConfigurationError,
        ContextOverflow,
        DeadlineExceeded,
        FailureKind,
        InvalidRequest,
        KeyMissing,
        NoRoute,
        OblixError,
        PrivacyViolation,
        StreamBroken,
        UnknownModel,
        Vetoed,
    )
    from oblix.types.chunk import Reset
    from oblix.types.decision import Candidate, Decision, Reason
    from oblix.types.ids import ModelType
    from oblix.types.messages import Image, Message, Text, Tool, ToolCall
    from oblix.types.privacy import Privacy, Screening
    from oblix.types.reply import Reply
    from oblix.types.spec import ModelSpec, Price, PriceTier, Timeouts

# A library is silent until its application asks for its log.
logging.getLogger("oblix").addHandler(logging.NullHandler())

# Loaded when first asked for: `import oblix` and `oblix --help` cost next to nothing, and no agent is loaded for a type alone.
_HOMES = {
    "oblix.agents": ("AgentReport", "BaseAgent"),
    "oblix.client": ("OblixClient", "Stream"),
    "oblix.client.wishes": ("Wishes",),
    "oblix.decision.policy": ("Policy", "Rule", "When"),
    "oblix.errors": (
        "AllModelsFailed",
        "BudgetExceeded",
        "ConfigurationError",
        "ContextOverflow",
        "DeadlineExceeded",
        "FailureKind",
        "InvalidRequest",
        "KeyMissing",
        "NoRoute",
        "OblixError",
        "PrivacyViolation",
        "StreamBroken",
        "UnknownModel",
        "Vetoed",
    ),
    "oblix.types.chunk": ("Reset",),
    "oblix.types.decision": ("Candidate", "Decision", "Reason"),
    "oblix.types.ids": ("ModelType",),
    "oblix.types.messages": ("Image", "Message", "Text", "Tool", "ToolCall"),
    "oblix.types.privacy": ("Privacy", "Screening"),
    "oblix.types.reply": ("Reply",),
    "oblix.types.spec": ("ModelSpec", "Price", "PriceTier", "Timeouts"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AgentReport",
    "AllModelsFailed",
    "BaseAgent",
    "BudgetExceeded",
    "Candidate",
    "ConfigurationError",
    "ContextOverflow",
    "DeadlineExceeded",
    "Decision",
    "FailureKind",
    "Image",
    "InvalidRequest",
    "KeyMissing",
    "Message",
    "ModelSpec",
    "ModelType",
    "NoRoute",
    "OblixClient",
    "OblixError",
    "Policy",
    "Price",
    "PriceTier",
    "Privacy",
    "PrivacyViolation",
    "Reason",
    "Reply",
    "Reset",
    "Rule",
    "Screening",
    "Stream",
    "StreamBroken",
    "Text",
    "Timeouts",
    "Tool",
    "ToolCall",
    "UnknownModel",
    "Vetoed",
    "When",
    "Wishes",
    "__version__",
]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
