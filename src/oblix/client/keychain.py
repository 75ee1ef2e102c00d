"""Looks for the keys that models were hooked without, beside the loop and before the first decision: hooking touches no disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, runtime_checkable

from oblix.agents.unheld import run_unheld
from oblix.models.base import Model
from oblix.models.registry import PROVIDERS, Provider
from oblix.settings import resolve_endpoint
from oblix.settings.keys import FoundKey, beside_keys, environment_keys, found_keys
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

# Seconds until it is looked again for a key that was nowhere: somebody may run `oblix keys set` beside us, and a look takes 2 ms.
AGAIN = 30.0


@runtime_checkable
class TakesKey(Protocol):
    """A model that sends a key along."""

    spec: ModelSpec
    key: SecretStr | None


@dataclass(slots=True)
class Keychain:
    """The hooked models that have no key yet, and may get one.

    Args:
        on_found: Called when models have got their keys, and their `spec` says so.
    """

    on_found: Callable[[], None]
    _wanting: dict[str, TakesKey] = field(default_factory=dict)
    _looked_at: float | None = None
    _looking: asyncio.Task[None] | None = None

    def want(self, model: Model) -> None:
        """A model was hooked: remember it if it has no key."""
        self._wanting.pop(model.spec.id, None)
        row = PROVIDERS.get(model.spec.provider)
        if row is not None and row.key_env and isinstance(model, TakesKey) and _may_need(model):
            self._wanting[model.spec.id] = model
            self._looked_at = None

    def is_due(self, now: float) -> bool:
        """Whether a key may be found that was not there at the last look. Takes no time."""
        return bool(self._wanting) and (self._looked_at is None or now - self._looked_at >= AGAIN)

    async def look(self, now: float) -> None:
        """Look wherever keys are kept, for all who want one, and give them out. Whoever comes meanwhile waits for the same look."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(now))
        try:
            await asyncio.shield(self._looking)
        finally:
            if self._looking is not None and self._looking.done():
                self._looking = None

    async def _look(self, now: float) -> None:
        wanting = tuple(self._wanting.items())
        try:
            found = await run_unheld(_look_for, tuple(model.spec for _, model in wanting))
        except TimeoutError:  # disks hang: there is no key to be had from them
            return
        finally:
            self._looked_at = now
        for model_id, model in wanting:
            key = found.get(model_id)
            if key is not None and self._wanting.get(model_id) is model:
                del self._wanting[model_id]
                model.key, model.spec = key, replace(model.spec, key="given")
        if found:
            self.on_found()


def _may_need(model: TakesKey) -> bool:
    """It has no key; and is elsewhere, or speaks for a server that asks for one. An Ollama server at home asks for none."""
    return model.key is None and (model.spec.provider != "ollama" or not model.spec.is_edge)


def _look_for(specs: tuple[ModelSpec, ...]) -> dict[str, SecretStr]:
    """The keys by model."""
    found: dict[str, SecretStr] = {}
    known: dict[tuple[str, bool, bool], FoundKey | None] = {}
    for spec in specs:
        provider, own, withheld = asked = spec.provider, is_own(spec), spec.key == "withheld"
        if asked not in known:
            look = beside_keys if withheld else partial(found_keys, own=own)
            known[asked] = next(look(provider, PROVIDERS[provider].key_env), None)
        if (each := known[asked]) is not None:
            found[spec.id] = each.key
    return found


def is_own(spec: ModelSpec) -> bool:
    """Whether a model is asked at its provider's own address, or at the one that the user's environment names for it.

    Only there go keys that we keep: a settings file that came with somebody's project may name any address.
    """
    return is_own_address(PROVIDERS[spec.provider], spec.endpoint)


def is_own_address(row: Provider, address: str | None) -> bool:
    """The same, of an address."""
    return address in (row.endpoint, resolve_endpoint(None, row.endpoint_env, row.endpoint))


def all_keys() -> list[FoundKey]:
    """Every key that this machine has for any provider, with its origin, the one that is used first. Blocks: it reads files.

    A `FoundKey` shows no value.
    """
    return [found for row in PROVIDERS.values() if row.key_env for found in found_keys(row.name, row.key_env)]


async def all_keys_within(seconds: float) -> list[FoundKey]:
    """The same; where a keyring or a disk takes longer, the keys of the environment alone."""
    try:
        async with asyncio.timeout(seconds):
            return await run_unheld(all_keys)
    except TimeoutError:
        return [found for row in PROVIDERS.values() for found in environment_keys(row.name, row.key_env)]
