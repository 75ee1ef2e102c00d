"""From the arguments of `hook_model` to a model: place, key, price, options, and clear errors for what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from oblix.client.hooks import build, concealed
from oblix.errors import ConfigurationError
from oblix.models.base import Model
from oblix.models.claude import ClaudeModel
from oblix.models.ollama import OllamaModel
from oblix.models.openai import OpenAIModel
from oblix.models.registry import PROVIDERS
from oblix.models.transport import Transport
from oblix.types.ids import ModelType
from oblix.types.secret import SecretStr
from oblix.types.spec import FREE, Price, Timeouts

KEY = "sk-proj-9fJk2LxQwErTyUiOpAsDfGhJkLzXcVbNm0123456789"


def hook(
    kind: ModelType | str, name: str = "tried", endpoint: str | None = None, api_key: str | None = None, **options: Any
) -> Model:
    return build(
        kind, name, endpoint=endpoint, api_key=concealed(api_key), transport=Transport(), options=options
    )  # fmt: skip


def refused(kind: Any, name: Any = "tried", **given: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as failed:
        hook(kind, name, **given)
    return failed.value


@pytest.mark.parametrize(
    ("kind", "name", "model_id", "made"),
    [
        (ModelType.OLLAMA, "llama2", "ollama:llama2", OllamaModel),
        ("ollama", "llama2:latest", "ollama:llama2", OllamaModel),
        ("OLLAMA", " llama2:7b ", "ollama:llama2:7b", OllamaModel),
        (ModelType.OPENAI, "gpt-4", "openai:gpt-4", OpenAIModel),
        ("openai", "gpt-4:latest", "openai:gpt-4:latest", OpenAIModel),
        (ModelType.CLAUDE, "claude-x", "claude:claude-x", ClaudeModel),
        ("groq", "llama-3", "groq:llama-3", OpenAIModel),
    ],
)
def test_a_model_has_one_name(kind: ModelType | str, name: str, model_id: str, made: type) -> None:
    """`llama2` and `llama2:latest` are the same Ollama model; elsewhere a name is a name."""
    model = hook(kind, name)
    assert isinstance(model, made)
    assert model.spec.id == model_id


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_every_provider_can_be_hooked(provider: str) -> None:
    """Without a key, a server, or a single byte on the wire."""
    spec = hook(provider, "tried").spec
    assert spec.provider == provider
    assert spec.place == PROVIDERS[provider].place
    assert spec.endpoint == PROVIDERS[provider].endpoint
    assert spec.capabilities == PROVIDERS[provider].capabilities


# Where a model runs


@pytest.mark.parametrize(
    ("kind", "name", "endpoint", "place", "said"),
    [
        ("ollama", "phi", None, "edge", "localhost is at home"),
        ("ollama", "phi", "http://127.0.0.1:11434", "edge", "127.0.0.1 is at home"),
        ("ollama", "phi", "http://[::1]:11434", "edge", "::1 is at home"),
        ("ollama", "phi", "http://192.168.1.9:11434", "edge", "at home"),
        ("ollama", "phi", "http://gpubox:11434", "edge", "gpubox is at home"),
        ("ollama", "phi", "http://gpubox.local:11434", "edge", "at home"),
        ("ollama", "phi", "http://gpubox.lan", "edge", "at home"),
        ("ollama", "phi", "http://ollama.home.arpa", "edge", "at home"),
        ("ollama", "phi", "http://8.8.8.8:11434", "cloud", "8.8.8.8 is not known to be at home"),
        ("ollama", "phi", "https://ollama.example.com", "cloud", "not known to be at home"),
        ("ollama", "phi", "http://127.0.0.1.example.com", "cloud", "not known to be at home"),
        ("ollama", "phi", "http://lan.example.com", "cloud", "not known to be at home"),
        ("ollama", "gpt-oss:120b-cloud", None, "cloud", "Ollama runs it in its own cloud"),
        ("ollama", "kimi-k2:cloud", "http://localhost:11434", "cloud", "Ollama runs it in its own cloud"),
        ("embedded", "smollm2", None, "edge", "child process"),
        ("openai", "gpt-4", None, "cloud", "openai is a cloud provider"),
        ("openai", "gpt-4", "http://127.0.0.1:8000/v1", "cloud", "openai is a cloud provider"),
        ("claude", "c", "http://localhost:8000", "cloud", "claude is a cloud provider"),
        ("lmstudio", "m", None, "edge", "localhost is at home"),
        ("vllm", "m", "http://vllm.example.com/v1", "cloud", "not known to be at home"),
        ("vllm", "m", "http://10.0.0.5:8000/v1", "edge", "at home"),
    ],
)
def test_the_place_when_none_is_declared(kind: str, name: str, endpoint: str | None, place: str, said: str) -> None:
    """An OpenAI endpoint at loopback may be a proxy, so that it is a cloud until declared otherwise."""
    spec = hook(kind, name, endpoint).spec
    assert spec.place == place
    assert said in spec.place_reason
    assert spec.is_edge is (place == "edge")


@pytest.mark.parametrize(
    ("kind", "endpoint"),
    [
        ("openai", "http://127.0.0.1:8000/v1"),
        ("openai", "http://localhost:8000/v1"),
        ("claude", "http://10.1.2.3:8000"),
        ("ollama", "https://gpu.mycompany.example"),
        ("ollama", None),
        ("embedded", None),
    ],
)
def test_an_edge_can_be_declared(kind: str, endpoint: str | None) -> None:
    """A name is taken at the user's word; where it leads is checked before each socket."""
    spec = hook(kind, "m", endpoint, place="edge").spec
    assert (spec.place, spec.place_reason) == ("edge", "declared as edge")


