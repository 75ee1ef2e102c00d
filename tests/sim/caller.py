"""A simulated caller: asks, reads at its own pace, leaves or is cancelled, and says how it ended for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from oblix import OblixClient
from oblix.errors import OblixError
from oblix.types.chunk import Reset
from oblix.types.reply import Reply

from .plan import RequestPlan
from .trace import Trace

Ending = Literal["waiting", "reply", "error", "cancelled", "left", "untyped"]


@dataclass(slots=True, eq=False)
class Call:
    """One request, as its caller knows it. Times are seconds of the loop's clock.

    Attributes:
        resumed_at: When the caller last came for more, after a pause of its own.
        cancelled_at: When its task was cancelled, before it had ended.
        left_at: When it turned its back on a stream.
        heard: The pieces since the last reset, of a stream.
        resets: How often the text began anew.
    """

    plan: RequestPlan
    asked_at: float = 0.0
    resumed_at: float = 0.0
    ended_at: float = 0.0
    cancelled_at: float | None = None
    left_at: float | None = None
    ending: Ending = "waiting"
    heard: list[str] = field(default_factory=list)
    resets: int = 0
    reply: Reply | None = None
    error: BaseException | None = None

    @property
    def name(self) -> str:
        """For the trace."""
        return self.plan.id[-6:]


async def make(call: Call, client: OblixClient, trace: Trace) -> None:
    """Ask at once, and stay until it has ended, in whatever way."""
    loop = asyncio.get_running_loop()
    call.asked_at = call.resumed_at = loop.time()
    trace.note(f"{call.name} asks {'stream' if call.plan.stream else 'whole'} deadline={call.plan.deadline}")
    asking = loop.create_task(_read(call, client) if call.plan.stream else _execute(call, client))
    timer = None
    if call.plan.cancel_after is not None:
        timer = loop.call_later(call.plan.cancel_after, _cancel, call, asking)
    await asyncio.wait([asking])
    if timer is not None:
        timer.cancel()
    call.ended_at = loop.time()
    _settle(call, asking)
    trace.note(f"{call.name} has {call.ending} {call.reply.model_id if call.reply else type(call.error).__name__}")


def _cancel(call: Call, asking: asyncio.Task[None]) -> None:
    call.cancelled_at = asyncio.get_running_loop().time()
    asking.cancel()


def _settle(call: Call, asking: asyncio.Task[None]) -> None:
    if asking.cancelled():
        call.ending = "cancelled"
        return
    error = asking.exception()
    if error is not None:
        call.ending, call.error = ("error" if isinstance(error, OblixError) else "untyped"), error
    elif call.reply is not None:
        call.ending = "reply"
    else:
        call.ending = "left"


async def _execute(call: Call, client: OblixClient) -> None:
    plan = call.plan
    call.reply = await client.execute(
        plan.prompt, plan.model_id, request_id=plan.id, deadline=plan.deadline, **plan.wishes
    )


async def _read(call: Call, client: OblixClient) -> None:
    plan = call.plan
    loop = asyncio.get_running_loop()
    pieces = 0
    asked = client.stream(plan.prompt, plan.model_id, request_id=plan.id, deadline=plan.deadline, **plan.wishes)
    async with asked as stream:
        async for piece in stream:
            if isinstance(piece, Reset):
                call.heard.clear()
                call.resets += 1
            else:
                call.heard.append(piece)
                pieces += 1
            if pieces == plan.leave_after:
                call.left_at = loop.time()
                return
            if plan.pause:
                try:
                    await asyncio.sleep(plan.pause)
                finally:
                    call.resumed_at = loop.time()
        call.reply = await stream.reply()
