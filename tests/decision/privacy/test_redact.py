"""What redaction promises: nothing private is left in a request, and everything comes back in its answer."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.decision.privacy.redact import can_redact, objection, redacted, redacted_text
from oblix.decision.privacy.restore import Restorer, restored, restored_json
from oblix.decision.privacy.vault import Vault
from oblix.types.messages import Image, Message, ResponseFormat, Text, Tool, ToolCall
from oblix.types.privacy import Finding
from oblix.types.request import Request

from .finder import find

ADA, BOB, CARD, SSN = "ada@example.org", "bob@example.net", "4111 1111 1111 1111", "078-05-1120"
KEY = '-----BEGIN KEY-----\nabc"\\\n-----END KEY-----'  # what JSON has to escape
SECRETS = (ADA, BOB, CARD, KEY)


def ask(*messages: Message | str, **wishes: Any) -> Request:
    return Request("r1", tuple(m if isinstance(m, Message) else Message("user", m) for m in messages), **wishes)


def clean_texts(*texts: str) -> list[str]:
    """What becomes of prompts; without the note."""
    return [message.text for message in redacted(ask(*texts), find)[0].messages[1:]]


def vault_of(*values: str) -> Vault:
    return redacted(ask(*values), find)[1]


def stream(vault: Vault, pieces: list[str], *, in_json: bool = False) -> str:
    restorer = Restorer(vault, in_json=in_json)
    return "".join(map(restorer.feed, pieces)) + restorer.end()


# --- out ---


def test_one_value_one_placeholder() -> None:
    """In all messages, and however it is written."""
    assert clean_texts(f"{ADA} and {BOB}", f"Ada@Example.org, {CARD}", "4111-1111-1111-1111") == [
        "<EMAIL_1> and <EMAIL_2>",
        "<EMAIL_1>, <CARD_1>",
        "<CARD_1>",
    ]


def test_passwords_that_differ_in_a_sign_are_two() -> None:
    assert clean_texts("password=12-34", "password=1234") == ["password=<PASSWORD_1>", "password=<PASSWORD_2>"]


def test_what_was_found_once_is_known_everywhere() -> None:
    """Also before, and where nothing around it tells."""
    texts = clean_texts(
        "Why does hunter-22 not work? xhunter-22 and hunter-22x do.", "password = hunter-22", f"{SSN}.", f"ssn: {SSN}"
    )
    assert texts == [
        "Why does <PASSWORD_1> not work? xhunter-22 and hunter-22x do.",
        "password = <PASSWORD_1>",
        "<US_SSN_1>.",
        "ssn: <US_SSN_1>",
    ]


def test_everything_that_is_sent_is_gone_through() -> None:
    schema = {"type": "object", "properties": {"who": {"enum": [ADA, "nobody"]}}}
    request = ask(
        Message("system", f"You serve {ADA}."),
        Message("user", (Text(ADA), Text(BOB)), private=False),
        Message("assistant", "", (ToolCall("c1", "mail", json.dumps({"to": ADA, ADA: [1, {"cc": BOB}]})),)),
        Message("tool", f"sent to {ADA}", tool_call_id="c1"),
        stop=(BOB,),
        tools=(Tool("mail", f"Mails for {ADA}", schema),),
        response_format=ResponseFormat("json_schema", schema),
        provider_options={"user": ADA, "metadata": {"cc": [BOB, 4111111111111111]}},
    )
    assert can_redact(request, find) is None
    clean, vault = redacted(request, find)
    assert objection(clean, vault, find) is None
    assert clean.public
    assert not clean.is_private
    sent = msgspec.json.encode(clean).decode()
    assert not any(secret in sent for secret in (ADA, BOB, "4111111111111111"))
    who = vault.placeholder("email", ADA)
    assert clean.messages[0].text.startswith(f"You serve {who}.\n\n")
    assert clean.messages[1].content == f"{who}\n{vault.placeholder('email', BOB)}"
    assert json.loads(clean.messages[2].tool_calls[0].arguments)["to"] == who
    assert clean.tools[0].parameters["properties"]["who"]["enum"] == [who, "nobody"]
    assert clean.provider_options["metadata"]["cc"][1] == "<CARD_1>"


def test_a_clean_request_stays_as_it_is() -> None:
    request = ask("Say hello.", provider_options={"n": 10**30}, tools=(Tool("t", "", {"a": (1, 2)}),))
    clean, vault = redacted(request, find)
    assert clean == replace(request, public=True)
    assert not vault.placeholders


def test_the_model_is_told_in_the_system_prompt() -> None:
    assert "<EMAIL_1>" in redacted(ask(ADA), find)[0].messages[0].text
    with_system = redacted(ask(Message("system", "Be brief."), ADA), find)[0].messages
    assert [message.role for message in with_system] == ["system", "user"]
    assert with_system[0].text.startswith("Be brief.\n\n")


def test_a_longer_conversation_begins_the_same() -> None:
    """A provider's prompt cache still fits."""
    first = redacted(ask(f"{ADA} writes.", tools=(Tool("t", BOB),)), find)[0]
    second = redacted(ask(f"{ADA} writes.", "c@example.com?", tools=(Tool("t", BOB),)), find)[0]
    assert second.messages[: len(first.messages)] == first.messages
    assert second.tools == first.tools