@pytest.mark.parametrize(
    ("kind", "name", "endpoint", "why"),
    [
        ("openai", "m", "http://8.8.8.8/v1", "public address"),
        ("openai", "m", "http://[2606:4700::1111]/v1", "public address"),
        ("openai", "m", "http://[::ffff:8.8.8.8]/v1", "public address"),
        ("ollama", "gpt-oss:120b-cloud", None, "its own cloud"),
    ],
)
def test_an_edge_that_cannot_be_is_refused(kind: str, name: str, endpoint: str | None, why: str) -> None:
    assert why in refused(kind, name, endpoint=endpoint, place="edge").message


def test_a_cloud_can_always_be_declared() -> None:
    for kind in ("ollama", "openai", "vllm", "embedded"):
        assert hook(kind, "m", place="cloud").spec.place == "cloud"


@pytest.mark.parametrize("place", ["Edge", "local", "", 5, True])
def test_an_unknown_place(place: object) -> None:
    error = refused("ollama", place=place)
    assert repr(place) in error.message
    assert "'edge' or 'cloud'" in str(error.hint)


# Addresses


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:11434",
        "127.0.0.1",
        "ftp://localhost",
        "http://",
        "http:///v1",
        "http://:8080",
        "http://localhost:0",
        "http://localhost:99999",
        "http://localhost:abc",
        "http://[::1",
        "http://local host:1",
        "http://localhost:1/v1?key=1",
        "http://localhost:1/v1#part",
        "not an address",
    ],
)
def test_an_address_that_cannot_be(endpoint: str) -> None:
    error = refused("ollama", endpoint=endpoint)
    assert endpoint.rstrip("/") in error.message
    assert "http://host:port" in str(error.hint)


