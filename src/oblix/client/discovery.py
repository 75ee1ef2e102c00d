"""`OblixClient.auto()`: hooks what this machine has, and keeps a report of what it did and what it left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from oblix.agents.probes.engine import look
from oblix.agents.probes.engine_facts import ENGINES, Engine
from oblix.agents.probes.room import RoomProbe
from oblix.agents.sensor import Sensor
from oblix.agents.unheld import run_unheld
from oblix.client.keychain import all_keys_within
from oblix.client.selection import LeftOut, Pick, choose
from oblix.decision.policy import Policy
from oblix.errors import AttemptFailed
from oblix.models.memory import Room
from oblix.models.registry import PROVIDERS, Provider
from oblix.models.transport import Transport
from oblix.settings import resolve_endpoint
from oblix.settings.keys import FoundKey as KeyThere
from oblix.settings.keys import Origin
from oblix.types.ids import split_model_id

if TYPE_CHECKING:
    from oblix.client.client import OblixClient
    from oblix.models.embedded.weights import Weights

SMALL_WITHIN = 1.0  # seconds for a look at the small model's file, which may lie on a disk that hangs
KEYS_WITHIN = 1.0  # seconds for a look at where keys are kept: a keyring may hang, or wait for somebody to unlock it
ROOM_WITHIN = 0.5  # seconds for a reading of the free memory, which a broken driver may hang
NEVER = 86400.0  # seconds until a second one
MOST_NAMED = 5  # models in one line
_NOTHING = (
    "nothing was found to answer with: start an engine, run `oblix models fetch smollm2`, or hook a model of the cloud"
)
_TOLD = ("ready", "loading", "hung", "locked")  # the states that are worth a line: others have no engine there
SMALL = "smollm2"  # the embedded model that is looked for
# One for all who ask: a driver that hangs then holds one thread, however often a dashboard comes back.
_ROOM = Sensor("room", RoomProbe().read, NEVER)


class ClientArguments(TypedDict, total=False):
    """The arguments of a client's constructor."""

    oblix_api_key: str | None
    host: str
    port: int
    config_path: str | Path | None
    policy: str | Policy
    store: str | Path | None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """The key of a provider that is used first; its value is nowhere here.

    Attributes:
        place: Where it was found, as `oblix keys list` tells it: a variable, the keyring, a file.
        model_id: What it is for, where the provider has a model that suits most; else `None`.
        is_hooked: It was asked for, so that the cloud may be used.
    """

    place: str
    provider: str
    origin: Origin
    model_id: str | None
    is_hooked: bool


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a machine had, and what was made of it.

    Attributes:
        engines: The servers that were looked for, also those that are not there.
        models: What was hooked on this machine, in order: each is a higher tier than the one before.
        left_out: What could have been hooked and was not, and why.
        keys: One of each provider elsewhere that there is a key for, and no model of which was hooked.
        agents: The senses that were hooked.
        before: What was hooked already, so that no engine was looked for.
    """

    engines: tuple[Engine, ...] = ()
    models: tuple[Pick, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    keys: tuple[FoundKey, ...] = ()
    agents: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The same in words, a line each."""
        found = [f"hooked already: {', '.join(self.before)}"] if self.before else []
        found += [_engine_line(engine) for engine in self.engines if engine.state in _TOLD]
        found += [f"hooked {pick.model_id}: {pick.words or 'it is here'}" for pick in self.models]
        found += _left_lines(self.left_out)
        found += [_key_line(key) for key in self.keys]
        if not found:
            found.append(_NOTHING)
        if self.engines and not any(engine.state in _TOLD for engine in self.engines):
            found.append(f"looked for an engine at {', '.join(map(_looked_at, self.engines))}: none is there")
        return found


async def discover(client: OblixClient, transport: Transport, *, cloud: bool, agents: bool) -> Discovered:
    """Hook what this machine has: models, with `agents` the senses, and with `cloud` a model of each provider that there is a key for.

    Models that are hooked already win (a settings file may have named them): then no engine is looked for. Nobody but loopback (or the
    address that `OLLAMA_HOST` names) is contacted, for a second at most. Keys are looked for wherever they are kept, and go nowhere.
    """
    before = tuple(client.models)
    found = Discovered(before=before) if before else await _discover_models(client, transport)
    there = await all_keys_within(KEYS_WITHIN)
    keys = tuple(_keys(there, {spec.provider for spec in client.models.values()}, cloud=cloud))
    for key in keys:
        if key.is_hooked and key.model_id is not None:
            await client.hook_model(*split_model_id(key.model_id))
    return replace(found, keys=keys, agents=_hook_agents(client) if agents else ())


