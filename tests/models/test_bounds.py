"""What a budget can pay bounds every answer, whatever the request says; usage is always asked for; who hides tokens is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from oblix.models.base import Hiding, bound_of
from oblix.models.claude import DEFAULT_MAX_TOKENS
from oblix.models.embedded import EmbeddedModel
from oblix.models.hidden import Hidden, thinks_by_name
from oblix.models.redacted import Redaction, redacting
from oblix.models.transport import Transport
from oblix.testing import ScriptedModel
from oblix.types.chunk import Usage
from oblix.types.messages import Message, Thought
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

from .asking import KEY, WIRES, Heard, Wire, ask, call, gather, lanes, model_of, run, spec_of
from .test_claude import GOOD as CLAUDE
from .test_claude import STOP, ends, start, text
from .test_claude import stream as claude_stream
from .test_ollama import GOOD as OLLAMA
from .test_openai import DONE, says, stream, usage
from .test_openai import GOOD as OPENAI
from .upstream import Script, Upstream

GOOD: dict[Wire, Script] = {"openai": OPENAI, "claude": CLAUDE, "ollama": OLLAMA}
SENT: dict[Wire, str] = {"openai": "max_tokens", "claude": "max_tokens", "ollama": "num_predict"}


def body_of(
    wire: Wire, most: int | None, *, provider: str | None = None, name: str = "tried", **wishes: Any
) -> dict[str, Any]:
    """What goes over the wire on an attempt that may write `most` tokens."""

    async def main() -> dict[str, Any]:
        async with Upstream(GOOD[wire]) as upstream, lanes() as transport:
            spec = spec_of(wire, upstream.url, name=name, window=4096)
            model = model_of(wire, replace(spec, provider=provider or spec.provider), transport)
            async for _ in model.stream(ask(**wishes), replace(call(), most_tokens=most)):
                pass
            return upstream.requests[0].json

    return run(main())


def limits(wire: Wire, body: dict[str, Any]) -> dict[str, int]:
    """Every limit of the answer's length in it."""
    found = body["options"] if wire == "ollama" else body
    return {name: found[name] for name in ("max_tokens", "max_completion_tokens", "num_predict") if name in found}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("wished", "most", "sent"), [(None, 50, 50), (20, 50, 20), (80, 50, 50), (80, None, 80)])
def test_the_smaller_of_both_is_sent(wire: Wire, wished: int | None, most: int | None, sent: int) -> None:
    assert limits(wire, body_of(wire, most, max_tokens=wished)) == {SENT[wire]: sent}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("own", [9000, -1, None, "many"])
def test_the_callers_own_options_do_not_go_beyond_it(wire: Wire, own: object) -> None:
    """Below 0 means without end to some servers, and what is no number may mean anything."""
    options = {"options": {"num_predict": own}} if wire == "ollama" else {"max_tokens": own}
    assert limits(wire, body_of(wire, 50, provider_options=options)) == {SENT[wire]: 50}


def test_a_limit_under_its_other_name_is_lowered_where_it_stands() -> None:
    """Both names at once are refused."""
    assert limits("openai", body_of("openai", 50, provider_options={"max_completion_tokens": 900})) == {
        "max_completion_tokens": 50
    }
    assert limits("openai", body_of("openai", 50, name="gpt-5-mini")) == {"max_completion_tokens": 50}
    assert limits("openai", body_of("openai", 50, name="gpt-5-mini", provider="openrouter")) == {"max_tokens": 50}


def test_the_usage_is_asked_for_and_one_answer_only() -> None:
    options = {"stream_options": {"include_usage": False, "include_obfuscation": False}, "n": 4}
    body = body_of("openai", None, provider_options=options)
    assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert body["n"] == 1
    assert "stream_options" not in body_of("openai", None, provider_options={"stream": False})