@pytest.mark.parametrize("taken", ["<EMAIL_1>", "email_7 = 3", r"EMAIL\_2", "&lt;EMAIL_1&gt;", "email_X1 EMAIL_1"])
def test_a_form_that_the_request_holds_is_not_used(taken: str) -> None:
    clean, vault = redacted(ask(f"{taken} is no {ADA}"), find)
    assert clean.messages[-1].text in (f"{taken} is no <EMAIL_X1>", f"{taken} is no <EMAIL_XX1>")
    assert restored(clean.messages[-1].text, vault) == f"{taken} is no {ADA}"


def test_a_vault_does_not_show_what_it_holds() -> None:
    vault = vault_of(ADA)
    assert ADA not in f"{vault!r} {vault}"
    assert len(vault) == 1


# --- what cannot be redacted ---


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (ask(Message("user", (Text(ADA), Image("image/png", "aGk=")))), "images"),
        (ask(ADA, private=True), "label"),
        (ask(Message("user", ADA, private=True)), "label"),
        (ask(ADA, provider_options={"hook": object()}), "not JSON"),
        (ask(ADA, tools=(Tool("t", "", {"a": "\ud800"}),)), "not JSON"),
        (ask(Message("tool", "ok", tool_call_id=ADA)), r"a name or an id .*\(email\)"),
        (ask(ADA, response_format=ResponseFormat("json_schema", {"items": [{"format": "email"}]})), "form of text"),
        (ask(ADA, response_format=ResponseFormat("json_schema", {"pattern": "^.+@.+$"})), "form of text"),
        (ask(ADA, response_format=ResponseFormat("json_schema", {"format": "date-time"})), None),
        (ask(ADA, response_format=ResponseFormat("json_schema", {"properties": {"format": {"type": "string"}}})), None),
        (ask(ADA, response_format=ResponseFormat("json_object")), None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_redacted_is_said(request_: Request, why: str | None) -> None:
    found = can_redact(request_, find)
    assert (found is None) if why is None else (found is not None and re.search(why, found))


@pytest.mark.parametrize(("stop", "cuts"), [(">", True), ("_1", True), ("###", False), (ADA, False)])
def test_a_stop_sequence_may_not_cut_placeholders(stop: str, cuts: bool) -> None:
    clean, vault = redacted(ask(ADA, stop=(stop,)), find)
    assert ("stop sequence" in (objection(clean, vault, find) or "")) is cuts


def test_what_is_still_found_is_an_objection() -> None:
    """A detector that finds more in what is left than in the whole is not believed to be done."""
    request = ask("nothing here")
    assert "email" in (objection(replace(request, stop=(ADA,)), Vault(), find) or "")
    escaped = json.dumps({"a": json.dumps({"b": ADA})}).replace("@", "\\u0040")  # the provider will read it
    assert "email" in (objection(ask(escaped), Vault(), find) or "")
    assert redacted(ask(escaped), find)[1].originals == {"EMAIL_1": ADA}


# --- back ---


@pytest.mark.parametrize(
    "said",
    [
        "<EMAIL_1>",
        "<email_1>",
        "<Email_1>",
        r"<EMAIL\_1>",
        r"\<EMAIL\_1\>",
        "&lt;EMAIL_1&gt;",
        "&LT;email_1&gt;",
        "< EMAIL_1 >",
        "EMAIL_1",
        r"EMAIL\_1",
    ],
)
def test_what_models_make_of_placeholders_is_understood(said: str) -> None:
    assert restored(f"To {said}.", vault_of(ADA)) == f"To {ADA}."


@pytest.mark.parametrize(
    "said",
    [
        "<EMAIL_9>",
        "<EMAIL_01>",
        "<EMAIL_11>",
        "<CARD_1>",
        "email_1",
        "XEMAIL_1",
        "EMAIL_12",
        "EMAIL_1_backup",
        "$EMAIL_1",
        "EMAIL_1 = 3",
        "EMAIL_1=3",
        "EMAIL_1()",
        "<EMAIL",
        "EMAIL_",
        "&lt;EMAIL",
        "<<EM",
    ],
)
def test_what_is_no_placeholder_of_ours_stays(said: str) -> None:
    vault = vault_of(ADA)
    assert restored(said, vault) == stream(vault, list(said)) == said
    assert restored(f"{said} <EMAIL_1>", vault) == f"{said} {ADA}"


def test_the_surroundings_of_a_placeholder_stay() -> None:
    vault = vault_of(ADA)
    assert restored(r"C:\<EMAIL_1>\x **EMAIL_1** [<EMAIL_1>](mailto:EMAIL_1) 地址EMAIL_1。", vault) == (
        rf"C:\{ADA}\x **{ADA}** [{ADA}](mailto:{ADA}) 地址{ADA}。"
    )


FRAGMENTS = (
    *(
        "<",
        ">",
        "&lt;",
        "&gt;",
        "\\",
        "\\_",
        "_",
        " ",
        "  ",
        "EMAIL",
        "CARD",
        "email",
        "1",
        "2",
        "11",
        "E",
        "=",
        "(",
        "é",
    ),
    *(
        "<EMAIL_1>",
        "<EMAIL_2>",
        "<card_1>",
        "< EMAIL_1 >",
        r"\<PEM\_1\>",
        "EMAIL_1",
        "<EMAIL_9>",
        "\\u003c",
        "\\u003e",
        "n",
        "$",
    ),
)
said = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=25).map("".join)