async def _discover_models(client: OblixClient, transport: Transport) -> Discovered:
    """Hook the models of running engines, the smallest first, so that the tiers make sense.

    The small embedded model is hooked where no engine has any: beside a larger one it would get every easy prompt.
    """
    await transport.prepare()
    engines, room, small = await asyncio.gather(look_around(transport), free_memory(), _small_model_soon())
    chosen = [choose(engine, room) for engine in engines]
    picks = sorted((pick for found, _ in chosen for pick in found), key=lambda pick: pick.rank)
    left_out = [left for _, found in chosen for left in found]
    if small is not None and picks:
        left_out.append(LeftOut(f"embedded:{SMALL}", "the engines here have models; hook it to have a spare"))
    elif small is not None:
        picks.append(Pick("embedded", SMALL, None, size=small.size))
    for pick in picks:
        await client.hook_model(pick.provider, pick.name, pick.endpoint, **pick.options)
    return Discovered(engines, tuple(picks), tuple(left_out))


async def look_around(transport: Transport) -> tuple[Engine, ...]:
    """The engines at the usual ports of this machine, and the Ollama that `OLLAMA_HOST` names; all at once, within a second."""
    return tuple(await asyncio.gather(*(look(transport, name, usual_address(name)) for name in ENGINES)))


def usual_address(provider: str) -> str:
    """Where an engine is looked for."""
    row = PROVIDERS[provider]
    return resolve_endpoint(None, row.endpoint_env, row.endpoint) or ""


def small_model() -> Weights | None:
    """The small model's weights, if they were fetched and the engine is installed. Reads a file."""
    from importlib.util import find_spec

    from oblix.models.embedded.weights import resolve

    if find_spec("xllamacpp") is None:
        return None
    try:
        return resolve(SMALL)
    except AttemptFailed:
        return None


async def _small_model_soon() -> Weights | None:
    """The same, unless the disk hangs."""
    try:
        async with asyncio.timeout(SMALL_WITHIN):
            return await run_unheld(small_model)
    except TimeoutError:
        return None


async def free_memory() -> Room | None:
    """What is free for models at this moment; `None` when that cannot be told soon."""
    try:
        is_new = await _ROOM.refresh(ROOM_WITHIN)
    finally:
        _ROOM.stop()
    return _ROOM.latest.value if is_new and _ROOM.latest is not None else None


def _keys(there: Iterable[KeyThere], hooked: set[str], *, cloud: bool) -> Iterable[FoundKey]:
    firsts = {key.provider: key for key in reversed(list(there))}
    for row in PROVIDERS.values():
        key = firsts.get(row.name)
        if key is None or row.place != "cloud" or row.name in hooked:
            continue
        model_id = f"{row.name}:{row.default_model}" if row.default_model and _is_its_own(row) else None
        yield FoundKey(key.place, row.name, key.origin, model_id, cloud and model_id is not None)


def _is_its_own(row: Provider) -> bool:
    """Whether the provider's own service is meant: another server behind its protocol has other models."""
    return resolve_endpoint(None, row.endpoint_env, row.endpoint) == row.endpoint


def _hook_agents(client: OblixClient) -> tuple[str, ...]:
    from oblix.agents import ConnectivityAgent, PowerAgent, ResourceMonitor

    made = [kind() for kind in (ResourceMonitor, ConnectivityAgent, PowerAgent)]
    new = [agent for agent in made if agent.name not in client.agents]
    for agent in new:
        client.hook_agent(agent)
    return tuple(agent.name for agent in new)


def _looked_at(engine: Engine) -> str:
    return f"{engine.address} ({engine.provider})"


def _engine_line(engine: Engine) -> str:
    name = f"{engine.provider} {engine.version}" if engine.version else engine.provider
    if engine.state in ("hung", "locked"):  # who it is, did not show
        what = f"{engine.reason}; hook its models with api_key=…" if engine.state == "locked" else engine.reason
        return f"at {engine.address}, where {name} would be: {what}"
    if engine.state != "ready":
        return f"{name} at {engine.address} is {engine.state}: {engine.reason}"
    models = f"{len(engine.models)} model{'' if len(engine.models) == 1 else 's'}"
    loaded = "" if engine.loaded is None else f", {len(engine.loaded)} in memory"
    return f"{name} runs at {engine.address}: {models}{loaded}"


def _left_lines(left_out: Iterable[LeftOut]) -> list[str]:
    """A line for each reason."""
    reasons: dict[str, list[str]] = {}
    for left in left_out:
        reasons.setdefault(left.why, []).append(left.model_id)
    return [f"left out {_listed(names)}: {why}" for why, names in reasons.items()]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _key_line(key: FoundKey) -> str:
    there = f"{key.place} is set" if key.origin == "environment" else f"{key.provider} has a key ({key.place})"
    if key.model_id is None:
        return f"{there}; hook_model({key.provider!r}, …) uses it with a model of your choice"
    if key.is_hooked:
        return f"hooked {key.model_id}: {there}, and the cloud was asked for"
    return f"{there}; pass cloud=True to use {key.model_id}"
