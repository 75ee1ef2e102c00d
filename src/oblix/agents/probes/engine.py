"""An edge server, looked at from outside: is it there, what has it pulled, what has it in memory, how many wait, does it answer at all?

Nothing here carries a word of a user's. A look only lists; it loads nothing and wakes nothing. The one request that makes an engine work,
`prove`, asks for a single token of a model that is in memory already: a list is answered by a hung engine too
(https://github.com/ollama/ollama/issues/15950).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from oblix.agents.probes import engine_wire as wire
from oblix.agents.probes.engine_facts import (
    ENGINES,
    LOOK,
    PROOF,
    Engine,
    EngineModel,
    LoadedModel,
    Proof,
    State,
    is_here,
    is_same,
    root_of,
)
from oblix.errors import AttemptFailed, FailureKind
from oblix.models.transport import Permit, Transport
from oblix.models.wire_tools import encode
from oblix.types.failure import treatment
from oblix.types.spec import ModelSpec

CONNECT = 0.3  # seconds of a look for the connection; on loopback it takes a tenth of a millisecond
MOST_BODY = 1 << 20  # bytes of an answer; 2,000 pulled models take 0.8 MB, and a megabyte of JSON is read in 5 ms
MOST_DETAILS = 16  # models that are asked about one by one; Ollama opens a file for each
WORD = "Hi"

__all__ = ["ENGINES", "LOOK", "PROOF", "look", "prove"]

_LOCKED = "it asks for a key"
_SILENCE = FailureKind.TIMEOUT_FIRST_TOKEN
_UNREACHED = {
    FailureKind.CONNECT,
    FailureKind.DNS,
    FailureKind.LOCAL_NETWORK,
    FailureKind.POLICY,
    FailureKind.TIMEOUT_CONNECT,
    FailureKind.TLS,
}


async def look(
    transport: Transport,
    provider: str,
    address: str,
    *,
    about: Collection[str] | None = None,
    before: Engine | None = None,
    limit: float = LOOK,
) -> Engine:
    """Look at the engine at `address` for `limit` seconds at most. Never raises for what is found there.

    Args:
        about: The models whose details are wanted, where these have to be asked for one by one; `None`: of as many as is fit.
        before: An earlier look: details of weights that are still the same are taken from it.
    """
    visit = _Visit(transport, provider, root_of(address), limit)
    found = await _LOOKS[provider](visit, _Wanted(about, before))
    return found or visit.verdict()


async def prove(transport: Transport, engine: Engine, name: str, *, limit: float = PROOF) -> Proof:
    """Have a model that is in memory say one token.

    The prompt is one fixed word without the model's template. Ollama is told the window that it is loaded with, because it loads a model
    anew for another one, and is left alone where it does not tell that window; and nothing of how long the model is to be kept, so that
    its owner's wish stays.
    """
    loaded = engine.loaded_model(name)
    model = engine.model(name)
    if loaded is None or (model is not None and model.forwarded_to):
        return Proof(FailureKind.POLICY, f"{name} is not in the memory of this engine")
    if engine.provider == "ollama" and not loaded.window:
        return Proof(FailureKind.POLICY, "the window that it is loaded with is not told")
    visit = _Visit(transport, engine.provider, engine.address, limit)
    if engine.provider == "ollama":
        options = {"num_predict": 1, "num_ctx": loaded.window}
        body = {"model": name, "prompt": WORD, "raw": True, "stream": False, "options": options}
        told = await visit.ask("/api/generate", body)
    else:
        told = await visit.ask("/v1/completions", {"model": name, "prompt": WORD, "max_tokens": 1, "stream": False})
    if wire.is_token(told.json):
        return Proof(None)
    if told.is_silent:
        return Proof(FailureKind.TIMEOUT_FIRST_TOKEN, f"it takes requests, and gave no token within {limit:.0f} s")
    return Proof(told.kind or FailureKind.SERVER_ERROR, told.words)


# --- one visit ---


@dataclass(frozen=True, slots=True)
class _Told:
    """What one address of an engine said: a status and a body, or why it said nothing."""

    path: str
    status: int | None = None
    body: bytes = b""
    kind: FailureKind | None = None
    words: str = ""
    is_reached: bool = False

    @property
    def is_silent(self) -> bool:
        """A connection was made, and nothing came over it in time."""
        return self.kind is _SILENCE

    @property
    def is_locked(self) -> bool:
        """It lets nobody look without a key. It gets none from us: at a usual port anybody may listen."""
        return self.status in (401, 403)

    @property
    def json(self) -> Any:
        """What a good answer holds."""
        return wire.decoded(self.body) if self.status == 200 else None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The models whose details are wanted, and what is known of them."""

    about: Collection[str] | None
    before: Engine | None

    def includes(self, provider: str, name: str) -> bool:
        return self.about is None or any(is_same(provider, name, each) for each in self.about)


