"""Models that Ollama forwards to its own cloud: known by name, by the server's word, and by their answers."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.errors import FailureKind
from oblix.models.ollama import is_remote_name

from .asking import KEY, Heard, ask, gather, hear, lanes, model_of, run, spec_of
from .test_ollama import GOOD, ends, says, stream
from .upstream import Script, Upstream, whole

LOCAL = [whole({"details": {}, "model_info": {}})]


@pytest.mark.parametrize(
    ("name", "remote"),
    [
        ("gpt-oss:120b-cloud", True),
        ("kimi-k2:cloud", True),
        ("deepseek-v3.1:671b-cloud", True),
        ("llama3", False),
        ("llama3:latest", False),
        ("cloud", False),
        ("my-cloud", False),
        ("registry.example:5000/team/our-cloud", False),
        ("registry.example:5000/team/gpt-oss:120b-cloud", True),
        ("gpt-oss:120B-Cloud", True),
        ("cloudy:7b", False),
        ("my-cloud-model:7b", False),
        ("cloud:7b", False),
    ],
)
def test_remote_models_have_a_tag(name: str, remote: bool) -> None:
    assert is_remote_name(name) is remote


SECRET = "the-private-words"


def private(*scripts: Script, **facts: Any) -> Heard:
    return hear("ollama", *scripts, request=ask(SECRET, private=True), **facts)


@pytest.mark.parametrize(
    "shown",
    [
        {"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"},
        {"remote_host": "https://ollama.com:443"},
        {"remote_model": "gpt-oss:120b"},
    ],
    ids=["both", "host", "model"],
)
def test_a_private_prompt_is_not_sent_to_a_model_that_ollama_forwards(shown: dict[str, Any]) -> None:
    """Its name looks local (`ollama cp` makes that easy); the server is asked first, and nothing of the prompt is on the wire."""
    heard = private([whole(shown)], GOOD)
    assert heard.failed.kind is FailureKind.POLICY
    assert [asked.path for asked in heard.asked] == ["/api/show"]
    assert heard.asked[0].json == {"model": "tried"}
    assert SECRET.encode() not in heard.received


@pytest.mark.parametrize(
    ("show", "kind"),
    [
        ([whole({"error": "model 'tried' not found"}, status=404)], FailureKind.MODEL_MISSING),
        ([whole(b"<html>", "text/html", status=502)], FailureKind.SERVER_ERROR),
        ([whole(b"404 page not found", "text/plain", status=404)], FailureKind.PROTOCOL),
        ([whole(b"not JSON")], FailureKind.PROTOCOL),
        ([whole(b'{"details": "\xff"}')], FailureKind.PROTOCOL),
        ([whole(b"[]")], FailureKind.PROTOCOL),
        ([whole(b"")], FailureKind.PROTOCOL),
    ],
    ids=["missing", "broken", "no such route", "no JSON", "odd text", "a list", "nothing"],
)
def test_a_private_prompt_stays_where_the_server_does_not_say(show: Script, kind: FailureKind) -> None:
    """Fail closed: without a clear word nothing is sent."""
    heard = private(show, GOOD)
    assert heard.failed.kind is kind
    assert SECRET.encode() not in heard.received


def test_every_private_prompt_asks_first() -> None:
    async def main() -> None:
        async with Upstream(LOCAL, GOOD, LOCAL, GOOD) as upstream, lanes() as transport:
            model = model_of("ollama", spec_of("ollama", upstream.url), transport)
            for _ in range(2):
                assert (await gather(model, ask(SECRET, private=True))).text == "Hello"
            assert [asked.path for asked in upstream.requests] == ["/api/show", "/api/chat"] * 2
            assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in upstream.requests)

    run(main())


def test_a_prompt_that_is_not_private_does_not_ask() -> None:
    assert [asked.path for asked in hear("ollama", GOOD).asked] == ["/api/chat"]


def test_an_answer_from_elsewhere_is_no_answer_of_the_edge() -> None:
    """Each line of a forwarded answer says where it was made."""
    heard = hear("ollama", stream(says("a", remote_host="https://ollama.com:443", remote_model="m"), ends()))
    assert heard.failed.kind is FailureKind.POLICY
    assert "https://ollama.com:443" in heard.failed.message
    assert heard.failed.hint == "Hook it with place='cloud'."
    assert heard.text == ""


def test_a_model_declared_as_cloud_may_answer_from_elsewhere() -> None:
    heard = hear("ollama", stream(says("a", remote_host="https://ollama.com:443"), ends()), place="cloud")
    assert heard.text == "a"
    assert heard.end.finish_reason == "stop"
