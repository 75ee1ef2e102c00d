"""What models were given, and what sessions hold."""

from __future__ import annotations

from oblix import OblixClient
from oblix.testing import ScriptedModel


def asked(model: ScriptedModel, number: int = -1) -> list[str]:
    """What a model was given, message by message."""
    return [f"{message.role}: {message.text}" for message in model.requests[number].messages]


def kept(client: OblixClient, session_id: str) -> list[tuple[str, str, str]]:
    """Role, text and state of what a session holds."""
    found = client.load_session(session_id)
    assert found is not None
    return [(each["role"], each["content"], each["state"]) for each in found["messages"]]
