"""The money of an attempt: reserved before it is sent, topped up while it grows, charged once, however it ends. With real books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oblix.errors import DeadlineExceeded, FailureKind
from oblix.execution.charge import TEMPLATE
from oblix.execution.hands import Hands
from oblix.execution.latency import Timing
from oblix.ledger import Ledger, chain
from oblix.ledger.balances import unbalanced
from oblix.ledger.estimate import FEW
from oblix.models.base import Call
from oblix.storage.store import Store
from oblix.testing import Cut, Fail, ScriptedModel, Wait, run
from oblix.types.chunk import Chunk, End, Progress, Usage
from oblix.types.messages import Message
from oblix.types.money import EVERY_MODEL, IN_FLIGHT, Limit
from oblix.types.request import Request
from oblix.types.spec import Price

from .walking import ASKED, Walked, go, journey, start

PAID = Price(1.0, 10.0, "test")  # a token of the answer is 10 micro-USD, one of the prompt 1
PROMPT = 9  # tokens of ASKED, by estimate
RESERVED = PROMPT + TEMPLATE  # tokens that are reserved for it, as long as nobody knows how many its model counts


class Accounts:
    """A ledger on a file of its own, and hands that use it."""

    def __init__(self, file: Path, *limits: Limit) -> None:
        self.store = Store(file)
        self.ledger = Ledger(self.store, limits)
        self.hands = Hands(chance=lambda: 0.5, accounts=self.ledger)

    @property
    def spent(self) -> int:
        return self.ledger.spent() or 0

    @property
    def reserved(self) -> int:
        row = self.store.read(lambda db: db.execute("SELECT coalesce(sum(micro), 0) FROM reservation").fetchone())
        assert row is not None
        return int(row[0])

    def kinds(self) -> list[str]:
        return self.store.read(lambda db: [str(row[0]) for row in db.execute("SELECT kind FROM entry ORDER BY seq")])

    async def shut(self) -> None:
        assert self.reserved == 0
        assert self.ledger.overrun == 0
        assert self.store.read(unbalanced) == []
        assert self.store.read(chain.verify).broken_at is None
        self.ledger.close()
        await self.store.shut()


def paid(*scripts: Any, name: str = "openai:gpt", **known: Any) -> ScriptedModel:
    return ScriptedModel(name, *scripts, **{"price": PAID, **known})


def day(micro_usd: int) -> Limit:
    return Limit("all", "day", micro_usd)


def flowing(words: int, *, at_once: int = 1) -> list[Any]:
    """An answer that comes while it is written, or nearly so: so many words at a time."""
    return [step for _ in range(words // at_once) for step in (*["word "] * at_once, Wait(0.1 * at_once))]


def walk(file: Path, *plan: ScriptedModel, limits: tuple[Limit, ...] = (), **how: Any) -> tuple[Walked, int, list[str]]:
    """Walk a plan; what came of it, what it cost by the books, and what they noted."""

    async def main() -> tuple[Walked, int, list[str]]:
        books = Accounts(file, *limits)
        try:
            walked = await go(*plan, hands=books.hands, **how)
            return walked, books.spent, [kind for kind in books.kinds() if kind != "limit"]
        finally:
            await books.shut()

    return run(main())


def charged(walked: Walked) -> int:
    return sum(round(1e6 * (attempt.cost_usd or 0.0)) for attempt in walked.journey.attempts)


def test_an_answer_is_reserved_for_and_charged_as_billed(tmp_path: Path) -> None:
    walked, spent, kinds = walk(tmp_path / "o.db", paid(["Par", "is", End("stop", Usage(20, 3))]))
    assert spent == charged(walked) == 20 + 30
    assert kinds == ["reserve", "settle"]


def test_what_costs_nothing_reserves_nothing(tmp_path: Path) -> None:
    walked, spent, kinds = walk(tmp_path / "o.db", ScriptedModel("ollama:phi"), ScriptedModel("openai:x", price=None))
    assert (walked.outcomes, spent, kinds) == ([("ollama:phi", "ok", None)], 0, [])


def test_the_reservation_is_made_before_anything_is_sent(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db")
        held: list[int] = []

        class Looking(ScriptedModel):
            def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
                held.append(books.reserved)
                return super().stream(request, call)

        await go(Looking("openai:gpt", price=PAID), hands=books.hands)
        assert held[0] > 0
        await books.shut()

    run(main())


@pytest.mark.parametrize(
    ("script", "least"),
    [
        pytest.param(["half ", "of it", Cut()], PROMPT + 2 * 10, id="truncated"),
        pytest.param(["half ", Fail("engine_crash")], PROMPT + 10, id="broke off"),
        pytest.param([Progress(), Progress(), Fail("truncated")], PROMPT + 2 * 10, id="thoughts are tokens"),
        pytest.param([Fail("timeout_first_token")], PROMPT, id="possibly billed"),
    ],
)
def test_what_was_possibly_billed_is_charged_with_what_was_on_its_way(tmp_path: Path, script: Any, least: int) -> None:
    walked, spent, _ = walk(tmp_path / "o.db", paid(script), ScriptedModel("ollama:phi"), on_break="unseen")
    assert spent == charged(walked)
    assert least <= spent <= least + 10 * (IN_FLIGHT + 4)


@pytest.mark.parametrize("kind", ["connect", "auth", "rate_limited", "overloaded", "context_overflow", "tls"])
def test_what_was_not_begun_is_charged_nothing(tmp_path: Path, kind: str) -> None:
    walked, spent, kinds = walk(tmp_path / "o.db", paid([Fail(kind)]), ScriptedModel("ollama:phi"))
    assert (spent, charged(walked), kinds) == (0, 0, ["reserve", "settle"])


def test_a_caller_who_leaves_pays_for_what_was_said(tmp_path: Path) -> None:
    walked, spent, _ = walk(tmp_path / "o.db", paid(["a ", "b ", "c ", Wait(9.0)]), leave_after=2)
    assert walked.outcomes == [("openai:gpt", "cancelled", "cancelled")]
    assert spent == charged(walked) == PROMPT + 10 * (2 + IN_FLIGHT)


def test_what_may_lie_unread_is_charged(tmp_path: Path) -> None:
    """A service writes on while our loop is late, and bills what it wrote: a stream that was read 0.125 s ago may be 63 tokens ahead."""
    broke = ["half ", Wait(0.125), Fail("engine_crash")]
    walked, spent, _ = walk(tmp_path / "o.db", paid(broke), ScriptedModel("ollama:phi"), on_break="unseen")
    assert spent == charged(walked) == PROMPT + 10 * (2 + IN_FLIGHT + 63)


def test_what_comes_after_a_silence_may_have_been_written_in_it(tmp_path: Path) -> None:
    """A proxy that buffers hands on in one go what took 0.2 s to write: who leaves after its first words may be billed for 100 tokens."""
    script = ["a ", Wait(0.2), *["word "] * 90]
    walked, spent, _ = walk(tmp_path / "o.db", paid(script), leave_after=4)
    assert walked.outcomes == [("openai:gpt", "cancelled", "cancelled")]
    assert spent == charged(walked) == PROMPT + 10 * (1 + 100 + IN_FLIGHT)


def test_no_more_may_lie_unread_than_was_reserved(tmp_path: Path) -> None:
    broke, short = ["half ", Wait(20.0), Fail("engine_crash")], replace(ASKED, max_tokens=200)
    walked, spent, _ = walk(
        tmp_path / "o.db", paid(broke), ScriptedModel("ollama:phi"), on_break="unseen", request=short
    )
    assert spent == charged(walked) == PROMPT + 10 * 200


def test_a_missing_usage_is_charged_by_estimate_and_marked(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db")
        await go(paid(["one ", "two ", "three", End("stop", Usage(None, None))]), hands=books.hands)
        assert books.spent == PROMPT + 4 * 10
        certain = books.store.read(lambda db: db.execute("SELECT certain FROM entry WHERE kind = 'settle'").fetchall())
        assert certain == [(0,)]
        await books.shut()

    run(main())


def test_a_long_answer_is_topped_up_and_never_passes_its_budget(tmp_path: Path) -> None:
    """A thousand tokens at 10 micro-USD, where the start value pays some 800; of a model whose answers were seen to flow."""

    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(1_000_000))
        usual = [*flowing(100), End("stop", Usage(PROMPT, 100))]
        model = paid(*[usual] * FEW, [*flowing(1000), End("stop", Usage(PROMPT, 1000))])
        costs = [charged(await go(model, hands=books.hands)) for _ in range(FEW + 1)]
        assert costs == [PROMPT + 1000] * FEW + [PROMPT + 10_000]
        kinds = [kind for kind in books.kinds() if kind != "limit"]
        assert kinds[: 2 * FEW + 1] == ["reserve", "settle"] * FEW + ["reserve"]
        assert kinds[-2:] == ["raise", "settle"]
        await books.shut()

    run(main())


def test_what_cannot_be_stopped_in_time_is_reserved_to_its_bound(tmp_path: Path) -> None:
    """Nothing is known of a new model, and this one's answers come at once: what it is told as its bound is reserved, again and again."""
    told: list[int | None] = []

    class Told(ScriptedModel):
        def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            told.append(call.most_tokens)
            return super().stream(request, call)

    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(60_000))
        model = Told("openai:gpt", [*["word "] * 1000, End("stop", Usage(PROMPT, 1000))], price=PAID)
        for _ in range(2):
            walked = await go(model, hands=books.hands, request=replace(ASKED, max_tokens=2000))
            assert charged(walked) == PROMPT + 10_000
        await go(model, hands=books.hands)
        assert "raise" not in books.kinds()
        reserved = books.store.read(lambda db: db.execute("SELECT micro FROM entry WHERE kind = 'reserve'").fetchall())
        left = 60_000 - 2 * (PROMPT + 10_000)
        assert reserved == [(RESERVED + 20_000,), (RESERVED + 20_000,), (left,)]
        assert told == [None, None, (left - RESERVED) // 10]
        await books.shut()

    run(main())


def test_a_prompt_of_no_words_is_reserved_with_a_margin_until_its_model_is_known(tmp_path: Path) -> None:
    """20,000 characters of keys are 11,000 tokens, where prose of that length has 5,000; what was learned of prose says nothing of them."""
    keys = Request("keys", (Message("user", "x7Kq9" * 4000),))
    prose = Request("prose", (Message("user", "Tell me of the sea and of those who sail it. " * 10),))

    async def main() -> None:
        books = Accounts(tmp_path / "o.db")
        model = paid(*[["yes", End("stop", Usage(105, 3))]] * FEW, ["yes", End("stop", Usage(11_000, 3))])

        async def asks(request: Request, left: int) -> str | None:
            books.ledger.watch([day(books.spent + left)])
            return (await go(model, hands=books.hands, request=request)).outcomes[0][2]

        assert [await asks(prose, 10_000) for _ in range(FEW)] == [None] * FEW
        assert await asks(keys, 20_000) == "budget"
        assert [await asks(keys, 50_000) for _ in range(FEW)] == [None] * FEW
        assert await asks(keys, 11_100) is None
        await books.shut()

    run(main())


def test_a_prompt_that_nobody_counted_is_charged_as_its_like_were(tmp_path: Path) -> None:
    prose = Request("prose", (Message("user", "Tell me of the sea and of those who sail it. " * 10),))

    async def main() -> None:
        books = Accounts(tmp_path / "o.db")
        model = paid(*[["yes", End("stop", Usage(250, 1))]] * FEW, ["yes", End("stop", Usage(None, 1))])
        costs = [charged(await go(model, hands=books.hands, request=prose)) for _ in range(FEW + 1)]
        assert costs == [250 + 10] * (FEW + 1)
        await books.shut()

    run(main())


def test_what_began_before_its_price_was_known_is_charged_at_its_end(tmp_path: Path) -> None:
    """The catalogue may need longer than a first call waits for it."""

    async def main() -> None:
        books = Accounts(tmp_path / "o.db")
        known: list[Price] = []
        books.hands.price_of = lambda model: known[0] if known else None
        model = paid([lambda request: known.append(PAID), "yes", End("stop", Usage(PROMPT, 3))], price=None)
        walked = await go(model, hands=books.hands)
        assert charged(walked) == books.spent == PROMPT + 30
        assert [kind for kind in books.kinds() if kind != "limit"] == ["settle"]
        await books.shut()

    run(main())


def test_nobody_is_told_a_bound_that_some_models_refuse(tmp_path: Path) -> None:
    """A budget of ten dollars pays a million tokens, and a model that takes 16,384 would answer 400 to that number."""
    told: list[int | None] = []

    class Told(ScriptedModel):
        def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            told.append(call.most_tokens)
            return super().stream(request, call)

    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(10_000_000))
        model = Told("openai:gpt", [*flowing(100), End("stop", Usage(PROMPT, 100))], price=PAID)
        for _ in range(2):
            await go(model, hands=books.hands)
        await go(model, hands=books.hands, request=replace(ASKED, max_tokens=2_000_000))
        assert told == [EVERY_MODEL, None, (10_000_000 - 2 * PROMPT - 2000 - RESERVED) // 10]
        await books.shut()

    run(main())


def test_what_has_arrived_of_an_answer_that_is_stopped_is_read_and_charged(tmp_path: Path) -> None:
    """A model that was seen to flow writes all at once, and keeps no bound: the usage stands behind the text, and is billed."""

    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(6_000))
        model = paid(
            [*flowing(100), End("stop", Usage(PROMPT, 100))], [*["word "] * 1000, End("stop", Usage(PROMPT, 1000))]
        )
        await go(model, hands=books.hands)
        walked = await go(model, hands=books.hands)
        assert walked.text.count("word") == 1000
        assert charged(walked) == PROMPT + 10_000
        assert books.ledger.overrun > 0
        books.ledger.overrun = 0
        await books.shut()

    run(main())


