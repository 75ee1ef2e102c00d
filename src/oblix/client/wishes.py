"""From what a caller passes to a `Request`: parsed once, at the door. Bad input gets a clear error and nothing is sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast, get_args

from oblix.errors import InvalidRequest
from oblix.settings import file_of, find_policy
from oblix.types.messages import Image, Message, Part, ResponseFormat, Role, Text, Tool, ToolCall
from oblix.types.request import OnBreak, Request, Warm

MAX_IMAGE = 20 << 20  # bytes; what the large providers accept


class Wishes(TypedDict, total=False):
    """The wishes that `execute`, `stream` and `route` take by name.

    Attributes:
        messages: The conversation so far, as `Message` objects or as OpenAI's dicts; the prompt is its last turn. With a session they stand
            in the place of what it holds, but for results of tools (role `tool`), which go on with it.
        system: A system prompt.
        tools: `Tool` objects, or OpenAI's dicts.
        tool_choice: `auto`, `none`, `required`, or a tool's name.
        response_format: `"json"`, a JSON Schema, or OpenAI's `response_format` dict.
        images: Paths, addresses or bytes, sent with the prompt.
        stop: Texts that end the answer.
        private: The prompt never leaves the edge.
        public: Nothing in it is private, whatever the detectors see.
        max_cost_usd: Exclude models whose estimated cost is above this, for an answer as long as `max_tokens` allows, else a usual one.
            It chooses, and bounds nothing: a longer answer and further attempts cost more. A budget is never passed.
        policy: `balanced`, `offline_first`, `fastest`, `cheapest`, `best`, `private`, or the path of a policy file, for this request.
        fallback: `model_id` is a preference, not a must.
        on_break: What a stream does when it fails after its first token: `error` (with the text so far), `restart` (a `Reset`, then the
            next model) or `continue` (a model that can goes on from the text so far; where none can it is an error).
        warm: While a model is being loaded, `bridge` (the default) lets another allowed one answer, `wait` waits for it.
        hedge: Start the next model when the first is slower than its own 95th percentile; the first token wins. Costs at most every
            twentieth request a second attempt, which is billed; never used with tools.
        logprobs: Log-probabilities of each token with so many alternatives (0 = off).
        provider_options: Passed to the provider as they are.
    """

    messages: Sequence[Message | Mapping[str, Any]]
    system: str
    tools: Sequence[Tool | Mapping[str, Any]]
    tool_choice: str
    response_format: str | Mapping[str, Any]
    images: Sequence[str | Path | bytes]
    stop: str | Sequence[str]
    seed: int
    top_p: float
    private: bool
    public: bool
    tags: Sequence[str]
    max_cost_usd: float
    policy: str
    fallback: bool
    on_break: OnBreak
    warm: Warm
    hedge: bool
    logprobs: int
    provider_options: Mapping[str, Any]


WISHES = tuple(Wishes.__annotations__)
# What each wish may be; a text is no list, and `True` is no number. Numbers with limits are checked where they are read.
_KINDS: dict[str, tuple[type, ...]] = {
    "messages": (Sequence,),
    "system": (str,),
    "tools": (Sequence,),
    "tool_choice": (str,),
    "response_format": (str, Mapping),
    "images": (Sequence,),
    "stop": (str, Sequence),
    "seed": (int,),
    "private": (bool,),
    "public": (bool,),
    "tags": (Sequence,),
    "policy": (str,),
    "fallback": (bool,),
    "on_break": (str,),
    "warm": (str,),
    "hedge": (bool,),
    "logprobs": (int,),
    "provider_options": (Mapping,),
}
_PARAMETERS = (
    "model_id",
    "temperature",
    "max_tokens",
    "request_id",
    "session_id",
    "deadline",
    "display_metrics",
    "stream",
)
_ALIASES = {"model": "model_id", "timeout": "deadline", "temp": "temperature", "max_output_tokens": "max_tokens"}
# Set by us: what was checked and decided must be what is sent.
_RESERVED = frozenset({"model", "messages", "stream", "stream_options", "truncate", "shift"})
# Settled for later versions; until then they are refused, not ignored.
_LATER = frozenset({"workspace_id"})
_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
MOST_TAGS = 32  # of a request: the books look each of them up
T = TypeVar("T")


def parse(
    request_id: str,
    prompt: str | None,
    *,
    model_id: str | None,
    temperature: float | None,
    max_tokens: int | None,
    deadline: float | None,
    session_id: str | None,
    wishes: Mapping[str, Any],
) -> Request:
    """The request, out of what was passed by name.

    Raises:
        InvalidRequest: A wish is unknown (the nearest is named) or of the wrong kind, or nothing is asked.
    """
    for wish, value in wishes.items():
        _check(wish, value)
    get = wishes.get
    return Request(
        _text("request_id", request_id) or "",
        _messages(prompt, get("messages") or (), get("system"), get("images") or ()),
        model_id=_text("model_id", model_id),
        temperature=_number("temperature", temperature, 0.0, 2.0),
        max_tokens=_whole("max_tokens", max_tokens),
        deadline=_number("deadline", deadline, 1e-3, 1e9),
        session_id=None if session_id is None else read_id(session_id),
        **(_rarer(wishes) if wishes else {}),
    )


def _check(wish: str, value: object) -> None:
    if wish in _LATER:
        raise InvalidRequest(f"{wish!r} comes with a later version.", hint="Leave it out; nothing was sent.")
    if wish not in WISHES:
        near = [_ALIASES[wish]] if wish in _ALIASES else get_close_matches(wish, (*_PARAMETERS, *WISHES), 1)
        raise InvalidRequest(
            f"{wish!r} is no wish that execute() knows.",
            hint=(f"Did you mean {near[0]!r}? " if near else "")
            + "What has no name here goes into provider_options={…}.",
        )
    kinds = _KINDS.get(wish)
    if value is None or kinds is None:
        return
    special = next((kind for kind in (str, bytes, bool) if isinstance(value, kind)), None)
    if not (isinstance(value, kinds) if special is None else special in kinds):
        raise InvalidRequest(
            f"{wish} is of type {type(value).__name__}.",
            hint=f"Expected: {' or '.join(kind.__name__.lower() for kind in kinds)}.",
        )


def _rarer(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that most callers leave alone."""
    get = wishes.get
    name: str | None = get("policy")
    if name is not None and file_of(name) is None:  # a file is read off the loop, before the decision
        find_policy(name)
    stop: str | Sequence[str] = get("stop") or ()
    logprobs: int = get("logprobs") or 0
    if logprobs < 0:
        raise InvalidRequest(f"logprobs={logprobs} is below 0.", hint="0 is off.")
    tools = tuple(_read("tool", _tool, tool) for tool in get("tools") or ())
    _check_choice(get("tool_choice"), tools)
    return {
        "fallback": bool(get("fallback")),
        "private": bool(get("private")),
        "public": _public(wishes),
        "top_p": _number("top_p", get("top_p"), 0.0, 1.0),
        "stop": (stop,) if isinstance(stop, str) else _texts("stop", stop),
        "seed": get("seed"),
        "logprobs": logprobs,
        "tools": tools,
        "tool_choice": get("tool_choice"),
        "response_format": _read("response_format", _format, get("response_format")),
        "max_cost_usd": _number("max_cost_usd", get("max_cost_usd"), 0.0, 1e9),
        "on_break": cast("OnBreak", _one_of("on_break", get("on_break"), get_args(OnBreak))),
        "warm": cast("Warm", _one_of("warm", get("warm"), get_args(Warm))),
        "hedge": bool(get("hedge")),
        "policy": name,
        "tags": _tags(get("tags") or ()),
        "provider_options": _options(get("provider_options") or {}),
        "is_whole": _is_whole(get("messages") or ()),
    }