@given(said, st.data())
def test_where_the_answer_is_cut_makes_no_difference(text: str, data: st.DataObject) -> None:
    vault, in_json = vault_of(*SECRETS), data.draw(st.booleans())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = stream(vault, [text], in_json=in_json)
    assert stream(vault, pieces, in_json=in_json) == whole
    assert stream(vault, list(text), in_json=in_json) == whole
    if not in_json:
        assert restored(text, vault) == whole


def writings() -> set[str]:
    """All that is understood in the place of the placeholders of `SECRETS`, in lower case, with what may have to be waited for."""
    found = set()
    for name in (
        "email_1",
        "email_2",
        "card_1",
        "pem_1",
        *(f"{label}_{n}" for label in ("email", "pem") for n in range(10)),
    ):
        for escaped in (name, name.replace("_", r"\_")):
            found.add(f"{escaped} ")
            for start, end in (
                ("<", ">"),
                ("<", "\\>"),
                ("<", "&gt;"),
                ("&lt;", "&gt;"),
                ("&lt;", ">"),
                ("&lt;", "\\>"),
                ("\\<", "\\>"),
            ):
                found |= {f"{start}{' ' * i}{escaped}{' ' * j}{end}" for i in range(3) for j in range(3)}
    return found


WRITINGS = writings()


