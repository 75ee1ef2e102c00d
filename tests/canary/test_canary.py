"""A key and a prompt that stand nowhere else go through real runs; then every place is searched where they could have been left."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oblix import OblixClient, OblixError
from oblix.testing.faults import Fault, FaultServer

from .birds import KEY, PROMPT, heard, on_a_loop, reachable, told

PRICE = (1.0, 5.0)


@pytest.fixture(name="log", autouse=True)
def _log() -> Iterator[io.StringIO]:
    """Everything that any logger says, from DEBUG on, with tracebacks."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(before)


@asynccontextmanager
async def parrot(answer: str) -> AsyncIterator[str]:
    """A server that says back all that it was told, as real ones do in their errors. `answer`: the status, or how it breaks off."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(row.split(b":")[1]) for row in head.split(b"\r\n") if row.lower().startswith(b"content-length")
        )
        body = await reader.readexactly(length)
        said = json.dumps(
            {"error": {"message": f"Incorrect API key in {head!r}. You sent: {body!r}", "type": "x"}}
        ).encode()
        if answer.isdecimal():
            start = f"HTTP/1.1 {answer} No\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n"
            writer.write(start.encode() + said)
        elif answer == "in band":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + said + b"\n\n")
        elif answer == "no http":
            writer.write(head + body)
        elif answer == "no json":
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {" + head[:20] + said + b"\n\n"
            )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def client_of(folder: Path) -> OblixClient:
    return OblixClient(store=folder / "oblix.db")


def searched(folder: Path) -> dict[str, list[str]]:
    """The files that hold a canary."""
    return {file.name: found for file in folder.rglob("*") if file.is_file() and (found := heard(file.read_bytes()))}


def assert_silent(where: dict[str, str], *, of: tuple[str, ...] = ("key", "prompt")) -> None:
    singing = {name: [each for each in heard(text) if each in of] for name, text in where.items()}
    assert {name: found for name, found in singing.items() if found} == {}


def assert_hidden(*roots: object) -> None:
    """No object that can be reached shows the key: neither its `repr` nor, where it has none of its own, its parts."""
    singing = [(type(each).__name__, text[:200]) for each in reachable(*roots) if "key" in heard(text := _shown(each))]
    assert singing == []


def _shown(each: object) -> str:
    try:
        return repr(each)
    except Exception as error:  # noqa: BLE001  an object that cannot be shown shows nothing
        return type(error).__name__


@pytest.mark.parametrize("wire", ["openai", "claude", "ollama"])
@on_a_loop
async def test_an_answer_leaves_no_canary(wire: Any, tmp_path: Path, log: io.StringIO) -> None:
    """In no object that the client or the reply leads to, no log, no record, no pickle, and no file."""
    async with FaultServer() as server, client_of(tmp_path) as client:
        up = server.upstream("cloud", wire=wire)
        await client.hook_model(wire, "played", endpoint=up.url, api_key=KEY, price=PRICE, place="cloud")
        reply = await client.execute(PROMPT)
        async with client.stream(PROMPT) as stream:
            streamed = await stream.reply()
        decision = await client.route(PROMPT)
        assert KEY.encode() in up.received  # it did go where it was meant to go
        assert_hidden(client, reply, streamed, decision)
        assert_silent(
            {
                "reply": repr(reply) + str(reply) + json.dumps(reply.to_dict()),
                "pickle": pickle.dumps(reply).decode("latin-1"),
                "decision": repr(decision) + pickle.dumps(decision).decode("latin-1"),
                "why": reply.why(),
                "status": json.dumps(await client.status(), default=repr),
            }
        )
    assert_silent({"log": log.getvalue()})
    assert searched(tmp_path) == {}


@pytest.mark.parametrize("wire", ["openai", "claude", "ollama"])
@pytest.mark.parametrize("answer", ["401", "403", "400", "429", "500", "in band", "no http", "no json", "nothing"])
@on_a_loop
async def test_an_error_that_quotes_us_leaves_no_key(wire: Any, answer: str, tmp_path: Path, log: io.StringIO) -> None:
    """The provider says back all that it was sent. Its words may hold the prompt, in the error and its attempts; the key is nowhere."""
    async with parrot(answer) as url, client_of(tmp_path) as client:
        await client.hook_model(wire, "played", endpoint=url, api_key=KEY, price=PRICE, place="cloud")
        with pytest.raises(OblixError) as caught:
            await client.execute(PROMPT, deadline=20)
        error = caught.value
        assert_silent({"error": told(error), "pickle": pickle.dumps(error).decode("latin-1")}, of=("key",))
        assert_hidden(client, error)
    assert_silent({"log": log.getvalue()}, of=("key",))
    assert searched(tmp_path) == {}, "the log of decisions keeps no word of the peer's that quotes the prompt"


@pytest.mark.parametrize(
    ("kind", "moment"), [("reset", "mid_stream"), ("reset", "before_headers"), ("refuse", "before_headers")]
)
@on_a_loop
async def test_a_broken_connection_leaves_no_canary(kind: str, moment: Any, tmp_path: Path, log: io.StringIO) -> None:
    """The frames of the HTTP client hold headers and body; no error hands them on."""
    async with FaultServer() as server, client_of(tmp_path) as client:
        up = server.upstream("cloud", wire="openai")
        up.default = Fault(kind, moment)
        await client.hook_model("openai", "played", endpoint=up.url, api_key=KEY, price=PRICE)
        with pytest.raises(OblixError) as caught:
            await asyncio.wait_for(client.execute(PROMPT, deadline=20), 30)
        assert_silent({"error": told(caught.value)}, of=("key",))
        assert_hidden(client, caught.value)
    assert_silent({"log": log.getvalue()})
    assert searched(tmp_path) == {}


@on_a_loop
async def test_a_mistake_at_the_door_shows_no_key() -> None:
    """Whatever is wrong with the other arguments: not even the local variables of the traceback hold it."""
    client = OblixClient(store=":memory:")
    with pytest.raises(OblixError) as caught:
        await client.hook_model("openai", "m", endpoint="nonsense", api_key=KEY)
    own = caught.value.with_traceback(_beyond_the_test(caught.value))
    assert_silent({"hook_model": told(own)})
    with pytest.raises(OblixError) as caught:
        OblixClient(oblix_api_key=KEY, policy="nonsense")
    own = caught.value.with_traceback(_beyond_the_test(caught.value))
    assert_silent({"constructor": told(own)})
    await client.shutdown()


def _beyond_the_test(error: BaseException) -> Any:
    """The traceback without the frame of the test itself, which names the key."""
    return error.__traceback__ and error.__traceback__.tb_next
