"""Whether a prompt was read whole: bounds that hold for every tokenizer, and counts that give a cut away."""

from __future__ import annotations

import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.fitting import REMEMBERED, Ruler, fewest_tokens
from oblix.types.messages import Message, Tool
from oblix.types.request import Request

from .asking import ask

RULES = Message("system", "Answer in one word.")
ONE, SAID, TWO = Message("user", "one " * 50), Message("assistant", "yes " * 10), Message("user", "and " * 20)
FIRST = ask(messages=(RULES, ONE))
SECOND = ask(messages=(RULES, ONE, SAID, TWO))


def cut(ruler: Ruler, request: Request, counted: int | None, window: int | None = 4096) -> AttemptFailed | None:
    """The failure, if the count gives a cut away."""
    try:
        ruler.check(request, counted, window=window, model_id="ollama:tried")
    except AttemptFailed as failure:
        return failure
    return None


@pytest.mark.parametrize(
    ("text", "fewest"),
    [
        ("", 0),
        ("one", 1),
        ("one two\nthree\t four ", 4),
        ("=" * 4096, 1),
        ("天气很好今天我们去公园散步", 3),
        ("Привет как дела", 3),
        ("é" * 8, 1),
        ("\ud800 lone", 2),
    ],
)
def test_the_fewest_tokens_of_a_text(text: str, fewest: int) -> None:
    """Never more than a tokenizer makes of it: a long line of one sign may be one token."""
    assert fewest_tokens((Message("user", text),)) == fewest


def test_what_a_template_may_leave_out_is_not_counted() -> None:
    assert fewest_tokens((RULES, ONE, Message("tool", "12 °C", tool_call_id="c"))) == 50


def test_a_prompt_that_cannot_fit_is_refused_with_both_numbers() -> None:
    with pytest.raises(AttemptFailed, match="5000 tokens or more") as failed:
        Ruler().refuse(ask("word " * 5000), 4096, model_id="ollama:tried")
    assert failed.value.kind is FailureKind.CONTEXT_OVERFLOW
    assert (failed.value.tokens, failed.value.window) == (5000, 4096)


@pytest.mark.parametrize(
    ("words", "window"), [(4096, 4096), (10, 4096), (5000, None)], ids=["fits", "short", "unknown"]
)
def test_what_may_fit_is_not_refused(words: int, window: int | None) -> None:
    Ruler().refuse(ask("word " * words), window, model_id="ollama:tried")


def test_what_was_counted_before_makes_the_bound_exact() -> None:
    """40 signs without a space may be one token; this model made 5000 of them."""
    ruler, odd = Ruler(), Message("user", "=" * 5000)
    ruler.check(ask(messages=(odd,)), 5000, window=None, model_id="ollama:tried")
    with pytest.raises(AttemptFailed) as failed:
        ruler.refuse(ask(messages=(odd, SAID, TWO)), 4096, model_id="ollama:tried")
    assert failed.value.tokens == 5030


def test_a_count_below_the_fewest_is_a_cut() -> None:
    failure = cut(Ruler(), ask("word " * 9000), 2048, 16384)
    assert failure is not None
    assert failure.kind is FailureKind.CONTEXT_OVERFLOW
    assert (failure.tokens, failure.window) == (9000, 2048)


@pytest.mark.parametrize("counted", [None, 9000, 12_000])
def test_no_count_and_a_good_count_are_no_cut(counted: int | None) -> None:
    assert cut(Ruler(), ask("word " * 9000), counted) is None


def test_a_conversation_that_grew_and_got_shorter_was_cut() -> None:
    ruler = Ruler()
    assert cut(ruler, FIRST, 70) is None
    assert cut(ruler, SECOND, 110) is None  # the server counts what it had read before
    third = ask(messages=(*SECOND.messages, SAID, TWO))
    failure = cut(ruler, third, 109, 128)
    assert failure is not None
    assert (failure.tokens, failure.window) == (140, 109)


def test_a_server_that_counts_only_what_is_new_raises_no_alarm() -> None:
    """Ollama until 2024: what it had in its cache was not counted."""
    ruler = Ruler()
    for request, counted in ((FIRST, 70), (FIRST, 1), (SECOND, 32), (SECOND, 0), (FIRST, 1)):
        assert cut(ruler, request, counted) is None


def test_other_tools_are_another_prompt() -> None:
    """Their descriptions are a part of it, which the next may lack."""
    ruler = Ruler()
    ruler.check(ask(messages=FIRST.messages, tools=(Tool("now"),)), 500, window=None, model_id="m")
    assert cut(ruler, SECOND, 110) is None


def test_the_memory_is_bounded() -> None:
    ruler = Ruler()
    for number in range(3 * REMEMBERED):
        ruler.check(ask(f"prompt {number}"), 9, window=None, model_id="m")
    assert len(ruler._counts) == REMEMBERED