def _tags(given: Sequence[str]) -> tuple[str, ...]:
    tags = _texts("tags", given)
    if len(set(tags)) > MOST_TAGS:
        hint = f"Each may have a budget of its own; {MOST_TAGS} are the most."
        raise InvalidRequest(f"tags holds {len(set(tags)):,} different ones.", hint=hint)
    return tags


def _is_whole(messages: Sequence[Message | Mapping[str, Any]]) -> bool:
    """Whether they are a conversation. Results of tools alone are none: they go on with what the session holds."""
    roles = (each.role if isinstance(each, Message) else each.get("role") for each in messages)
    return next((role for role in roles if role != "system"), "tool") not in ("tool", "function")


def _public(wishes: Mapping[str, Any]) -> bool:
    if wishes.get("public") and wishes.get("private"):
        raise InvalidRequest("A request cannot be private and public.", hint="Leave one of the two out.")
    return bool(wishes.get("public"))


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> str:
    """One of the known words; the first of them where none is given."""
    if value is None or value in known:
        return value or known[0]
    raise InvalidRequest(f"{name}={value!r} is not known.", hint=f"Use {' or '.join(map(repr, known))}.")


def _check_choice(choice: str | None, tools: tuple[Tool, ...]) -> None:
    """What no model could do must not look like a model's failure."""
    names = [tool.name for tool in tools]
    if choice in (None, "auto", "none") or (choice == "required" and tools) or choice in names:
        return
    raise InvalidRequest(
        f"tool_choice={choice!r} is none of the tools.", hint=f"Tools: {', '.join(names) or 'none were passed'}."
    )


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        if name in _RESERVED:
            raise InvalidRequest(
                f"provider_options may not hold {name!r}, which Oblix sets.",
                hint="Use model_id=, messages= and stream().",
            )
    if not isinstance(given.get("options", {}), Mapping):
        raise InvalidRequest("provider_options['options'] is no mapping.", hint="Ollama's options go there by name.")
    return dict(given)


