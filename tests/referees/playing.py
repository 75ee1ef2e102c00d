"""One case, played: the real client asks `llmock`, and what it told its caller is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from oblix import OblixClient
from oblix.errors import OblixError
from oblix.types.attempt import Attempt
from oblix.types.chunk import Reset
from oblix.types.messages import ToolCall

from .faults import QUOTA, WINDOW, Case, Site, Wire

# What each site is started with. The rates of "wild" make about every second request fail.
SITES: dict[Site, tuple[str, ...]] = {
    "plain": (),
    "small": (f"--context-window={WINDOW}",),
    "busy": (f"--rpm={QUOTA}",),
    "wild": (
        *(f"--error-rate={status}=0.1" for status in (429, 500, 503)),
        *(f"--stream-fault={kind}=0.1" for kind in ("disconnect", "truncate", "malformed")),
    ),
}
ANSWER = "one two three four five six seven eight nine ten eleven twelve"
CALL = {"name": "now", "arguments": {"zone": "UTC", "format": "hours and minutes", "language": "en"}}
_TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
_OTHER: dict[Wire, Wire] = {"openai": "claude", "claude": "openai"}
_PATH: dict[Wire, str] = {"openai": "/v1", "claude": "/anthropic"}


@dataclass(slots=True)
class Told:
    """What one prompt's caller was told. `text` is what came, also when an error followed."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    tokens: int | None = None
    model_id: str | None = None
    error: BaseException | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """How the attempts failed."""
        return tuple(attempt.kind for attempt in self.attempts if attempt.kind is not None)


@dataclass(slots=True)
class Played:
    """What became of a case."""

    case: Case
    told: list[Told] = field(default_factory=list)


class Grader:
    """llmock's control interface, of all its sites."""

    def __init__(self, session: aiohttp.ClientSession, bases: Mapping[Site, str]) -> None:
        self._session = session
        self.bases = bases

    async def script(self, site: Site, behaviours: list[dict[str, Any]]) -> None:
        """Queue behaviours."""
        url = f"{self.bases[site]}/_llmock/scenario"
        async with self._session.post(url, json={"behaviors": behaviours}) as answer:
            assert answer.status == 201, await answer.text()

    async def findings(self, site: Site) -> list[dict[str, Any]]:
        """What the verdict objects to, each with `records`: the requests that it is about."""
        findings: list[dict[str, Any]] = (await self._get(site, "verdict"))["findings"]
        records = {record["seq"]: record for record in await self.records(site)}
        return [{**finding, "records": [records[seq] for seq in finding["requests"]]} for finding in findings]

    async def records(self, site: Site) -> list[dict[str, Any]]:
        """Every request, in order of arrival."""
        requests: list[dict[str, Any]] = (await self._get(site, "requests"))["requests"]
        return requests

    async def _get(self, site: Site, what: str) -> dict[str, Any]:
        async with self._session.get(f"{self.bases[site]}/_llmock/{what}") as answer:
            told: dict[str, Any] = await answer.json()
            return told


async def play(case: Case, grader: Grader, folder: Path) -> Played:
    """Tell llmock what to do, ask, and write down what was told."""
    fault, played = case.fault, Played(case)
    await _script(case, grader)
    client = OblixClient(store=folder / f"{case.name}.db")
    try:
        await _hook(client, case.wire, case.name, grader.bases[fault.site])
        if case.has_other:
            await _hook(client, _OTHER[case.wire], f"{case.name}-other", grader.bases["plain"])
        async with asyncio.TaskGroup() as asking:
            for number in range(fault.at_once):
                told = Told()
                played.told.append(told)
                asking.create_task(_ask(client, case, number, told))
    finally:
        await client.shutdown()
    return played


async def _script(case: Case, grader: Grader) -> None:
    says: dict[str, Any] = {"tool_calls": [CALL]} if case.fault.with_tool else {"text": ANSWER}
    answers = [
        {"type": "reply", "times": None, **says, "match": {"model": name}} for name in (case.name, f"{case.name}-other")
    ]
    failures = [{**behaviour, "match": {"model": case.name}} for behaviour in case.fault.behaviours]
    await grader.script(case.fault.site, [*failures, answers[0]])
    await grader.script("plain", answers[1:])


async def _hook(client: OblixClient, wire: Wire, name: str, base: str) -> None:
    # A key of its own: llmock's quotas are counted per key.
    await client.hook_model(wire, name, endpoint=base + _PATH[wire], api_key=f"sk-referee-{name}-4f1d", place="cloud")


async def _ask(client: OblixClient, case: Case, number: int, told: Told) -> None:
    fault = case.fault
    prompt = f"Count, number {number}." + (" word" * 2 * WINDOW if fault.long_prompt else "")
    how: dict[str, Any] = {"model_id": f"{case.wire}:{case.name}", "fallback": True, "deadline": fault.deadline}
    if fault.with_tool:
        how["tools"] = [_TOOL]
    try:
        if case.mode == "buffered":
            reply = await client.execute(prompt, **how)
        else:
            how["on_break"] = "restart" if case.mode == "restarting" else "error"
            async with client.stream(prompt, **how) as stream:
                async for piece in stream:
                    told.text = "" if isinstance(piece, Reset) else told.text + piece
                reply = await stream.reply()
    except OblixError as error:
        told.error, told.attempts = error, error.attempts
        told.text = told.text or getattr(error, "text", "")
    except Exception as error:  # noqa: BLE001  an exception that is not of our family is what we look for
        told.error = error
    else:
        # What was streamed and what the reply says must be the same; a difference shows as a wrong text.
        told.text = reply.response if case.mode == "buffered" or reply.response == told.text else "streamed otherwise"
        told.tool_calls, told.finish_reason, told.model_id = reply.tool_calls, reply.finish_reason, reply.model_id
        told.tokens, told.attempts = reply.metrics["output_tokens"], reply.attempts
