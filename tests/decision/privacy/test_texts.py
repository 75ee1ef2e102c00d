"""Which texts of a request are looked at, what they mean, and what an error text may keep of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.client.screening import label
from oblix.decision.privacy.texts import LONGEST, is_long, meant, texts, without_quotations
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool, ToolCall
from oblix.types.privacy import Screening
from oblix.types.request import Request

CARD = "4111 1111 1111 1111"
HELD = f"My card is {CARD}."
ASKED = Message("user", "Go on.")


def request(*messages: Message, **rest: Any) -> Request:
    return Request("01", (*messages, ASKED), **rest)


EVERYWHERE = {
    "text": request(Message("user", HELD)),
    "part": request(Message("user", (Text("See:"), Text(HELD)))),
    "system": request(Message("system", HELD)),
    "result": request(Message("tool", HELD, tool_call_id="1")),
    "result as JSON": request(Message("tool", json.dumps({"text": f"Found:\n{CARD}"}), tool_call_id="1")),
    "JSON in JSON": request(Message("tool", json.dumps({"text": json.dumps({"a": f"é\n{CARD}"})}), tool_call_id="1")),
    "digits as escapes": request(
        Message("tool", '{"n": "' + "".join(f"\\u00{ord(c):x}" for c in CARD) + '"}', tool_call_id="1")
    ),
    "id of a result": request(Message("tool", "", tool_call_id=CARD)),
    "arguments": request(Message("assistant", "", (ToolCall("1", "pay", json.dumps({"note": f"to:\n{CARD}"})),))),
    "id of a call": request(Message("assistant", "", (ToolCall(CARD, "pay", "{}"),))),
    "name of a call": request(Message("assistant", "", (ToolCall("1", CARD, "{}"),))),
    "address of an image": request(Message("user", (Image(url=f"https://example.org/?card={CARD}"),))),
    "description of a tool": request(tools=(Tool("pay", HELD),)),
    "parameters of a tool": request(tools=(Tool("pay", "", {"properties": {"card": {"enum": [CARD]}}}),)),
    "key of a parameter": request(tools=(Tool("pay", "", {"properties": {CARD: {}}}),)),
    "schema": request(response_format=ResponseFormat("json_schema", {"enum": [CARD]})),
    "stop": request(stop=(CARD,)),
    "choice of a tool": request(tool_choice=CARD),
    "option": request(provider_options={"metadata": {"note": [HELD]}}),
    "number in an option": request(provider_options={"metadata": {"card": int(CARD.replace(" ", ""))}}),
    "key of an option": request(provider_options={CARD: True}),
}


@pytest.mark.parametrize("held", EVERYWHERE.values(), ids=EVERYWHERE)
def test_what_is_private_is_found_wherever_it_stands(held: Request) -> None:
    assert label(held, Screening()).label == "private"


def test_the_control_is_public() -> None:
    assert label(request(), Screening()).label == "public"


@given(st.text(max_size=20), st.integers(1, 3))
def test_escapes_of_json_hide_nothing(before: str, deep: int) -> None:
    said = f"{before}\n{CARD}"
    for _ in range(deep):
        said = json.dumps({"t": said})
    assert label(request(Message("tool", said, tool_call_id="1")), Screening()).found == {"card": 1}


@given(st.text())
def test_what_has_no_escapes_is_meant_as_it_is_written(text: str) -> None:
    assert list(meant(text.replace("\\", ""))) == []


def test_redaction_keeps_at_home_what_it_cannot_reach() -> None:
    hidden = request(Message("user", f'The log says {{"card": "\\n{CARD}"}}.'))
    found = label(hidden, Screening(mode="redact"))
    assert found.stays_home
    assert found.why == "1 card number; some of it is written in escapes"


def test_the_size_of_all_texts_counts() -> None:
    assert not is_long(request(Message("user", "x" * 100)))
    assert is_long(request(provider_options={"note": "x" * 20_000}))


# --- what an error text may keep ---

PROMPT = "My private diagnosis is gout, and nobody may know of it."


def test_an_error_text_loses_what_it_quotes() -> None:
    asked = request(Message("user", PROMPT))
    told = f'HTTP 422: {{"input": "{PROMPT}", "msg": "field required"}}'
    assert without_quotations(told, asked) == 'HTTP 422: {"input": "…", "msg": "field required"}'
    assert without_quotations("HTTP 500: out of memory", asked) == "HTTP 500: out of memory"


def test_pieces_of_a_prompt_go_as_well() -> None:
    told = without_quotations(f"cannot render: {PROMPT[3:40]}…", request(Message("user", PROMPT)))
    assert "diagnosis" not in told
    assert "cannot render" in told


def test_the_models_own_name_stays() -> None:
    asked = request(Message("user", "What is openai:gpt-4o-mini, the model?"))
    said = "openai:gpt-4o-mini answered HTTP 400: no"
    assert without_quotations(said, asked, known=("openai:gpt-4o-mini", "")) == said


def test_of_a_long_request_no_error_text_is_kept() -> None:
    told = without_quotations("HTTP 422: secret", request(Message("user", "secret " * LONGEST)))
    assert "secret" not in told


@given(st.text(min_size=12, max_size=200), st.text(max_size=50), st.text(max_size=50))
def test_no_twelve_characters_of_a_request_survive(said: str, before: str, after: str) -> None:
    asked = request(Message("user", said))
    told = without_quotations(f"{before}{said}{after}", asked)
    every = list(texts(asked))
    assert not any(
        told[at : at + 12] in each for at in range(len(told) - 11) for each in every if "…" not in told[at : at + 12]
    )