def _number(name: str, value: float | None, low: float, high: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidRequest(
            f"{name}={value!r} is not a number from {low:g} to {high:g}.", hint="Leave it out for the default."
        )
    return float(value)


def _whole(name: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidRequest(f"{name}={value!r} is not a whole number above 0.", hint="Leave it out for the default.")
    return value


def _text(name: str, value: str | None) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{name} is of type {type(value).__name__}.", hint="Expected: str.")
    return value


def _texts(name: str, values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise InvalidRequest(f"{name} holds a {type(value).__name__}.", hint="Expected: texts only.")
    return tuple(values)


def _read(what: str, read: Callable[[Any], T], found: object) -> T:
    """`read(found)`; what a wrong shape trips over becomes an error of ours."""
    try:
        return read(found)
    except InvalidRequest:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"A {what} cannot be read: {type(error).__name__}: {error}.",
            hint="Pass our types, or dicts in OpenAI's shape.",
            cause=error,
        ) from None


def _messages(
    prompt: str | None,
    given: Sequence[Message | Mapping[str, Any]],
    system: str | None,
    images: Sequence[str | Path | bytes],
) -> tuple[Message, ...]:
    messages = [message if isinstance(message, Message) else read_message(message) for message in given]
    if images and prompt is None:
        raise InvalidRequest("Images come with a prompt, and there is none.", hint="Put them into a message.")
    if system:
        messages.insert(0, Message("system", system))
    if prompt is not None:
        if not isinstance(prompt, str):
            raise InvalidRequest(f"The prompt is of type {type(prompt).__name__}.", hint="Pass a string.")
        if not prompt.strip() and not given:
            raise InvalidRequest("The prompt is empty.", hint="Say what is asked; nothing was sent.")
        parts: tuple[Part, ...] = (Text(prompt), *(_image(image) for image in images))
        messages.append(Message("user", parts if images else prompt))
    if prompt is None and all(message.role == "system" for message in messages):
        raise InvalidRequest("Nothing is asked.", hint="Pass a prompt, or messages=[…].")
    return tuple(messages)


def read_id(found: object, what: str = "session") -> str:
    """The id of a session, or of what else is named.

    Raises:
        InvalidRequest: It is none; an empty one might be a variable that was never set.
    """
    if not isinstance(found, str):
        raise InvalidRequest(f"The id of a {what} is of type {type(found).__name__}.", hint="Expected: str.")
    if not found:
        raise InvalidRequest(f"The id of a {what} is empty.", hint="Leave it out, or name one.")
    return found


def read_message(found: Mapping[str, Any]) -> Message:
    """A message out of OpenAI's dict.

    Raises:
        InvalidRequest: It is none.
    """
    return _read("message", _message, found)


def _message(found: Mapping[str, Any]) -> Message:
    role = {"developer": "system", "function": "tool"}.get(found.get("role", ""), found.get("role"))
    if role not in get_args(Role):
        raise InvalidRequest(f"A message has role {role!r}.", hint=f"Roles: {', '.join(get_args(Role))}.")
    calls = tuple(_call(call) for call in found.get("tool_calls") or ())
    content = found.get("content") or ""
    if not isinstance(content, str):
        content = tuple(_part(part) for part in content)
    if near := get_close_matches("private", found.keys() - {"private"}, 1, 0.8):
        raise InvalidRequest(f"A message has the key {near[0]!r}.", hint="Did you mean 'private'?")
    private = found.get("private", False)
    if not isinstance(private, bool):
        raise InvalidRequest(f"A message has private={private!r}.", hint="Use True or False.")
    return Message(cast("Role", role), content, calls, found.get("tool_call_id"), private)


def _call(call: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    if not isinstance(arguments, str):  # Ollama's shape: an object
        arguments = json.dumps(arguments)
    return ToolCall(str(call.get("id") or ""), str(function["name"]), arguments)


def _part(part: Mapping[str, Any]) -> Part:
    if part.get("type") == "text":
        if not isinstance(part["text"], str):
            raise InvalidRequest(f"A message has a text of type {type(part['text']).__name__}.")
        return Text(part["text"])
    if part.get("type") == "image_url":
        return _address(str(part["image_url"]["url"]))
    raise InvalidRequest(
        f"A message has a part of type {part.get('type')!r}.", hint="Parts are 'text' and 'image_url'."
    )


def _address(url: str) -> Image:
    head, comma, data = url.partition(",")
    if url.startswith("data:") and comma and head.endswith(";base64"):
        return Image(head[5:-7] or "image/png", data)
    return Image(url=url)


def _image(image: str | Path | bytes) -> Image:
    if isinstance(image, str) and image.startswith(("http://", "https://", "data:")):
        return _address(image)
    try:
        data = image if isinstance(image, bytes) else _read_file(image)
    except (OSError, TypeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"The image {str(image)!r} cannot be read: {why}.", cause=error) from None
    if len(data) > MAX_IMAGE:
        raise InvalidRequest(f"An image has more than {MAX_IMAGE >> 20} MiB.", hint="Make it smaller.")
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind is None or (kind == "image/webp" and data[8:12] != b"WEBP"):
        raise InvalidRequest("An image is none of PNG, JPEG, GIF and WebP.", hint="Convert it first.")
    return Image(kind, base64.b64encode(data).decode())


def _read_file(path: str | Path) -> bytes:
    """Enough of the file to know whether it is too large."""
    if Path(path).is_fifo():
        raise OSError("it is a pipe")  # a pipe could make us wait for ever
    with Path(path).open("rb") as file:
        return file.read(MAX_IMAGE + 1)


def _tool(tool: Tool | Mapping[str, Any]) -> Tool:
    if isinstance(tool, Tool):
        return tool
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not function.get("name"):
        raise InvalidRequest("A tool has no name.", hint="Pass Tool(name=…, parameters=…), or OpenAI's dict.")
    return Tool(str(function["name"]), str(function.get("description", "")), dict(function.get("parameters") or {}))


def _format(wish: str | Mapping[str, Any] | None) -> ResponseFormat | None:
    if wish is None or wish == "text":
        return None
    if wish in ("json", "json_object"):
        return ResponseFormat("json_object")
    if isinstance(wish, Mapping):
        if wish.get("type") in ("text", "json_object") and len(wish) == 1:
            return ResponseFormat("json_object") if wish["type"] == "json_object" else None
        if wish.get("type") == "json_schema" and isinstance(wish.get("json_schema"), Mapping):
            inner = wish["json_schema"]
            return ResponseFormat("json_schema", dict(inner.get("schema") or {}), str(inner.get("name", "answer")))
        return ResponseFormat("json_schema", dict(wish))
    raise InvalidRequest(f"response_format={wish!r} is not known.", hint="Use 'json' or a JSON Schema.")
