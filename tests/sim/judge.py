"""The invariants of the house (resilience.md 2z), checked while a world runs and after it has ended.

| name | what must hold |
|---|---|
| I1 end | every request ends exactly once, in time: at most 0.25 s past its deadline (or past the moment at which a slow reader came for
  more, if that is later), its cancellation, or its reader's leaving |
| I2 proof | an answer was proved by the model it is credited to, and is word for word what that model said |
| I3 splice | what a reader heard is the beginning of one attempt's answer, unless it was told to forget what came before |
| I5 load | attempts are bounded; retries and hedges together stay within a fifth of the requests and a floor, hedges within a twentieth; no
  hedge with tools |
| I6 private | no private prompt reaches a cloud model |
| I9 record | the decision is on the disk before a model is asked; every attempt and every end is written down, once |
| I10 manners | models are asked as their contract says, and let go: nothing is left open, no task is left behind |
| I11 typed | every error is one of ours, and says what is true |
| I12 probe | a model that failed is asked by one request at a time, as long as that request could go elsewhere |
| I13 poison | a request that has brought an engine down twice is not given to it again |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from oblix.errors import (
    AllModelsFailed,
    DeadlineExceeded,
    NoRoute,
    OblixError,
    StreamBroken,
    Vetoed,
)
from oblix.execution.health import HealthBook

from .caller import Call
from .model import SimModel, Told
from .plan import World
from .surroundings import Disk
from .trace import Trace

GRACE = 0.25  # seconds (resilience.md 2z, I1)
TICK = 1e-6  # seconds; asyncio lets a timer fire within the clock's resolution before its time
RETRIES_PER_REQUEST = (
    2  # on a model that was asked already (resilience.md 5.4: at most three attempts without an alternative)
)
BUDGET_START = (
    2.0  # the retry budget of resilience.md 5.4: 20 % of the requests, one more each 5 s, and two to begin with
)
BUDGET_SHARE = 0.2
BUDGET_FLOOR = 5.0  # seconds
HEDGE_SHARE = 0.05


class Judge:
    """Knows the truth of one world, from the models' and the callers' own books."""

    def __init__(self, world: World, disk: Disk, trace: Trace) -> None:
        self.models: dict[str, SimModel] = {}
        self.calls: dict[str, Call] = {}
        self.vetoed: set[str] = set()
        self._world = world
        self._disk = disk
        self._trace = trace
        self.health = HealthBook()
        self._told: dict[str, list[Told]] = {}
        self._probes: dict[tuple[int, float], list[Told]] = {}
        self._extra = 0
        self._hedges = 0

    def asked(self, told: Told) -> None:
        """A model is asked."""
        before = self._told.setdefault(told.request.id, [])
        call = self.calls.get(told.request.id)
        self._check_private(told, call)
        self._check_record(told)
        self._check_load(told, before)
        self._check_beginning(told, before)
        self._check_poison(told)
        self._note_probe(told)
        if call is not None and call.ending != "waiting":
            self._trace.breach("I10 manners", f"{told.name} was asked after its request had ended")
        before.append(told)

    def _check_private(self, told: Told, call: Call | None) -> None:
        said_so = call is not None and (call.plan.is_private or self._world.policy == "private")
        if told.model.place == "cloud" and (told.request.private or (said_so and not _overrules(call))):
            self._trace.breach("I6 private", f"{told.name} is in the cloud")

    def _check_record(self, told: Told) -> None:
        if told.request.id not in self._disk.decided and not self._disk.excuses(told.request.id):
            self._trace.breach("I9 record", f"{told.name} was asked before the decision was written")

    def _check_load(self, told: Told, before: Sequence[Told]) -> None:
        live = [other for other in before if other.is_live]
        again = [other for other in before if other.model is told.model]
        if not live and not again:
            return
        self._extra += 1
        if live:
            self._hedges += 1
            if told.request.tools:
                self._trace.breach("I5 load", f"{told.name} hedges a request with tools")
            if not told.request.hedge:
                self._trace.breach("I5 load", f"{told.name} was not wished for while {live[0].name} answers")
        if len(again) > RETRIES_PER_REQUEST:
            self._trace.breach("I5 load", f"{told.name} is try number {len(again) + 1} on this model")
        requests = self._world.past * len(self.models)
        requests += sum(call.asked_at <= told.at for call in self.calls.values())
        if self._extra > BUDGET_START + BUDGET_SHARE * requests + told.at / BUDGET_FLOOR:
            self._trace.breach("I5 load", f"{self._extra} retries and hedges of {requests} requests")
        if self._hedges > HEDGE_SHARE * requests:
            self._trace.breach("I5 load", f"{self._hedges} hedges of {requests} requests")

    def _check_beginning(self, told: Told, before: Sequence[Told]) -> None:
        """Half an answer is given only to who can go on from it, and it is what somebody said."""
        if not told.began_with:
            return
        if "prefill" not in told.model.capabilities:
            self._trace.breach("I10 manners", f"{told.name} cannot go on from half an answer")
        if not any(other.whole == told.began_with for other in before):
            self._trace.breach("I3 splice", f"{told.name} begins with {told.began_with!r}")

    def _check_poison(self, told: Told) -> None:
        if "POISON" not in told.request.prompt or told.model.place == "cloud":
            return
        crashes = [
            other
            for model in self.models.values()
            for other in model.answers
            if other.has_crashed and other.model is told.model and _is_same(other, told)
        ]
        if len(crashes) > 1:
            self._trace.breach("I13 poison", f"{told.name} has brought {told.model.id} down {len(crashes)} times")

    def _note_probe(self, told: Told) -> None:
        """Who else is at work there since the same breaker let a probe through? Judged when the plan is known."""
        known = self.health._known(self.models[told.model.id].spec)
        for gate in self.health._gates(known):
            if gate.breaker.phase != "probing":
                continue
            probes = self._probes.setdefault((id(gate), gate.breaker.since), [])
            told.beside += tuple(other for other in probes if other.is_live)
            probes.append(told)

    def _check_probes(self) -> None:
        """Of those who were at work on a probed model at once, one had others to go to at most: the last candidate is asked in any case."""
        for model in self.models.values():
            for told in model.answers:
                rivals = [other.name for other in told.beside if self._had_choice(other)]
                if rivals and self._had_choice(told):
                    self._trace.breach("I12 probe", f"{told.name} was asked at {told.at:.6f} beside {rivals}")

    def _had_choice(self, told: Told) -> bool:
        """Whether the request could have gone elsewhere first, as far as is known (not when it began, where a load comes first)."""
        name = told.request.id
        written = self._disk.outcomes.get(name)
        if told.model.load is not None or told.number or not written or name not in self._disk.decided:
            return False
        if told.request.on_break == "continue" and len(self._told[name]) > 1:
            return False  # who can go on from half an answer may be the only one
        plan = msgspec.json.decode(self._disk.decided[name])["plan"]
        attempts = msgspec.json.decode(written[0])["attempts"]
        put_off = any(each["model_id"] == told.model.id and each["outcome"] == "postponed" for each in attempts)
        asked = {other.model.id for other in self._told[name][: self._told[name].index(told)]}
        return bool(set(plan[plan.index(told.model.id) + 1 :]) - asked) and not put_off

    def ended(self, call: Call) -> None:
        """A request has ended for its caller."""
        told = self._told.get(call.plan.id, [])
        self._check_time(call)
        self._check_text(call, told)
        if call.ending == "untyped":
            self._trace.breach("I11 typed", f"{call.name} met {call.error!r}")
        elif call.ending == "cancelled" and call.cancelled_at is None:
            self._trace.breach("I11 typed", f"{call.name} was cancelled, and nobody did it")
        elif isinstance(call.error, OblixError):
            self._check_error(call, call.error, told)
        if call.reply is not None:
            self._check_reply(call, told)
        for one in told:
            if not (one.is_freed or one.is_over) and not (one.fate.farewell or one.fate.grip):
                self._trace.breach("I10 manners", f"{one.name} was still open when its request had ended")

    def _check_time(self, call: Call) -> None:
        deadline = None if call.plan.deadline is None else max(call.resumed_at, call.asked_at + call.plan.deadline)
        dues = [due for due in (call.cancelled_at, call.left_at, deadline) if due is not None]
        if dues and call.ended_at > min(dues) + GRACE:
            self._trace.breach("I1 end", f"{call.name} {call.ending} {call.ended_at - min(dues):.3f} s late")

    def _check_text(self, call: Call, told: Sequence[Told]) -> None:
        heard = "".join(call.heard)
        if heard and not any(one.whole.startswith(heard) for one in told):
            self._trace.breach("I3 splice", f"{call.name} heard {heard!r}")
        if call.resets and call.plan.wishes.get("on_break") not in ("restart", "continue"):
            self._trace.breach("I3 splice", f"{call.name} was reset against its wish")
        text = getattr(call.error, "text", None)
        if text is None:
            return
        if call.plan.stream and text != heard:
            self._trace.breach("I3 splice", f"{call.name} heard {heard!r}, its error says {text!r}")
        elif text and not any(one.whole.startswith(text) for one in told):
            self._trace.breach("I3 splice", f"{call.name} was told {text!r}")

    def _check_reply(self, call: Call, told: Sequence[Told]) -> None:
        reply = call.reply
        assert reply is not None
        if not any(
            one.end is not None and one.model.id == reply.model_id and one.whole == reply.response for one in told
        ):
            self._trace.breach("I2 proof", f"{call.name} got {reply.response!r} of {reply.model_id}")
        if call.plan.stream and "".join(call.heard) != reply.response:
            self._trace.breach(
                "I2 proof", f"{call.name} heard {''.join(call.heard)!r}, its reply is {reply.response!r}"
            )
        if [one.model_id for one in reply.attempts if one.outcome == "ok"] != [reply.model_id]:
            self._trace.breach("I9 record", f"{call.name}: attempts do not end in one answer of {reply.model_id}")
        self._check_attempts(call, [attempt.model_id for attempt in reply.attempts], told)

    def _check_attempts(self, call: Call, written: Sequence[str], told: Sequence[Told]) -> None:
        for model_id in self.models:
            asked = sum(one.model.id == model_id for one in told)
            if asked > written.count(model_id):
                self._trace.breach("I9 record", f"{call.name}: {model_id} was asked {asked} times, told: {written}")

    def _check_error(self, call: Call, error: OblixError, told: Sequence[Told]) -> None:
        """An error that names the wrong cause sends its reader the wrong way."""
        untrue: str | None = None
        plan = error.decision.plan if error.decision else ()
        tried = [attempt.model_id for attempt in error.attempts]
        final = {attempt.kind for attempt in error.attempts} & {"content_filter", "cancelled"}
        if isinstance(error, DeadlineExceeded):
            if call.plan.deadline is None or call.ended_at < call.asked_at + call.plan.deadline - TICK:
                untrue = "the deadline had not passed"
        elif isinstance(error, StreamBroken):
            untrue = None if call.heard and call.plan.stream else "nothing had been heard"
        elif isinstance(error, Vetoed):
            closed = any(agent.fail_closed for agent in self._world.agents)
            untrue = None if call.plan.id in self.vetoed or closed else "no agent refused"
        elif isinstance(error, AllModelsFailed) and not final and set(plan) - set(tried):
            untrue = f"{sorted(set(plan) - set(tried))} were not tried"
        elif isinstance(error, NoRoute) and told and not tried:
            untrue = "a model was asked"
        if untrue is not None:
            self._trace.breach("I11 typed", f"{call.name} met {type(error).__name__}, but {untrue}")
        if error.decision is not None:
            self._check_attempts(call, tried, told)

    def closed(self, tasks: int) -> None:
        """The client was shut down, and everybody had time to leave."""
        for name, call in self.calls.items():
            if call.ending == "waiting":
                self._trace.breach("I1 end", f"{call.name} never ended")
                continue
            written = self._disk.outcomes.get(name, [])
            if len(written) > 1:
                self._trace.breach("I9 record", f"{call.name} has {len(written)} outcomes")
            elif name in self._disk.decided and not written and not self._disk.excuses(name):
                self._trace.breach("I9 record", f"{call.name} has no outcome")
            elif written:
                self._check_outcome(call, msgspec.json.decode(written[0]))
        for model in self.models.values():
            for told in model.answers:
                if not (told.is_freed or told.is_over):
                    self._trace.breach("I10 manners", f"{told.name} was never let go")
        self._check_probes()
        if tasks:
            self._trace.breach("I10 manners", f"{tasks} tasks are left")

    def _check_outcome(self, call: Call, outcome: Mapping[str, object]) -> None:
        ended_well, failed = outcome["metrics"] is not None, outcome["error"] is not None
        expected = {"reply": (True, False), "error": (False, True), "left": (False, False)}.get(call.ending)
        if expected is not None and (ended_well, failed) != expected:
            self._trace.breach("I9 record", f"{call.name} has {call.ending}, the log says {outcome}"[:300])


def _is_same(one: Told, other: Told) -> bool:
    """Whether an engine would see the same request."""
    return one.request.prompt == other.request.prompt and bool(one.request.tools) == bool(other.request.tools)


def _overrules(call: Call | None) -> bool:
    """A request's own policy takes the place of the client's."""
    return call is not None and not call.plan.is_private and call.plan.wishes.get("policy") not in (None, "private")
