"""A conversation that one provider began goes on at another: each ordered pair, over real wires, at servers that check their rules."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from oblix.models.base import Model
from oblix.models.claude import ClaudeModel
from oblix.models.dialects import dialect_of
from oblix.models.embedded.wire import Reader
from oblix.models.embedded.wire import body as embedded_body
from oblix.models.ollama import OllamaModel
from oblix.models.openai import OpenAIModel
from oblix.models.portable import NO_RESULT, portable
from oblix.models.redacted import Redaction, redacting
from oblix.models.transport import Transport
from oblix.testing.faults import RULES, FaultServer, Saying, Upstream, Wire
from oblix.types.chunk import Delta, End
from oblix.types.messages import Image, Message, Text, Tool, ToolCall
from oblix.types.privacy import Finding
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import Capability, ModelSpec, Place

from .asking import gather, run

PROVIDERS = ("openai", "claude", "ollama", "mistral", "gemini", "deepseek", "embedded", "embedded-mistral")
PAIRS = [(first, second) for first in PROVIDERS for second in PROVIDERS]
WIRE: dict[str, Wire] = {"claude": "claude", "ollama": "ollama"}
CLASS: dict[Wire, Any] = {"openai": OpenAIModel, "claude": ClaudeModel, "ollama": OllamaModel}
NAMES = {"embedded-mistral": "ministral-3b"}
BLIND = ("embedded", "embedded-mistral")
TOOLS = (
    Tool("get_weather", "Looks outside", {"type": "object", "properties": {"city": {"type": "string"}}}),
    Tool("now", "Looks at the clock"),
)
# Ids as each of them writes them; Ollama writes none, OpenAI's newer servers write two in one.
IDS = {
    "openai": ("call_7xQ2mN8vR4tY6uW1zA3bC5dE|fc_0123456789abcdef0123456789abcdef", "call_Zk9"),
    "claude": ("toolu_01A09q90qw90lq917835lq9", "toolu_02B09q90qw90lq917835lq9"),
    "ollama": ("", ""),
    "mistral": ("D681PevKs", "aB3dE5gH7"),
    "gemini": ("function-call-12013542354235432543", "function-call-2"),
    "deepseek": ("call_00_kFjd83hf", "call_01_kFjd83hf"),
    "embedded": ("4vUpRNx9PzQm2sLk8YwT6aBcDeFgHiJk", "functions.now:1"),
    "embedded-mistral": ("q1w2e3r4t", "z9y8x7w6v"),
}
PICTURE = Image("image/png", "iVBORw0KGgo=")
RESULTS = ("-3 °C, and “snow”", "")


def spec_of(provider: str, url: str | None = None) -> ModelSpec:
    name, row = NAMES.get(provider, "tried"), provider.partition("-")[0]
    sees: frozenset[Capability] = frozenset({"tools"} if provider in BLIND else {"tools", "vision"})
    place: Place = "edge" if provider == "ollama" or provider in BLIND else "cloud"
    return ModelSpec(f"{row}:{name}", row, name, place, endpoint=url, capabilities=sees)


class Party:
    """One provider: its model, over a real wire to a strict server where it has one; the embedded engine's pure wire, and its rules."""

    def __init__(self, provider: str, up: Upstream | None, model: Model | None) -> None:
        self.provider, self._up, self._model = provider, up, model
        self.spec = model.spec if model else spec_of(provider)

    async def hear(self, request: Request, marker: str, saying: Saying) -> Message:
        """Its answer as a message; a refusal raises."""
        if self._up is None or self._model is None:
            return self._engine(request, saying)
        self._up.say(marker, saying)
        heard = await gather(self._model, request)
        end = heard.end
        assert end.usage.output_tokens == self._up.bill[-1].output_tokens
        return Message("assistant", heard.text, end.tool_calls, thoughts=end.thoughts)

    def _engine(self, request: Request, saying: Saying) -> Message:
        body = json.loads(json.dumps(embedded_body(request, self.spec)))
        assert RULES[self.provider](body) is None
        reader = Reader(False, f"call_{request.id}")
        deltas: list[dict[str, Any]] = [{"reasoning_content": saying.thought}, {"content": saying.text}]
        for at, (call_id, name, arguments) in enumerate(saying.calls):
            deltas.append(
                {"tool_calls": [{"index": at, "id": call_id, "function": {"name": name, "arguments": arguments}}]}
            )
        chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        chunks.append(
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if saying.calls else "stop"}]}
        )
        text = "".join(c.text for raw in chunks for c in reader.read(raw) if isinstance(c, Delta))
        end: End = reader.end()
        return Message("assistant", text, end.tool_calls, thoughts=end.thoughts)

    def sent(self) -> dict[str, Any]:
        """The body that came last."""
        assert self._up is not None
        found: dict[str, Any] = self._up.requests[-1].json
        return found


