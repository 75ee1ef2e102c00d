"""Oblix: one call that runs a prompt where it should run, on this machine or in the cloud, and tells you why."""

from oblix._version import __version__
from oblix.agents import AgentReport, BaseAgent
from oblix.client import OblixClient, Stream
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
from oblix.types.reply import Reply
from oblix.types.spec import ModelSpec, Price

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
    "Price",
    "PrivacyViolation",
    "Reason",
    "Reply",
    "Reset",
    "Stream",
    "StreamBroken",
    "Text",
    "Tool",
    "ToolCall",
    "UnknownModel",
    "Vetoed",
    "__version__",
]