def test_a_stream_whose_budget_is_used_up_is_stopped_and_its_text_delivered(tmp_path: Path) -> None:
    script = [*flowing(1000), End("stop", Usage(PROMPT, 1000))]
    walked, spent, _ = walk(tmp_path / "o.db", paid(script), limits=(day(5_000),))
    end = walked.pieces[-1]
    assert isinstance(end, End)
    assert end.finish_reason == "budget"
    words = walked.text.count("word")
    assert 300 < words <= 500  # 499 can be paid; this provider does not keep its bound
    assert walked.journey.attempts[0].outcome == "ok"
    assert 4_500 < spent == charged(walked) <= 5_000


def test_a_long_tool_call_in_few_pieces_is_topped_up_as_a_text_is(tmp_path: Path) -> None:
    """Three thousand tokens of arguments in pieces of thirty, as Claude writes them, where the start value pays some 800."""
    script = [*[Progress("tool_call", 30.0)] * 100, End("tool_calls", Usage(PROMPT, 3000))]
    walked, spent, kinds = walk(tmp_path / "o.db", paid(script))
    assert spent == charged(walked) == PROMPT + 30_000
    assert kinds.count("raise") > 1


def test_reading_the_prompt_is_no_part_of_the_answer(tmp_path: Path) -> None:
    script = [*[Progress("prompt", 0.0)] * 90, "word", End("stop", Usage(PROMPT, None))]
    _, spent, kinds = walk(tmp_path / "o.db", paid(script), limits=(day(5_000),))
    assert (spent, kinds) == (PROMPT + 2 * 10, ["reserve", "settle"])


