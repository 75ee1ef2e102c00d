"""Any list of messages, also nonsense, becomes a conversation that the strictest servers accept, and loses nothing that a user said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.models.claude import ClaudeModel
from oblix.models.dialects import dialect_of
from oblix.models.embedded.wire import body as embedded_body
from oblix.models.ollama import OllamaModel
from oblix.models.openai import OpenAIModel
from oblix.models.portable import portable
from oblix.models.transport import Transport
from oblix.models.wire_tools import encode, safe
from oblix.testing.faults import RULES
from oblix.types.messages import Image, Message, Part, Role, Text, Thought, Tool, ToolCall
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

from .test_portable import BLIND, PROVIDERS, spec_of

ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
words = st.one_of(st.sampled_from(["", " ", "\n\t", "Hi", "Cold? ", "{}", "naïve 🙂", "\ud800"]), st.text(max_size=8))
# Few ids, so that they come twice and meet their results; some that no provider takes.
ids = st.sampled_from(["", "call_0", "call_1", "a|b", "x" * 70, "D681PevKs", "Łódź", "\ud800", "functions.now:0"])
names = st.sampled_from(["now", "get_weather", "server.tool", "", "x" * 80, "wie spät"])
arguments = st.sampled_from(["{}", '{"city": "Bonn"}', "", "[1]", '{"city": "Par', "NaN", '"text"', "\ud800"])
calls = st.builds(ToolCall, ids, names, arguments)
images = st.sampled_from([Image("image/png", "iVBORw0KGgo="), Image()])
parts: st.SearchStrategy[tuple[Part, ...]] = st.lists(st.one_of(st.builds(Text, words), images), max_size=3).map(tuple)
thoughts = st.builds(
    Thought,
    st.sampled_from(["claude", "gemini", "deepseek"]),
    st.sampled_from(
        [{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"reasoning_content": "hm"}, {"call": 3}]
    ),
    model=st.sampled_from(["tried", "other"]),
    behind=st.just("elsewhere"),
)
messages = st.builds(
    Message,
    st.sampled_from(ROLES),
    st.one_of(words, parts),
    st.lists(calls, max_size=3).map(tuple),
    st.one_of(st.none(), ids),
    private=st.booleans(),
    thoughts=st.lists(thoughts, max_size=2).map(tuple),
)
# Talk that makes sense for the most part: a call and its results now and then, with something missing or between.
conversations = st.lists(messages, min_size=1, max_size=9).map(tuple)


def body_of(spec: ModelSpec, found: tuple[Message, ...], tools: tuple[Tool, ...]) -> dict[str, Any]:
    """As it would leave, through JSON and back."""
    request = Request("r", found, tools=tools)
    if spec.provider == "embedded":
        body = embedded_body(request, spec)
    else:
        kinds: dict[str, Any] = {"claude": ClaudeModel, "ollama": OllamaModel}
        body = kinds.get(spec.provider, OpenAIModel)(spec, Transport())._body(request)
    made: dict[str, Any] = json.loads(encode(body))
    return made


@pytest.mark.parametrize("provider", PROVIDERS)
@given(found=conversations, tools=st.sampled_from([(), (Tool("now"),)]))
def test_it_is_accepted(provider: str, found: tuple[Message, ...], tools: tuple[Tool, ...]) -> None:
    spec = spec_of(provider, "http://127.0.0.1:9")
    assert RULES[provider](body_of(spec, found, tools)) is None


@pytest.mark.parametrize("provider", PROVIDERS)
@given(found=conversations)
def test_what_was_made_portable_stays_as_it_is(provider: str, found: tuple[Message, ...]) -> None:
    spec = spec_of(provider)
    once = portable(found, dialect_of(spec), spec)
    assert portable(once, dialect_of(spec), spec) == once


@pytest.mark.parametrize("provider", PROVIDERS)
@given(found=conversations)
def test_every_word_of_the_user_is_kept_in_order(provider: str, found: tuple[Message, ...]) -> None:
    """And each stays a user's; instructions stay instructions, and no label of privacy is lost."""
    spec = spec_of(provider)
    made = portable(found, dialect_of(spec), spec)
    for role in ("user", "system"):
        said = [part for message in found if message.role == role for part in texts(message)]
        kept = "\n".join(part for message in made if message.role == role for part in texts(message))
        at = 0
        for part in said:
            at = kept.index(part, at) + len(part)
    if any(message.private and message.role == "user" and message.text.strip() for message in found):
        assert any(message.private for message in made)


@pytest.mark.parametrize("provider", PROVIDERS)
@given(found=conversations, more=conversations)
def test_the_ids_of_calls_do_not_change_when_a_conversation_goes_on(
    provider: str, found: tuple[Message, ...], more: tuple[Message, ...]
) -> None:
    """Else no prompt cache would fit, and Claude would refuse its thoughts."""
    spec = spec_of(provider)
    before = [c.id for m in portable(found, dialect_of(spec), spec) for c in m.tool_calls]
    after = [c.id for m in portable(found + more, dialect_of(spec), spec) for c in m.tool_calls]
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)


def texts(message: Message) -> list[str]:
    """The pieces of text in it, blank ones left out."""
    pieces = (
        [message.content]
        if isinstance(message.content, str)
        else [p.text for p in message.content if isinstance(p, Text)]
    )
    return [piece for piece in pieces if piece.strip()]


@given(found=conversations)
def test_a_redacted_conversation_needs_no_second_look(found: tuple[Message, ...]) -> None:
    """What placeholders stand in is changed by nothing here: no text is cut, folded or escaped."""
    marked = tuple(replace(m, content=f"⟨EMAIL_{at}⟩ {safe(m.text)}") for at, m in enumerate(found) if m.role == "user")
    if not marked:
        return
    for provider in PROVIDERS:
        spec = spec_of(provider, "http://127.0.0.1:9")
        body = json.dumps(body_of(spec, marked, ()), ensure_ascii=False)
        assert all(f"⟨EMAIL_{at}⟩" in body for at, m in enumerate(found) if m.role == "user")


def test_the_blind_are_told_of_earlier_images_in_words() -> None:
    picture = Message("user", (Text("What is this?"), Image("image/png", "AAAA")))
    talk = (picture, Message("assistant", "A bird."), Message("user", "Which?"))
    for provider in BLIND:
        spec = spec_of(provider)
        assert portable(talk, dialect_of(spec), spec)[0].text == "What is this?\n[image]"
    sees = spec_of("openai")
    assert portable(talk, dialect_of(sees), sees) == talk


@pytest.mark.parametrize("provider", ["ollama", "llamacpp", "vllm"])
@pytest.mark.parametrize("said", ["\n", "Well, ", " "])
def test_the_beginning_of_an_answer_stays_the_last_turn_to_the_letter(provider: str, said: str) -> None:
    """Else the model would begin again, or go on from something else."""
    spec = ModelSpec(f"{provider}:tried", provider, "tried", "edge")
    talk = (Message("system", " "), Message("user", "Hi"), Message("assistant", said))
    assert portable(talk, dialect_of(spec), spec) == talk[1:]
