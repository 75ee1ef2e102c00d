"""What edge servers say of themselves, as our values: Ollama, LM Studio, llama.cpp, vLLM. Pure, and suspicious of every byte.

Ports such as 8000 and 8080 are anybody's: an answer counts only where it has the mark of its engine, what is of the wrong type is not
there, and no answer raises.

Sources (2026-11): docs.ollama.com/api (tags, ps, show, version) and api/types.go of the Ollama project; lmstudio.ai/docs, REST API v1
(`/api/v1/models`, since 0.4) and v0 (`/api/v0/models`, since 0.3.6); tools/server/README.md of llama.cpp, and the answers of a server of
2026-10; docs.vllm.ai, "Production Metrics" and the model card of `/v1/models`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite
from typing import Any

import msgspec

from oblix.agents.probes.engine_facts import Capability, EngineModel, LoadedModel
from oblix.models.memory import shape_of
from oblix.models.ollama import is_remote_name

MOST_REQUESTS = 10_000  # that an engine is believed to hold; more would be a wait for days, and is a slip or a joke
MOST_ROWS = 1000  # models of one engine that are looked at
LONGEST_NAME = 200  # characters
_LARGEST = 1 << 60  # more bytes or tokens than this is nonsense


def decoded(body: bytes) -> Any:
    """The JSON of a body, `None` where it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


# --- Ollama ---


def ollama_version(found: Any) -> str | None:
    """From `/api/version`."""
    return _text(found, "version")


def ollama_models(found: Any) -> tuple[EngineModel, ...] | None:
    """From `/api/tags`: what was pulled; `None` where no Ollama speaks."""
    rows = _rows(found, "models")
    return None if rows is None else tuple(_pulled(name, row) for name, row in _named(rows, "name", "model"))


def _pulled(name: str, row: Mapping[str, Any]) -> EngineModel:
    family = _text(row, "details", "family")
    return EngineModel(
        name,
        bytes=_count(row, "size"),
        family=family,
        quantization=_text(row, "details", "quantization_level"),
        does=_ollama_does(row.get("capabilities")) or _by_name(name, family),
        forwarded_to=_forwarded(row) or ("its cloud" if is_remote_name(name) else None),
        digest=_text(row, "digest"),
    )


def ollama_loaded(found: Any) -> tuple[LoadedModel, ...] | None:
    """From `/api/ps`: what is in memory, or is on its way there."""
    rows = _rows(found, "models")
    if rows is None:
        return None
    return tuple(
        LoadedModel(
            name,
            window=_count(row, "context_length"),
            bytes=_count(row, "size"),
            vram_bytes=_count(row, "size_vram"),
            expires=_moment(row.get("expires_at")),
        )
        for name, row in _named(rows, "name", "model")
    )


def ollama_details(model: EngineModel, found: Any) -> EngineModel:
    """The model with what `/api/show` adds: window, shape, capabilities, and whether another machine answers for it."""
    info = _get(found, "model_info")
    architecture = _text(info, "general.architecture")
    return replace(
        model,
        window=_count(info, f"{architecture}.context_length"),
        family=model.family or architecture,
        does=_ollama_does(_get(found, "capabilities")) or model.does,
        forwarded_to=_forwarded(found) or model.forwarded_to,
        shape=shape_of(info) if isinstance(info, Mapping) else None,
    )


def _forwarded(found: Any) -> str | None:
    return _text(found, "remote_host") or _text(found, "remote_model")


def _by_name(name: str, family: str | None = None) -> Capability | None:
    """What a model does whose engine does not say: embedding models have it in their names, or are relatives of BERT."""
    return "embed" if "embed" in name.lower() or (family or "").endswith("bert") else None


def _ollama_does(capabilities: Any) -> Capability | None:
    if not isinstance(capabilities, list):
        return None
    return "chat" if "completion" in capabilities else "embed" if "embedding" in capabilities else None


# --- LM Studio ---


def lmstudio_models(found: Any) -> tuple[tuple[EngineModel, ...], tuple[LoadedModel, ...]] | None:
    """From `/api/v1/models`: what was downloaded, and what of it is loaded."""
    rows = _rows(found, "models")
    if rows is None or not all("loaded_instances" in row for row in rows):
        return None
    models, loaded = [], []
    for name, row in _named(rows, "key"):
        models.append(
            EngineModel(
                name,
                bytes=_count(row, "size_bytes"),
                window=_count(row, "max_context_length"),
                family=_text(row, "architecture"),
                quantization=_text(row, "quantization", "name"),
                does=_lmstudio_does(row.get("type")),
            )
        )
        instances = [each for each in _list(row["loaded_instances"]) if isinstance(each, Mapping)]
        windows = [_count(instance, "config", "context_length") for instance in instances]
        if windows:
            loaded.append(LoadedModel(name, window=windows[0]))
    return tuple(models), tuple(loaded)


def lmstudio_models_v0(found: Any) -> tuple[tuple[EngineModel, ...], tuple[LoadedModel, ...]] | None:
    """From `/api/v0/models`, of servers before 0.4."""
    rows = _rows(found, "data")
    if rows is None or not all(row.get("state") in ("loaded", "not-loaded") for row in rows):
        return None
    named = list(_named(rows, "id"))
    models = tuple(
        EngineModel(
            name,
            window=_count(row, "max_context_length"),
            family=_text(row, "arch"),
            quantization=_text(row, "quantization"),
            does=_lmstudio_does(row.get("type")),
        )
        for name, row in named
    )
    loaded = tuple(
        LoadedModel(name, window=_count(row, "loaded_context_length"))
        for name, row in named
        if row["state"] == "loaded"
    )
    return models, loaded


