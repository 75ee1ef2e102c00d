"""From what a caller passes to a request: every wish has its kind, and what is wrong is said before anything is sent."""

from __future__ import annotations

import base64
import contextlib
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.client.wishes import MAX_IMAGE, MOST_TAGS, WISHES, parse, read_message
from oblix.errors import InvalidRequest
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool, ToolCall
from oblix.types.request import Request

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def wish(prompt: Any = "Say hello.", **given: Any) -> Request:
    fixed = {"model_id": None, "temperature": None, "max_tokens": None, "deadline": 600.0, "session_id": None}
    named = {name: given.pop(name, value) for name, value in fixed.items()}
    return parse("r1", prompt, wishes=given, **named)


def refused(prompt: Any = "Say hello.", **given: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as failed:
        wish(prompt, **given)
    assert isinstance(failed.value, ValueError)
    assert failed.value.exit_code == 2
    return failed.value


def test_a_bare_prompt() -> None:
    request = wish()
    assert request == Request("r1", (Message("user", "Say hello."),))
    assert request.prompt == "Say hello."
    assert not request.has_images
    assert pickle.loads(pickle.dumps(request)) == request


def test_every_wish() -> None:
    request = wish(
        model_id="ollama:phi",
        temperature=1,
        max_tokens=7,
        deadline=None,
        session_id="s",
        messages=[{"role": "user", "content": "before"}],
        system="Be brief.",
        tools=[Tool("now")],
        tool_choice="auto",
        response_format="json",
        stop=["END", "STOP"],
        seed=0,
        top_p=0.5,
        private=True,
        tags=["a"],
        max_cost_usd=0.01,
        policy="cheapest",
        fallback=True,
        on_break="restart",
        logprobs=2,
        provider_options={"top_k": 5},
    )
    assert [message.role for message in request.messages] == ["system", "user", "user"]
    assert (request.temperature, request.max_tokens, request.deadline, request.session_id) == (1.0, 7, None, "s")
    assert (request.tools, request.tool_choice) == ((Tool("now"),), "auto")
    assert request.response_format == ResponseFormat("json_object")
    assert (request.stop, request.seed, request.top_p, request.logprobs) == (("END", "STOP"), 0, 0.5, 2)
    assert (request.private, request.fallback, request.on_break, request.tags) == (True, True, "restart", ("a",))
    assert (request.max_cost_usd, request.policy, request.model_id) == (0.01, "cheapest", "ollama:phi")
    assert request.provider_options == {"top_k": 5}


@pytest.mark.parametrize("name", WISHES)
def test_none_is_not_wished(name: str) -> None:
    assert wish(**{name: None}) == wish()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("privat", "private"),
        ("max_cost", "max_cost_usd"),
        ("message", "messages"),
        ("top_k", "top_p"),
        ("tool", "tools"),
        ("frequency_penalty", None),
    ],
)
def test_an_unknown_wish_names_the_nearest(name: str, nearest: str | None) -> None:
    error = refused(**{name: 1})
    assert repr(name) in error.message
    assert "provider_options" in str(error.hint)
    if nearest is not None:
        assert f"Did you mean {nearest!r}?" in str(error.hint)


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t", "\u2003"])
def test_an_empty_prompt(prompt: str) -> None:
    error = refused(prompt)
    assert error.message == "The prompt is empty."
    assert "nothing was sent" in str(error.hint)


@pytest.mark.parametrize("prompt", [5, b"bytes", ["list"], {"a": 1}])
def test_a_prompt_that_is_no_text(prompt: object) -> None:
    assert type(prompt).__name__ in refused(prompt).message


def test_nothing_asked() -> None:
    assert refused(None).message == "Nothing is asked."
    assert refused(None, system="Be brief.").message == "Nothing is asked."
    assert refused(None, messages=[]).message == "Nothing is asked."