def test_the_provider_is_told_what_the_budgets_can_pay(tmp_path: Path) -> None:
    told: list[int | None] = []

    class Told(ScriptedModel):
        def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            told.append(call.most_tokens)
            return super().stream(request, call)

    walk(tmp_path / "o.db", Told("openai:gpt", price=PAID), limits=(day(5_000),))
    walk(tmp_path / "p.db", Told("openai:gpt", price=PAID))
    assert told == [(5_000 - RESERVED) // 10, None]


def test_an_answer_that_our_bound_ended_says_so(tmp_path: Path) -> None:
    script = ["word ", End("length", Usage(PROMPT, 1))]
    ended = walk(tmp_path / "o.db", paid(script), limits=(day(5_000),))[0].pieces[-1]
    assert isinstance(ended, End)
    assert ended.finish_reason == "budget"
    callers = replace(ASKED, max_tokens=1)
    ended = walk(tmp_path / "p.db", paid(script), limits=(day(5_000),), request=callers)[0].pieces[-1]
    assert isinstance(ended, End)
    assert ended.finish_reason == "length"


def test_hidden_tokens_are_reserved_in_full_and_charged_when_nobody_knows(tmp_path: Path) -> None:
    class Thinker(ScriptedModel):
        def hides_tokens(self, request: Request) -> bool:
            return True

    asked = replace(ASKED, max_tokens=400)
    walked, spent, kinds = walk(
        tmp_path / "o.db",
        Thinker("openai:o1", [Progress(), Wait(1.0), Fail("truncated")], price=PAID),
        ScriptedModel("ollama:phi"),
        limits=(day(100_000),),
        request=asked,
    )
    assert spent == charged(walked) == PROMPT + 400 * 10
    assert "raise" not in kinds


def test_whom_a_budget_refuses_is_followed_by_the_next_and_charges_no_breaker(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(20))
        model = paid()
        for _ in range(4):
            walked = await go(model, ScriptedModel("ollama:phi"), hands=books.hands)
            assert walked.outcomes == [("openai:gpt", "failed", "budget"), ("ollama:phi", "ok", None)]
            assert walked.journey.attempts[0].certainty == "not_sent"
        assert books.hands.health.of(model.spec, 0.0).failing is None
        assert not model.requests
        assert books.spent == 0
        await books.shut()

    run(main())


def test_the_last_candidate_waits_for_what_others_give_back(tmp_path: Path) -> None:
    """Two calls, and a budget for one at a time: what the first reserved and did not need makes room for the second."""

    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(9_000))
        slow = paid(["one", Wait(5.0), End("stop", Usage(PROMPT, 1))], ["two", End("stop", Usage(PROMPT, 1))])
        first = asyncio.create_task(go(slow, hands=books.hands))
        await asyncio.sleep(1.0)
        second = await go(slow, hands=books.hands)
        assert second.outcomes == [("openai:gpt", "ok", None)]
        assert second.text == "two"
        assert second.at == pytest.approx(5.0, abs=0.5)
        await first
        assert books.spent == 2 * (PROMPT + 10)
        await books.shut()

    run(main())


