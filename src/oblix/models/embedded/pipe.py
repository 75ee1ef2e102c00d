"""What the engine's child process and its parent say to each other: frames of a length and a msgpack body.

A frame is four bytes (length of the body, big-endian) and a body of at most `MAX_FRAME` bytes. Parent to child: one `Open`, then
any number of `Ask`, `Count`, `Stop` and `Ping`; the end of the stream ends the child. Child to parent: `Ready` or `Unloadable`,
then for each `Ask` one `Begun`, any number of `Piece`, at most one `Refused`, and always one `Done`; for each `Count` one `Counted`
or one `Refused`; for each `Ping` one `Pong`. `id` is the parent's number for a question, and is not used twice in the life of a
child.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

MAX_FRAME = 32 << 20  # bytes; the prompt of a window of a million tokens takes about 5 MB
_LENGTH = struct.Struct(">I")
HEADER = _LENGTH.size


class FrameError(ValueError):
    """A frame is too long, or its body cannot be read or written."""


class Open(msgspec.Struct, tag=True, frozen=True):
    """Load the file at `path`. `threads` of `None`: as many as cores are free; `window` in tokens per slot."""

    path: str
    window: int
    slots: int
    threads: int | None = None


class Ask(msgspec.Struct, tag=True, frozen=True):
    """Answer this chat completion request (OpenAI's form), piece by piece."""

    id: int
    body: dict[str, Any]


class Count(msgspec.Struct, tag=True, frozen=True):
    """Say how many tokens the prompt of this chat completion request has."""

    id: int
    body: dict[str, Any]


class Stop(msgspec.Struct, tag=True, frozen=True):
    """Nobody waits for this answer any more."""

    id: int


class Ping(msgspec.Struct, tag=True, frozen=True):
    """Say that you still move."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The weights are loaded; `window` is what each slot really got.

    `continues`: an answer can be gone on from exactly where it stopped; not so where a thought, which is not kept, came before it.
    """

    window: int
    threads: int
    continues: bool = True


class Unloadable(msgspec.Struct, tag=True, frozen=True):
    """The weights cannot be loaded. `missing`: the engine itself is not installed."""

    why: str
    missing: bool = False


class Begun(msgspec.Struct, tag=True, frozen=True):
    """The engine is about to get the question: should the process die from here on, the question may be why."""

    id: int


class Piece(msgspec.Struct, tag=True, frozen=True):
    """One chunk, as the engine made it; `{"error": …}` is one as well."""

    id: int
    chunk: dict[str, Any]


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The engine raised an exception. `bad_request`: because of what was asked."""

    id: int
    why: str
    bad_request: bool


class Counted(msgspec.Struct, tag=True, frozen=True):
    """The answer to `Count`."""

    id: int
    tokens: int


class Done(msgspec.Struct, tag=True, frozen=True):
    """The slot is free again."""

    id: int


class Pong(msgspec.Struct, tag=True, frozen=True):
    """The answer to `Ping`."""


ToChild = Open | Ask | Count | Stop | Ping
FromChild = Ready | Unloadable | Begun | Piece | Refused | Counted | Done | Pong
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)


def pack(message: ToChild | FromChild) -> bytes:
    """A whole frame.

    Raises:
        FrameError: It is too long, or holds what msgpack cannot say (a set, a complex number, an integer above 64 bits).
    """
    try:
        body = msgspec.msgpack.encode(message)
    except (TypeError, OverflowError, UnicodeEncodeError, RecursionError) as exc:
        raise FrameError(str(exc)) from exc
    if len(body) > MAX_FRAME:
        raise FrameError(f"{len(body)} bytes, {MAX_FRAME} are allowed")
    return _LENGTH.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """How many bytes follow this header.

    Raises:
        FrameError: More than a frame may have: something else than a frame was written into the pipe.
    """
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME:
        raise FrameError(f"a frame of {length} bytes, {MAX_FRAME} are allowed")
    return int(length)


def unpack_to_child(body: bytes) -> ToChild:
    """Read a body that the parent wrote."""
    return _to_child.decode(body)


def unpack_from_child(body: bytes) -> FromChild:
    """Read a body that the child wrote.

    Raises:
        FrameError: It is none of ours.
    """
    try:
        return _from_child.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameError(str(exc)) from exc


def clean(value: Any) -> Any:
    """`value` with every text in it made fit for UTF-8: surrogate pairs are joined, lone surrogates become U+FFFD."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
