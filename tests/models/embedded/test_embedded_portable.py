"""Conversations that other providers made, written by llama.cpp's own template engine: real engine, real weights."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from oblix.models.embedded.wire import body
from oblix.types.messages import Image, Message, Text, Thought, Tool, ToolCall
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

if TYPE_CHECKING:
    from tests.models.embedded.conftest import Bench

pytestmark = pytest.mark.engine
TOOLS = (Tool("get_weather", "Looks outside", {"type": "object", "properties": {"city": {"type": "string"}}}),)
# What templates refuse in earnest, in few lines of our own: turns out of order, instructions anywhere but in front, ids of other lengths.
STRICT = """
{%- set spoken = messages %}
{%- if messages[0].role == 'system' %}[{{ messages[0].content }}]{% set spoken = messages[1:] %}{% endif %}
{%- set ns = namespace(at=0) %}
{%- for message in spoken %}
  {%- if message.role == 'system' %}{{ raise_exception('System message must be at the beginning.') }}{% endif %}
  {%- if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}
    {%- if (message.role == 'user') != (ns.at % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}
    {%- set ns.at = ns.at + 1 %}
  {%- endif %}
  {%- for call in message.tool_calls or [] %}
    {%- if call.id|length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}
    {{- call.function.name }}({{ call.function.arguments }})#{{ call.id }}
  {%- endfor %}
  {%- if message.role == 'tool' and message.tool_call_id|length != 9 %}{{ raise_exception('an id of another length') }}{% endif %}
  {{- '<' + message.role + '>' + (message.content or '') }}
{%- endfor %}
"""
# Runs llama.cpp with another template over our weights, and prints what it makes of each body; or its words of refusal.
CHILD = """
import http.client, json, sys, xllamacpp
wish = json.load(sys.stdin)
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.chat_template, params.use_jinja = wish["weights"], 512, wish["template"], True
params.hostnames, params.port, params.verbosity, params.cache_ram_mib, params.ui = ["127.0.0.1"], 0, 1, 0, False
server = xllamacpp.Server(params)
made = []
for body in wish["bodies"]:
    link = http.client.HTTPConnection("127.0.0.1", int(server.listening_address.rpartition(":")[2]))
    link.request("POST", "/apply-template", json.dumps(body), {"Content-Type": "application/json"})
    found = json.loads(link.getresponse().read())
    made.append(found.get("prompt") or "refused: " + str(found))
print(json.dumps(made), flush=True)
import os
os._exit(0)
"""


def talk(ids: tuple[str, str]) -> tuple[Message, ...]:
    """As another provider left it: its ids, a thought, a picture, a call without a result, instructions in the middle."""
    return (
        Message("system", "Be brief."),
        Message("user", (Text("Where is this?"), Image("image/png", "iVBORw0KGgo="))),
        Message("assistant", "In Łódź."),
        Message("user", "How cold is it there, and in Bonn?"),
        Message(
            "assistant",
            "Let me look.",
            tuple(ToolCall(each, "get_weather", '{"city": "Łódź"}') for each in ids),
            thoughts=(Thought("claude", {"type": "thinking", "thinking": "A secret.", "signature": "s"}, model="x"),),
        ),
        Message("tool", "-3 °C", tool_call_id=ids[0]),
        Message("system", "Be kind."),
        Message("user", "Well?"),
        Message("user", "Are you there?"),
    )


IDS = {
    "openai": ("call_7xQ2mN8vR4tY6uW1zA3bC5dE", "call_Zk9"),
    "claude": ("toolu_01A09q90qw90lq917835lq9", "toolu_02B"),
    "ollama": ("call_0", "call_0"),
    "mistral": ("D681PevKs", "aB3dE5gH7"),
    "none": ("", ""),
}


@pytest.mark.parametrize("maker", IDS)
def test_the_engine_reads_and_answers_what_another_provider_began(bench: Bench, maker: str) -> None:
    async def main() -> None:
        async with bench.open() as model:
            request = bench.request(messages=talk(IDS[maker]), tools=TOOLS)
            assert await model.count_tokens(request) > 60
            assert (await bench.answer(model, request)).end.usage.output_tokens

    asyncio.run(main())


def test_the_strictest_template_writes_them_all(bench: Bench) -> None:
    """And refuses them as they were, so that it is strict indeed."""
    spec = ModelSpec("embedded:ministral-3b", "embedded", "ministral-3b", "edge")
    bodies = [body(Request("r", talk(ids)), spec) for ids in IDS.values()]
    lax = ModelSpec("embedded:smollm2", "embedded", "smollm2", "edge")
    untouched = body(Request("r", talk(IDS["claude"])), lax)
    told = applied(bench.weights, [*bodies, untouched])
    assert told[-1].startswith("refused")
    assert "length 9" in told[-1]
    for found in told[:-1]:
        assert found.startswith("[Be brief.\n\nBe kind.]<user>Where is this?\n[image]<assistant>In Łódź.<user>How cold")
        assert "Well?\n\nAre you there?" in found
        assert "secret" not in found


def applied(weights: str, bodies: list[dict[str, Any]]) -> list[str]:
    """What llama.cpp writes for each body, with the strict template."""
    wish = json.dumps({"weights": weights, "template": STRICT, "bodies": bodies})
    child = subprocess.run(
        [sys.executable, "-c", CHILD], input=wish, capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    made: list[str] = json.loads(child.stdout.splitlines()[-1])
    return made
