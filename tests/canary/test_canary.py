"""A key and a prompt that stand nowhere else go through real runs; then every place is searched where they could have been left."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oblix import OblixClient, OblixError
from oblix.agents import BaseAgent
from oblix.models.base import Call
from oblix.testing import ScriptedModel
from oblix.testing.faults import Fault, FaultServer
from oblix.types.chunk import Chunk, Delta
from oblix.types.request import Request

from .birds import KEY, PROMPT, assert_hidden, assert_silent, on_a_loop, searched, told

PRICE = (1.0, 5.0)


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
        elif answer == "half a call":
            call = {"index": 0, "id": "a", "function": {"name": "remember", "arguments": PROMPT}}
            chunk = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + json.dumps(chunk).encode()
            )
            writer.write(b"\n\ndata: [DONE]\n\n")
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
    assert "Executing <" in log.getvalue()  # asyncio did tell of each callback
    assert_silent({"log": log.getvalue()})
    assert searched(tmp_path) == {}


@pytest.mark.parametrize("wire", ["openai", "claude", "ollama"])
@pytest.mark.parametrize(
    "answer", ["401", "403", "400", "429", "500", "in band", "no http", "no json", "half a call", "nothing"]
)
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


class Clumsy(BaseAgent):
    """An agent that takes the prompt for a number; Python's own message quotes it."""

    async def check(self, **kwargs: Any) -> dict[str, Any]:
        return {"proceed": int(kwargs["prompt"]) > 0}


class Chatty(BaseAgent):
    """An agent that answers with something else than a report."""

    async def check(self, **kwargs: Any) -> Any:
        return f"a good prompt: {kwargs['prompt']}"


class Quoting(ScriptedModel):
    """A model with a slip, whose message quotes the prompt."""

    async def stream(self, request: Request, call: Call) -> AsyncGenerator[Chunk, None]:
        raise ValueError(f"cannot render {request.prompt}")
        yield Delta("")


@on_a_loop
async def test_agents_and_models_that_quote_in_their_errors_leave_no_canary(tmp_path: Path, log: io.StringIO) -> None:
    """Of a request that is private; of others the log gets the traceback of an agent as it is."""
    async with client_of(tmp_path) as client:
        client.hook_agent(Clumsy("clumsy"))
        client.hook_agent(Chatty("chatty"))
        client.hook(ScriptedModel("ollama:good", "yes"))
        reply = await client.execute(PROMPT, private=True)
        assert {reply.agent_checks[name].state for name in ("clumsy", "chatty")} == {"error"}
        client.hook(Quoting("ollama:good"))
        with pytest.raises(OblixError) as caught:
            await client.execute(PROMPT, private=True)
        told_of = {"reply": json.dumps(reply.to_dict()), "why": reply.why(), "error": str(caught.value)}
        assert_silent(told_of | {"status": json.dumps(await client.status(), default=repr)})
    assert "clumsy" in log.getvalue()
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
