"""What a hint tells to type sets a budget that pays the call; and a limit that the command did not set is changed where it stands."""

from __future__ import annotations

import re
import shlex

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblix.cli.commands.budget import _AMOUNT, set_
from oblix.errors import ConfigurationError
from oblix.ledger.advice import BY_COMMAND, advice, amount, mending
from oblix.storage.jobs import StoreBusy
from oblix.types.money import Period, Room, Scope, micro

from .booking import NOON

KEY = "9f86d081"  # a digest
SUBJECTS: dict[Scope, st.SearchStrategy[str]] = {
    "all": st.just(""),
    "model": st.just("openai:gpt-4"),
    "tag": st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1),
    "key": st.just(KEY),
}
amounts = st.integers(0, 10**9)  # micro-USD


@given(
    scope=st.sampled_from(["all", "model", "tag", "key"]),
    period=st.sampled_from(["total", "day", "month"]),
    figures=st.tuples(amounts, amounts, amounts, amounts),
    data=st.data(),
)
def test_the_command_of_a_hint_sets_a_budget_that_pays_the_call(
    scope: Scope, period: Period, figures: tuple[int, int, int, int], data: st.DataObject
) -> None:
    limit, spent, held, needed = figures
    room = Room(
        "day",
        limit / 1e6,
        max(0, limit - spent - held) / 1e6,
        held_usd=held / 1e6,
        spent_usd=spent / 1e6,
        resets_at=None if period == "total" else NOON,
        scope=scope,
        subject=data.draw(SUBJECTS[scope]),
        period=period,
        origin=BY_COMMAND,
    )
    hint = advice(room, "openai:gpt-4", needed)
    _, _, line = hint.removesuffix(" It begins anew at 2026-11-23 12:00 UTC.").partition(f"Raise it: {BY_COMMAND} ")
    line = line.removesuffix("; or hook a cheaper model, or one at home.")
    told = set_.make_context("set", shlex.split(line)).params
    found = _AMOUNT.fullmatch(told["limit"])
    assert found is not None
    assert found[2] == period
    raised = micro(float(found[1]))
    assert raised >= max(2 * limit, spent + held + held // 8 + needed)
    named = {"all": {}, "key": {"key": "openai"}}.get(scope, {scope: room.subject})
    assert {name: told[name] for name in ("model", "tag", "key") if told[name] is not None} == named


@pytest.mark.parametrize("origin", ["oblix.toml, line 3", "the agent 'cost_monitor'", ""])
def test_a_limit_of_ones_own_is_raised_where_it_is_set(origin: str) -> None:
    hint = advice(Room("day", 5.0, 0.0, resets_at=NOON, origin=origin), "openai:gpt-4", 10)
    assert BY_COMMAND not in hint
    assert origin in hint
    assert re.search(r"It begins anew at 2026-11-23 12:00 UTC\.$", hint)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (apsw.BusyError("database is locked"), "try again in a moment"),
        (StoreBusy("4096 works wait"), "try again in a moment"),
        (apsw.FullError("database or disk is full"), "Make room"),
        (OSError(28, "No space left on device"), "Make room"),
        (apsw.ReadOnlyError("attempt to write a readonly database"), "OBLIX_HOME"),
        (PermissionError(13, "Permission denied"), "OBLIX_HOME"),
        (apsw.SQLError("no such table: entry"), "move it away"),
        (ConfigurationError("It was written by a newer Oblix.", hint="Install that one."), "Install that one."),
        (ConfigurationError("It cannot be opened."), "move it away"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_books_that_cannot_be_used_are_mended_by_what_is_wrong(error: Exception, told: str) -> None:
    assert told in mending(error)


@pytest.mark.parametrize(
    ("micro_usd", "told"), [(20, "0.00002"), (5_000_000, "5"), (10_000_000, "10"), (0, "0"), (750_000, "0.75")]
)
def test_amounts_as_the_command_takes_them(micro_usd: int, told: str) -> None:
    assert amount(micro_usd) == told
