"""Which of the hooked models can answer at this moment, and why the others cannot. Pure, over what was seen around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from oblix.agents.probes.engine_facts import ENGINES, Engine, root_of
from oblix.client.selection import consider
from oblix.decision.facts import HEALTHY, Fit, Health, ModelFacts
from oblix.models.memory import Need, Room, fit
from oblix.types.decision import Candidate
from oblix.types.spec import ModelSpec

Plain = Mapping[str, Any]
Standing = tuple[bool | None, str]  # whether it can answer, `None` where nobody can tell; and why

_AWAY = {
    "absent": "nobody answers at {}",
    "hung": "{} takes connections and says nothing",
    "strange": "{} is another server",
}
_DOUBTFUL = {"loading": "its server is bringing it into memory", "locked": "its server tells nothing without a key"}
# Servers that answer for no other model than those that they list; others take any name for the model that they have.
_PARTICULAR = {"ollama", "vllm"}


@dataclass(frozen=True, slots=True)
class Around:
    """What was seen around the models; `None` for what did not show in time.

    Attributes:
        embedded: Whether the engine is installed, and the weights that are missing, as `oblix.client.status` tells it.
        cloud: The hooked endpoints and how they were reached, as it tells it.
        room: The memory that is free on this machine.
        needs: What each embedded model takes of it, by id.
    """

    engines: Sequence[Engine] | None
    embedded: Plain | None
    cloud: Sequence[Plain]
    room: Room | None = None
    needs: Mapping[str, Need] = field(default_factory=dict)


def row(facts: ModelFacts, candidate: Candidate | None, rank: int | None, around: Around) -> dict[str, Any]:
    """One hooked model.

    Args:
        candidate: What a decision on a plain prompt made of it; `None` where there was none in time.
        rank: Its place in that decision's plan, from 1.
    """
    spec, pace, engine = facts.spec, facts.pace, engine_of(facts.spec, around.engines)
    can_answer, why = standing(spec, around, candidate=candidate, health=facts.health)
    return {
        "id": spec.id,
        "place": spec.place,
        "endpoint": spec.endpoint,
        "can_answer": can_answer,
        "why": why,
        "rank": rank,
        "key": spec.key,
        "window": spec.window or _window(spec, engine, around.embedded),
        "usd_per_mtok": None if spec.price is None else [spec.price.input_per_mtok, spec.price.output_per_mtok],
        "loaded": _is_loaded(spec, engine) if facts.loaded is None else facts.loaded,
        "fit": facts.fit or _fit(facts, engine, around),
        "queue": None if engine is None else engine.waiting,
        "busy": facts.busy,
        "tokens_per_second": None if pace is None or pace.write <= 0 else round(1 / pace.write, 1),
    }


def standing(
    spec: ModelSpec, around: Around, *, candidate: Candidate | None = None, health: Health = HEALTHY
) -> Standing:
    """Whether the model can answer: no hard rule is against it, and what it runs on is there and well."""
    if candidate is not None and candidate.verdict == "rejected":
        return False, candidate.reason.text
    can_answer, why = _seen(spec, around)
    if can_answer and health.failing is not None:
        return None, health.failing
    return can_answer, why


def engine_of(spec: ModelSpec, engines: Sequence[Engine] | None) -> Engine | None:
    """The server that a model at home runs on, if it was looked at."""
    if not spec.is_edge or spec.endpoint is None:
        return None
    here = (spec.provider, root_of(spec.endpoint))
    return next((engine for engine in engines or () if (engine.provider, engine.address) == here), None)


def servers_of(specs: Iterable[ModelSpec]) -> dict[tuple[str, str], set[str]]:
    """The servers that models at home run on, by provider and address, and the names of those models."""
    servers: dict[tuple[str, str], set[str]] = {}
    for spec in specs:
        if spec.is_edge and spec.endpoint and spec.provider in ENGINES:
            servers.setdefault((spec.provider, root_of(spec.endpoint)), set()).add(spec.name)
    return servers


def address_of(endpoint: str) -> str:
    """Host and port of a base address."""
    parts = urlsplit(endpoint)
    return f"{parts.hostname or ''}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _seen(spec: ModelSpec, around: Around) -> Standing:
    if spec.provider == "embedded":
        return _embedded(spec, around.embedded)
    if spec.is_edge:
        return _served(spec, engine_of(spec, around.engines))
    return _reached(spec, around.cloud)


def _embedded(spec: ModelSpec, embedded: Plain | None) -> Standing:
    if embedded is None:
        return None, "its weights were not looked up in time"
    if not embedded["engine"]:
        return False, "the engine is not installed: pip install 'openoblix[embedded]'"
    missing = embedded["missing"].get(spec.name)
    return (True, "its weights are here") if missing is None else (False, missing)


def _served(spec: ModelSpec, engine: Engine | None) -> Standing:
    if spec.endpoint is None:
        return True, "it needs no server"
    if engine is None:
        return None, f"{spec.endpoint} was not looked at"
    if engine.state in _AWAY:
        return False, f"{engine.address}: {engine.reason or _AWAY[engine.state]}"
    if engine.state in _DOUBTFUL:
        return None, engine.reason or _DOUBTFUL[engine.state]
    if spec.provider in _PARTICULAR and engine.model(spec.name) is None:
        return False, f"{engine.address} does not have it"
    return True, {True: "in memory", False: "there, not in memory", None: "there"}[_is_loaded(spec, engine)]


def _reached(spec: ModelSpec, cloud: Sequence[Plain]) -> Standing:
    way = next((each for each in cloud if spec.id in each["models"]), None)
    if way is None:
        return None, "the way there was not measured yet"
    if way["state"] == "reached":
        return True, f"reached in {way['reason']}" if way["reason"] else "reached"
    return None if way["state"] == "unknown" else False, way["reason"]


def _fit(facts: ModelFacts, engine: Engine | None, around: Around) -> Fit | None:
    spec, room = facts.spec, around.room
    if engine is not None:
        model = engine.model(spec.name)
        return None if model is None else consider(engine, model, room)[0].fit
    needed = around.needs.get(spec.id)
    if needed is None or room is None:
        return None
    return fit(needed, Room(room.ram), loaded=bool(facts.loaded))  # the embedded engine computes on the processor


def _window(spec: ModelSpec, engine: Engine | None, embedded: Plain | None) -> int | None:
    """The window that is loaded, else the one that the weights were trained for; `None` where nobody tells."""
    if spec.provider == "embedded":
        weights = () if embedded is None else embedded["weights"]
        return next((each["window"] for each in weights if each["name"] == spec.name), None)
    if engine is None:
        return None
    loaded, model = engine.loaded_model(spec.name), engine.model(spec.name)
    return (loaded and loaded.window) or (model and model.window) or None


def _is_loaded(spec: ModelSpec, engine: Engine | None) -> bool | None:
    if engine is None or engine.loaded is None:
        return None
    return engine.loaded_model(spec.name) is not None