class _Visit:
    """The questions of one look, all under one deadline."""

    def __init__(self, transport: Transport, provider: str, root: str, limit: float) -> None:
        self._transport = transport
        self.provider = provider
        self.root = root
        self._limit = limit
        self._deadline = asyncio.get_running_loop().time() + limit
        # No prompt goes with it, so that an engine behind a tunnel may be asked as well; the lane of the edge leads home only.
        self._permit = Permit(ModelSpec(f"{provider}:", provider, "", "edge", endpoint=root), private=False)
        self._told: list[_Told] = []

    async def ask(self, path: str, body: dict[str, Any] | None = None) -> _Told:
        """Ask one address; whatever happens is an answer."""
        try:
            async with asyncio.timeout_at(self._deadline):
                told = await self._fetch(path, body)
        except TimeoutError:
            told = _Told(path, kind=_SILENCE)
        except AttemptFailed as error:
            reached = error.certainty == "possibly_accepted" or error.status is not None
            away = error.kind is FailureKind.POLICY
            words = "its name leads away from home" if away else treatment(error.kind).says
            told = _Told(path, kind=error.kind, words=words, is_reached=reached)
        self._told.append(told)
        return told

    async def ask_all(self, *paths: str) -> list[_Told]:
        """Ask several at once."""
        return await asyncio.gather(*(self.ask(path) for path in paths))

    async def _fetch(self, path: str, body: dict[str, Any] | None) -> _Told:
        url = self.root + path
        if body is None:
            answer = await self._transport.get(url, permit=self._permit, connect_timeout=CONNECT)
        else:
            answer = await self._transport.post(url, body=encode(body), permit=self._permit, connect_timeout=CONNECT)
        try:
            content = await answer.read(MOST_BODY)
        finally:
            answer.close()
        if len(content) == MOST_BODY:
            return _Told(path, kind=FailureKind.PROTOCOL, words=f"answered with more than {MOST_BODY >> 20} MiB")
        return _Told(path, answer.status, content, words=f"answered with HTTP {answer.status}")

    def found(self, **facts: Any) -> Engine:
        """The engine, which answered as it should."""
        late = [told.path for told in self._told if told.is_silent]
        return Engine(
            self.provider,
            self.root,
            "ready",
            f"no answer in time from {', '.join(late)}" if late else "",
            **facts,
        )

    def verdict(self) -> Engine:
        """What it is when nothing showed that it is the engine."""
        kinds = {told.kind for told in self._told}
        if kinds == {_SILENCE}:
            return self._engine("hung", f"it takes connections, and said nothing within {self._limit:g} s")
        if kinds <= {_SILENCE, FailureKind.TIMEOUT_CONNECT} and is_here(self.root):
            # Nothing on loopback takes that long, but a queue of connections that nobody picks up.
            return self._engine("hung", "it takes no connections any more, and refuses none")
        if kinds <= _UNREACHED and not any(told.is_reached for told in self._told):
            return self._engine("absent", self._told[0].words)
        if any(told.is_locked for told in self._told):
            return self._engine("locked", _LOCKED)
        odd = next(told for told in self._told if not told.is_silent)
        return self._engine("strange", f"no {self.provider}: {odd.path} {odd.words}")

    def _engine(self, state: State, reason: str) -> Engine:
        return Engine(self.provider, self.root, state, reason)


# --- one look per kind of engine ---