def test_messages_alone_are_enough() -> None:
    request = wish(None, messages=[Message("user", "one"), {"role": "assistant", "content": "two"}])
    assert request.prompt == "one"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "0.5"),
        ("temperature", True),
        ("temperature", float("nan")),
        ("top_p", 1.1),
        ("top_p", -1),
        ("top_p", "x"),
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("max_tokens", 1.5),
        ("max_tokens", "7"),
        ("max_tokens", True),
        ("deadline", 0),
        ("deadline", -1),
        ("deadline", "soon"),
        ("deadline", float("inf")),
        ("max_cost_usd", -1),
        ("max_cost_usd", "cheap"),
        ("seed", "x"),
        ("seed", 1.5),
        ("seed", True),
        ("logprobs", -1),
        ("logprobs", "two"),
        ("stop", 5),
        ("stop", ["ok", 5]),
        ("tags", "one"),
        ("tags", [1]),
        ("private", "no"),
        ("private", 1),
        ("fallback", "yes"),
        ("policy", 5),
        ("policy", "bset"),
        ("on_break", 5),
        ("system", 5),
        ("tool_choice", {"type": "auto"}),
        ("provider_options", 5),
        ("provider_options", [("a", 1)]),
        ("response_format", "xml"),
        ("response_format", 5),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": 5}}),
        ("messages", "hello"),
        ("messages", 5),
        ("messages", ["hello"]),
        ("messages", [5]),
        ("messages", {"role": "user"}),
        ("tools", "now"),
        ("tools", {"name": "now"}),
        ("tools", ["now"]),
        ("tools", [{}]),
        ("tools", [{"function": "now"}]),
        ("tools", [{"function": {"description": "no name"}}]),
        ("tools", [{"name": "now", "parameters": 5}]),
        ("images", "picture.png"),
        ("images", PNG),
        ("images", [5]),
        ("images", [None]),
        ("images", ["no\0file"]),
        ("model_id", 5),
        ("session_id", 5),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_wish_of_the_wrong_kind(name: str, value: object) -> None:
    """Always our error, which names the wish; never a `TypeError` from the depths."""
    error = refused(**{name: value})
    assert name.rstrip("s").partition("_")[0] in error.message.lower()


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"role": "robot", "content": "x"},
        {"role": None, "content": "x"},
        {"role": ["user"], "content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": [5]},
        {"role": "user", "content": ["text"]},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"type": "image_url"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "assistant", "tool_calls": [{}]},
        {"role": "assistant", "tool_calls": [5]},
        {"role": "assistant", "tool_calls": 5},
        {"role": "assistant", "tool_calls": [{"function": {}}]},
        {"role": "assistant", "tool_calls": [{"function": "now"}]},
    ],
    ids=repr,
)
def test_a_message_that_is_none(message: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"message|Message"):
        read_message(message)
    assert refused(messages=[message])


KEYS = ["role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name", "user"]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(JUNK, st.sampled_from(["messages", "tools", "response_format", "images", "stop", "tags", "provider_options"]))
def test_junk_is_refused_in_our_own_words(junk: Any, name: str) -> None:
    """Whatever JSON comes as a wish, nothing but `InvalidRequest` comes out."""
    with contextlib.suppress(InvalidRequest):
        wish(**{name: junk})


def test_openais_dicts_are_read() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a": 1}'}}
    data = "data:image/jpeg;base64,AAAA"
    found: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": data}}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "c1"},
    ]  # fmt: skip
    assert [read_message(message) for message in found] == [
        Message("system", "Be brief."),
        Message("user", (Text("What?"), Image("image/jpeg", "AAAA"))),
        Message("assistant", "", (ToolCall("c1", "now", '{"a": 1}'),)),
        Message("tool", "noon", (), "c1"),
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"a": 1}', '{"a": 1}'), ({"a": [1, "ü"]}, '{"a": [1, "\\u00fc"]}'), ({}, "{}"), (None, "{}"), ("", "{}")],
    ids=["text", "object", "empty object", "null", "empty text"],
)
def test_arguments_are_json_text(arguments: object, text: str) -> None:
    """Ollama's dialect has an object there; its Python form would be no JSON."""
    call: dict[str, Any] = {"id": None, "function": {"name": "now", "arguments": arguments}}
    message = read_message({"role": "assistant", "tool_calls": [call]})
    assert message.tool_calls == (ToolCall("", "now", text),)


def test_tools_in_openais_shape_and_in_short() -> None:
    full = {"type": "function", "function": {"name": "now", "description": "tells", "parameters": SCHEMA}}
    short = {"name": "now", "description": "tells", "parameters": SCHEMA}
    assert wish(tools=[full, short]).tools == (Tool("now", "tells", SCHEMA),) * 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text", None),
        ({"type": "text"}, None),
        ("json", ResponseFormat("json_object")),
        ("json_object", ResponseFormat("json_object")),
        ({"type": "json_object"}, ResponseFormat("json_object")),
        (SCHEMA, ResponseFormat("json_schema", SCHEMA)),
        (
            {"type": "json_schema", "json_schema": {"name": "count", "schema": SCHEMA}},
            ResponseFormat("json_schema", SCHEMA, "count"),
        ),
    ],
    ids=["text", "text dict", "json", "json_object", "json_object dict", "schema", "OpenAI's"],
)
def test_response_formats(given: object, expected: ResponseFormat | None) -> None:
    assert wish(response_format=given).response_format == expected


