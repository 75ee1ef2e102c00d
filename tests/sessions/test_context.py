"""What of a conversation goes into a window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.tokens import estimate_messages
from oblix.sessions.context import fit, least
from oblix.types.messages import Message, ToolCall


def said(*roles: str, words: int = 20) -> list[Message]:
    return [Message(role, f"{place} " + "word " * words) for place, role in enumerate(roles)]  # type: ignore[arg-type]


TURN = st.sampled_from(
    [("user", "assistant"), ("user", "assistant", "tool", "assistant"), ("user", "user", "assistant")]
)
TALKS = st.tuples(
    st.booleans(), st.lists(TURN, max_size=12), st.sets(st.integers(0, 40), max_size=3), st.integers(1, 40)
).map(
    lambda drawn: [
        Message(m.role, m.text, pinned=place in drawn[2])
        for place, m in enumerate(
            said(*["system"] * drawn[0], *(role for turn in drawn[1] for role in turn), "user", words=drawn[3])
        )
    ]
)


@given(TALKS, st.integers(0, 3000))
def test_what_is_kept(talk: list[Message], tokens: int) -> None:
    kept, cut = fit(talk, tokens)
    assert len(kept) + cut == len(talk)
    assert [each for each in talk if each in kept] == list(kept)  # in order, nothing made up
    assert talk[-1] in kept
    assert all(each in kept for each in talk if each.role == "system" or each.pinned)
    assert estimate_messages(kept) <= max(tokens, least(talk))
    if estimate_messages(tuple(talk)) <= tokens:
        assert not cut


@given(TALKS, st.integers(0, 3000))
def test_no_answer_without_its_question_and_no_result_without_its_call(talk: list[Message], tokens: int) -> None:
    kept, _ = fit(talk, tokens)
    for message in kept:
        place = talk.index(message)
        if message.role in ("assistant", "tool") and not message.pinned:
            question = next(before for before in reversed(talk[:place]) if before.role == "user")
            assert question in kept


@given(TALKS, st.integers(0, 3000), st.integers(0, 500))
def test_more_room_never_keeps_less(talk: list[Message], tokens: int, more: int) -> None:
    assert set(map(id, fit(talk, tokens)[0])) <= set(map(id, fit(talk, tokens + more)[0]))


def test_the_newest_turn_stays_whole_however_long() -> None:
    call = Message("assistant", "", (ToolCall("c", "find", "{}"),))
    talk = [*said("user", "assistant", "user"), call, Message("tool", "long " * 1000, tool_call_id="c")]
    kept, cut = fit(talk, 10)
    assert kept == tuple(talk[2:])
    assert cut == 2


def test_nothing_said() -> None:
    assert fit([], 10) == ((), 0)
    assert least([]) == 0
