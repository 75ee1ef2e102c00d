"""Two ledgers on one file against a model of twenty lines: whatever happens in whatever order, both say the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from oblix.errors import AttemptFailed
from oblix.ledger import Ledger
from oblix.ledger.balances import SPARED
from oblix.ledger.estimate import START_TYPICAL
from oblix.ledger.hold import Hold
from oblix.ledger.owner import me
from oblix.ledger.windows import day_that_counts, span
from oblix.testing.clock import VirtualClockLoop
from oblix.types.money import Limit

from .booking import DAY, Clock, claim, is_sound, ledger_on, limit, spent, store_of

Which = tuple[str, str, str]


class Money(NamedTuple):
    """What an attempt holds, or was charged, and where it counts."""

    micro: int
    day: str
    names: frozenset[tuple[str, str]]

    def counts_to(self, which: Which, day: str) -> bool:
        """Whether it counts to this budget, in the window of that day."""
        return which[:2] in self.names and span(which[2], self.day) == span(which[2], day)  # type: ignore[arg-type]


class Model:
    """What the books should say. It is as simple as can be: sums over lists."""

    def __init__(self) -> None:
        self.held: dict[str, Money] = {}
        self.charged: dict[str, Money] = {}
        self.limits: dict[Which, int] = {}
        self.allowed: Counter[tuple[Which, str]] = Counter()  # beyond a limit, in a window
        self.passed: Counter[str] = Counter()  # what an attempt was allowed
        self.day = ""

    def left(self, limits: dict[Which, int], money: Money) -> list[tuple[int, int]]:
        """For each limit on it, what it leaves, and what others hold of it."""
        found = []
        for which, most in limits.items():
            if money.counts_to(which, money.day):
                held = sum(each.micro for each in self.held.values() if each.counts_to(which, money.day))
                charged = sum(each.micro for each in self.charged.values() if each.counts_to(which, money.day))
                beyond = self.allowed[which, span(which[2], money.day)]  # type: ignore[arg-type]
                found.append((most + beyond - held - charged, held))
        return found

    def allow(self, limits: dict[Which, int], id_: str, money: Money, more: int) -> None:
        """Raise each limit that leaves less, so that so much more fits."""
        most = 0
        for which, micro in limits.items():
            for left, _ in self.left({which: micro}, money):
                if left < more:
                    self.allowed[which, span(which[2], money.day)] += more - left  # type: ignore[arg-type]
                    most = max(most, more - left)
        self.passed[id_] += most

    def give_back(self, id_: str, money: Money, charged: int) -> None:
        """What was allowed and is not used."""
        back = max(0, min(self.passed.pop(id_, 0), money.micro - charged))
        for which, window in list(self.allowed):
            if which[:2] in money.names and span(which[2], money.day) == window:  # type: ignore[arg-type]
                self.allowed[which, window] = max(0, self.allowed[which, window] - back)

    def granted(self, limits: dict[Which, int], money: Money, enough: int) -> int | None:
        """How much it may have; `None` is nothing."""
        left = self.left(limits, money)
        short = [(each, held) for each, held in left if each < money.micro + held // SPARED]
        if not short:
            return money.micro
        room, is_last = min(short)[0], not any(held for _, held in short)
        return room if is_last and room >= enough else None


class Books(RuleBasedStateMachine):
    """Reserve, raise, settle, die, reap, settle late, set limits, go on in time, go back in time."""

    holds = Bundle("holds")
    tokens = st.integers(1, 200)
    models, tags = st.sampled_from(["openai:a", "openai:b"]), st.sets(st.sampled_from("xyz"), max_size=2).map(tuple)
    whiches = st.sampled_from(
        [
            ("all", "", "day"),
            ("all", "", "month"),
            ("all", "", "total"),
            ("model", "openai:a", "day"),
            ("tag", "x", "month"),
            ("key", "k", "total"),
        ]
    )
    which_ledger = st.integers(0, 1)

    @initialize(own=st.none() | st.integers(50, 500))
    def begin(self, own: int | None) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.clock, self.model = Clock(), Model()
        self.own: list[dict[Which, int]] = [{} if own is None else {("tag", "y", "day"): own}, {}]
        limits = [limit(own, "tag", "day", "y")] if own is not None else []
        file = Path(self.folder.name) / "oblix.db"
        self.ledgers: list[Ledger] = [ledger_on(file, *limits, wall=self.clock), ledger_on(file, wall=self.clock)]
        for ledger in self.ledgers:
            self.do(ledger.open())
        if own is not None:
            self.count()

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    def inside(self, act: Callable[..., object], *given: object) -> None:
        """What is posted is posted by the loop, whose simulated clock then waits for it; and it is waited for."""

        async def within() -> None:
            act(*given)

        self.do(within())
        self.all_is_written()

    def all_is_written(self) -> None:
        """What was posted, too."""
        for ledger in self.ledgers:
            self.do(store_of(ledger).write(lambda _: None))

    def count(self) -> str:
        """The day that counts, from now on."""
        today = datetime.fromtimestamp(self.clock.now, UTC).date().isoformat()
        self.model.day = day_that_counts(self.model.day, today)
        return self.model.day

    @rule(
        target=holds,
        index=which_ledger,
        tokens=tokens,
        model=models,
        tags=tags,
        key=st.sampled_from(["", "k"]),
        dies=st.booleans(),
        approved=st.sampled_from([False, False, True]),
    )
    def reserve(
        self, index: int, tokens: int, model: str, tags: tuple[str, ...], key: str, *, dies: bool, approved: bool
    ) -> Any:
        names = frozenset(
            [("all", ""), ("model", model), *(("tag", tag) for tag in tags), *([("key", key)] if key else [])]
        )
        money = Money(tokens, self.count(), names)
        limits = {**self.model.limits, **self.own[index]}
        granted = tokens if approved else self.model.granted(limits, money, min(tokens, START_TYPICAL))
        ledger = self.ledgers[index]
        ledger._upkeep.owner = (
            me().rpartition("/")[0] + "/1@0" if dies else me()
        )  # a process that is no more, or this one
        asked = claim(tokens, model=model, tags=tags, key=key, approved=approved)
        if approved:
            self.model.allow(limits, asked.id, money, tokens)
        try:
            hold: Hold = self.do(ledger.reserve(asked))
        except AttemptFailed:
            assert granted is None
            return multiple()
        assert hold.micro_usd == granted
        self.model.held[asked.id] = money._replace(micro=granted)
        return hold, index, dies

    @rule(each=holds, more=tokens)
    def raise_(self, each: tuple[Hold, int, bool], more: int) -> None:
        hold, index, _ = each
        held = self.model.held.get(hold.call.id)
        if held is None:  # reaped: with no limit of its own nobody is kept to anything
            return
        limits = {**self.model.limits, **self.own[index]}
        room = min([left for left, _ in self.model.left(limits, held)], default=more)
        if hold.claim.approved:
            self.model.allow(limits, hold.call.id, held, more)
            room = more
        assert self.do(hold.raise_to(held.micro + more)) is (more <= room)
        if more <= room:
            self.model.held[hold.call.id] = held._replace(micro=held.micro + more)

    @rule(each=consumes(holds), micro=st.integers(0, 300), again=st.booleans(), elsewhere=st.booleans())
    def settle(self, each: tuple[Hold, int, bool], micro: int, *, again: bool, elsewhere: bool) -> None:
        hold, index, _ = each
        id_ = hold.call.id
        held = self.model.held.pop(id_, None)
        if held is not None:
            self.model.give_back(id_, held, micro)
        # Late, the reaper charged it, and is corrected.
        self.model.charged[id_] = (held or self.model.charged[id_])._replace(micro=micro)
        self.inside(hold.settle, spent(micro))
        if again:
            self.inside(hold.settle, spent(micro + 1))
            ledger = self.ledgers[1 - index if elsewhere else index]
            self.inside(ledger._settle, hold.call, spent(micro + 2))

    @rule(index=which_ledger)
    def reap(self, index: int) -> None:
        self.inside(self.ledgers[index]._upkeep.reap, self.ledgers[index]._upkeep.dead())
        dead = {row[0] for row in self.model.held.items()} - self.alive()
        for id_ in dead:
            self.model.charged[id_] = self.model.held.pop(id_)

    def alive(self) -> set[str]:
        rows = store_of(self.ledgers[0]).read(
            lambda db: db.execute("SELECT id FROM reservation WHERE owner = ?", (me(),)).fetchall()
        )
        return {str(id_) for (id_,) in rows}

    @rule(index=which_ledger, which=whiches, micro=st.integers(0, 1000))
    def set_limit(self, index: int, which: Any, micro: int) -> None:
        scope, subject, period = which
        self.count()
        self.do(self.ledgers[index].set_limit(Limit(scope, period, micro, subject=subject)))
        self.model.limits[which] = micro
        self.model.allowed[which, span(period, self.model.day)] = 0

    @rule(index=which_ledger, which=whiches)
    def reset_limit(self, index: int, which: Any) -> None:
        scope, subject, period = which
        gone = self.do(self.ledgers[index].reset_limit(scope, period, subject))
        assert gone is (self.model.limits.pop(which, None) is not None)
        if gone:
            self.count()

    @rule(days=st.sampled_from([0.3, 1, 1, 9, 40]))
    def go_on(self, days: float) -> None:
        self.clock.now += days * DAY

    @rule(days=st.sampled_from([0.5, 1, 1.9, 30]))
    def go_back(self, days: float) -> None:
        self.clock.now -= days * DAY

    @invariant()
    def both_say_what_the_model_says(self) -> None:
        if not hasattr(self, "ledgers"):
            return
        self.all_is_written()
        for index, ledger in enumerate(self.ledgers):
            day, accounts = ledger._picture.look()
            today = datetime.fromtimestamp(self.clock.now, UTC).date().isoformat()
            assert day == day_that_counts(self.model.day, today)
            for account in accounts:
                which: Which = (account.scope, account.subject, account.period)
                assert account.limit == self.model.limits.get(which)
                assert account.settled == sum(m.micro for m in self.model.charged.values() if m.counts_to(which, day))
                assert account.reserved == sum(m.micro for m in self.model.held.values() if m.counts_to(which, day))
                assert account.allowed == self.model.allowed[which, span(account.period, day)]
            assert len(ledger._holds) <= len(self.model.held) + len(self.model.charged)
            assert index == 0 or is_sound(store_of(ledger))

    def teardown(self) -> None:
        if hasattr(self, "ledgers"):
            for ledger in self.ledgers:
                self.inside(ledger.close)
                store_of(ledger).close()
            self.runner.close()
            self.folder.cleanup()


Books.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_two_ledgers_and_the_model = Books.TestCase
