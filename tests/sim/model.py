"""A simulated model: it keeps the contract of `models.base.Model` while everything around it goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call, ModelState
from oblix.types.chunk import Chunk, Delta, End, Progress, Usage
from oblix.types.ids import split_model_id
from oblix.types.messages import ToolCall
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

from .fate import Fate, draw_fate
from .plan import ModelPlan, World
from .surroundings import Engine, Network
from .trace import Trace

K = FailureKind


@dataclass(slots=True, eq=False)
class Told:
    """One answer of one model, as the model knows it: the truth that the client's claims are held against.

    Attributes:
        whole: What the caller must have heard if this answer is the one: what it went on from, and what it said.
        has_crashed: It was the poison that brought its engine down.
        beside: Answers that were under way at a model that was to be asked by one request at a time (see `judge`).
    """

    model: ModelPlan
    request: Request
    number: int
    at: float
    fate: Fate
    began_with: str = ""
    said: list[str] = field(default_factory=list)
    end: End | None = None
    is_over: bool = False
    is_left: bool = False
    is_freed: bool = False
    has_crashed: bool = False
    beside: tuple[Told, ...] = ()

    @property
    def name(self) -> str:
        """For the trace."""
        return f"{self.model.id}/{self.request.id[-6:]}.{self.number}"

    @property
    def whole(self) -> str:
        """The answer from its start."""
        return self.began_with + "".join(self.said)

    @property
    def is_live(self) -> bool:
        """Neither at its end nor left."""
        return not (self.is_over or self.is_left or self.end)


class Answer:
    """The iterator that the hands get. It tells the judge when they use it in a way that no provider has to bear."""

    def __init__(self, told: Told, chunks: AsyncGenerator[Chunk], trace: Trace) -> None:
        self._told = told
        self._chunks = chunks
        self._trace = trace
        self._is_asked = False

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Chunk:
        told = self._told
        if told.is_over or told.end is not None:
            self._trace.breach("I10 manners", f"{told.name} was asked for more after its end")
        if self._is_asked:
            self._trace.breach("I10 manners", f"{told.name} was asked twice at once")
        self._is_asked = True
        try:
            chunk = await self._chunks.__anext__()
        except BaseException as error:
            told.is_over = told.is_freed = True
            self._trace.note(f"{told.name} ends with {type(error).__name__}")
            raise
        finally:
            self._is_asked = False
        if type(chunk) is Delta:
            told.said.append(chunk.text)
        elif type(chunk) is End:
            told.end = chunk
            self._trace.note(f"{told.name} proves its end")
        return chunk

    async def aclose(self) -> None:
        """Free the model."""
        if not self._told.is_left:
            self._trace.note(f"{self._told.name} is let go")
        self._told.is_left = True
        try:
            await self._chunks.aclose()
        finally:
            self._told.is_freed = True


class SimModel:
    """One model. `answers` is everything that was ever asked of it."""

    def __init__(
        self,
        plan: ModelPlan,
        world: World,
        trace: Trace,
        line: Network | Engine,
        asked: Callable[[Told], None],
    ) -> None:
        provider, name = split_model_id(plan.id)
        self.spec = ModelSpec(
            plan.id,
            provider,
            name,
            plan.place,
            endpoint=plan.endpoint,
            tier=plan.tier,
            window=plan.window,
            price=plan.price,
            capabilities=plan.capabilities,
        )
        self.answers: list[Told] = []
        self.loads = 0
        self._plan = plan
        self._world = world
        self._trace = trace
        self._line = line
        self._asked = asked

    def stream(self, request: Request, call: Call) -> Answer:
        """See `models.base.Model`."""
        number = sum(told.request.id == request.id for told in self.answers)
        now = asyncio.get_running_loop().time()
        told = Told(self._plan, request, number, now, draw_fate(self._world, self._plan, request, number, now))
        told.began_with = call.said
        self._trace.note(f"{told.name} is asked {told.fate.what or ''}@{told.fate.moment} said={len(call.said)}")
        self._asked(told)
        self.answers.append(told)
        return Answer(told, self._speak(told, call), self._trace)

    async def _speak(self, told: Told, call: Call) -> AsyncGenerator[Chunk]:
        fate = told.fate
        crashes = self._crashes()
        try:
            self._fail_at(told, "connect")
            await self._line.connect(call.connect_timeout)
            await self._get_ready(call)
            await self._line.wait(fate.first)
            for _ in range(fate.thoughts):
                yield Progress()
                await self._line.wait(fate.pace)
            if "POISON" in told.request.prompt and isinstance(self._line, Engine):
                self._poison(told)
            for word in range(fate.words):
                await self._meet(told, "first" if word == 0 else "middle" if word == fate.words // 2 else "")
                self._check_engine(crashes)
                yield Delta(f"{told.name}:{word} ")
                await self._line.wait(fate.pace)
            await self._meet(told, "end")
            self._check_engine(crashes)
            yield self._end(told)
        except _Cut:
            return
        except GeneratorExit:
            await asyncio.sleep(fate.farewell)
            raise
        except asyncio.CancelledError:
            told.is_left = True
            await asyncio.sleep(fate.grip)
            raise

    def _end(self, told: Told) -> End:
        usage = Usage(len(told.request.prompt.split()), told.fate.words) if told.number % 2 == 0 else Usage()
        if told.request.tools and told.fate.words % 2:
            return End("tool_calls", usage, (ToolCall("1", "look", "{}"),))
        return End("stop", usage)

    def _poison(self, told: Told) -> None:
        assert isinstance(self._line, Engine)
        told.has_crashed = True
        self._line.crash()
        raise AttemptFailed(K.ENGINE_CRASH, "the engine ended")

    def _crashes(self) -> int:
        return self._line.crashes if isinstance(self._line, Engine) else 0

    def _check_engine(self, crashes: int) -> None:
        if self._crashes() != crashes:
            raise AttemptFailed(K.ENGINE_CRASH, "the engine ended")

    async def _meet(self, told: Told, moment: str) -> None:
        """What fate has in store for this moment, if it takes time; else at once."""
        if told.fate.moment != moment:
            return
        if told.fate.what == "stall":
            await self._line.wait(1e7)
        elif told.fate.what == "crawl":
            await self._line.wait(17.0)  # below every idle limit: slow, but alive
        self._fail_at(told, moment)

    def _fail_at(self, told: Told, moment: str) -> None:
        fate = told.fate
        if fate.moment != moment or fate.what in (None, "stall", "crawl"):
            return
        if fate.what == "foreign":
            raise fate.foreign("not mapped by its provider")
        if fate.what == "cut":
            raise _Cut
        if fate.what == K.ENGINE_CRASH and isinstance(self._line, Engine):
            self._line.crash()
        kind = K.RATE_LIMITED if fate.what == "later" else K(str(fate.what))
        raise AttemptFailed(kind, "so it was drawn", retry_after=fate.retry_after)

    async def _get_ready(self, call: Call) -> None:
        """Nothing is to be done for a model that is always ready."""

    def state(self) -> ModelState:
        """See `models.base.Model`."""
        return ModelState(window=self.spec.window)

    async def close(self) -> None:
        """See `models.base.Model`."""


class ColdModel(SimModel):
    """A model that has to be loaded, and is unloaded by a crash of its engine, or when nobody asks for a while."""

    def __init__(
        self, plan: ModelPlan, world: World, trace: Trace, line: Network | Engine, asked: Callable[[Told], None]
    ) -> None:
        super().__init__(plan, world, trace, line, asked)
        self._loading: asyncio.Task[None] | None = None
        self._loaded_until = -1.0
        self._crashes_seen = 0

    async def _get_ready(self, call: Call) -> None:
        call.watch.reached("load")
        await self._bring()
        call.watch.reached("first_token")

    def _is_loaded(self) -> bool:
        crashes = self._crashes()
        if crashes != self._crashes_seen:
            self._crashes_seen, self._loaded_until = crashes, -1.0
        return asyncio.get_running_loop().time() < self._loaded_until

    def state(self) -> ModelState:
        """See `models.base.Model`."""
        return ModelState(self._is_loaded(), loading=self._loading is not None, window=self.spec.window)

    async def load(self, request: Request) -> None:
        """One load serves all who wait, and outlives them (see `models.base.Loadable`)."""
        await self._bring()

    async def _bring(self) -> None:
        if self._is_loaded():
            return
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(self._plan.load or 0.0))
            self._loading.add_done_callback(self._loaded)
        loading, task = self._loading, asyncio.current_task()
        try:
            await asyncio.shield(loading)
        except asyncio.CancelledError:
            if loading.cancelled() and task is not None and not task.cancelling():
                raise AttemptFailed(K.CANCELLED, "the model was closed while it was loading") from None
            raise

    async def _load(self, seconds: float) -> None:
        chance = self._world.chance("load", self._plan.id, self.loads)
        self.loads += 1
        self._trace.note(f"{self._plan.id} loads")
        is_ill = any(spell.covers(asyncio.get_running_loop().time()) for spell in self._plan.spells)
        await self._line.connect(2.0)
        if is_ill and chance.random() < 0.3:
            await self._line.wait(chance.choice((0.1, seconds, 400.0)))
            raise AttemptFailed(chance.choice((K.MODEL_UNLOADABLE, K.CONNECT, K.TIMEOUT_LOAD)), "so it was drawn")
        await self._line.wait(seconds)
        self._is_loaded()
        self._loaded_until = asyncio.get_running_loop().time() + self._plan.keep
        self._trace.note(f"{self._plan.id} is loaded")

    def _loaded(self, task: asyncio.Task[None]) -> None:
        self._loading = None
        if not task.cancelled():
            task.exception()  # whoever waits is told; if nobody does, nobody is

    async def close(self) -> None:
        """See `models.base.Model`."""
        if self._loading is not None:
            self._loading.cancel()


class _Cut(Exception):
    """Ends a generator from within: the stream stops without its proof."""
