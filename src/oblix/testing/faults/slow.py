"""Answers that are slow but right: each pause is far shorter than any timer that is worth the name."""

from __future__ import annotations

import asyncio

from oblix.testing.faults.exchange import Exchange
from oblix.testing.faults.kind import BEFORE, END, INSIDE, Kind

THOUGHTS = 8  # as long a thinking as eight pauses: longer than one timer may be, were thinking no progress


async def _late_answer(x: Exchange) -> None:
    await x.pause()
    x.answer()


async def _late_rest(x: Exchange) -> None:
    await x.pause()
    x.go_on()


async def _slow_tokens(x: Exchange) -> None:
    while len(x.said) < len(x.pieces):
        x.say(1)
        await asyncio.sleep(x.tempo.pause / 5)
    x.prove()


async def _thinking(x: Exchange) -> None:
    for _ in range(THOUGHTS):
        x.body(x.wire.thought("hm, "))
        await x.pause()
    x.go_on()


_FIRST = INSIDE - {"mid_stream"}
_MIDDLE = INSIDE - {"before_first_token"}

KINDS = (
    Kind("late_headers", "slow", "The headers come late.", _late_answer, moments=BEFORE, harmless=True),
    Kind("late_first_token", "slow", "The first token comes late.", _late_rest, moments=_FIRST, harmless=True),
    Kind("slow_tokens", "slow", "A pause after each token.", _slow_tokens, moments=INSIDE, harmless=True),
    Kind("pause", "slow", "One pause in the middle.", _late_rest, moments=_MIDDLE, harmless=True),
    Kind("late_end", "slow", "The proof of completion comes late.", _late_rest, moments=END, harmless=True),
    Kind(
        "thinking",
        "slow",
        "A long thinking, in events, before the first word.",
        _thinking,
        moments=_FIRST,
        harmless=True,
    ),
)