def test_nobody_waits_for_room_that_cannot_come(tmp_path: Path) -> None:
    walked, spent, _ = walk(tmp_path / "o.db", paid(), limits=(day(20),))
    assert walked.outcomes == [("openai:gpt", "failed", "budget")]
    assert (walked.at, spent) == (0.0, 0)


def test_whom_a_budget_refused_is_asked_again_when_the_others_failed(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(9_000))
        slow = paid(["one", Wait(5.0), End("stop", Usage(PROMPT, 1))], ["two", End("stop", Usage(PROMPT, 1))])
        first = asyncio.create_task(go(slow, hands=books.hands))
        await asyncio.sleep(1.0)
        second = await go(slow, ScriptedModel("ollama:phi", [Fail("bad_request")]), hands=books.hands)
        assert [kind for _, _, kind in second.outcomes] == ["budget", "bad_request", None]
        assert second.text == "two"
        await first
        await books.shut()

    run(main())


def test_a_hedge_that_a_budget_refused_is_asked_again_when_the_first_failed(tmp_path: Path) -> None:
    """It was refused at once, because of what the first one held; nobody else is left."""

    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(9_000))
        first = paid([Wait(3.0), Fail("bad_request")], name="openai:a")
        second = paid(["two", End("stop", Usage(PROMPT, 1))], name="claude:b")
        for _ in range(100):
            books.hands.health.asked(0.0)
            books.hands.health.succeeded(first.spec, 0.0, Timing(1.0, 1.0))
        walked = await go(first, second, hands=books.hands, request=replace(ASKED, hedge=True))
        assert walked.outcomes == [
            ("claude:b", "failed", "budget"),
            ("openai:a", "failed", "bad_request"),
            ("claude:b", "ok", None),
        ]
        assert walked.text == "two"
        await books.shut()

    run(main())


