"""Where private prompts go: labels by the caller, by messages, by detectors, by policies; and how long they stick."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from oblix import (
    BaseAgent,
    ConfigurationError,
    InvalidRequest,
    Message,
    OblixClient,
    Policy,
    PrivacyViolation,
    Reply,
    Rule,
    Screening,
    When,
)
from oblix.decision.privacy.scan import LARGEST
from oblix.decision.privacy.texts import OFF_LOOP
from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Call
from oblix.testing import ScriptedModel
from oblix.testing.clock import run
from oblix.types.chunk import Chunk, Delta
from oblix.types.request import Request

from .hooked import client_with, cloud, edge

CARD = "4111 1111 1111 1111"
HARD = (
    "Analyze the implications of quantum computing on modern cryptography, including potential vulnerabilities in RSA "
    "and elliptic curve systems."
)
PAYMENT = f"{HARD} My card is {CARD}."
PATIENT = "The patient of room 12 has a broken leg. What next?"


def ask(client: OblixClient, prompt: str | None = None, **wishes: Any) -> Reply:
    return run(client.execute(prompt, **wishes))


def two(screening: Screening | None = None, *, away: ScriptedModel | None = None, **settings: Any) -> OblixClient:
    client = client_with(edge(*["home"] * 5), away or cloud(*["away"] * 5), **settings)
    if screening is not None:
        client.screening = screening
    return client


def test_what_a_detector_finds_stays_at_home_and_says_so() -> None:
    reply = ask(two(), PAYMENT)
    assert reply.response == "home"
    assert reply.decision.privacy.to_dict() == {
        "class": "private", "by": "detector", "found": {"card": 1}, "mode": "keep_local", "redactions": 0,
    }  # fmt: skip
    assert reply.why().startswith("private prompt stays at home (1 card number)")
    assert ask(two(), HARD).response == "away"


def test_an_address_is_told_but_makes_nothing_private_unless_asked_for() -> None:
    prompt = f"{HARD} Write to ada@example.org."
    reply = ask(two(), prompt)
    assert (reply.response, reply.decision.privacy.label) == ("away", "public")
    assert reply.decision.privacy.found == {"email": 1}
    assert ask(two(Screening(kinds=frozenset({"email"}))), prompt).response == "home"


def test_the_callers_own_names_are_private() -> None:
    client = two(Screening(names=("Project Falcon",)))
    assert ask(client, f"{HARD} It is for project falcon.").response == "home"
    assert ask(client, f"{HARD} It is for falcons.").response == "away"


def test_the_caller_may_say_that_nothing_is_private() -> None:
    reply = ask(two(), PAYMENT, public=True)
    assert reply.response == "away"
    assert (reply.decision.privacy.label, reply.decision.privacy.by) == ("public", "caller")


def test_without_detectors_nothing_is_known() -> None:
    reply = ask(two(Screening(is_on=False)), PAYMENT)
    assert (reply.response, reply.decision.privacy.label) == ("away", "unknown")


def test_what_is_allowed_goes_out_and_is_told() -> None:
    reply = ask(two(Screening(mode="allow")), PAYMENT)
    assert reply.response == "away"
    assert reply.decision.privacy.found == {"card": 1}


def test_too_large_to_scan_counts_as_private() -> None:
    reply = ask(two(), HARD + " word" * (LARGEST // 5))
    assert (reply.response, reply.decision.privacy.by) == ("home", "size")
    assert "too many to scan" in reply.why()


def test_a_long_prompt_is_looked_at_as_a_short_one_is() -> None:
    """On a thread of its own, so that the loop goes on."""
    assert ask(two(), f"{HARD} {'word ' * (OFF_LOOP // 5)} My card is {CARD}.").response == "home"


def test_with_nobody_at_home_the_error_says_how_to_send_it() -> None:
    client = client_with(cloud("away"))
    with pytest.raises(PrivacyViolation) as failed:
        ask(client, PAYMENT)
    assert "1 card number" in str(failed.value)
    assert failed.value.hint is not None
    assert "public=True" in failed.value.hint


@pytest.mark.parametrize("place", ["system", "messages", "tool", "options"])
def test_every_text_of_a_request_is_looked_at(place: str) -> None:
    wishes: dict[str, dict[str, Any]] = {
        "system": {"system": f"The card is {CARD}."},
        "messages": {"messages": [{"role": "user", "content": f"My card is {CARD}."}, {"role": "assistant", "content": "OK"}]},
        "tool": {"messages": [
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "pay", "arguments": {"card": CARD}}}]},
            {"role": "tool", "tool_call_id": "1", "content": "done"},
        ]},
        "options": {"provider_options": {"metadata": {"note": [f"card {CARD}"]}}},
    }  # fmt: skip
    assert ask(two(), HARD, **wishes[place]).response == "home"


def test_a_labelled_message_keeps_its_request_at_home() -> None:
    home = edge("home")
    client = client_with(home, cloud("away"))
    history = [{"role": "user", "content": PATIENT, "private": True}, {"role": "assistant", "content": "A cast."}]
    assert ask(client, HARD, messages=history).response == "home"
    assert all(message.private for message in home.requests[0].messages)
    with pytest.raises(InvalidRequest, match="private='yes'"):
        ask(client, HARD, messages=[{"role": "user", "content": "x", "private": "yes"}])


def test_a_label_sticks_to_the_conversation_while_the_message_is_in_it() -> None:
    client = two()
    first = ask(client, PATIENT, private=True)
    assert first.response == "home"
    history = [Message("user", PATIENT), Message("assistant", first.response)]
    assert ask(client, HARD, messages=history).response == "home"
    assert ask(client, HARD, messages=history, public=True).response == "home"  # labels join upwards
    assert (
        ask(
            client, HARD, messages=[Message("user", "Hello there, my good friend."), Message("assistant", "Hello.")]
        ).response
        == "away"
    )


def test_nothing_that_fails_tells_the_prompt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a server that quotes it, nor an agent whose error holds it: not in the log, the file, nor the next caller's reasons."""

    class Quoting(ScriptedModel):
        async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk]:
            error = AttemptFailed(
                FailureKind.SERVER_ERROR, f"ollama:bad answered HTTP 500: cannot render {request.prompt!r}"
            )
            error.is_told_by_peer = True
            raise error
            yield Delta("")

    class Clumsy(BaseAgent):
        async def check(self, **kwargs: Any) -> dict[str, Any]:
            return {"proceed": bool(int(kwargs["prompt"]))}

    client = client_with(Quoting("ollama:bad"), edge("home", "home", name="ollama:good"), store=tmp_path / "oblix.db")
    client.hook_agent(Clumsy("clumsy"))

    async def main() -> tuple[Reply, Reply]:
        replies = (await client.execute(PATIENT, private=True), await client.execute("hi"))
        await client.shutdown()
        return replies

    first, second = run(main())
    assert first.response == "home"
    assert "ollama:bad answered HTTP 500: cannot render" in (first.attempts[0].why or "")
    told = [repr(first.attempts), second.why(), *(each.read_bytes().decode("latin-1") for each in tmp_path.iterdir())]
    told += [
        record.getMessage() + str(record.exc_text) for record in caplog.records if "'hi'" not in str(record.exc_text)
    ]
    assert not any("broken leg" in each for each in told)
    assert any(
        record.getMessage() == "agent 'clumsy' raised ValueError in check(); it abstains" for record in caplog.records
    )


