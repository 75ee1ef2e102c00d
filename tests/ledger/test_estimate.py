"""How much is reserved: from a model's own history, never above the bound, and never with less than what is in flight."""

from __future__ import annotations

import random
from math import inf

from hypothesis import example, given
from hypothesis import strategies as st

from oblix.ledger.estimate import (
    BLOCK,
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
from oblix.types.money import IN_FLIGHT, micro
from oblix.types.spec import Price, PriceTier

from .booking import PRICE, claim


def test_a_new_model_has_a_start_value() -> None:
    assert History().wanted(claim(0, most_tokens=None, grows=True)) == Wanted(START_LIKELY + IN_FLIGHT + ROUNDED, START_TYPICAL)
    assert History().wanted(claim(20, grows=True)) == Wanted(20, 20)
    assert History().wanted(claim(4000)) == Wanted(4000, START_TYPICAL)
    assert History().wanted(claim(0, most_tokens=None)) == Wanted(HIDDEN, START_TYPICAL)


def test_few_answers_lean_to_the_start_value() -> None:
    history = History()
    seen = []
    for _ in range(9):
        history.note("openai:a", 10)
        seen.append(history.wanted(claim(0, most_tokens=None, grows=True)).likely)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] < START_LIKELY + IN_FLIGHT
    assert seen[-2:] == [10 + IN_FLIGHT + ROUNDED] * 2


def test_long_answers_are_believed_at_once() -> None:
    history = History()
    history.note("openai:a", 5000)
    assert history.wanted(claim(0, most_tokens=None, grows=True)).likely == 5000 + IN_FLIGHT + ROUNDED


def test_nine_of_ten_answers_need_no_more() -> None:
    history, draw = History(), random.Random(6)
    answers = [round(draw.expovariate(1 / 300)) + 1 for _ in range(3000)]
    for each in answers[:1000]:
        history.note("openai:a", each)
    wanted = history.wanted(claim(0, most_tokens=None, grows=True))
    assert 0.86 < sum(each <= wanted.likely - IN_FLIGHT - ROUNDED for each in answers[1000:]) / 2000 < 0.94
    assert 0.42 < sum(each <= wanted.least for each in answers[1000:]) / 2000 < 0.58


def test_old_answers_are_forgotten() -> None:
    history = History()
    for _ in range(KEPT):
        history.note("openai:a", 9000)
    for _ in range(KEPT):
        history.note("openai:a", 10)
    assert history.wanted(claim(0, most_tokens=None, grows=True)) == Wanted(10 + IN_FLIGHT + ROUNDED, 10)
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
