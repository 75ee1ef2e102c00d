"""Redaction with the real detectors: after it they find nothing, and everything comes back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.privacy.redact import can_redact, objection, redacted
from oblix.decision.privacy.restore import restored, restored_json
from oblix.decision.privacy.scan import scan
from oblix.types.messages import Message, ToolCall
from oblix.types.request import Request

PRIVATE = (
    "ada@example.org",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "+49 30 12345678",
    "my SSN is 536-90-4399",
    'password = "hunter22!x"',
    "postgres://bob:s3cretpw" + "@db.example.com/x",
    "Authorization: Bearer " + "abcdEFGH1234567890" * 2,
    "sk-proj-" + "9fJk2LxQwErTyUiOpAsDfGhJkLzXcVbNm0123456789",
)
AROUND = (" ", "\n", ", ", "; ", " and ", "(", ")", '"', "=", ": ", "-", "/", "<", ">", "@", "1", "x", "Say hello. ")
texts = st.lists(st.sampled_from((*PRIVATE, *AROUND)), max_size=14).map("".join)


@given(st.lists(texts, min_size=1, max_size=3))
def test_the_detectors_find_nothing_afterwards(prompts: list[str]) -> None:
    """But placeholders, which look like passwords to some."""
    call = ToolCall("call_1", "note", json.dumps({"prompt": prompts[0], "rest": prompts}))
    request = Request("r1", (*(Message("user", text) for text in prompts), Message("assistant", "", (call,))))
    assert can_redact(request, scan) is None
    clean, vault = redacted(request, scan)
    assert objection(clean, vault, scan) is None
    answer = clean.messages[-1].tool_calls[0].arguments
    assert bare(restored_json(answer, vault)) == bare(call.arguments)
    for text, message in zip(prompts, clean.messages[-1 - len(prompts) :], strict=False):
        assert bare(restored(message.text, vault)) == bare(text)


def bare(text: str) -> str:
    """Without what tells two writings of a value apart; the first one stands for all."""
    return "".join(text.split()).replace("-", "")


def test_what_a_model_sees() -> None:
    clean, _ = redacted(Request("r1", (Message("user", "\n".join(PRIVATE)),)), scan)
    assert clean.messages[-1].text == (
        "<EMAIL_1>\n<CARD_1>\n<IBAN_1>\n<PHONE_1>\nmy SSN is <US_SSN_1>\n"
        'password = "<PASSWORD_1>"\npostgres://bob:<PASSWORD_2>@db.example.com/x\nAuthorization: Bearer <API_KEY_1>\n<API_KEY_2>'
    )
    assert scan(clean.messages[-1].text) == ()