@given(said)
def test_only_what_may_become_a_placeholder_is_held_back(text: str) -> None:
    restorer = Restorer(vault_of(*SECRETS))
    for sign in text:
        restorer.feed(sign)
    held = restorer._held
    assert not held or any(writing.startswith(held.lower()) for writing in WRITINGS)


prose = st.lists(
    st.one_of(st.sampled_from((*SECRETS, *FRAGMENTS, f"ssn {SSN}", SSN, "password=pass", "pass")), st.text(max_size=5)),
    max_size=12,
).map("".join)


@given(st.lists(prose, min_size=1, max_size=4))
def test_nothing_is_left_and_everything_comes_back(texts: list[str]) -> None:
    """Whatever stands around it."""
    clean, vault = redacted(ask(*texts), find)
    assert objection(clean, vault, find) is None
    sent = clean.messages[-len(texts) :]
    for text, message in zip(texts, sent, strict=True):
        assert not any(
            text[found.start : found.end] in message.text for found in find(text) if found.kind in ("email", "pem")
        )
        again = restored(message.text, vault)
        # The first writing of a value stands for the others.
        assert plain(again) == plain(text)


def plain(text: str) -> str:
    return re.sub("[ -]", "", text.lower())


# --- JSON ---

leaves = (st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), prose)
keys = st.one_of(st.text(max_size=4), st.sampled_from(SECRETS))
values = st.recursive(
    st.one_of(*leaves, st.sampled_from(SECRETS)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


@given(values, st.booleans(), st.booleans())
def test_arguments_stay_json_both_ways(value: object, in_ascii: bool, is_nested: bool) -> None:
    arguments = json.dumps(value, ensure_ascii=in_ascii)
    if is_nested:
        arguments = json.dumps({"body": arguments})
    call = ToolCall("c1", "f", arguments)
    clean, vault = redacted(ask(Message("assistant", "", (call,))), find)
    assert objection(clean, vault, find) is None
    sent = clean.messages[-1].tool_calls[0].arguments
    json.loads(sent)
    back = restored_json(sent, vault)
    assert flat(back) == flat(arguments)


def flat(text: str) -> object:
    """What JSON says, with its numbers as strings, and the JSON in its strings read as well."""
    return _flat(json.loads(text, parse_int=str, parse_float=str, parse_constant=str))


def _flat(value: object) -> object:
    if isinstance(value, list):
        return [_flat(each) for each in value]
    if isinstance(value, dict):
        return {plain(key): _flat(each) for key, each in value.items()}
    if isinstance(value, str):
        try:
            return flat(value) if value.lstrip()[:1] in ("{", "[") else plain(value)
        except ValueError:
            return plain(value)
    return value


def test_what_shows_only_by_its_key_is_taken_out() -> None:
    arguments = json.dumps({"ssn": SSN, "of": "x"})
    request = ask(Message("assistant", "", (ToolCall("c1", "f", arguments),)), provider_options={"ssn": SSN})
    clean, vault = redacted(request, find)
    assert json.loads(clean.messages[-1].tool_calls[0].arguments) == {"ssn": "<US_SSN_1>", "of": "x"}
    assert clean.provider_options == {"ssn": "<US_SSN_1>"}
    assert restored_json(clean.messages[-1].tool_calls[0].arguments, vault) == arguments


def test_the_json_of_a_tool_is_read_as_json() -> None:
    """The same value gets the same placeholder, however it is escaped."""
    result = json.dumps({"key": KEY, "card": 4111111111111111, "n": 1})
    clean, vault = redacted(ask(KEY, Message("tool", result, tool_call_id="c1"), "4111111111111111"), find)
    assert json.loads(clean.messages[2].text) == {"key": "<PEM_1>", "card": "<CARD_1>", "n": 1}
    assert vault.originals == {"PEM_1": KEY, "CARD_1": "4111111111111111"}
    assert clean.messages[3].text == "<CARD_1>"


def test_json_in_json_stays_so() -> None:
    """It is read for itself as well, with the surroundings that it has there."""
    inner = {"ssn": SSN, "of": KEY}
    arguments = json.dumps({"body": json.dumps(inner)})
    clean, vault = redacted(ask(Message("assistant", "", (ToolCall("c1", "f", arguments),))), find)
    sent = clean.messages[-1].tool_calls[0].arguments
    assert json.loads(json.loads(sent)["body"]) == {"ssn": "<US_SSN_1>", "of": "<PEM_1>"}
    assert json.loads(json.loads(restored_json(sent, vault))["body"]) == inner


def test_json_that_is_private_as_a_whole_stays_json() -> None:
    def find_more(text: str) -> tuple[Finding, ...]:
        whole = re.search(r'"secret": "(.*)"', text)
        return (*find(text), *((Finding("secret", *whole.span(1)),) if whole else ()))

    arguments = json.dumps({"secret": json.dumps({"of": KEY})})
    clean, vault = redacted(ask(Message("assistant", "", (ToolCall("c1", "f", arguments),))), find_more)
    sent = clean.messages[-1].tool_calls[0].arguments
    assert sent == '{"secret": "<SECRET_1>"}'
    assert restored_json(sent, vault) == arguments


def test_arguments_are_restored_as_json() -> None:
    vault = vault_of(KEY)
    for written in ('{"k":  "<PEM_1>"}', r'{"k":  "\u003cPEM_1\u003e"}', '{"k":  "PEM_1"}', r'{"k":  "<PEM\\_1>"}'):
        back = restored_json(written, vault)
        assert json.loads(back) == {"k": KEY}
        assert back.startswith('{"k":  ')
    nested = restored_json(json.dumps({"body": json.dumps({"k": "<PEM_1>"})}), vault)
    assert json.loads(json.loads(nested)["body"]) == {"k": KEY}
    assert restored_json('{"k": <PEM_1>', vault) == '{"k": ' + KEY
    assert restored_json("", vault) == ""


@given(
    st.sampled_from(["<PEM_1>", r"\u003cPEM_1\u003e", r"<PEM\\_1>", r"C:\\<PEM_1>", "&lt;pem_1&gt;", "EMAIL_1"]),
    st.integers(1, 5),
)
def test_an_answer_that_is_json_stays_so(written: str, size: int) -> None:
    """What is streamed is no whole JSON, so that its strings are not known as such."""
    vault, text = vault_of(*SECRETS), json.dumps({"a": 1})[:-1] + f', "k": "{written}"}}'
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    found = json.loads(stream(vault, pieces, in_json=True))["k"]
    assert found in (KEY, rf"C:\{KEY}", ADA)


# --- the beginning of an answer ---


def test_what_was_said_is_redacted_with_the_same_placeholders() -> None:
    clean, vault = redacted(ask(f"I am {ADA}."), find)
    assert redacted_text(f"Dear {ADA}, meet {BOB}", vault, find) == "Dear <EMAIL_1>, meet <EMAIL_2>"
    assert restored("<EMAIL_2>", vault) == BOB
    assert objection(clean, vault, find) is None


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("Dear ada@exam", True),
        ("Dear ada@", True),
        ("Dear ada", False),
        (f"Dear {ADA}", False),
        ("Canada@exam", False),
        ("", False),
    ],
)
def test_an_end_in_the_middle_of_a_value_is_seen(text: str, within: bool) -> None:
    assert vault_of(ADA).ends_within(text) is within