@asynccontextmanager
async def parties(*providers: str) -> AsyncIterator[list[Party]]:
    """Each with a server of its own."""
    transport, found = Transport(), []
    async with FaultServer() as server:
        try:
            for number, provider in enumerate(providers):
                if provider in BLIND:
                    found.append(Party(provider, None, None))
                    continue
                wire = WIRE.get(provider, "openai")
                up = server.upstream(f"{provider}-{number}", wire=wire)
                up.rules = RULES[provider]
                found.append(
                    Party(provider, up, CLASS[wire](spec_of(provider, up.url), transport, key=SecretStr("sk-tried")))
                )
            yield found
        finally:
            await transport.close()


def calls_of(provider: str, turn: int) -> tuple[tuple[str, str, str], ...]:
    """Two calls side by side; the ids of a provider that writes some are new in each turn."""
    first, second = IDS[provider]
    if turn and first:
        first, second = first[:-1] + str(turn), second[:-1] + str(turn)
    return ((first, "get_weather", '{"city": "Łódź"}'), (second, "now", "{}"))


class Talk:
    """A conversation, and who answers next."""

    def __init__(self, opening: tuple[Message, ...]) -> None:
        self.messages = opening
        self._numbers = itertools.count(1)

    async def ask(self, party: Party, saying: Saying, prompt: str | Message = "", **wishes: Any) -> Message:
        """One turn: the caller's (or what the tools gave), then the party's."""
        number = next(self._numbers)
        marker = f"REQ-{number:05d}"
        if prompt:
            self.messages += (prompt if isinstance(prompt, Message) else Message("user", prompt),)
        # The marker goes with what is asked, but does not stay in the conversation: it would change what stood before a thought.
        request = Request(f"r{number}", self.messages, tools=wishes.pop("tools", TOOLS), **wishes)
        request = replace(request, stop=(marker,))
        answer = await party.hear(request, marker, saying)
        self.messages += (answer,)
        return answer

    def give(self) -> None:
        """What the tools gave, for all calls of the last answer."""
        called = self.messages[-1].tool_calls
        results = zip(called, RESULTS, strict=True)
        self.messages += tuple(Message("tool", result, tool_call_id=each.id) for each, result in results)


async def begin(talk: Talk, first: Party) -> None:
    """Two rounds of thoughts, parallel calls, results and an answer, all at one provider."""
    for turn in range(2):
        wish = Saying(text="Let me look.", thought="The user is cold. ", calls=calls_of(first.provider, turn))
        await talk.ask(first, wish, f"How cold is it? ({turn})")
        talk.give()
        await talk.ask(first, Saying(text=f"Cold, {turn} times. ", thought="Snow!"))


