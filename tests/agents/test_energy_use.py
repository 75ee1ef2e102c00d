"""Joules per token, out of a counter and the times of answers."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.agents.energy_use import KEPT_ANSWERS, Answer, EnergyUse

IDLE, WORK = 10.0, 40.0  # watts: what the machine takes anyway, and what a model at work takes on top


def play(
    answers: Iterable[Answer],
    until: float,
    *,
    step: float = 1.0,
    idle: float = IDLE,
    work: float = WORK,
    shortest: float = 0.0,
) -> EnergyUse:
    """A counter over a machine on which models are at work as told; each answer is told when it ends, as it is in life."""
    use, told = EnergyUse(shortest), sorted(answers, key=lambda answer: answer.ended)
    waiting = list(told)
    joules, now = 0.0, 0.0
    while now <= until:
        while waiting and waiting[0].ended <= now:
            use.answered(waiting.pop(0))
        use.sampled(now, joules)
        busy = sum(max(0.0, min(now + step, answer.ended) - max(now, answer.began)) for answer in told)
        joules, now = joules + idle * step + work * busy, now + step
    return use


def test_one_answer_is_paid_by_what_came_on_top() -> None:
    use = play([Answer("a", 20.0, 25.0, 100)], 40.0)
    assert use.idle_watts == pytest.approx(IDLE)
    assert use.per_token == pytest.approx({"a": 5 * WORK / 100})
    assert use.watts == pytest.approx(IDLE)


@pytest.mark.parametrize("step", [0.3, 1.0, 7.0, 10.0])
@pytest.mark.parametrize("began", [40.0, 43.7])
def test_readings_need_not_begin_with_the_answer(step: float, began: float) -> None:
    use = play([Answer("a", began, began + 3.0, 60)], 100.0, step=step)
    assert use.per_token == pytest.approx({"a": 3 * WORK / 60})


def test_two_that_work_at_once_share_what_is_used() -> None:
    use = play([Answer("a", 20.0, 30.0, 100), Answer("b", 20.0, 30.0, 400)], 50.0)
    assert use.per_token == pytest.approx({"a": 10 * WORK / 100, "b": 10 * WORK / 400})


def test_one_that_takes_long_does_not_pay_for_one_that_was_told_before_it() -> None:
    use = play([Answer("long", 20.0, 60.0, 400), Answer("short", 30.0, 35.0, 50)], 80.0)
    assert use.per_token == pytest.approx({"long": 40 * WORK / 400, "short": 5 * WORK / 50})


def test_one_without_tokens_still_pays_for_its_time() -> None:
    """Cancelled, or failed in mid-answer."""
    use = play([Answer("a", 20.0, 25.0, 100), Answer("b", 20.0, 25.0, None)], 40.0)
    assert use.per_token == pytest.approx({"a": 5 * WORK / 100})


def test_several_of_a_model_are_taken_together() -> None:
    use = play([Answer("a", 20.0, 22.0, 10), Answer("a", 30.0, 38.0, 90)], 60.0)
    assert use.per_token == pytest.approx({"a": 10 * WORK / 100})


@pytest.mark.parametrize(
    ("answer", "until"),
    [
        (Answer("a", 1.0, 3.0, 50), 4.0),  # it is not known what the machine takes when nobody works
        (Answer("a", -5.0, 3.0, 50), 60.0),  # it began before the counter was read
        (Answer("a", 20.0, 30.0, 50), 29.0),  # it has not ended
        (Answer("a", 20.0, 30.0, 0), 60.0),
        (Answer("a", 20.0, 30.0, None), 60.0),
    ],
)
def test_what_cannot_be_told_is_not_told(answer: Answer, until: float) -> None:
    assert play([answer], until).per_token == {}


def test_an_edge_host_that_is_another_machine_takes_nothing_here() -> None:
    assert play([Answer("a", 20.0, 30.0, 100)], 60.0, work=0.05).per_token == {}


def test_counters_that_tell_means_need_long_answers() -> None:
    answers = [Answer("a", 20.0, 30.0, 100), Answer("b", 100.0, 170.0, 700)]
    assert play(answers, 200.0, shortest=60.0).per_token == pytest.approx({"b": 70 * WORK / 700})


def test_a_counter_that_is_lost_or_begins_anew_joins_nothing() -> None:
    use = EnergyUse()
    for at, joules in [(0.0, 100.0), (1.0, 110.0), (2.0, None)]:
        use.sampled(at, joules)
    assert use.watts is None
    for at, joules in [(3.0, 900.0), (4.0, 905.0)]:
        use.sampled(at, joules)
    assert use.watts == 5.0
    use.sampled(5.0, 3.0)
    assert use.watts is None
    use.sampled(5.0, 4.0)  # no time has passed
    assert use.watts is None


def test_an_answer_is_settled_when_the_counter_was_read_after_its_end() -> None:
    """It may be told while the counter is being read."""
    use = EnergyUse()
    for second in range(20):
        use.sampled(second, IDLE * second)
    use.answered(Answer("a", 20.0, 24.5, 45))
    use.sampled(24.0, IDLE * 24 + WORK * 4)
    assert use.per_token == {}
    use.sampled(25.0, IDLE * 25 + WORK * 4.5)
    assert use.per_token == pytest.approx({"a": 4.5 * WORK / 45})
    use.sampled(26.0, IDLE * 26 + WORK * 4.5)
    assert use.per_token == pytest.approx({"a": 4.5 * WORK / 45})


def test_what_was_idle_before_the_counter_began_anew_is_forgotten() -> None:
    use = EnergyUse()
    for second in range(20):
        use.sampled(second, IDLE * second)
    use.sampled(20.0, None)
    for second in range(21, 23):
        use.sampled(second, IDLE * second)
    use.answered(Answer("a", 22.0, 24.0, 10))
    use.sampled(24.0, IDLE * 24 + WORK * 2)
    assert use.per_token == {}
    for second in range(25, 28):
        use.sampled(second, IDLE * second + WORK * 2)
    assert use.per_token == pytest.approx({"a": 2 * WORK / 10})


def test_a_model_s_figure_stays_when_others_have_answered_since() -> None:
    many = [Answer("b", 40.0 + 4 * place, 42.0 + 4 * place, 20) for place in range(KEPT_ANSWERS + 5)]
    use = play([Answer("a", 20.0, 25.0, 100), *many], 250.0)
    assert use.per_token == pytest.approx({"a": 5 * WORK / 100, "b": 2 * WORK / 20})


def test_whoever_walks_over_the_figures_is_not_disturbed_by_a_new_one() -> None:
    """The power thread walks over those that the thread of the graphics processors settles."""
    use = play([Answer("a", 20.0, 25.0, 100), Answer("b", 30.0, 35.0, 100)], 40.0)
    walk = iter(use.per_token.items())
    seen = [next(walk)]
    use.answered(Answer("c", 40.0, 45.0, 100))
    use.sampled(50.0, IDLE * 50 + WORK * 15)
    assert "c" in use.per_token
    seen.extend(walk)
    assert [model_id for model_id, _ in seen] == ["a", "b"]


@given(
    st.lists(st.tuples(st.integers(20, 90), st.integers(1, 10), st.integers(1, 500)), min_size=1, max_size=6),
    st.floats(1.0, 300.0),
    st.floats(5.0, 500.0),
)
def test_no_joule_is_paid_twice(times: list[tuple[int, int, int]], idle: float, work: float) -> None:
    answers = [Answer(f"m{place}", began, began + long, tokens) for place, (began, long, tokens) in enumerate(times)]
    use = play(answers, 130.0, idle=idle, work=work)
    paid = sum(use.per_token.get(answer.model_id, 0.0) * (answer.tokens or 0) for answer in answers)
    used = work * sum(long for _, long, _ in times)
    assert paid <= used * 1.001
    if work > idle:  # else some may be too little to notice
        assert paid == pytest.approx(used)
