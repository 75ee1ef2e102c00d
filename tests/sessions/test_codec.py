"""Messages survive the file, whatever is in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.sessions.codec import compact, pack, unpack
from oblix.types.messages import Image, Message, Text, Thought, ToolCall

TEXT = st.text(st.characters(codec=None) | st.just("\0") | st.just("\ud800"))  # halves of characters, too
PARTS = st.lists(
    st.builds(Text, TEXT) | st.builds(Image, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT), max_size=3
).map(tuple)
MESSAGES = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    TEXT | PARTS,
    st.lists(st.builds(ToolCall, TEXT, TEXT, TEXT), max_size=2).map(tuple),
    st.none() | TEXT,
    st.booleans(),
    st.lists(
        st.builds(Thought, TEXT, st.dictionaries(TEXT, TEXT, max_size=2), model=TEXT, behind=TEXT), max_size=2
    ).map(tuple),
    st.booleans(),
)


@given(MESSAGES)
def test_what_is_read_is_what_was_written(message: Message) -> None:
    body = pack(message)
    assert unpack(message.role, body, private=message.private, pinned=message.pinned) == message
    assert json.loads(body)["text"] == message.text


def test_two_halves_of_a_character_do_not_become_one() -> None:
    halves = Message("user", "\ud83d\ude00 and 😀")
    assert len(halves.text) == 8
    assert unpack("user", pack(halves)) == halves


def test_what_stands_beside_is_kept_beside() -> None:
    body = pack(Message("user", "hi"), source_session_id="s1")
    assert json.loads(body) == {"text": "hi", "source_session_id": "s1"}
    assert unpack("user", body) == Message("user", "hi")


@pytest.mark.parametrize("junk", [{"a": object()}, {"a": {1, 2}}])
def test_what_json_cannot_hold_is_an_error(junk: object) -> None:
    with pytest.raises(TypeError):
        compact(junk)