OPENING = (
    Message("system", "Be brief."),
    Message("user", (Text("Where is this?"), PICTURE)),
    Message("assistant", "In Łódź."),
)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=["-to-".join(pair) for pair in PAIRS])
def test_a_conversation_goes_on_at_another_provider(one: str, other: str) -> None:
    """With a system prompt, an image, thoughts, parallel calls whose ids are the provider's own; and back again."""

    async def main() -> None:
        async with parties(one, other) as (first, second):
            talk = Talk(OPENING)
            await begin(talk, first)
            await begin(talk, second)
            answer = await talk.ask(first, Saying(text="Still cold."), "And here?")
            assert answer.text == "Still cold."
            await talk.ask(second, Saying(text="Indeed."), "And there?")

    run(main())


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=["-to-".join(pair) for pair in PAIRS])
def test_tools_that_one_called_are_answered_at_the_other(one: str, other: str) -> None:
    """The model changes between a call and its result; and what was not answered at all is no obstacle either."""

    async def main() -> None:
        async with parties(one, other) as (first, second):
            talk = Talk(OPENING)
            await talk.ask(first, Saying(thought="Hm.", calls=calls_of(one, 0)), "How cold is it?")
            talk.give()
            await talk.ask(second, Saying(thought="Hm.", calls=calls_of(other, 1)))
            # The user speaks instead of the tools.
            await talk.ask(first, Saying(text="Then not."), "Never mind.", tools=())
            await talk.ask(second, Saying(text="As you like."), "Go on.", tools=())

    run(main())


@pytest.mark.parametrize("provider", ["claude", "gemini", "deepseek"])
def test_thoughts_go_back_to_their_own_model_and_to_no_other(provider: str) -> None:
    async def main() -> None:
        async with parties(provider, "openai", provider) as (first, other, third):
            talk = Talk(OPENING)
            wish = Saying(thought="A secret thought. ", calls=calls_of(provider, 0))
            told = await talk.ask(first, wish, "How cold is it?")
            assert told.thoughts
            talk.give()
            await talk.ask(first, Saying(text="Cold."))
            back = json.dumps(first.sent())
            assert "A secret thought. " in back or '"sig-' in back
            await talk.ask(other, Saying(text="Very."), "Really?")
            await talk.ask(third, Saying(text="Yes."), "Really?")  # the same model: its own thoughts
            assert "secret" not in json.dumps(other.sent())
            assert "sig-" not in json.dumps(other.sent())
            assert "A secret thought. " in json.dumps(third.sent()) or '"sig-' in json.dumps(third.sent())
            renamed = replace(third.spec, name="another")
            third._model.spec = renamed  # type: ignore[union-attr]
            await talk.ask(third, Saying(text="Yes."), "Really?")
            assert "secret" not in json.dumps(third.sent())
            assert "sig-" not in json.dumps(third.sent())

    run(main())


def test_a_thought_is_left_out_where_something_before_it_changed() -> None:
    """Claude would refuse the whole request."""

    async def main() -> None:
        async with parties("claude") as (claude,):
            talk = Talk(OPENING)
            await talk.ask(claude, Saying(thought="Hm.", calls=calls_of("claude", 0)), "How cold is it?")
            talk.give()
            kept = talk.messages
            await talk.ask(claude, Saying(text="Cold."))
            assert '"thinking"' in json.dumps(claude.sent())
            talk.messages = (Message("system", "Be kind."), *kept[1:])
            await talk.ask(claude, Saying(text="Cold, dear."))
            assert '"thinking"' not in json.dumps(claude.sent())
            talk.messages = kept
            await talk.ask(claude, Saying(text="Cold."), tools=TOOLS[:1])
            assert '"thinking"' not in json.dumps(claude.sent())

    run(main())


