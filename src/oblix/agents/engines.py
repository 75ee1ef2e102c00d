"""The sense for edge servers: what the engines behind the hooked models hold, how many wait there, and whether they still answer.

Nothing is asked while nothing is prompted: a request starts a look in the background when the last one is old, and waits for none. What
real traffic finds out counts first: an answer is a proof of life, a silence sets a watch beside the engine that asks it for one token now
and then, so that no prompt has to find out that it is well again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from oblix.agents.aside import Aside
from oblix.agents.probes.engine_facts import ENGINES, LOOK, PROOF, Engine, freed, is_here, root_of
from oblix.agents.probes.room import RoomProbe, embedded_need
from oblix.agents.probes.work import cpu_seconds, stood_still
from oblix.agents.sensor import Sensor
from oblix.agents.unheld import run_unheld
from oblix.decision.facts import Fit
from oblix.errors import FailureKind
from oblix.models.memory import DEFAULT_WINDOW, Need, Room, fit, need
from oblix.models.transport import Transport
from oblix.types.attempt import Attempt
from oblix.types.spec import ModelSpec

EVERY = 5.0  # seconds between two looks at an engine, while prompts come
CONFIRM = 4.0  # seconds that a silent engine gets at a second look: a busy machine may take a second to answer
QUEUE_HOLDS = 10.0  # seconds for which a queue is believed
LIST_HOLDS = 60.0  # seconds for which it is believed what is loaded
ROOM_HOLDS = 60.0  # seconds for which a reading of the free memory is believed
# Seconds for which an answer proves that an engine is alive. A probe takes the place of a conversation in its cache, so that it is rare.
PROOF_HOLDS = 600.0
# Seconds between the probes of an engine that hung: ten minutes in all, and then it is left to the next prompt.
PAUSES = (2.0, 4.0, 8.0, 16.0, 32.0, *(60.0,) * 9)
# Seconds for which an engine that hangs is passed by, unless it gives a token before: longer than two of its probes are apart, so that no
# prompt has to be the probe while somebody watches.
REST = 80.0
RARELY = 86400.0  # seconds between readings of the free memory that nobody asked for
FAREWELL = 1.0  # seconds

WHOLE = ""
# What a probe that fails again is told as: it keeps a breaker open that is half-open by now, and does not teach the hands to be more
# patient with the model, as each further time-out would.
STILL = FailureKind.ENGINE_CRASH
_SILENCES = {FailureKind.TIMEOUT_FIRST_TOKEN.value, FailureKind.TIMEOUT_IDLE.value}


@dataclass(slots=True, eq=False)
class _Known:
    """One engine, and what is known of it.

    Attributes:
        specs: The hooked models that it answers for, by id.
        at: When it was last looked at (`time.monotonic()`, seconds).
        loaded: The models of ours that it had in memory at that time; `None` when it did not tell.
        ours: Requests of ours that it had at that time.
        proven: When it last gave a token.
        doubted: When it was last silent for a reason that cannot be told from work for others.
        suspect: The model that it hung with, `WHOLE` where it answers nothing at all; `None` while nothing speaks against it.
    """

    provider: str
    root: str
    specs: Mapping[str, ModelSpec]
    engine: Engine | None = None
    at: float = float("-inf")
    loaded: frozenset[str] | None = None
    ours: int = 0
    proven: float = float("-inf")
    doubted: float = float("-inf")
    suspect: str | None = None
    is_visited: bool = False
    is_watched: bool = False


class EngineSense:
    """What is known of the engines behind the hooked edge models.

    The looks run on a thread of their own; what is asked here, on the client's loop, are look-ups in what they left.
    """

    def __init__(
        self,
        *,
        read_room: Callable[[], Room] | None = None,
        read_work: Callable[[], float | None] = cpu_seconds,
        busy: Callable[[str], int] = lambda model_id: 0,
        on_hung: Callable[[ModelSpec, FailureKind, str], None] = lambda spec, kind, why: None,
        on_well: Callable[[ModelSpec], None] = lambda spec: None,
    ) -> None:
        """What it needs of others.

        Args:
            read_room: Reads the free memory of this machine, on a daemon thread, because it may hang; by default `RoomProbe`.
            read_work: Reads the processor seconds that the edge servers of this machine have taken by now, on a thread.
            busy: How many attempts of ours are under way at a model, by its id.
            on_hung: An engine hangs: a model of it, the kind that fits, why. `TIMEOUT_CONNECT` concerns everything at its address; `STILL`
                comes for a model that was told of before. Called on the loop of the latest request, as is `on_well`.
            on_well: A model gave a token again.
        """
        self._transport = Transport()  # of the other thread
        self._aside = Aside("oblix-engines", self._transport.close)
        self._room = Sensor("room", read_room or RoomProbe().read, RARELY)
        self._read_work = read_work
        self._busy = busy
        self._on_hung = on_hung
        self._on_well = on_well
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = float("-inf")
        self._known: dict[tuple[str, str], _Known] = {}
        self._of: dict[str, _Known] = {}
        self._seen: dict[tuple[str, str], tuple[Engine, float]] = {}
        self._specs: dict[str, ModelSpec] = {}
        self._needs: dict[str, Need] = {}
        self._weighing: set[str] = set()
        self._fits: dict[str, tuple[object, Engine | None, Fit | None]] = {}  # and what each was reckoned from
        self._watches: set[asyncio.Task[None]] = set()
        weakref.finalize(self, self._room.stop)

    # --- what it tells, without waiting ---

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines as they were when last looked at."""
        return tuple(known.engine for known in self._known.values() if known.engine is not None)

    def lately_well(self, provider: str, root: str) -> Engine | None:
        """The engine as it was in the last seconds, if it was ready then."""
        known = self._known.get((provider, root))
        engine, at = self._seen.get((provider, root), (None, 0.0)) if known is None else (known.engine, known.at)
        is_fresh = time.monotonic() - at <= QUEUE_HOLDS
        return engine if engine is not None and engine.state == "ready" and is_fresh else None

    def fit_of(self, spec: ModelSpec) -> Fit | None:
        """Whether the model fits into the memory that is free; `None` when it is not known. One that is loaded fits."""
        if self.loaded(spec):
            return "fits"
        needed, read = self._needs.get(spec.id), self._room.latest
        if needed is None or read is None or self._room.age() > ROOM_HOLDS:
            return None
        known, before = self._of.get(spec.id), self._fits.get(spec.id)
        engine = None if known is None else known.engine
        if before is not None and before[0] is read and before[1] is engine:
            return before[2]
        room = Room(read.value.ram) if spec.provider == "embedded" else read.value  # that one computes on the processor
        found = fit(needed, room if engine is None else freed(room, engine, spec.name))
        self._fits[spec.id] = (read, engine, found)
        return found

    def queue_of(self, spec: ModelSpec) -> int:
        """Requests of others that a new one would have to wait for at this engine; 0 when it is not known."""
        known = self._fresh(spec, QUEUE_HOLDS)
        return 0 if known is None or known.engine is None else queue(known.engine, known.ours)

    def loaded(self, spec: ModelSpec) -> bool | None:
        """Whether the model is in memory, by the engine's own word; `None` when it is not known."""
        known = self._fresh(spec, LIST_HOLDS)
        return None if known is None or known.loaded is None else spec.id in known.loaded

    def _fresh(self, spec: ModelSpec, seconds: float) -> _Known | None:
        known = self._of.get(spec.id)
        return None if known is None or time.monotonic() - known.at > seconds else known

    # --- what starts it ---

    def kick(self, specs: Iterable[ModelSpec]) -> None:
        """A request came: look at the engines of these models in the background, if the last look is old. Waits for nothing."""
        now = time.monotonic()
        if now < self._due:
            return
        self._loop, self._due = asyncio.get_running_loop(), now + EVERY
        self._arrange(specs)
        if self._known or self._needs:
            self._room.poke()
        for known in self._known.values():
            self._aside.spawn(self._visit(known))

    def take(self, engines: Iterable[Engine]) -> None:
        """What somebody else has just seen, so that a first decision is not taken blindly."""
        at = time.monotonic()
        self._seen = {(engine.provider, engine.address): (engine, at) for engine in engines if engine.state == "ready"}

    def notice(self, attempt: Attempt) -> None:
        """What real traffic found out."""
        known = self._of.get(attempt.model_id)
        if known is None:
            return
        if attempt.outcome == "ok":
            known.proven = time.monotonic()
            if known.suspect in (WHOLE, attempt.model_id):
                known.suspect = None
        elif attempt.kind in _SILENCES:
            known.suspect = attempt.model_id
            self._aside.spawn(self._watch(known))

    async def close(self) -> None:
        """Stop looking. A frozen engine does not hold this up."""
        self._room.stop()
        self._due = float("-inf")
        ended = self._aside.stop()
        if ended is not None:
            await asyncio.wait({asyncio.wrap_future(ended)}, timeout=FAREWELL)

    def abandon(self) -> None:
        """Stop looking, and wait for nothing: the client's loop is gone."""
        self._room.stop()
        self._due = float("-inf")
        self._aside.stop()

    def _arrange(self, specs: Iterable[ModelSpec]) -> None:
        """The engines behind these models."""
        before, self._specs = self._specs, {spec.id: spec for spec in specs if spec.is_edge}
        groups: dict[tuple[str, str], dict[str, ModelSpec]] = {}
        for model_id, spec in self._specs.items():
            if before.get(model_id) != spec:
                self._needs.pop(model_id, None)
                self._fits.pop(model_id, None)
            if spec.provider == "embedded" and model_id not in self._needs and model_id not in self._weighing:
                self._weighing.add(model_id)
                self._aside.spawn(self._weigh(spec))
            if spec.provider in ENGINES and spec.endpoint:
                groups.setdefault((spec.provider, root_of(spec.endpoint)), {})[model_id] = spec
        found = {key: self._known.get(key) or _Known(*key, group) for key, group in groups.items()}
        for key, group in groups.items():
            found[key].specs = group  # replaced, never changed: the other thread may be walking over it
            if key in self._seen:
                self._learn(found[key], *self._seen[key])
        self._seen = {}
        self._known = found
        self._of = {model_id: known for known in found.values() for model_id in known.specs}

    # --- the looks: on the other thread ---

    async def _visit(self, known: _Known) -> None:
        if known.is_visited:
            return
        known.is_visited = True
        try:
            engine = await self._look(known)
            if engine.state == "hung":
                # One that answers a request of ours at this moment is alive, whatever it says; but where real traffic waited in vain
                # before, each further prompt would wait as well.
                if known.suspect is not None or not self._ours(known):
                    self._found_hung(known, WHOLE, FailureKind.TIMEOUT_CONNECT, engine.reason)
            elif engine.state == "ready" and self._wants_proof(known):
                await self._prove(known, engine)
        finally:
            known.is_visited = False

    async def _look(self, known: _Known) -> Engine:
        """Look, and look for longer at one that says nothing."""
        from oblix.agents.probes.engine import look  # here, on the other thread: it takes 10 ms to import

        await self._transport.prepare()
        names = {spec.name for spec in known.specs.values()}
        for limit in (LOOK, CONFIRM):
            engine = await look(
                self._transport, known.provider, known.root, about=names, before=known.engine, limit=limit
            )
            if engine.state != "hung":
                break
        known.ours = self._ours(known)
        self._learn(known, engine, time.monotonic())
        return engine

    def _learn(self, known: _Known, engine: Engine, at: float) -> None:
        """What a look tells of the models of ours."""
        for spec in known.specs.values():
            self._weigh_pulled(spec, engine)
        known.loaded = None if engine.loaded is None else frozenset(spec.id for spec in _loaded(known, engine))
        known.engine, known.at = engine, at

    def _ours(self, known: _Known) -> int:
        return sum(self._busy(model_id) for model_id in known.specs)

    @staticmethod
    def _wants_proof(known: _Known) -> bool:
        return known.suspect is not None or time.monotonic() - max(known.proven, known.doubted) > PROOF_HOLDS

    async def _prove(self, known: _Known, engine: Engine) -> None:
        """Have the engine say one token, if it has the model in memory and nothing else to do, for us or for others."""
        from oblix.agents.probes.engine import prove

        spec = _provable(known, engine)
        if spec is None:
            self._clear(known, engine)
            return
        if self._ours(known) or queue(engine, 0):
            return
        before = await self._work()
        proof = await prove(self._transport, engine, spec.name, limit=PROOF)
        if proof.kind is None:
            suspect, known.suspect, known.proven = known.suspect, None, time.monotonic()
            if suspect is not None:
                self._tell(self._on_well, spec)
        elif proof.kind is FailureKind.TIMEOUT_FIRST_TOKEN and not self._ours(known):
            if known.suspect is None and await self._may_be_busy(engine, before):
                known.doubted = time.monotonic()
            else:
                self._found_hung(known, spec.id, STILL if known.suspect == spec.id else proof.kind, proof.why)

    async def _may_be_busy(self, engine: Engine, before: float | None) -> bool:
        """Whether the silence may be that of a queue: Ollama tells nobody of the long answers that it gives to other programs."""
        if engine.running is not None:  # it tells, and had nothing to do
            return False
        if not is_here(engine.address):
            return True
        return not stood_still(before, await self._work(), seconds=PROOF)

    async def _work(self) -> float | None:
        with contextlib.suppress(TimeoutError):  # earlier readings hang
            return await run_unheld(self._read_work)
        return None

    def _clear(self, known: _Known, engine: Engine) -> None:
        """What hung is not in memory any more: the next load begins anew."""
        if engine.loaded is None:  # or so it may be; it does not tell
            return
        suspect, known.suspect = known.suspect, None
        if suspect == WHOLE:  # it said nothing at all, and now it does
            self._tell(self._on_well, next(iter(known.specs.values())))

    def _found_hung(self, known: _Known, suspect: str, kind: FailureKind, why: str) -> None:
        known.suspect = suspect
        spec = known.specs.get(suspect) or next(iter(known.specs.values()))
        self._tell(self._on_hung, spec, kind, why)
        watch = asyncio.create_task(self._watch(known))  # not by `spawn`: after a close it would begin anew
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    def _tell(self, what: Callable[..., None], *about: object) -> None:
        """On the client's loop, where the hands are."""
        with contextlib.suppress(RuntimeError):  # it is closed, so that nobody wants to know
            assert self._loop is not None
            self._loop.call_soon_threadsafe(what, *about)

    async def _watch(self, known: _Known) -> None:
        """Stay beside an engine that hung until it is well, or until ten minutes are over."""
        if known.is_watched:
            return
        known.is_watched = True
        try:
            for pause in PAUSES:
                await asyncio.sleep(pause)
                if known.suspect is None or known not in self._known.values():
                    return
                await self._visit(known)
        finally:
            known.is_watched = False

    # --- memory ---

    def _weigh_pulled(self, spec: ModelSpec, engine: Engine) -> None:
        """What the model would take of this machine's memory, if the engine is on it and says how large the model is."""
        model = engine.model(spec.name)
        if model is None or model.bytes is None or model.forwarded_to or not is_here(engine.address):
            return
        self._needs[spec.id] = need(model.bytes, model.shape, window=spec.window or DEFAULT_WINDOW)

    async def _weigh(self, spec: ModelSpec) -> None:
        try:
            needed = await run_unheld(embedded_need, spec.name, spec.window)  # its file may lie on a disk that hangs
        except TimeoutError:
            return  # asked again with the next request
        finally:
            self._weighing.discard(spec.id)
        if needed is not None:
            self._needs[spec.id] = needed
            self._room.poke()


def queue(engine: Engine, ours: int) -> int:
    """How many requests of others a new one would have to wait for; 0 where the engine does not tell.

    Those that are worked on count only where no slot is left for one more.
    """
    waiting = engine.waiting or 0
    others = max(0, (engine.running or 0) + waiting - ours)
    return min(waiting, others) if engine.slots is None else max(0, others - (engine.slots - 1))


def _provable(known: _Known, engine: Engine) -> ModelSpec | None:
    """The model that is asked for a token: the suspect, else any, if it is in memory."""
    return next((spec for spec in _loaded(known, engine) if known.suspect in (None, WHOLE, spec.id)), None)


def _loaded(known: _Known, engine: Engine) -> list[ModelSpec]:
    return [spec for spec in known.specs.values() if engine.loaded_model(spec.name)]