def test_settings_that_cannot_be_are_refused() -> None:
    client = two()
    for wrong in (None, Screening(kinds=frozenset({"emial"})), Screening(names="Ada"), Screening(mode="off")):  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest):
            client.screening = wrong  # type: ignore[assignment]
    client.screening = Screening(names=["Project Falcon"], kinds={"card"})  # type: ignore[arg-type]
    assert ask(client, f"{HARD} It is for project falcon.").response == "home"
    with pytest.raises(InvalidRequest, match="'privat'"):
        ask(client, messages=[{"role": "user", "content": "x", "privat": True}])
    with pytest.raises(InvalidRequest, match="private and public"):
        ask(client, HARD, private=True, public=True)
    with pytest.raises(ConfigurationError, match="20"):
        client.policy = Policy("heavy", edge=1000.0)
    with pytest.raises(ConfigurationError, match="neither a place nor a model"):
        client.policy = Policy("typo", rules=(Rule("x", to=("clowd",)),))


def test_a_policy_set_later_keeps_the_rules_of_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "oblix.toml"
    file.write_text('[[rule]]\nname = "all"\nprivate = true\n')
    client = OblixClient(config_path=file, store=":memory:")
    client.hook(edge("home"))
    client.hook(cloud("away"))
    client.policy = "best"
    assert ask(client, HARD).response == "home"


def test_a_rule_of_the_policy_makes_a_request_private() -> None:
    client = two()
    client.policy = Policy("ward", rules=(Rule("patients stay here", When(words=("patient",)), private=True),))
    reply = ask(client, f"{HARD} It is for a patient.")
    assert reply.response == "home"
    assert "rule 'patients stay here'" in reply.why()
    assert ask(client, HARD).response == "away"


def test_who_asks_for_other_weights_takes_back_no_rule(tmp_path: Path) -> None:
    """Neither by the name of a preset nor by a file without rules; a file with rules of its own brings those."""
    client = two()
    client.policy = Policy("ward", rules=(Rule("all", When(), private=True),))
    plain, own = tmp_path / "plain.toml", tmp_path / "own.toml"
    plain.write_text('like = "best"\n')
    own.write_text('like = "best"\n[[rule]]\nname = "none"\nto = "cloud"\n')
    assert ask(client, HARD, policy="best").response == "home"
    assert ask(client, HARD, policy=str(plain)).response == "home"
    assert ask(client, HARD, policy=str(own)).response == "away"


def test_what_a_rule_calls_private_is_sealed_for_the_guard_as_well() -> None:
    home = edge("home")
    client = client_with(home, cloud("away"))
    client.policy = Policy("ward", rules=(Rule("all", When(), private=True),))
    ask(client, HARD)
    assert home.requests[0].is_private


def test_a_redacted_prompt_goes_out_with_placeholders_and_comes_back_whole() -> None:
    away = cloud(["Your card <CA", "RD_1> is", " a Visa."])
    client = two(Screening(mode="redact"), away=away)
    reply = ask(client, PAYMENT)
    assert reply.model_id == "openai:gpt"
    assert reply.response == f"Your card {CARD} is a Visa."
    (sent,) = away.requests
    assert CARD not in sent.prompt
    assert not sent.is_private
    assert reply.decision.privacy.is_redacted
    assert reply.decision.privacy.to_dict()["redactions"] == 1
    assert "goes out with placeholders (1 card number)" in reply.why()


def test_at_home_nothing_is_redacted() -> None:
    home = edge("home")
    client = client_with(home, cloud("away"))
    client.screening = Screening(mode="redact")
    ask(client, PAYMENT, policy="offline_first")
    assert CARD in home.requests[0].prompt


def test_what_the_caller_calls_private_is_never_redacted_away() -> None:
    client = client_with(cloud("away"))
    client.screening = Screening(mode="redact")
    with pytest.raises(PrivacyViolation):
        ask(client, PAYMENT, private=True)
