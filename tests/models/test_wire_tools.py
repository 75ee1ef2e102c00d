"""Whatever a prompt holds, a body is valid JSON in UTF-8; what JSON cannot carry is a failure of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.wire_tools import continued, encode, read_arguments, safe, whole_calls
from oblix.types.chunk import End
from oblix.types.messages import Message, ResponseFormat, Tool, ToolCall
from oblix.types.spec import Capability

from .asking import WIRES, Wire, ask, hear, spec_of
from .upstream import HANGUP, head, sse, whole

LONE = "\ud800"
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)


@given(ANY_TEXT)
def test_safe_text_keeps_all_but_lone_surrogates(text: str) -> None:
    made = safe(text)
    made.encode()
    if not any("\ud800" <= sign <= "\udfff" for sign in text):
        assert made == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\ud800b", "a\ufffdb"), ("\udfff", "\ufffd"), ("\ud83d\ude00", "😀"), ("a\0b", "a\0b"), ("", "")],
    ids=["high", "low", "a pair in two halves", "NUL", "nothing"],
)
def test_safe(text: str, expected: str) -> None:
    assert safe(text) == expected


@given(st.recursive(ANY_TEXT | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3)))  # fmt: skip
def test_every_body_is_valid_json(value: Any) -> None:
    raw = encode({"body": value})
    json.loads(raw.decode("utf-8"))


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, lambda: None], ids=["object", "key", "function"])
def test_what_json_cannot_carry(value: object) -> None:
    with pytest.raises(AttemptFailed, match="JSON") as failed:
        encode({"tools": value})
    assert failed.value.kind is FailureKind.BAD_REQUEST


def test_a_body_without_end() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(AttemptFailed) as failed:
        encode(loop)
    assert failed.value.kind is FailureKind.BAD_REQUEST


@pytest.mark.parametrize("wire", WIRES)
def test_surrogates_and_nul_reach_the_wire_as_valid_json(wire: Wire) -> None:
    """Wherever text can stand: prompt, system, tools, calls, results, stops and the provider's own options."""
    odd = f"a{LONE}b\0c😀"
    request = ask(
        messages=(
            Message("system", odd),
            Message("user", odd),
            Message("assistant", odd, (ToolCall(f"id{LONE}", f"name{LONE}", f'{{"x": "{LONE}"}}'),)),
            Message("tool", odd, tool_call_id=f"id{LONE}"),
            Message("user", odd),
        ),
        tools=(Tool(f"t{LONE}", odd, {"description": odd}),),
        stop=(odd,),
        response_format=ResponseFormat("json_schema", {"title": odd}, f"n{LONE}"),
        provider_options={f"k{LONE}": {"v": [odd]}},
    )
    (asked,) = hear(wire, [HANGUP], request=request).asked
    asked.body.decode("utf-8")
    text = json.dumps(asked.json, ensure_ascii=False)
    assert "a\ufffdb\\u0000c😀" in text
    assert asked.json["k\ufffd"] == {"v": ["a\ufffdb\0c😀"]}


@pytest.mark.parametrize("wire", WIRES)
def test_options_that_cannot_be_written_send_nothing(wire: Wire) -> None:
    heard = hear(wire, [HANGUP], request=ask(provider_options={"x": object()}))
    assert heard.failed.kind is FailureKind.BAD_REQUEST
    assert heard.connections == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("{", {"input": "{"}),
        ("[1]", {"input": [1]}),
        ("null", {"input": None}),
        (f'{{"a": "{LONE}"}}', {"a": "\ufffd"}),
        ("[" * 100_000, {"input": "[" * 100_000}),
    ],
    ids=["object", "nothing", "half", "list", "null", "a lone surrogate", "deep"],
)
def test_arguments_are_always_an_object(text: str, expected: object) -> None:
    assert read_arguments(text) == expected


WHOLE = ToolCall("a", "now", '{"zone": "UTC"}')


@pytest.mark.parametrize(
    "arguments",
    ['{"zone": "U', "{", "null", "[]", '"UTC"', "7", "not JSON", '{"a": 1} {}', "[" * 100_000, '{"\ud800": 1}'],
)
def test_a_call_whose_arguments_are_no_object_is_never_delivered(arguments: str) -> None:
    """Cut off by a limit, it is left out; else the peer does not keep its protocol."""
    broken = ToolCall("b", "now", arguments)
    with pytest.raises(AttemptFailed) as failed:
        whole_calls([WHOLE, broken], "tool_calls", "m")
    assert failed.value.kind is FailureKind.PROTOCOL
    assert failed.value.is_told_by_peer
    assert failed.value.message.endswith(
        f"arguments that are no JSON object ({len(arguments):,} characters)"
    )  # not what they say
    assert whole_calls([WHOLE, broken], "length", "m") == (WHOLE,)