@pytest.mark.parametrize(
    ("kind", "variable", "value", "endpoint"),
    [
        ("ollama", "OLLAMA_HOST", "0.0.0.0:1234", "http://localhost:1234"),
        ("openai", "OPENAI_BASE_URL", "http://10.0.0.5/v1/", "http://10.0.0.5/v1"),
        ("claude", "ANTHROPIC_BASE_URL", "http://10.0.0.5", "http://10.0.0.5"),
    ],
)
def test_the_environment_moves_an_address(
    kind: str, variable: str, value: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert hook(kind).spec.endpoint == endpoint
    assert hook(kind, endpoint="http://127.0.0.1:5/x/").spec.endpoint == "http://127.0.0.1:5/x"


def test_a_variable_with_a_mistake_is_named_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    assert "nonsense" in refused("openai").message


# Keys


@pytest.mark.parametrize(
    ("kind", "api_key", "endpoint", "state"),
    [
        ("openai", KEY, None, "given"),
        ("openai", None, None, "missing"),
        ("openai", "your_openai_api_key", None, "missing"),
        ("openai", None, "http://127.0.0.1:8000/v1", "not_needed"),
        ("openai", KEY, "http://127.0.0.1:8000/v1", "given"),
        ("claude", None, None, "missing"),
        ("groq", None, None, "missing"),
        ("ollama", None, None, "not_needed"),
        ("ollama", KEY, None, "given"),
        ("embedded", None, None, "not_needed"),
        ("lmstudio", None, None, "not_needed"),
    ],
)
def test_whether_there_is_a_key(kind: str, api_key: str | None, endpoint: str | None, state: str) -> None:
    """A placeholder never breaks a hook; a server of one's own may do without a key."""
    assert hook(kind, endpoint=endpoint, api_key=api_key).spec.key == state


def test_a_placeholder_gives_way_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    model = hook("openai", api_key="your_openai_api_key")
    assert model.spec.key == "given"
    assert isinstance(model, OpenAIModel)
    assert model.key == SecretStr(KEY)
    assert model.key.origin == "OPENAI_API_KEY"


def test_a_key_is_in_no_repr() -> None:
    for kind in ("openai", "claude", "ollama"):
        model = hook(kind, api_key=KEY)
        assert KEY not in repr(model) + repr(model.spec)


# Options


def test_a_price_can_be_given() -> None:
    assert hook("openai", price=(3, 15.5)).spec.price == Price(3.0, 15.5, "caller")
    assert hook("openai", price=[0, 0]).spec.price == Price(0.0, 0.0, "caller")
    own = Price(1.0, 2.0, "contract")
    assert hook("openai", price=own).spec.price is own
    assert hook("ollama", price=(1, 1)).spec.price == Price(1.0, 1.0, "caller")


def test_an_edge_is_free_and_a_cloud_is_unpriced() -> None:
    assert hook("ollama").spec.price == FREE
    assert hook("openai").spec.price is None
    assert hook("openai", endpoint="http://127.0.0.1:1/v1", place="edge").spec.price == FREE


@pytest.mark.parametrize(
    "price",
    [5, "1", (1,), (1, 2, 3), (-1, 2), ("1", "2"), {"input": 1}, (float("nan"), 1), (float("inf"), 1), (True, False)],
)
def test_a_price_that_cannot_be(price: object) -> None:
    error = refused("openai", price=price)
    assert "(input, output)" in str(error.hint)


@pytest.mark.parametrize("option", ["tier", "window"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, [1]])
def test_a_tier_or_window_that_cannot_be(option: str, value: object) -> None:
    assert f"{option}={value!r}" in refused("ollama", **{option: value}).message


def test_tier_and_window() -> None:
    spec = hook("ollama", tier=2, window=8192).spec
    assert (spec.tier, spec.window) == (2, 8192)


@pytest.mark.parametrize(
    ("kind", "option", "nearest"),
    [
        ("ollama", "keepalive", "keep_alive"),
        ("ollama", "teir", "tier"),
        ("openai", "prise", "price"),
        ("claude", "max_token", "max_tokens"),
        ("embedded", "thread", "threads"),
    ],
)
def test_an_unknown_option_names_the_nearest(kind: str, option: str, nearest: str) -> None:
    error = refused(kind, **{option: 1})
    assert repr(option) in error.message
    assert f"Did you mean {nearest!r}?" in str(error.hint)


def test_an_option_of_another_provider_is_unknown() -> None:
    error = refused("openai", keep_alive="5m")
    assert "'keep_alive' is no option of hook_model for openai" in error.message
    assert "Known: endpoint, api_key, place, tier, window, price" in str(error.hint)


def test_a_providers_own_options_reach_it() -> None:
    from oblix.types.messages import Message
    from oblix.types.request import Request

    request = Request("r", (Message("user", "?"),))
    ollama, claude = hook("ollama", keep_alive=0), hook("claude", max_tokens=9)
    assert ollama._body(request)["keep_alive"] == 0  # type: ignore[attr-defined]  # what would be sent
    assert claude._body(request)["max_tokens"] == 9  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "nearest"), [("olama", "ollama"), ("opanai", "openai"), ("cluade", "claude"), ("anthropic", None), (5, None), (None, None)]
)  # fmt: skip
def test_an_unknown_provider_names_the_nearest(kind: object, nearest: str | None) -> None:
    error = refused(kind)
    assert repr(kind) in error.message
    assert "Known: ollama, embedded, openai, claude" in str(error.hint)
    if nearest is not None:
        assert f"Did you mean {nearest!r}?" in str(error.hint)


@pytest.mark.parametrize("name", ["", "  ", None, 5])
def test_a_name_that_is_none(name: object) -> None:
    assert f"model_name={name!r}" in refused("ollama", name).message


@pytest.mark.parametrize("given", [Timeouts(idle=2.5), {"idle": 2.5}])
def test_timeouts_are_taken_as_an_object_or_as_a_settings_file_has_them(given: Any) -> None:
    assert hook("openai", timeouts=given).spec.timeouts == Timeouts(idle=2.5)


@pytest.mark.parametrize("given", [{"idel": 1.0}, {"idle": 0}, {"idle": True}, {"idle": "2"}, 5.0])
def test_impossible_timeouts_are_refused(given: Any) -> None:
    assert "timeouts" in refused("openai", timeouts=given).message


def test_who_can_go_on_from_half_an_answer_is_known_and_can_be_declared() -> None:
    assert "prefill" in hook("ollama").spec.capabilities
    assert "prefill" not in hook("openai").spec.capabilities
    assert "prefill" in hook("openai", prefill=True).spec.capabilities
    assert "prefill" not in hook("ollama", prefill=False).spec.capabilities
    assert "prefill" in refused("openai", prefill="yes").message