def test_thinking_with_a_budget_is_turned_off_in_the_middle_of_anothers_tool_calls() -> None:
    """Claude refuses it there, because the call would have to begin with a thought of its own."""
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}}

    async def main() -> None:
        async with parties("openai", "claude") as (openai, claude):
            talk = Talk(OPENING)
            await talk.ask(openai, Saying(calls=calls_of("openai", 0)), "How cold is it?")
            talk.give()
            await talk.ask(claude, Saying(text="Cold."), provider_options=thinking)
            assert "thinking" not in claude.sent()
            await talk.ask(claude, Saying(text="Cold."), "Sure?", provider_options=thinking)
            assert claude.sent()["thinking"] == thinking["thinking"]
            await talk.ask(claude, Saying(text="Cold."), "Sure?", provider_options=thinking, max_tokens=1500)
            assert claude.sent()["thinking"]["budget_tokens"] == 1499
            await talk.ask(claude, Saying(text="Cold."), "Sure?", provider_options=thinking, max_tokens=900)
            assert "thinking" not in claude.sent()

    run(main())


def test_an_unanswered_call_says_so() -> None:
    async def main() -> None:
        async with parties("openai") as (openai,):
            talk = Talk(OPENING)
            await talk.ask(openai, Saying(calls=calls_of("openai", 0)), "How cold is it?")
            called = talk.messages[-1].tool_calls
            talk.messages += (Message("tool", "late", tool_call_id=called[1].id),)
            await talk.ask(openai, Saying(text="Well."), "Never mind.")
            results = [message["content"] for message in openai.sent()["messages"] if message["role"] == "tool"]
            assert results == [NO_RESULT, "late"]

    run(main())


ADA = "ada" + "@" + "example.org"
EMAIL = re.compile(r"[a-z.]+@[a-z]+\.[a-z]+")


def emails(text: str) -> tuple[Finding, ...]:
    return tuple(Finding("email", *found.span()) for found in EMAIL.finditer(text))


@pytest.mark.parametrize("other", [each for each in PROVIDERS if each not in BLIND])
def test_a_redacted_conversation_goes_on_too(other: str) -> None:
    """In the calls of tools and in what they gave stand placeholders; what comes back holds the originals."""

    async def main() -> None:
        async with parties("embedded", other) as (home, away):
            talk = Talk(OPENING[:1])
            told = ((IDS["claude"][0], "get_weather", json.dumps({"city": ADA})), (IDS["claude"][1], "now", "{}"))
            await talk.ask(home, Saying(text="Let me see.", calls=told), f"I am {ADA}. How cold is it?")
            called = talk.messages[-1].tool_calls
            talk.messages += tuple(Message("tool", f'{{"for": "{ADA}"}}', tool_call_id=each.id) for each in called)
            model = away._model
            assert model is not None
            away._model = redacting(model, Redaction(emails))
            wish = Saying(text="Dear <EMAIL_1>, cold.", calls=((IDS[other][0], "now", '{"to": "<EMAIL_1>"}'),))
            answer = await talk.ask(away, wish)
            sent = json.dumps(away.sent())
            assert ADA not in sent
            assert sent.count("<EMAIL_1>") >= 4  # the question, the call, both results
            assert answer.text == f"Dear {ADA}, cold."
            assert json.loads(answer.tool_calls[0].arguments) == {"to": ADA}

    run(main())


def test_what_was_changed_is_told_in_the_log_without_a_word_of_it(caplog: pytest.LogCaptureFixture) -> None:
    talk = (
        Message("user", "How cold is it?"),
        Message("tool", "A secret result.", tool_call_id="gone"),
        Message("assistant", "", (ToolCall("x" * 90, "get_weather", "{}"),)),
        Message("user", "Well?"),
    )
    spec = spec_of("openai")
    with caplog.at_level("DEBUG", "oblix.models"):
        portable(talk, dialect_of(spec), spec)
    assert [record.getMessage() for record in caplog.records] == [
        "conversation for openai:tried: a result without a call was left out",
        "conversation for openai:tried: the id of a tool call was changed",
        "conversation for openai:tried: a call without a result got one that says so",
    ]
    caplog.clear()
    portable(talk[:1], dialect_of(spec), spec)
    assert not caplog.records