def test_a_call_without_a_name_is_none() -> None:
    with pytest.raises(AttemptFailed, match="without a name"):
        whole_calls([ToolCall("b", "", "{}")], "tool_calls", "m")


def test_no_arguments_are_an_empty_object_unless_they_may_have_been_cut_off() -> None:
    bare = ToolCall("b", "now", "")
    assert whole_calls([bare], "tool_calls", "m") == (ToolCall("b", "now", "{}"),)
    assert whole_calls([bare], "length", "m") == ()


def test_the_beginning_of_an_answer_is_the_last_turn() -> None:
    spec = spec_of("ollama", "http://x", capabilities=frozenset({"prefill"}))
    request = ask("Count.")
    assert continued(request, "", spec) is request
    once = continued(request, "One, ", spec)
    assert once is not None
    assert once.messages == (*request.messages, Message("assistant", "One, "))
    twice = continued(once, "two", spec)
    assert twice is not None
    assert twice.messages == (*request.messages, Message("assistant", "One, two"))
    assert twice.max_tokens is None


@pytest.mark.parametrize(
    ("limit", "left"),
    [(100, 78), (22, 1), (17, 1), (16, None), (3, None)],
    ids=["some", "none by the estimate", "one more than words", "a token for each word", "below"],
)
def test_the_limit_counts_the_whole_answer(limit: int, left: int | None) -> None:
    """By the estimate 22 tokens are said. Only 16 are sure, one for each word, and only what is surely used up ends the answer."""
    spec = spec_of("ollama", "http://x", capabilities=frozenset({"prefill"}))
    rest = continued(ask(max_tokens=limit), "word " * 16, spec)
    assert (rest and rest.max_tokens) == left


PREFILL: frozenset[Capability] = frozenset({"prefill"})


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_whose_length_is_used_up_ends_without_a_question(wire: Wire) -> None:
    heard = hear(wire, [HANGUP], request=ask(max_tokens=2), said="One, two", capabilities=PREFILL)
    assert heard.chunks == [End("length")]
    assert heard.connections == 0


@pytest.mark.parametrize(
    ("wire", "path"), [("openai", ["max_tokens"]), ("claude", ["max_tokens"]), ("ollama", ["options", "num_predict"])]
)
def test_the_rest_of_the_limit_is_what_a_server_is_asked_for(wire: Wire, path: list[str]) -> None:
    heard = hear(wire, [HANGUP], request=ask(max_tokens=9), said="One, ", capabilities=PREFILL)
    found: Any = heard.asked[0].json
    for name in path:
        found = found[name]
    assert found == 7


OVERFLOW = [
    whole(
        {
            "error": {
                "message": "the prompt is too long",
                "type": "invalid_request_error",
                "code": "context_length_exceeded",
            }
        },
        status=400,
    )
]


@pytest.mark.parametrize("wire", WIRES)
def test_an_overflow_without_numbers_gets_ours(wire: Wire) -> None:
    """The prompt's estimate, and the window as declared: the next model is chosen by them."""
    failed = hear(wire, OVERFLOW, request=ask("=" * 3800), window=777).failed
    assert (failed.kind, failed.tokens, failed.window) == (FailureKind.CONTEXT_OVERFLOW, 1007, 777)


@pytest.mark.parametrize("wire", WIRES)
def test_an_overflow_with_numbers_keeps_them(wire: Wire) -> None:
    said = "prompt is too long: 210000 tokens > 200000 maximum"
    failed = hear(wire, [whole({"error": {"message": said}}, status=400)], request=ask("="), window=777).failed
    assert (failed.tokens, failed.window) == (210_000, 200_000)


def test_an_overflow_inside_of_an_answer_gets_ours() -> None:
    script = [head(), *sse({"error": {"code": "context_length_exceeded", "message": "no"}})]
    failed = hear("openai", script, request=ask("=" * 3800), window=777).failed
    assert (failed.kind, failed.tokens, failed.window) == (FailureKind.CONTEXT_OVERFLOW, 1007, 777)


@pytest.mark.parametrize(
    "wishes",
    [{"tools": (Tool("now"),)}, {"response_format": ResponseFormat("json_object")}, {"logprobs": 1}],
    ids=lambda wishes: next(iter(wishes)),
)
def test_what_cannot_be_gone_on_with_is_refused(wishes: dict[str, Any]) -> None:
    spec = spec_of("ollama", "http://x", capabilities=frozenset({"prefill"}))
    with pytest.raises(AttemptFailed, match="cannot go on") as failed:
        continued(ask(**wishes), "One", spec)
    assert failed.value.kind is FailureKind.BAD_REQUEST


@pytest.mark.parametrize("wire", WIRES)
def test_a_model_that_would_begin_again_is_not_asked_to_go_on(wire: Wire) -> None:
    heard = hear(wire, [HANGUP], said="One, ")
    assert heard.failed.kind is FailureKind.BAD_REQUEST
    assert heard.connections == 0