def test_both_attempts_of_a_hedge_reserve_and_the_loser_is_charged(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db")
        first = paid([Wait(50.0), "late"], name="openai:slow")
        second = paid(["here", End("stop", Usage(PROMPT, 1))], name="openai:other")
        for _ in range(100):
            books.hands.health.asked(0.0)
            books.hands.health.succeeded(first.spec, 0.0, Timing(1.0, 1.0))
        hedged = replace(ASKED, hedge=True)
        before = books.spent
        walked = await go(first, second, hands=books.hands, request=hedged)
        outcomes = {each.model_id: (each.outcome, bool(each.cost_usd)) for each in walked.journey.attempts}
        assert outcomes == {"openai:slow": ("cancelled", True), "openai:other": ("ok", True)}
        assert books.spent - before == charged(walked)
        await books.shut()

    run(main())


def test_calls_at_once_never_pass_a_budget(tmp_path: Path) -> None:
    async def main() -> None:
        limit = 60_000
        books = Accounts(tmp_path / "o.db", day(limit))
        script = [*[piece for _ in range(120) for piece in ("word ", Wait(0.01))], End("stop", Usage(PROMPT, 120))]
        model = paid(script)
        calls = [go(model, hands=books.hands, deadline=60.0) for _ in range(64)]
        walked = await asyncio.gather(*calls)
        answered = [each for each in walked if each.text]
        assert books.spent == sum(charged(each) for each in walked) <= limit
        assert len(answered) >= 0.9 * (limit // (PROMPT + 1200))
        assert {kind for each in walked for _, _, kind in each.outcomes} <= {None, FailureKind.BUDGET.value}
        await books.shut()

    run(main())


def test_a_call_that_is_cancelled_while_it_waits_for_room_holds_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(9_000))
        slow = paid(["one", Wait(5.0), End("stop", Usage(PROMPT, 1))])
        first = asyncio.create_task(go(slow, hands=books.hands))
        await asyncio.sleep(1.0)
        second_journey = journey()
        second = asyncio.create_task(_drain(start([slow], second_journey, hands=books.hands)))
        await asyncio.sleep(1.0)
        second.cancel()
        await asyncio.wait([second])
        assert [(each.outcome, each.certainty, each.cost_usd) for each in second_journey.attempts] == [
            ("cancelled", "not_sent", 0.0)
        ]
        await first
        assert books.spent == PROMPT + 10
        await books.shut()

    run(main())


async def _drain(pieces: Any) -> None:
    async for _ in pieces:
        pass


def test_the_user_may_let_an_attempt_pass(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(20))
        for answer, outcomes in ((True, ["ok"]), (False, ["failed"])):
            asked = journey()
            asked.home_steps_in = False
            asked.ask = lambda refused, answer=answer: _say(answer)
            await _drain(
                start(
                    [paid(["yes", End("stop", Usage(PROMPT, 1))]), ScriptedModel("ollama:phi")],
                    asked,
                    hands=books.hands,
                )
            )
            assert [each.outcome for each in asked.attempts] == outcomes
        assert books.spent == PROMPT + 10
        await books.shut()

    run(main())


async def _say(answer: bool) -> bool:
    return answer


def test_where_home_may_not_step_in_it_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(20))
        asked, home = journey(), ScriptedModel("ollama:phi")
        asked.home_steps_in = False
        await _drain(start([paid(), home], asked, hands=books.hands))
        assert [(each.model_id, each.kind) for each in asked.attempts] == [("openai:gpt", "budget")]
        assert not home.requests
        await books.shut()

    run(main())


def test_who_is_asked_for_too_long_ends_at_the_deadline(tmp_path: Path) -> None:
    async def main() -> None:
        books = Accounts(tmp_path / "o.db", day(20))
        asked = journey(deadline=2.0)
        asked.ask = lambda refused: asyncio.sleep(60.0, True)
        with pytest.raises(DeadlineExceeded):
            await _drain(start([paid()], asked, hands=books.hands))
        assert asyncio.get_running_loop().time() == 2.0
        await books.shut()

    run(main())


def test_hidden_tokens_of_a_whole_answer_that_nobody_counted_are_charged_in_full(tmp_path: Path) -> None:
    class Thinker(ScriptedModel):
        def hides_tokens(self, request: Request) -> bool:
            return True

    model = Thinker("openai:o1", ["yes", End("stop", Usage(None, None))], price=PAID)
    _, spent, _ = walk(tmp_path / "o.db", model, request=replace(ASKED, max_tokens=400))
    assert spent == PROMPT + 400 * 10