def lmstudio_names(found: Any) -> tuple[EngineModel, ...] | None:
    """From `/v1/models`, where there is nothing better: names alone."""
    rows = _owned(found, "organization_owner")
    return None if rows is None else tuple(EngineModel(name, does=_by_name(name)) for name, _ in _named(rows, "id"))


def _lmstudio_does(kind: Any) -> Capability | None:
    if kind in ("llm", "vlm"):
        return "chat"
    return "embed" if kind in ("embedding", "embeddings") else None


# --- llama.cpp ---


@dataclass(frozen=True, slots=True)
class Props:
    """What `/props` of llama.cpp tells; it wakes nothing.

    Attributes:
        is_asleep: The model was unloaded for lack of use; the next task loads it again.
        lists_slots: `/slots` answers.
    """

    version: str | None
    slots: int | None
    window: int | None
    is_asleep: bool
    lists_slots: bool


class _Slot(msgspec.Struct):
    """Of a slot only what is named here is read: a server started for debugging puts the prompts of others beside it."""

    is_processing: bool


def llamacpp_models(found: Any) -> tuple[tuple[EngineModel, ...], frozenset[str]] | None:
    """From `/v1/models`: the model (of a router: the models), and the names of those that a router says are not loaded."""
    rows = _owned(found, "llamacpp")
    if rows is None:
        return None
    named = list(_named(rows, "id"))
    models = tuple(
        EngineModel(
            name,
            bytes=_count(row, "meta", "size"),
            window=_count(row, "meta", "n_ctx") or _count(row, "meta", "n_ctx_train"),
            quantization=_text(row, "meta", "ftype"),
            does=_by_name(name),
        )
        for name, row in named
    )
    away = {name for name, row in named if _text(row, "status", "value") not in (None, "loaded")}
    return models, frozenset(away)


def llamacpp_props(found: Any) -> Props | None:
    """From `/props`."""
    slots = _count(found, "total_slots")
    if slots is None:
        return None
    return Props(
        _text(found, "build_info"),
        slots,
        _count(found, "default_generation_settings", "n_ctx"),
        _get(found, "is_sleeping") is True,
        _get(found, "endpoint_slots") is not False,
    )


def llamacpp_running(body: bytes) -> int | None:
    """From `/slots`: how many of them are at work."""
    try:
        return sum(slot.is_processing for slot in msgspec.json.decode(body, type=list[_Slot]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_loading(found: Any) -> bool:
    """Whether an answer 503 is llama.cpp's word that its model is on its way into memory."""
    return _text(found, "error", "type") == "unavailable_error"


# --- vLLM ---


def vllm_models(found: Any) -> tuple[EngineModel, ...] | None:
    """From `/v1/models`."""
    rows = _owned(found, "vllm")
    if rows is None:
        return None
    return tuple(
        EngineModel(name, window=_count(row, "max_model_len"), does=_by_name(name)) for name, row in _named(rows, "id")
    )


def gauge(page: bytes, name: str) -> int | None:
    """A figure of a metrics page in Prometheus' text format, the sum of its rows; `None` when it is not there."""
    found = re.findall(rb"^%s(?:\{.*\})?[ \t]+(\S{1,40})" % re.escape(name.encode()), page, re.MULTILINE)
    numbers = [_number(text) for text in found[:MOST_ROWS]]
    known = [number for number in numbers if number is not None]
    return min(MOST_REQUESTS, round(sum(known))) if known else None


# --- what they share ---


def is_token(found: Any) -> bool:
    """Whether an answer to a prompt is one: Ollama's `done`, or a choice in OpenAI's protocol. Errors come with a good status, too."""
    return _get(found, "done") is True or bool(_list(_get(found, "choices")))


def _number(text: bytes) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and 0 <= number < _LARGEST else None


def _get(found: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def _text(found: Any, *path: str) -> str | None:
    """A short text that a terminal can show: no control characters, no line breaks."""
    text = _get(found, *path)
    return text if isinstance(text, str) and 0 < len(text) <= LONGEST_NAME and text.isprintable() else None


def _count(found: Any, *path: str) -> int | None:
    number = _get(found, *path)
    whole = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _LARGEST
    return number if whole else None


def _list(found: Any) -> list[Any]:
    return found[:MOST_ROWS] if isinstance(found, list) else []


def _rows(found: Any, key: str) -> list[Mapping[str, Any]] | None:
    rows = _get(found, key)
    return [row for row in _list(rows) if isinstance(row, Mapping)] if isinstance(rows, list) else None


def _owned(found: Any, owner: str) -> list[Mapping[str, Any]] | None:
    """The rows of an OpenAI-like list of models, if an engine of this mark wrote it."""
    rows = _rows(found, "data")
    return rows if rows and all(row.get("owned_by") == owner for row in rows) else None


def _named(rows: list[Mapping[str, Any]], *keys: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with its name; one without a usable name is nobody's, and one that is named again is passed by."""
    seen: set[str] = set()
    for row in rows:
        name = next((text for key in keys if (text := _text(row, key))), "").strip()
        if name and name not in seen:
            seen.add(name)
            yield name, row


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None
