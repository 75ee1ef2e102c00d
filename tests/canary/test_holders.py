"""Whatever holds a key is printed, formatted, copied, pickled and encoded in every way: none of them tells it."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pickle
import pprint
import reprlib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from oblix import OblixClient, OblixError
from oblix import sync as blocking
from oblix.settings.keys import FoundKey, found_keys
from oblix.testing.faults import FaultServer
from oblix.types.secret import Concealed, SecretStr
from oblix.types.spec import ModelSpec

from .birds import KEY, assert_silent, on_a_loop, told

LONG = KEY + "A1b2C3d4" * 17  # as long as real ones are: whoever shows it cuts it


def rich_with_locals(error: BaseException) -> str:
    page = Console(file=io.StringIO(), width=300)
    page.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue()


def raised_beside(each: object) -> BaseException:
    """An error out of a frame that has it in a local variable."""
    try:
        raise ValueError(each)
    except ValueError as error:
        return error


def deepcopy(each: object) -> object:
    """Of values. What leads to an event loop cannot be copied, and the halves of it that were complain when they are dropped."""
    return copy.deepcopy(each) if isinstance(each, SecretStr | FoundKey | ModelSpec | dict) else None


WAYS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": lambda each: f"{each} {each!r:>40} {each!s:.60}",
    "format with a width": lambda each: f"{each:>60}",
    "percent": lambda each: "%s %r %.60s" % (each, each, each),  # noqa: UP031  the old way is one of the ways
    "in a list": lambda each: f"{[each]} { ({'it': each}) }",
    "pprint": pprint.pformat,
    "reprlib": reprlib.repr,
    "rich": pretty_repr,
    "rich, cut": lambda each: pretty_repr(each, max_string=30),
    "vars": lambda each: repr(vars(each)),
    "slots": lambda each: repr([getattr(each, name, None) for name in type(each).__slots__]),
    "asdict": lambda each: repr(dataclasses.asdict(each)),
    "copy": lambda each: repr(copy.copy(each)) + repr(vars(copy.copy(each))),
    "deepcopy": lambda each: repr(deepcopy(each)),
    "pickle": lambda each: pickle.dumps(each).decode("latin-1"),
    "json": json.dumps,
    "json of reprs": lambda each: json.dumps(each, default=repr),
    "json of parts": lambda each: json.dumps(each, default=vars),
    "msgspec": lambda each: msgspec.json.encode(each, enc_hook=repr).decode(),
    "traceback": lambda each: told(raised_beside(each)),
    "traceback of rich": lambda each: rich_with_locals(raised_beside(each)),
}


def assert_mute(name: str, each: object) -> None:
    """No way makes it tell: it shows something else, or refuses with an error that does not tell either."""
    for way, show in WAYS.items():
        try:
            said = str(show(each))
        except Exception as error:  # noqa: BLE001  whatever it is, it is looked at
            said = repr(error) + "".join(traceback.format_exception(error))
        assert_silent({f"{way} of {name}": said}, of=("key",))


def parts(client: OblixClient) -> Iterator[tuple[str, object]]:
    """The client, and what in it holds a key or knows of one."""
    yield "client", client
    yield "hall", client._hall
    yield "transport", client._hall.transport
    for model_id, model in client._hall.models.items():
        yield model_id, model
        yield f"endpoint of {model_id}", model._endpoint  # type: ignore[attr-defined]
        yield f"spec of {model_id}", model.spec
        yield f"key of {model_id}", model.key  # type: ignore[attr-defined]


@pytest.mark.parametrize("wire", ["openai", "claude", "ollama"])
@on_a_loop
async def test_a_client_with_a_hooked_model_is_mute(wire: Any) -> None:
    async with FaultServer() as server, OblixClient(store=":memory:") as client:
        up = server.upstream("cloud", wire=wire)
        await client.hook_model(wire, "played", endpoint=up.url, api_key=LONG, price=(1.0, 5.0), place="cloud")
        await client.execute("Hello")
        assert LONG.encode() in up.received
        for name, each in parts(client):
            assert_mute(name, each)


def test_the_blocking_twin_is_mute() -> None:
    with blocking.OblixClient(store=":memory:") as client:
        client.hook_model("openai", "played", api_key=SecretStr(LONG), price=(1.0, 5.0))
        for name, each in [("twin", client), *parts(client._client)]:
            assert_mute(name, each)


def test_what_was_found_is_mute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", LONG)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={LONG}\n")
    found = list(found_keys("openai", ("OPENAI_API_KEY",)))
    assert [each.origin for each in found] == ["environment", ".env"]
    for each in (*found, SecretStr(LONG), {"Authorization": SecretStr(LONG)}):
        assert_mute(type(each).__name__, each)
    assert dataclasses.asdict(found[0])["key"] == SecretStr(LONG)  # it is still there, for who asks by name


def test_a_header_shows_in_no_local_variable_however_long_it_is() -> None:
    """rich cuts texts before it shows them, and a part of a text is a text."""
    header = Concealed(f"Bearer {LONG}")
    for name in ("repr", "in a list", "pprint", "reprlib", "rich", "rich, cut", "traceback of rich"):
        assert_silent({name: str(WAYS[name]({"Authorization": header}))}, of=("key",))
    assert header[7:] == LONG
    assert repr(header[7:20]) == repr(header[0]) == repr(header)


MISTAKES: dict[str, Callable[[OblixClient], object]] = {
    "as bytes": lambda client: client.hook_model("openai", "m", api_key=LONG.encode()),  # type: ignore[arg-type]
    "in a list": lambda client: client.hook_model("openai", "m", api_key=[LONG]),  # type: ignore[arg-type]
    "secret bytes": lambda client: client.hook_model("openai", "m", api_key=SecretStr(LONG.encode())),  # type: ignore[arg-type]
    "under a wrong name": lambda client: client.hook_model("openai", "m", apikey=LONG),
    "under a name of another library": lambda client: client.hook_model("claude", "m", auth_token=LONG),
    "beside another mistake": lambda client: client.hook_model("openai", "m", api_key=LONG, place="moon"),
    "with an unknown provider": lambda client: client.hook_model("opnai", "m", api_key=LONG),
    "with a control character": lambda client: client.hook_model("openai", "m", api_key=f"{LONG}\r\nHost: x"),
}


async def _hooked_and_asked(client: OblixClient, hook: Callable[[OblixClient], Any]) -> None:
    await hook(client)
    await client.execute("Hello")


@pytest.mark.parametrize("mistake", MISTAKES)
@on_a_loop
async def test_a_key_that_is_given_wrongly_is_not_told_on(mistake: str) -> None:
    """Neither in the message nor, for who reports local variables, in a frame of ours."""
    async with OblixClient(store=":memory:") as client:
        with pytest.raises(OblixError) as caught:
            await _hooked_and_asked(client, MISTAKES[mistake])
        ours = caught.value.with_traceback(caught.value.__traceback__ and caught.value.__traceback__.tb_next)
        assert_silent({"plain": told(ours), "rich": rich_with_locals(ours)}, of=("key",))


@on_a_loop
async def test_a_key_in_the_place_of_the_address_is_not_quoted() -> None:
    async with OblixClient(store=":memory:") as client:
        with pytest.raises(OblixError, match="a key goes into api_key") as caught:
            await client.hook_model("openai", "m", LONG)
        assert_silent({"message": str(caught.value)})


@pytest.mark.parametrize("broken", [b"\xff", b'\nopenai = "', b"\n[[["], ids=["bytes", "quote", "table"])
def test_a_broken_file_of_keys_is_not_told_on(broken: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a decoder holds the whole file, and a frame of a parser too."""
    from oblix.settings import dotenv, keyfile

    file = keyfile.put("claude", SecretStr(KEY))
    file.write_bytes(file.read_bytes() + broken)
    with pytest.raises(OblixError) as caught:
        keyfile.read()
    assert_silent({"keys.toml": told(caught.value) + rich_with_locals(caught.value)})
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(f"OPENAI_API_KEY={KEY}\n".encode() + b"\xff")
    with pytest.raises(OblixError) as caught:
        dotenv.read(tmp_path / ".env")
    assert_silent({".env": told(caught.value) + rich_with_locals(caught.value)})


def test_a_found_key_is_compared_and_not_shown() -> None:
    one, other = (FoundKey("openai", "file", "here", SecretStr(each)) for each in (KEY, LONG))
    with pytest.raises(AssertionError) as caught:
        assert one == other
    assert_silent({"pytest": str(caught.value)})