def test_mistral_gets_no_field_that_it_does_not_know() -> None:
    """It answers 422 to each; the usage it tells unasked."""
    body = body_of("openai", 50, provider="mistral", seed=7, max_tokens=80, provider_options={"n": 2})
    assert "stream_options" not in body
    assert "seed" not in body
    assert (body["random_seed"], body["max_tokens"], body["n"]) == (7, 50, 1)


@pytest.mark.parametrize(
    ("name", "hides"),
    [
        ("o1", True),
        ("o3-mini", True),
        ("o4-mini-2025-04-16", True),
        ("gpt-5", True),
        ("gpt-5-mini", True),
        ("gpt-6.1-terra", True),
        ("openai/gpt-5.1-codex", True),
        ("gpt-5-chat-latest", False),
        ("gpt-4o", False),
        ("gpt-4.1-nano", False),
        ("gpt-oss-120b", False),
        ("gpt-3.5-turbo", False),
        ("gemini-2.5-pro", True),
        ("gemini-3.8-flash", True),
        ("gemini-2.0-flash", False),
        ("grok-4.7", True),
        ("grok-4-fast-non-reasoning", False),
        ("grok-3", False),
        ("grok-3-mini", True),
        ("claude-sonnet-5-5", True),
        ("claude-opus-5", True),
        ("claude-sonnet-4-5", False),
        ("claude-3-5-haiku-latest", False),
        ("claude-opus-4-20250514", False),
        ("anthropic/claude-fable-5.1", True),
        ("mistral-medium-latest", False),
        ("llama3", False),
    ],
)
def test_who_thinks_unseen_is_known_by_name(name: str, hides: bool) -> None:
    assert thinks_by_name(name) is hides
    assert Hidden(name).may({}) is hides


@pytest.mark.parametrize(
    ("options", "hides"),
    [
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "high"}, True),
        ({"reasoning": {"effort": "low"}}, True),
        ({"reasoning": {"effort": "none"}}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, True),
        ({"thinking": {"type": "adaptive"}}, True),
    ],
)
def test_the_request_can_turn_thinking_on_and_off(options: dict[str, Any], hides: bool) -> None:
    assert Hidden("gpt-5").may(options) is hides
    assert Hidden("claude-sonnet-4-5").may(options) is hides


def hears(wire: Wire, script: Script) -> tuple[bool, bool]:
    """Whether a model is taken to hide tokens before and after this answer."""

    async def main() -> tuple[bool, bool]:
        async with Upstream(script) as upstream, lanes() as transport:
            model = model_of(wire, spec_of(wire, upstream.url), transport)
            assert isinstance(model, Hiding)
            before = model.hides_tokens(ask())
            assert (await gather(model, ask())).end
            return before, model.hides_tokens(ask())

    return run(main())


def test_who_thinks_unseen_is_learned_from_what_it_costs() -> None:
    secret = stream(says("Yes."), says(finish="stop"), usage(9, 700), DONE)
    shown = stream(
        *(says(reasoning_content="so ") for _ in range(690)), says("Yes.", finish="stop"), usage(9, 700), DONE
    )
    plain = stream(says("Yes."), says(finish="stop"), usage(9, 40), DONE)
    assert hears("openai", secret) == (False, True)
    assert hears("openai", shown) == (False, False)
    assert hears("openai", plain) == (False, False)
    assert hears("claude", claude_stream(start(), text("Yes."), ends(tokens=700), STOP)) == (False, True)
    assert hears("claude", claude_stream(start(), text("Yes. " * 300), ends(tokens=700), STOP)) == (False, False)


