"""How much is reserved: from a model's own history, never above the bound, and never with less than what is in flight."""

from __future__ import annotations

import random
from math import inf

from hypothesis import example, given
from hypothesis import strategies as st

from oblix.ledger.estimate import (
    BLOCK,
    FEW,
    FLOWED,
    HIDDEN,
    KEPT,
    MOST,
    ROUNDED,
    START_LIKELY,
    START_TYPICAL,
    History,
    Tariff,
    Wanted,
    ahead,
)
from oblix.types.money import EVERY_MODEL, IN_FLIGHT, micro
from oblix.types.spec import Price, PriceTier

from .booking import PRICE, claim

LIKELY = START_LIKELY + IN_FLIGHT + ROUNDED
OPEN = claim(0, most_tokens=None, grows=True)  # nobody bounds the answer
SHORT, LONG = claim(20, grows=True), claim(9000, grows=True)


def flowing(history: History | None = None) -> History:
    """Of a model whose answers come while they are written."""
    history = history or History()
    history.note_flow("openai:a", is_steady=True)
    return history


def test_a_new_model_has_a_start_value_and_where_a_limit_holds_all_that_it_is_told() -> None:
    history = History()
    assert history.wanted(OPEN) == Wanted(LIKELY, START_TYPICAL, EVERY_MODEL, EVERY_MODEL)
    assert history.wanted(SHORT) == Wanted(20, 20, 20, 20)
    assert history.wanted(LONG) == Wanted(LIKELY, START_TYPICAL, 9000, 9000)
    assert flowing().wanted(OPEN) == Wanted(LIKELY, START_TYPICAL, EVERY_MODEL, EVERY_MODEL, grows=True)
    assert history.wanted(claim(4000)) == Wanted(4000, START_TYPICAL, 4000, 4000)
    assert history.wanted(claim(0, most_tokens=None)) == Wanted(HIDDEN, START_TYPICAL, HIDDEN, HIDDEN)


def test_what_flows_takes_what_it_will_probably_need_and_what_comes_at_once_the_longest_so_far() -> None:
    history = History()
    for tokens in (*[10] * 99, 700):
        history.note("openai:a", tokens)
    likely, longest = 10 + IN_FLIGHT + ROUNDED, 700 + IN_FLIGHT + ROUNDED
    assert history.wanted(OPEN) == Wanted(likely, 10, longest, EVERY_MODEL)
    assert history.wanted(LONG) == Wanted(likely, 10, longest, 9000)
    assert history.wanted(SHORT) == Wanted(20, 10, 20, 20)
    flowing(history)
    assert history.wanted(OPEN) == Wanted(likely, 10, likely, likely, grows=True)
    assert history.wanted(SHORT) == Wanted(20, 10, 20, 20, grows=True)


def test_nobody_is_told_more_than_a_model_was_seen_to_take() -> None:
    """Its maker's bound may be what ended its longest answer."""
    history = History()
    for _ in range(FEW):
        history.note("openai:a", 16_384)
    wanted = history.wanted(OPEN)
    assert (wanted.safe, wanted.most) == (16_384, 16_384)


def test_one_of_the_latest_answers_that_came_at_once_is_enough() -> None:
    history = History()
    assert not history.flows("openai:a")
    assert flowing(history).flows("openai:a")
    history.note_flow("openai:a", is_steady=False)
    for _ in range(FLOWED - 1):
        assert not flowing(history).flows("openai:a")
    assert flowing(history).flows("openai:a")


def test_few_answers_lean_to_the_start_value() -> None:
    history = flowing()
    seen = []
    for _ in range(9):
        history.note("openai:a", 10)
        seen.append(history.wanted(OPEN).likely)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] < START_LIKELY + IN_FLIGHT
    assert seen[-2:] == [10 + IN_FLIGHT + ROUNDED] * 2


def test_long_answers_are_believed_at_once() -> None:
    history = flowing()
    history.note("openai:a", 5000)
    assert history.wanted(OPEN).likely == 5000 + IN_FLIGHT + ROUNDED


def test_nine_of_ten_answers_need_no_more() -> None:
    history, draw = flowing(), random.Random(6)
    answers = [round(draw.expovariate(1 / 300)) + 1 for _ in range(3000)]
    for each in answers[:1000]:
        history.note("openai:a", each)
    wanted = history.wanted(OPEN)
    assert 0.86 < sum(each <= wanted.likely - IN_FLIGHT - ROUNDED for each in answers[1000:]) / 2000 < 0.94
    assert 0.42 < sum(each <= wanted.least for each in answers[1000:]) / 2000 < 0.58


def test_old_answers_are_forgotten() -> None:
    history = flowing()
    for _ in range(KEPT):
        history.note("openai:a", 9000)
    for _ in range(KEPT):
        history.note("openai:a", 10)
    likely = 10 + IN_FLIGHT + ROUNDED
    assert history.wanted(OPEN) == Wanted(likely, 10, likely, likely, grows=True)
    assert len(history._answers["openai:a"][0]) == len(history._answers["openai:a"][1]) == KEPT


rates = st.just(0.0) | st.floats(0.001, 1000)  # USD for a million tokens
prices = st.builds(
    Price,
    rates,
    rates,
    st.just("a test"),
    tiers=st.just(()) | st.just((PriceTier(2.5, 20.0, above=1000), PriceTier(5.0, 30.0, above=100_000))),
)
tokens = st.integers(0, 300_000)


@given(prices, tokens, tokens)
@example(Price(0.15, 0.6, "a test"), 7, 3)
def test_a_tariff_tells_what_the_price_tells(price: Price, prompt: int, answer: int) -> None:
    assert Tariff(price, prompt).cost(answer) == micro(price.cost(prompt, answer))


@given(prices, tokens, st.integers(0, 10**9))
def test_what_an_amount_pays(price: Price, prompt: int, amount: int) -> None:
    """As many tokens as it pays, and not one more."""
    tariff = Tariff(price, prompt)
    paid = tariff.pays(amount)
    if paid == -1:
        assert tariff.cost(0) > amount
    elif paid == inf or paid > 1e15:
        assert tariff.cost(10**6) <= amount
    else:
        assert tariff.cost(int(paid)) <= amount < tariff.cost(int(paid) + 1)


def test_absurd_prices_stay_whole() -> None:
    tariff = Tariff(Price(1e300, 1e300, "a test"), 10)
    assert tariff.cost(10**6) == MOST
    assert tariff.pays(10**9) == -1


@given(tokens, st.none() | tokens)
def test_a_top_up_reaches_beyond_what_is_in_flight(written: int, bound: int | None) -> None:
    reach = ahead(written, bound)
    assert reach == bound or reach >= written + IN_FLIGHT + BLOCK
    assert bound is None or reach <= bound


def test_how_long_money_lasts() -> None:
    tariff = Tariff(PRICE, 10)
    assert tariff.lasts(110, None) == 100 - IN_FLIGHT
    assert tariff.lasts(110, 101) == 100 - IN_FLIGHT
    assert tariff.lasts(110, 100) == inf
