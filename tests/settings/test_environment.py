"""What the environment says: keys that stand for keys, and addresses in every form."""

from __future__ import annotations

import secrets
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.settings import home, is_placeholder, resolve_endpoint

PLACEHOLDERS = [
    "",
    "   ",
    "\n",
    "your_oblix_api_key",
    "your_openai_api_key",
    "your-api-key",
    "YOUR_API_KEY",
    "Your API key",
    "your-key-here",
    "insert_your_key",
    "INSERT-KEY",
    "replace-me",
    "replace_with_your_key",
    "enter your key",
    "put-your-key-here",
    "<your key>",
    "<OPENAI_API_KEY>",
    "...",
    "…",
    "***",
    "****************",
    "x",
    "xxxx",
    "XXXXXXXXXXXX",
    "changeme",
    "change-me",
    "placeholder",
    "dummy",
    "None",
    "null",
    "TODO",
    "sk-...",
    "sk-…",
    "sk-xxx",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-your-key",
    "sk-your_openai_api_key",
    "sk-...your key...",
    "sk-ant-...",
    "sk-ant-xxxx",
    "sk-ant-api03-...",
    "sk-ant-your-key-here",
    "sk-proj-...",
    "sk-proj-xxxxxxxx",
    "api-key-here",
    "openai_api_key_here",
    "paste token here",
    "$OPENAI_API_KEY",
    "${OPENAI_API_KEY}",
    "{{ openai_api_key }}",
    "OPENAI_API_KEY",
]  # fmt: skip
REAL = [
    "sk-proj-9fJk2LxQwErTyUiOpAsDfGhJkLzXcVbNm0123456789T3BlbkFJabcDEF",
    "sk-svcacct-Yk3x9Qd7",
    "sk-9fJk2LxQwErTyUiOpAsDT3BlbkFJkLzXcVbNm0123456789",
    "sk-ant-api03-AbC_dEf-GhIjKlMnOpQrStUvWxYz0123456789-_aBcDeFgHiJkLm-xyzAA",
    "sk-ant-admin01-Zx9-_Yk3",
    "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",
    "gsk_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "xai-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    "AIzaSyA-0123456789abcdefghijklmnopqrstuv",
    "csk-0123456789abcdefghijklmnopqrstuvwxyz",
    "fw_3ZabcDEFghiJKLmnoPQR",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "0123456789abcdef0123456789abcdef",
    "d41d8cd98f00b204e9800998ecf8427e",
    "9b2e4f6a-1c3d-4e5f-8a7b-0c1d2e3f4a5b",
    "EMPTY",
    "ollama",
    "lm-studio",
    "sk-1234",
    "sk-no-key-required",
    "xoxb-17653672481-19874698323",
    "xx-key-17",
    "token-abc123",
    "mysecret",
    "yourself-0a1b2c",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.s5x",
    "abc...def0123",
    "none-of-your-business-77",
]


@pytest.mark.parametrize("key", PLACEHOLDERS)
def test_placeholders(key: str) -> None:
    assert is_placeholder(key)
    assert is_placeholder(f" {key}\n")


@pytest.mark.parametrize("key", REAL)
def test_keys_that_could_be_real(key: str) -> None:
    """To take one for a placeholder would lock its owner out without a word."""
    assert not is_placeholder(key)


def test_no_key_is_a_placeholder() -> None:
    assert is_placeholder(None)


@given(
    st.sampled_from(["", "sk-", "sk-proj-", "sk-ant-api03-", "gsk_", "hf_"]),
    st.text(st.sampled_from(string.ascii_letters + string.digits), min_size=24, max_size=64),
)
def test_random_keys_are_keys(prefix: str, random: str) -> None:
    """Letters and digits as services draw them; all but the ones that are a single letter, over and over."""
    if len(set(random.lower())) > 4:
        assert not is_placeholder(prefix + random)


def test_thousands_of_random_keys_are_keys() -> None:
    """The alphabet of Anthropic's keys has `-` and `_`."""
    for _ in range(5000):
        assert not is_placeholder(f"sk-ant-api03-{secrets.token_urlsafe(70)}")
        assert not is_placeholder(secrets.token_hex(16))


def test_the_process_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://here:1/v1/")
    assert resolve_endpoint(None, "OPENAI_BASE_URL", "https://api.openai.com/v1") == "http://here:1/v1"


@pytest.mark.parametrize(
    ("given", "found", "expected"),
    [
        ("http://a:1/", None, "http://a:1"),
        (" http://a:1/v1/ \n", None, "http://a:1/v1"),
        ("http://a:1", "http://b:2", "http://a:1"),
        (None, "http://b:2/", "http://b:2"),
        (None, None, "http://default"),
        ("", "", "http://default"),
    ],
    ids=["given", "trimmed", "given first", "variable", "default", "empty"],
)
def test_endpoints(given: str | None, found: str | None, expected: str) -> None:
    environ = {} if found is None else {"BASE": found}
    assert resolve_endpoint(given, "BASE", "http://default", environ) == expected


def test_no_endpoint_at_all() -> None:
    assert resolve_endpoint(None, None, None, {}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        ("box:8080", "http://box:8080"),
        (":8080", "http://localhost:8080"),
        ("0.0.0.0", "http://localhost:11434"),
        ("0.0.0.0:8080", "http://localhost:8080"),
        ("http://0.0.0.0:11434", "http://localhost:11434"),
        ("[::]", "http://localhost:11434"),
        ("[::]:8080", "http://localhost:8080"),
        ("::", "http://localhost:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("fe80::1", "http://[fe80::1]:11434"),
        ("http://box", "http://box:80"),
        ("http://box:8080/", "http://box:8080"),
        ("https://box", "https://box:443"),
        ("https://box/ollama/", "https://box:443/ollama"),
        ("https://box:8443/ollama", "https://box:8443/ollama"),
        ("  box:8080\n", "http://box:8080"),
        ('"box:8080"', "http://box:8080"),
        ("'http://box:8080'", "http://box:8080"),
        ("box:", "http://box:11434"),
        ("ollama.com", "https://ollama.com:443"),
    ],
)
def test_the_forms_of_ollama_host(value: str, expected: str) -> None:
    """As Ollama's own client reads them; a bind address becomes loopback."""
    assert resolve_endpoint(None, "OLLAMA_HOST", "http://localhost:11434", {"OLLAMA_HOST": value}) == expected


@pytest.mark.parametrize("value", ["", "  ", '""'])
def test_an_empty_ollama_host_is_none(value: str) -> None:
    found = resolve_endpoint(None, "OLLAMA_HOST", "http://localhost:11434", {"OLLAMA_HOST": value})
    assert found == "http://localhost:11434"


def test_an_endpoint_that_was_given_is_not_rewritten() -> None:
    """Only the variable has Ollama's short forms."""
    environ = {"OLLAMA_HOST": "elsewhere"}
    assert resolve_endpoint("http://box", "OLLAMA_HOST", None, environ) == "http://box"


def test_home_is_moved_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBLIX_HOME", "~/elsewhere")
    assert home() == Path.home() / "elsewhere"
    monkeypatch.setenv("OBLIX_HOME", "")
    assert home().name == "oblix"
