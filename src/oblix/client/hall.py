"""The hall: everything that one client holds, and the path of a prompt through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from oblix.agents.engines import REST, EngineSense
from oblix.agents.gather import Panel
from oblix.client import figures, refusals
from oblix.client.books import Books, key_of
from oblix.client.continuity import Continuity, Mark
from oblix.client.facts import Moment, assemble, known_spec
from oblix.client.keychain import Keychain
from oblix.client.memory import Memory, Round, never_its_turn
from oblix.client.record import Recorder
from oblix.client.screening import finder, label, sealed
from oblix.client.surroundings import ClientSurroundings
from oblix.decision.decide import decide
from oblix.decision.facts import Facts
from oblix.decision.policy import Policy
from oblix.decision.privacy.texts import is_long
from oblix.decision.tokens import estimate
from oblix.decision.world import always_private
from oblix.errors import AttemptFailed, OblixError
from oblix.execution.hands import Hands
from oblix.execution.journey import Journey
from oblix.execution.patience import within
from oblix.execution.run import Break, Walk, too_late
from oblix.execution.states import Event
from oblix.models.base import Model
from oblix.models.catalog import PriceBook
from oblix.models.registry import catalogue_of
from oblix.models.transport import Transport
from oblix.settings import file_of, find_policy
from oblix.storage.store import Store
from oblix.types.attempt import Attempt
from oblix.types.chunk import Delta, Reset
from oblix.types.decision import Decision
from oblix.types.messages import Message
from oblix.types.privacy import Privacy, Screening
from oblix.types.reply import Reply
from oblix.types.request import Request
from oblix.types.spec import ModelSpec, Price

# Seconds that a first answer waits for the price catalogue, if it was not read while the model answered; a first decision only where the
# policy's weight of the price is DECISIVE, above what chooses within a tier.
PRICE_WAIT = 1.0
DECISIVE = 1.0
BUDGET_WAIT = 5.0  # seconds, where a cost limit makes the prices part of the decision


class Thought(NamedTuple):
    """A decision, and what it was taken on. A private request is sealed by then."""

    decision: Decision
    facts: Facts
    policy: Policy
    request: Request
    screening: Screening
    marks: list[Mark]


@dataclass(slots=True)
class Hall:
    """What a client holds. Belongs to one event loop once it is used."""

    policy: Policy
    store: Store
    recorder: Recorder = field(init=False)
    books: Books = field(init=False)
    memory: Memory = field(init=False)
    screening: Screening = field(default_factory=Screening)
    continuity: Continuity = field(default_factory=Continuity)
    models: dict[str, Model] = field(default_factory=dict)
    panel: Panel = field(default_factory=Panel)
    transport: Transport = field(default_factory=Transport)
    hands: Hands = field(default_factory=Hands)
    prices: PriceBook = field(default_factory=PriceBook)
    surroundings: ClientSurroundings = field(init=False)
    keychain: Keychain = field(init=False)
    engines: EngineSense = field(init=False)
    wall: Callable[[], float] = time.time  # seconds since the epoch; a simulation brings its own
    hooked: int = 0
    _has_recalled: bool = False
    _replaced: list[Model] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.store)
        self.books = Books(self.store, lambda: self.wall(), self.hands)  # noqa: PLW0108  a simulation brings another wall later
        self.memory = Memory(self.store, lambda: self.wall())  # noqa: PLW0108  a simulation brings another wall later
        self.surroundings = ClientSurroundings(self.models, self.transport.forget_idle, self.books.spent)
        self.keychain = Keychain(self.surroundings.refresh)
        self.transport.traffic.sink = self.panel.observe
        self.hands.price_of = self._price_of
        self.engines = EngineSense(
            busy=lambda model_id: self.hands.busy.get(model_id, 0),
            on_hung=lambda spec, kind, why: self.hands.health.failed(spec, kind, why, loop_time(), REST),
            on_well=lambda spec: self.hands.health.succeeded(spec, loop_time()),
        )

    def hook(self, model: Model) -> None:
        """Make a model known. Hooked again with other settings, it keeps its place in the order."""
        before = self.models.get(model.spec.id)
        model.spec = replace(model.spec, order=before.spec.order if before else self.hooked)
        if before is not None and before is not model:
            self._replaced.append(before)  # it may be answering: closed with the client
        self.hooked += 1
        self.models[model.spec.id] = model
        self.hands.health.forget(model.spec)
        self.surroundings.refresh()
        self.keychain.want(model)
        catalogue = catalogue_of(model.spec.provider)
        if catalogue is not None and model.spec.price is None:
            self.prices.want(catalogue, model.spec.name)

    def specs(self) -> dict[str, ModelSpec]:
        """What is known of each hooked model by now."""
        return {model_id: known_spec(model, self.prices) for model_id, model in tuple(self.models.items())}

    async def think(self, request: Request, *, unhurried: bool = False, round_: Round | None = None) -> Thought:
        """Look, then decide; `unhurried`, where nobody waits for an answer, prices are waited for."""
        if not self.models:
            raise refusals.nothing_hooked()
        await self._get_ready()
        if round_ is None and request.session_id is not None:
            round_ = Round(self.memory, request, request.session_id)
        if round_ is not None:
            request = await round_.recall(self._widest())
        policy = self.policy if request.policy is None else await self._wished_policy(request.policy)
        if request.max_cost_usd is not None or (not self.prices.is_settled() and self.books.has_limits):
            await self._wait_for_prices(BUDGET_WAIT)
        elif unhurried or policy.price >= DECISIVE:
            await self._wait_for_prices(PRICE_WAIT)
        screening, marks = self.screening, self.continuity.marks(request.messages)
        privacy = await self._label(request, screening, policy, is_tainted=self.continuity.is_tainted(marks))
        if round_ is not None:
            privacy = round_.judged(privacy)
        # For the agents as well; the facts hold what was found, so that another policy can judge it anew.
        request = sealed(request, always_private(privacy, policy.name) if policy.always_private else privacy)
        reports = await self.panel.ask(prompt=request.prompt, request=request, session_id=request.session_id)
        now = loop_time()
        before = self.continuity.before(marks, request.session_id, now)
        least = None if round_ is None else round_.least_tokens(request)
        moment = Moment(
            self.wall(),
            now,
            policy,
            privacy,
            reports,
            before,
            least,
            self.books.on_limit,
            self.books.rooms(request, self.models),
        )
        facts = assemble(request, self.models.values(), self.hands, self.prices, moment, engines=self.engines)
        decision = decide(facts, policy)
        return Thought(decision, facts, policy, sealed(request, decision.privacy), screening, marks)

    async def _get_ready(self) -> None:
        """What the first request of a client waits for."""
        if self.keychain.is_due(now := loop_time()):
            await self.keychain.look(now)
        self.books.know_keys(self.models.values())
        if not self.transport.is_ready and any(model.spec.endpoint for model in self.models.values()):
            await self.transport.prepare()
        if not self._has_recalled:
            self._has_recalled = True
            self.hands.health.recall(await self.recorder.past())
            await self.books.open()

    async def _wait_for_prices(self, seconds: float) -> None:
        if not self.prices.is_settled():
            await asyncio.to_thread(self.prices.wait, seconds)

    async def _know_prices(self, decision: Decision, journey: Journey) -> None:
        """Nothing that may cost something is sent before it is known what, if that can be had: a process that is killed hides no bill."""
        if "cloud" in {each.place for each in decision.candidates if each.verdict != "rejected"}:
            left = PRICE_WAIT if journey.deadline is None else min(PRICE_WAIT, journey.deadline - loop_time())
            await self._wait_for_prices(max(0.0, left))

    async def _label(self, request: Request, screening: Screening, policy: Policy, *, is_tainted: bool) -> Privacy:
        work = partial(label, request, screening, is_tainted=is_tainted, always_scan=policy.listens_for_findings)
        return await asyncio.to_thread(work) if is_long(request) else work()

    async def _wished_policy(self, name: str) -> Policy:
        """The policy that a request names. What has no rules of its own brings other weights, and keeps the client's rules."""
        found = find_policy(name) if file_of(name) is None else await asyncio.to_thread(find_policy, name)
        return found.with_rules_of(self.policy)

    def _widest(self) -> int | None:
        """The largest window of all models; `None` where one of them is not known."""
        windows = [known_spec(model, self.prices).window for model in self.models.values()]
        return None if None in windows else max(window or 0 for window in windows)

    async def _decide(self, request: Request, told: list[Thought], round_: Round | None) -> Thought:
        """Think, and write it down. `told` gets the thought as soon as there is one."""
        if self.models:
            self.engines.kick(model.spec for model in self.models.values())
        if round_ is not None:
            await round_.enter()
        thought = await self.think(request, round_=round_)
        if await self.books.decided(thought.decision, thought.facts):
            thought = _approved(thought)
        told.append(thought)
        if thought.decision.privacy.sticks:
            self.continuity.taint(thought.marks)
        also = None if round_ is None else round_.asked(thought.decision, thought.request)
        is_written = await self.recorder.decided(thought.decision, thought.facts, thought.policy, request, also=also)
        if round_ is not None and not is_written:
            round_.forget()
        return thought

    async def answer(
        self, request: Request, asked_at: float, *, on_break: Break
    ) -> AsyncGenerator[str | Reset | Reply]:
        """The path of a prompt: look, think, write the decision down, act, write the outcome down.

        Args:
            asked_at: When the caller called, on the loop's clock; the deadline counts from there.
        """
        deadline = None if request.deadline is None else asked_at + request.deadline
        journey = Journey(request, deadline, on_attempt=self._notice)
        thoughts: list[Thought] = []
        round_ = None if request.session_id is None else Round(self.memory, request, request.session_id)
        metrics: Mapping[str, Any] | None = None
        failure: OblixError | None = None
        self.hands.health.asked(asked_at)
        try:
            thought = await self._think_in_time(request, thoughts, journey, round_)
            decision = thought.decision
            self._prepare(journey, thought)
            if round_ is not None:
                journey.fitted = partial(self._fitted, round_)
            walk = self._walk(thought, journey, on_break)
            await self._know_prices(decision, journey)
            async with aclosing(walk.pieces()) as chunks:
                async for chunk in chunks:
                    if type(chunk) is Delta:
                        yield chunk.text
                    elif type(chunk) is Reset:
                        yield chunk
            if journey.end is None:
                raise refusals.all_failed(decision, journey.attempts, self.models)
            reply = await self._reply(thought, journey, asked_at)
            metrics = reply.metrics
            self.books.answered(reply, request, key_of(self.models[reply.model_id]))
            if round_ is not None:
                await round_.answered(_spoken(journey), reply)
        except OblixError as error:
            failure = error
            taken = thoughts[0].decision if thoughts else None
            raise refusals.sign(error, request.id, taken, journey.attempts) from None
        finally:
            if thoughts:
                self._settle(thoughts[0].decision, journey, metrics=metrics, error=failure)
            if round_ is not None:
                round_.leave(journey)
        yield reply

    async def _think_in_time(
        self, request: Request, told: list[Thought], journey: Journey, round_: Round | None
    ) -> Thought:
        try:
            return await within(self._decide(request, told, round_), journey.deadline)
        except TimeoutError:
            journey.on(Event.REJECT)
            if round_ is not None and not round_.has_entered:
                raise never_its_turn(request) from None
            raise too_late(journey) from None
        except asyncio.CancelledError:
            journey.on(Event.LEAVE)
            raise

    def _walk(self, thought: Thought, journey: Journey, on_break: Break) -> Walk:
        self.prices.kick()
        decision = thought.decision
        if not decision.plan:
            journey.on(Event.REJECT)
            raise refusals.no_route(decision, thought.facts)
        models = [self.models[model_id] for model_id in decision.plan]
        if decision.privacy.is_redacted:
            from oblix.models.redacted import Redaction, redacting

            redaction = Redaction(finder(thought.screening))
            models = [model if model.spec.is_edge else redacting(model, redaction) for model in models]
        return Walk(models, journey, self.hands, on_break=on_break)

    def _fitted(self, round_: Round, spec: ModelSpec) -> tuple[Request, int]:
        """The request as it goes to a model, and how many messages of its session were left out for that."""
        return round_.fitted(spec.id, known_spec(self.models[spec.id], self.prices).window)

    def _prepare(self, journey: Journey, thought: Thought) -> None:
        """What the hands need to know of a decision."""
        journey.request = thought.request
        journey.prompt_tokens = thought.facts.asked.prompt_tokens
        self.books.prepare(journey, thought.facts)
        if not thought.decision.bridges_to_cloud:
            journey.bridges = frozenset({"edge"})
        journey.on(Event.ADMIT)

    def _settle(
        self,
        decision: Decision,
        journey: Journey,
        *,
        metrics: Mapping[str, Any] | None = None,
        error: OblixError | None = None,
    ) -> None:
        """The outcome is written down, whatever it is."""
        self.recorder.ended(decision, journey.attempts, at=self.wall(), metrics=metrics, error=error)
        journey.on(Event.SETTLE)

    async def _reply(self, thought: Thought, journey: Journey, asked_at: float) -> Reply:
        request, decision = journey.request, thought.decision
        end, model_id, deadline = journey.end, journey.answered_by, journey.deadline
        assert end is not None
        assert model_id is not None
        now, wall = loop_time(), self.wall()
        left = PRICE_WAIT if deadline is None else min(PRICE_WAIT, deadline - now)
        if left > 0:
            await self._wait_for_prices(left)
        text = "".join(journey.text)
        self._remember(thought, journey, _spoken(journey), now)
        specs = self.specs()
        measured = figures.metrics(request, specs[model_id], journey, end, asked_at=asked_at, now=now, wall=wall)
        measured["saved_usd"] = figures.saved(decision, specs, measured)
        return Reply(
            request.id,
            model_id,
            text,
            measured,
            decision.checks,
            decision,
            tuple(journey.attempts),
            request.session_id,
            end.finish_reason,
            end.tool_calls,
            end.logprobs,
            end.thoughts,
        )

    def _remember(self, thought: Thought, journey: Journey, answer: Message, now: float) -> None:
        """For the conversation's next turn."""
        marks = [*thought.marks, *self.continuity.marks([answer])]
        model_id, tokens = journey.answered_by or "", journey.prompt_tokens + estimate(answer.text)
        self.continuity.answered(marks, journey.request.session_id, model_id=model_id, tokens=tokens, now=now)
        if thought.decision.privacy.sticks:
            self.continuity.taint(marks)

    def _notice(self, attempt: Attempt, error: AttemptFailed | None) -> None:
        """News for the senses."""
        self.panel.notice(attempt)
        self.engines.notice(attempt)

    def _price_of(self, model: Model) -> Price | None:
        return known_spec(model, self.prices).price

    async def close(self) -> None:
        """Close everything; what still answers ends as cancelled."""
        await self.panel.close()
        replaced, self._replaced = self._replaced, []
        models = [*self.models.values(), *replaced]
        await asyncio.gather(*(model.close() for model in models), return_exceptions=True)
        await self.hands.close()
        await self.engines.close()
        await self.transport.close()
        self.books.close()
        await self.recorder.close()
        await self.store.shut()

    def abandon(self) -> None:
        """Forget a loop that was closed before anything could be."""
        self.panel.abandon()
        self.engines.abandon()
        self.transport.abandon()
        self.recorder.abandon()
        self.books.close()
        self.memory.abandon()


def _approved(thought: Thought) -> Thought:
    """The same picture, now that the user lets the request pass its budgets."""
    facts = replace(thought.facts, asked=replace(thought.facts.asked, approved=True))
    decision = decide(facts, thought.policy)
    return thought._replace(decision=decision, facts=facts, request=sealed(thought.request, decision.privacy))


def _spoken(journey: Journey) -> Message:
    """The answer as the next turn has it."""
    assert journey.end is not None
    return Message("assistant", "".join(journey.text), journey.end.tool_calls, thoughts=journey.end.thoughts)


def loop_time() -> float:
    """The loop's clock, on which every duration and deadline is measured."""
    return asyncio.get_running_loop().time()