@pytest.mark.parametrize("text", ["Ja. ", "是的。", "नमस्ते "])
def test_scripts_with_many_tokens_to_a_word_are_no_secret(text: str) -> None:
    """A token has two characters or more on average, or comes in a piece of its own."""
    hidden = Hidden("tried")
    hidden.learn(Usage(9, len(text) * 100), seen=len(text) * 100 // 2)
    assert hidden.may({}) is False


def test_a_redacted_request_carries_no_thoughts_and_keeps_the_bound() -> None:
    """They are signed, so that nothing in them can be replaced; and the model hides what it hides."""
    thought = Thought("claude", {"type": "thinking", "thinking": "Ann!", "signature": "s"}, model="claude-opus-5")
    told = (Message("user", "Hi"), Message("assistant", "Hi.", thoughts=(thought,)), Message("user", "Who am I?"))
    thinks = claude_stream(
        start(),
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": "s"},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "You."}},
        ends(),
        STOP,
    )

    async def main() -> tuple[Heard, Heard, dict[str, Any], bool]:
        async with Upstream(thinks) as upstream, lanes() as transport:
            spec = spec_of("claude", upstream.url, name="claude-opus-5")
            model = model_of("claude", spec, transport)
            plain = await gather(model, ask())
            wrapped = redacting(model, Redaction(lambda _: ()))
            heard = Heard()
            async for chunk in wrapped.stream(ask(messages=told), replace(call(), most_tokens=33)):
                heard.chunks.append(chunk)
            assert wrapped.key == SecretStr(KEY)  # budgets by key count it
            return plain, heard, upstream.requests[-1].json, wrapped.hides_tokens(ask())

    plain, heard, body, hides = run(main())
    assert [thought.body["thinking"] for thought in plain.end.thoughts] == ["Hm."]
    assert heard.end.thoughts == ()
    assert "Ann!" not in str(body)
    assert body["max_tokens"] == 33
    assert hides


@pytest.mark.parametrize("own", [[], "nonsense", [{"role": "user"}], {"a": 1}])
def test_messages_of_the_callers_own_are_sent_as_they_are(own: Any) -> None:
    """They are on nobody's account but theirs: no server of ours breaks on them."""
    options = {"messages": own, "thinking": {"type": "enabled", "budget_tokens": 9000}}
    assert body_of("claude", 50, provider_options=options)["messages"] == own
    assert body_of("openai", 50, provider="mistral", provider_options={"messages": own})["messages"] == own


@pytest.mark.parametrize(
    ("provider", "wished", "options", "bound"),
    [
        ("openai", None, {}, None),
        ("openai", 70, {}, 70),
        ("openai", 70, {"max_tokens": 900}, 900),  # the caller's own options win, as they do in the body
        ("openai", 70, {"max_completion_tokens": 30}, 30),
        ("openai", 70, {"max_tokens": None}, None),
        ("claude", None, {}, DEFAULT_MAX_TOKENS),
        ("claude", 70, {"max_tokens": 900}, 900),
        ("ollama", 70, {}, 70),
        ("ollama", 70, {"options": {"num_predict": -1}}, None),
        ("embedded", 70, {"n_predict": 20}, 20),
        ("embedded", None, {}, None),
    ],
)
def test_the_bound_of_an_answer_is_what_the_body_says(
    provider: str, wished: int | None, options: dict[str, Any], bound: int | None
) -> None:
    """A budget reserves by it: what it does not know of would be spent beyond it."""
    request = ask(max_tokens=wished, provider_options=options)
    model: Any
    if provider == "embedded":
        model = EmbeddedModel(ModelSpec("embedded:smollm2", "embedded", "smollm2", "edge"))
    else:
        wire: Wire = provider  # type: ignore[assignment]
        model = model_of(wire, spec_of(wire, "http://127.0.0.1:9"), Transport())
        body = model._body(request)
        told = limits(wire, body)
        assert min((n for n in told.values() if isinstance(n, int) and n >= 0), default=None) == bound
    assert bound_of(model, request) == bound
    assert bound_of(redacting(model, Redaction(lambda _: ())), request) == bound


def test_a_model_that_says_nothing_of_its_bound_keeps_the_requests() -> None:
    assert bound_of(ScriptedModel("m"), ask(max_tokens=9)) == 9
