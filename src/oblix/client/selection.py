"""Which of an engine's models are hooked by discovery: those that chat, that run here, and that fit; and why the others are not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from math import inf
from typing import Any

from oblix.agents.probes.engine_facts import Engine, EngineModel, freed, is_here
from oblix.decision.facts import Fit
from oblix.models.memory import DEFAULT_WINDOW, Need, Room, fit, need

MOST = 4  # models of one engine: tiers beyond four make no difference that anybody could tell

_FITS: dict[Fit, str] = {"fits": "fits", "tight": "a tight fit", "no": ""}
# The path that OpenAI's protocol adds to an engine's address.
_PATHS = {"ollama": ""}


@dataclass(frozen=True, slots=True)
class Pick:
    """A model that is worth hooking.

    Attributes:
        endpoint: Base address of its protocol; `None` for the embedded one.
        size: Bytes of its weights; `None` when nobody says.
        window: Tokens that its engine gives it, where that is fixed.
        is_loaded: `None` when its engine does not tell.
        gpu_share: The share of a loaded one that lies on graphics processors; `None` when its engine does not tell.
        fit: `None` when it is not known.
    """

    provider: str
    name: str
    endpoint: str | None
    _: KW_ONLY
    size: int | None = None
    window: int | None = None
    is_loaded: bool | None = None
    gpu_share: float | None = None
    fit: Fit | None = None

    @property
    def model_id(self) -> str:
        """As it is hooked."""
        name = self.name.removesuffix(":latest") if self.provider == "ollama" else self.name
        return f"{self.provider}:{name}"

    @property
    def rank(self) -> tuple[float, str]:
        """Small ones first; of what nobody knows the size, that is taken to be large."""
        return inf if self.size is None else self.size, self.model_id

    @property
    def options(self) -> Mapping[str, Any]:
        """What `hook_model` is told beside the name. Ollama chooses a window for each load, and is left to."""
        return {} if self.window is None or self.provider == "ollama" else {"window": self.window}

    @property
    def words(self) -> str:
        """What is known of it; may be nothing."""
        told = [
            "" if self.size is None else size(self.size),
            self._loaded if self.is_loaded else "",
            "" if self.is_loaded or self.fit is None else _FITS[self.fit],
        ]
        return ", ".join(word for word in told if word)

    @property
    def _loaded(self) -> str:
        return f"in memory ({self.gpu_share:.0%} on the GPU)" if self.gpu_share else "in memory"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A model that is here and was not hooked."""

    model_id: str
    why: str


def choose(engine: Engine, room: Room | None) -> tuple[list[Pick], list[LeftOut]]:
    """The models of an engine that are worth hooking, the smallest first, and the others with the reason.

    Args:
        room: Free memory of this machine; it says nothing of an engine on another one.
    """
    if engine.state != "ready":
        return [], []
    fits: list[Pick] = []
    left: list[LeftOut] = []
    digests: dict[str, str] = {}
    for model in engine.models:
        pick, why = consider(engine, model, room)
        why = why or _twin(model, digests)
        if why:
            left.append(LeftOut(pick.model_id, why))
        else:
            fits.append(pick)
    taken = _spread(sorted(fits, key=lambda pick: pick.rank))
    left += [LeftOut(pick.model_id, f"{MOST} of this engine are hooked") for pick in fits if pick not in taken]
    return taken, left


def consider(engine: Engine, model: EngineModel, room: Room | None) -> tuple[Pick, str]:
    """One model of an engine, and why it cannot be used here; empty when it can."""
    here = freed(room, engine, model.name) if room is not None and is_here(engine.address) else None
    pick = _pick(engine, model, here)
    return pick, _unfit(engine, model, pick, here)


def size(count: float) -> str:
    """Bytes in the unit that reads best, of powers of ten; the same words wherever a size is told."""
    for unit, power, coarse in (("GB", 1e9, 100), ("MB", 1e6, 10), ("kB", 1e3, 10)):
        if count >= power:
            return f"{count / power:.{0 if count >= coarse * power else 1}f} {unit}"
    return f"{count:.0f} bytes"


def _pick(engine: Engine, model: EngineModel, room: Room | None) -> Pick:
    endpoint = engine.address + _PATHS.get(engine.provider, "/v1")
    if model.forwarded_to:
        return Pick(engine.provider, model.name, endpoint)
    loaded = engine.loaded_model(model.name)
    return Pick(
        engine.provider,
        model.name,
        endpoint,
        size=model.bytes,
        window=(loaded and loaded.window) or model.window,
        is_loaded=None if engine.loaded is None else loaded is not None,
        gpu_share=loaded.gpu_share if loaded else None,
        fit="fits" if loaded else _fit(_need(model), room),
    )


def _need(model: EngineModel) -> Need | None:
    return None if model.bytes is None else need(model.bytes, model.shape, window=DEFAULT_WINDOW)


def _fit(needed: Need | None, room: Room | None) -> Fit | None:
    return None if needed is None or room is None else fit(needed, room)


def _unfit(engine: Engine, model: EngineModel, pick: Pick, room: Room | None) -> str:
    if model.forwarded_to:
        return f"{engine.provider} forwards it to {model.forwarded_to}: it is no model of this machine"
    if model.does == "embed":
        return "it makes embeddings, and does not chat"
    if pick.fit == "no" and room is not None:
        needed, free = _need(model), (room.ram or 0) + (room.vram or 0)
        assert needed is not None
        return f"it takes {size(needed.total)}, and {size(free)} are free"
    return ""


def _twin(model: EngineModel, seen: dict[str, str]) -> str:
    if model.digest is None:
        return ""
    first = seen.setdefault(model.digest, model.name)
    return "" if first == model.name else f"it is {first.removesuffix(':latest')} under another name"


def _spread(picks: Sequence[Pick]) -> list[Pick]:
    """At most so many of them, by size: those in memory first, then the smallest, the largest, and what lies evenly between."""
    taken = [pick for pick in picks if pick.is_loaded][:MOST]
    others = [pick for pick in picks if pick not in taken]
    room = MOST - len(taken)
    if len(others) > room:
        step = (len(others) - 1) / max(1, room - 1)
        others = [others[round(step * at)] for at in range(room)]
    return sorted([*taken, *others], key=lambda pick: pick.rank)
