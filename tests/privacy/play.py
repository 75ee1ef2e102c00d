"""One request through the real client, to whatever end: what the caller got."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from oblix.errors import AttemptFailed, OblixError
from oblix.types.attempt import Attempt
from oblix.types.messages import Message, ToolCall
from oblix.types.reply import Reply

from .cases import Case, Way
from .world import World

PATIENT = 2.5  # seconds: every timer of an attempt fits, and a retry
HURRIED = 0.1  # seconds: it ends before the timers
HANGS = 5.0  # seconds beyond the deadline after which a request counts as one that never ends


@dataclass(slots=True)
class Outcome:
    """What became of one request.

    Attributes:
        ending: `edge`, `cloud` (an answer from there), the name of an error, or `left`.
        strange: What no caller should get: a foreign exception, the secret in an error's words.
    """

    case: Case
    ending: str = ""
    attempts: tuple[Attempt, ...] = ()
    strange: list[str] = field(default_factory=list)

    @property
    def refusals(self) -> int:
        """How often the guard itself refused to send."""
        return Counter(attempt.kind for attempt in self.attempts if attempt.place == "cloud")["policy"]


async def play(case: Case, world: World, first: str, cloud: str) -> Outcome:
    """Ask while `first` plays its fault and `cloud` stands ready."""
    upstream = world.edges[first]
    if case.kind.of_upstream:
        upstream.default = case.fault
    else:
        upstream.play(case.marker, case.fault)
    outcome = Outcome(case)
    wanted = {"nobody": None, "edge": first, "cloud": cloud, "cloud_only": cloud}[case.wanted]
    asking = asyncio.create_task(_ask(case, world, wanted))
    try:
        async with asyncio.timeout(PATIENT + HANGS):
            await _interrupt(case, world, asking)
            reply = await asking
        outcome.attempts = reply.attempts
        outcome.ending = "cloud" if reply.model_id in world.clouds else "edge"
    except OblixError as error:
        outcome.ending, outcome.attempts = type(error).__name__, error.attempts
        if isinstance(error, AttemptFailed) or case.secret in f"{error}{error!r}":
            outcome.strange.append(f"{error!r}")
    except asyncio.CancelledError:
        outcome.ending = "left"
        if case.ending != "leave":
            raise
    except Exception as error:  # noqa: BLE001  whatever leaves the client is judged
        outcome.ending = type(error).__name__
        outcome.strange.append(f"{error!r}")
    return outcome


async def _interrupt(case: Case, world: World, asking: asyncio.Task[Reply]) -> None:
    """The caller leaves, or the client is shut down, at whatever point the request has come to by then."""
    if case.ending not in ("leave", "shutdown"):
        return
    for _ in range(case.turns):
        await asyncio.sleep(0)
    if case.ending == "leave":
        asking.cancel()
    else:
        await world.client.shutdown()


async def _ask(case: Case, world: World, wanted: str | None) -> Reply:
    way = case.said
    settings: dict[str, Any] = {
        "session_id": f"session-{case.number}" if case.session else None,
        "deadline": HURRIED if case.ending == "deadline" else PATIENT,
        "fallback": case.wanted in ("edge", "cloud"),
        "hedge": case.hedge,
        "warm": case.warm,
        **way.wishes,
    }
    if case.options:
        settings["provider_options"] = {"options": {"num_batch": 64}, "user": "somebody"}
    prompt: str | None
    if way.follows:
        before = [Message("user", f"{case.secret}?"), Message("assistant", await _told(case, world))]
        prompt, messages = _question(case), before
    else:
        prompt, messages = _said(case, way)
    if not case.streams:
        return await world.client.execute(prompt, wanted, messages=messages, **settings)
    async with world.client.stream(prompt, wanted, messages=messages, on_break=case.on_break, **settings) as stream:
        async for _ in stream:
            pass
        return await stream.reply()


async def _told(case: Case, world: World) -> str:
    """The answer to a private first turn, by a model that is well."""
    return (await world.client.execute(f"{case.secret}?", "ollama:calm", private=True, deadline=4 * PATIENT)).response


def _question(case: Case) -> str:
    return f"Please write down what comes to your mind about {case.marker}."


def _said(case: Case, way: Way) -> tuple[str | None, list[Message]]:
    """The conversation, with the secret where the case has it; the last turn is a plain prompt, unless it needs a label."""
    question = _question(case)
    secret = f"Nobody may know of {case.secret}. {way.tells}".rstrip()
    before = {
        "prompt": [],
        "system": [Message("system", secret)],
        "early_turn": [Message("user", secret), Message("assistant", "I have made a note.")],
        "tool_result": [
            Message("user", "Look it up."),
            Message("assistant", "", (ToolCall("call_1", "look_up", "{}"),)),
            Message("tool", secret, tool_call_id="call_1"),
        ],
    }[case.spot]
    last = Message("user", f"{question} {secret}" if case.spot == "prompt" else question)
    if not way.labels:
        return last.text, before
    return None, [replace(message, private=case.secret in message.text) for message in (*before, last)]