def test_a_stop_text_alone() -> None:
    assert wish(stop="END").stop == ("END",)
    assert wish(stop=()).stop == ()


# Images


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 8, "image/jpeg"),
        (b"GIF89a" + b"\0" * 8, "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_an_image_is_known_by_its_bytes(data: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.bin"
    path.write_bytes(data)
    image = Image(kind, base64.b64encode(data).decode())
    request = wish("What is this?", images=[data, path, str(path)])
    assert request.messages[-1] == Message("user", (Text("What is this?"), image, image, image))
    assert request.has_images


def test_an_image_at_an_address_stays_there() -> None:
    (message,) = wish("?", images=["https://x.example/a.png", "data:image/gif;base64,R0lG"]).messages
    assert message.images == (Image(url="https://x.example/a.png"), Image("image/gif", "R0lG"))


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"%PDF-1.7", b"<svg/>", b"RIFF\x10\0\0\0WAVEfmt "], ids=["empty", "text", "PDF", "SVG", "WAV"]
)  # fmt: skip
def test_what_is_no_image(data: bytes) -> None:
    assert "PNG, JPEG, GIF and WebP" in refused(images=[data]).message


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    error = refused(images=[tmp_path / "gone.png"])
    assert "gone.png" in error.message
    assert "No such file" in error.message
    assert isinstance(error.cause, OSError)
    assert "directory" in refused(images=[tmp_path]).message


def test_an_image_that_is_too_large(tmp_path: Path) -> None:
    """It is not even read to its end; `/dev/zero` has none."""
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.write(PNG)
        file.truncate(MAX_IMAGE + 1)
    assert "20 MiB" in refused(images=[path]).message
    assert "20 MiB" in refused(images=[PNG + b"\0" * MAX_IMAGE]).message
    assert "20 MiB" in refused(images=["/dev/zero"]).message


def test_images_without_a_prompt_are_not_dropped() -> None:
    assert "image" in refused(None, messages=[Message("user", "?")], images=[PNG]).message.lower()


# Text as it may come


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "😀", "\ufeffhello", "x" * 100_000], ids=repr)
def test_any_text_is_a_prompt(text: str) -> None:
    """Lone surrogates and NUL are taken as they are; the wire deals with them."""
    assert wish(text[:50]).prompt == text[:50]


@pytest.mark.parametrize("name", ["model", "messages", "stream", "truncate", "shift"])
def test_provider_options_cannot_replace_what_was_checked(name: str) -> None:
    """`{"model": "x:cloud"}` once carried a private prompt to a model that nobody had looked at."""
    error = refused(provider_options={name: "x"})
    assert repr(name) in error.message


def test_ollamas_options_must_be_a_mapping() -> None:
    assert "no mapping" in refused(provider_options={"options": "x"}).message


@pytest.mark.parametrize("choice", ["required", "nosuch"])
def test_a_tool_that_nobody_offers_is_no_models_failure(choice: str) -> None:
    assert "none were passed" in str(refused(tool_choice=choice).hint)


@pytest.mark.parametrize("wish", ["workspace_id"])
def test_wishes_of_later_versions_are_refused_not_ignored(wish: str) -> None:
    assert "later version" in refused(**{wish: True}).message


@pytest.mark.parametrize(
    ("wish", "meant"), [("model", "model_id"), ("timeout", "deadline"), ("max_token", "max_tokens")]
)
def test_a_near_miss_of_a_parameter_is_named(wish: str, meant: str) -> None:
    assert repr(meant) in str(refused(**{wish: 1}).hint)


def test_a_request_has_as_many_tags_as_the_books_look_up() -> None:
    many = [f"t{number}" for number in range(MOST_TAGS + 1)]
    assert wish(tags=many[:-1] + many[:5]).tags == (*many[:-1], *many[:5])
    error = refused(tags=many)
    assert (error.message, error.hint) == (
        "tags holds 33 different ones.",
        "Each may have a budget of its own; 32 are the most.",
    )
