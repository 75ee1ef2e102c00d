"""All cases against `llmock`: played side by side on a few servers, then judged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from . import processes
from .faults import Case, Site
from .judging import Objection, backs_off, judge, wrongs
from .playing import SITES, Grader, Played, play

_AT_ONCE = 24  # cases side by side; most of them wait


def grade(cases: Sequence[Case], folder: Path) -> list[Objection]:
    """Every objection to these cases, the allowed ones too. Blocks.

    Args:
        folder: An empty one, for the clients' data files.
    """
    wanted: set[Site] = {"plain", *(case.fault.site for case in cases)}
    with ExitStack() as stack:
        bases = {site: stack.enter_context(processes.llmock(*SITES[site])) for site in sorted(wanted)}
        return asyncio.run(_grade(cases, bases, folder))


async def _grade(cases: Sequence[Case], bases: dict[Site, str], folder: Path) -> list[Objection]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def take_turn(case: Case) -> Played:
        async with places:
            return await play(case, grader, folder)

    async with processes.control() as session:
        grader = Grader(session, bases)
        played = await asyncio.gather(*map(take_turn, cases))
        by_name = {each.case.name: each for each in played}
        findings = [finding for site in bases for finding in await grader.findings(site)]
        with_backoff = backs_off([record for site in bases for record in await grader.records(site)])
    objections = [wrong for each in played for wrong in wrongs(each)]
    for finding in findings:
        name = finding["records"][0]["model"].removesuffix("-other")
        objections.append(judge(by_name[name], finding, with_backoff=with_backoff))
    return objections
