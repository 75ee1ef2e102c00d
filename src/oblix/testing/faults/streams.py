"""Faults of the stream: it ends without proof, never ends, or says nothing for ever; and odd streams that are right."""

from __future__ import annotations

import asyncio
import re

from oblix.errors import FailureKind as K
from oblix.testing.faults.exchange import Exchange
from oblix.testing.faults.kind import ANY, END, INSIDE, Kind, failures, wires

BYTES_A_TURN = 32  # of a byte-wise answer, before others run: each byte is one write, and mostly one read


def _no_done(x: Exchange) -> None:
    """The reason comes, the end mark does not."""
    x.body(x.closing()[0].replace(b'"done":true', b'"done":false'))
    x.end()


def _no_finish(x: Exchange) -> None:
    """The end mark comes, the reason does not."""
    x.lose()
    x.prove()


def _no_usage(x: Exchange) -> None:
    data = b"".join(part for part in x.closing() if b'"usage"' not in part)
    x.body(re.sub(rb',"total_duration".*', b"}", data))
    x.end()


def _no_line_end(x: Exchange) -> None:
    x.body(b"".join(x.closing())[:-1])
    x.end()


def _tool_half(x: Exchange) -> None:
    x.body(x.wire.tool_half())
    x.end()


async def _comments_for_ever(x: Exchange) -> None:
    while True:
        x.body(x.wire.comment())
        await asyncio.sleep(x.tempo.drip)


async def _silence_for_ever(x: Exchange) -> None:
    while True:
        x.body(x.wire.silent())
        await asyncio.sleep(x.tempo.drip)


async def _trickle(x: Exchange) -> None:
    for part in x.rest():
        await x.trickle(part)


def _comments_between(x: Exchange) -> None:
    while len(x.said) < len(x.pieces):
        x.body(x.wire.comment())
        x.say(1)
    x.prove()


async def _byte_by_byte(x: Exchange) -> None:
    for part in x.rest():
        for number, byte in enumerate(part):
            x.send(bytes((byte,)))
            if number % BYTES_A_TURN == 0:
                await asyncio.sleep(0)


_CUT = failures(K.TRUNCATED)
_BROKEN = failures(K.TRUNCATED, K.PROTOCOL)

KINDS = (
    Kind("clean_end", "stream", "A clean end of the body, and no proof of completion.", Exchange.end, failures=_CUT),
    Kind("no_done", "stream", "The reason for the end, but no end mark.", _no_done, moments=END, failures=_CUT),
    Kind(
        "no_finish",
        "stream",
        "An end mark, but no reason for the end.",
        _no_finish,
        moments=END,
        wires=wires("openai", "claude"),
        failures=_CUT,
    ),
    Kind(
        "tool_cut",
        "stream",
        "A tool call that ends inside of its arguments.",
        _tool_half,
        moments=INSIDE,
        failures=_BROKEN,
    ),
    Kind("comments_for_ever", "stream", "Comments, and nothing else any more.", _comments_for_ever, in_time=True),
    Kind("silence_for_ever", "stream", "Right events without a word, for ever.", _silence_for_ever, in_time=True),
    Kind("trickle", "stream", "One byte at a time, very slowly.", _trickle, moments=ANY, in_time=True, billed=ANY),
    Kind("comments", "stream", "A comment before each event.", _comments_between, harmless=True),
    Kind("byte_by_byte", "stream", "One byte in each write.", _byte_by_byte, harmless=True),
    Kind(
        "no_usage",
        "stream",
        "No token counts.",
        _no_usage,
        moments=END,
        wires=wires("openai", "ollama"),
        harmless=True,
    ),
    Kind(
        "no_line_end",
        "stream",
        "The last line lacks its line ending.",
        _no_line_end,
        moments=END,
        wires=wires("ollama"),
        harmless=True,
    ),
)
