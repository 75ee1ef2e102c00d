"""What a healthy upstream answers besides chats: versions, lists of models, facts about one, a load."""

from __future__ import annotations

from typing import Any

import msgspec

from oblix.testing.faults.wire_http import Asked, whole
from oblix.testing.faults.wires import Wire, encode

WINDOW = 8192  # tokens, which every model here is said to have
_TIME = "2026-11-01T00:00:00Z"


def answer_sideline(wire: Wire, asked: Asked) -> bytes:
    """The whole HTTP answer; 404 in the protocol's manner where there is no such address."""
    found = _ollama(asked) if wire == "ollama" else _models(asked)
    if found is None:
        return whole(404, b"404 page not found", "text/plain")
    return whole(200, encode(found))


def _models(asked: Asked) -> dict[str, Any] | None:
    if asked.path.endswith("/v1/models"):
        row = {"id": "played", "object": "model", "type": "model", "created": 1794000000, "owned_by": "oblix"}
        return {"object": "list", "data": [row], "has_more": False}
    return {"status": "ok"} if asked.path.endswith("/health") else None


def _ollama(asked: Asked) -> dict[str, Any] | None:
    name = _model_of(asked.body)
    row = {"name": name, "model": name, "size": 1 << 30, "digest": "0" * 64, "details": {"family": "played"}}
    if asked.path.endswith("/api/version"):
        return {"version": "0.12.9"}
    if asked.path.endswith("/api/tags"):
        return {"models": [row | {"modified_at": _TIME}]}
    if asked.path.endswith("/api/ps"):
        return {"models": [row | {"size_vram": 0, "context_length": WINDOW, "expires_at": _TIME}]}
    if asked.path.endswith("/api/show"):
        facts = {"general.architecture": "played", "played.context_length": WINDOW}
        return {"model_info": facts, "details": row["details"], "capabilities": ["completion", "tools"]}
    if asked.path.endswith("/api/generate"):  # without a prompt: load the model
        return {"model": name, "created_at": _TIME, "response": "", "done": True, "done_reason": "load"}
    return None


def _model_of(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "played"
    return str(found.get("model") or "played") if isinstance(found, dict) else "played"