async def _ollama(visit: _Visit, wanted: _Wanted) -> Engine | None:
    tags, ps, version = await visit.ask_all("/api/tags", "/api/ps", "/api/version")
    models, said = wire.ollama_models(tags.json), wire.ollama_version(version.json)
    # The lists of other programs may look alike: a version or a digest is the mark, and a version alone counts while the list is slow.
    is_marked = said is not None or any(model.digest for model in models or ())
    if not is_marked or (models is None and not tags.is_silent):
        return None
    loaded = wire.ollama_loaded(ps.json)
    models = await _detailed(visit, models or (), loaded or (), wanted)
    return visit.found(version=said, models=models, loaded=loaded)


async def _detailed(
    visit: _Visit, models: tuple[EngineModel, ...], loaded: tuple[LoadedModel, ...], wanted: _Wanted
) -> tuple[EngineModel, ...]:
    """The models with what each has to be asked for; what stays silent stays as it is."""
    hot = {model.name for model in loaded}
    made, asked = list(models), list[int]()
    for at in sorted(range(len(models)), key=lambda at: models[at].name not in hot):
        model = models[at]
        known = wanted.before.model(model.name) if wanted.before else None
        if known is not None and known.window and known.digest == model.digest is not None:
            made[at] = known
        elif model.forwarded_to is None and wanted.includes(visit.provider, model.name):
            asked.append(at)
    told = await asyncio.gather(*(visit.ask("/api/show", {"model": models[at].name}) for at in asked[:MOST_DETAILS]))
    for at, each in zip(asked, told, strict=False):
        made[at] = wire.ollama_details(models[at], each.json)
    return tuple(made)


async def _lmstudio(visit: _Visit, wanted: _Wanted) -> Engine | None:
    newest, older, plain = await visit.ask_all("/api/v1/models", "/api/v0/models", "/v1/models")
    told = wire.lmstudio_models(newest.json) or wire.lmstudio_models_v0(older.json)
    if told is not None and told[0]:  # an empty list is anybody's
        return visit.found(models=told[0], loaded=told[1])
    names = wire.lmstudio_names(plain.json)
    return None if names is None else visit.found(models=names)


async def _llamacpp(visit: _Visit, wanted: _Wanted) -> Engine | None:
    health, listed, props_told = await visit.ask_all("/health", "/v1/models", "/props")
    if any(told.status == 503 and wire.is_loading(wire.decoded(told.body)) for told in (health, listed, props_told)):
        return Engine(visit.provider, visit.root, "loading", "its model is on its way into memory")
    told, props = wire.llamacpp_models(listed.json), wire.llamacpp_props(props_told.json)
    if told is None:
        return None
    models, away = told
    if props_told.is_locked:  # its list is for everybody, its answers are not
        return Engine(visit.provider, visit.root, "locked", _LOCKED, models=models)
    asleep = props is not None and props.is_asleep
    running = waiting = None
    if props is not None and not asleep and props.lists_slots:
        # Only now: these are tasks to it, and `/slots` wakes one that sleeps and loads its model, while the three above do not (tried with
        # xllamacpp 2026.10.11549, 2026-11). It comes to them between two batches.
        slots, metrics = await visit.ask_all("/slots", "/metrics")
        running = wire.llamacpp_running(slots.body) if slots.status == 200 else None
        waiting = wire.gauge(metrics.body, "llamacpp:requests_deferred") if metrics.status == 200 else None
    loaded = (
        ()
        if asleep
        else tuple(LoadedModel(model.name, window=model.window) for model in models if model.name not in away)
    )
    facts = {"version": props.version, "slots": props.slots} if props else {}
    return visit.found(models=models, loaded=loaded, running=running, waiting=waiting, **facts)


async def _vllm(visit: _Visit, wanted: _Wanted) -> Engine | None:
    listed, version, metrics = await visit.ask_all("/v1/models", "/version", "/metrics")
    models = wire.vllm_models(listed.json)
    if models is None:
        return None
    page = metrics.body if metrics.status == 200 else b""
    return visit.found(
        version=wire.ollama_version(version.json),
        models=models,
        loaded=tuple(LoadedModel(model.name, window=model.window) for model in models),
        running=wire.gauge(page, "vllm:num_requests_running"),
        waiting=wire.gauge(page, "vllm:num_requests_waiting"),
    )


_LOOKS: dict[str, Callable[[_Visit, _Wanted], Awaitable[Engine | None]]] = {
    "ollama": _ollama,
    "lmstudio": _lmstudio,
    "llamacpp": _llamacpp,
    "vllm": _vllm,
}
