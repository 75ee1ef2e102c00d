"""A stand-in for a provider that costs next to nothing: OpenAI chat completions over SSE, answers made in advance.

Runs in a process of its own: `python -m bench.upstream` prints its port and ends when its standard input does. The first part of the path
says what is answered: `/tiny/v1/chat/completions`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, ClassVar

TOKENS = 100  # of the long answers: the length that design/performance.md measured with
PACE = 0.001  # seconds between two tokens of `hundred`, so that each arrives in a packet of its own
SLOW = 0.2  # seconds before the first token of `slow`: the model that issue 2 names
TINY = ("Hello", " there", ".")
LONG = tuple(f" word{number}" for number in range(TOKENS))
TEXTS = {"tiny": "".join(TINY), "hundred": "".join(LONG), "burst": "".join(LONG), "slow": "".join(TINY)}

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"
_ERROR = json.dumps({"error": {"message": "bench", "type": "server_error", "code": None}}).encode()
_BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
    _ERROR
)

_MISSING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def _event(delta: dict[str, Any] | None, finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """One event as OpenAI sends it, in an HTTP chunk of its own."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    found = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": choices,
        "usage": usage,
    }
    return _chunk(b"data: " + json.dumps(found, separators=(",", ":")).encode() + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _answer(words: tuple[str, ...]) -> tuple[bytes, tuple[bytes, ...], bytes]:
    """What opens an answer, its tokens, and what ends it."""
    usage = {"prompt_tokens": 9, "completion_tokens": len(words), "total_tokens": 9 + len(words)}
    return (
        _HEAD + _event({"role": "assistant", "content": "", "refusal": None}),
        tuple(_event({"content": word}) for word in words),
        _event({}, "stop") + _event(None, usage=usage) + _chunk(b"data: [DONE]\n\n") + _END,
    )


def _whole(words: tuple[str, ...]) -> bytes:
    opening, tokens, ending = _answer(words)
    return opening + b"".join(tokens) + ending


class Upstream(asyncio.Protocol):
    """One connection. It reads just enough of HTTP/1.1 to know where a request ends, and keeps the connection."""

    ANSWERS: ClassVar = {
        b"tiny": _whole(TINY),
        b"burst": _whole(LONG),
        b"slow": _whole(TINY),
        b"error": _BROKEN + _ERROR,
    }
    STREAM: ClassVar = _answer(LONG)

    def __init__(self) -> None:
        self._rest = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        while (end := data.find(b"\r\n\r\n") + 4) > 3:
            total = end + _length(data[:end])
            if len(data) < total:
                break
            self._reply(data.split(b"/", 2)[1])
            data = data[total:]
        self._rest = data

    def _reply(self, what: bytes) -> None:
        if what == b"hundred":
            self._out.write(self.STREAM[0])
            self._loop.call_later(PACE, self._next, 0)
        elif what == b"slow":
            self._loop.call_later(SLOW, self._out.write, self.ANSWERS[what])
        else:
            self._out.write(
                self.ANSWERS.get(what, _MISSING)
            )  # sensors ask for other things, and have to be told something

    def _next(self, number: int) -> None:
        if self._out.is_closing():
            return
        if number == TOKENS:
            self._out.write(self.STREAM[2])
            return
        self._out.write(self.STREAM[1][number])
        self._loop.call_later(PACE, self._next, number + 1)


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


class _Leash(asyncio.Protocol):
    """Ends the process with the one that started it."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


async def _serve() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=256)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.connect_read_pipe(lambda: _Leash(ended), sys.stdin)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
