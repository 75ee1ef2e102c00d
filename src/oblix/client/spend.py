"""What a client's data file knows of money: the report of what was spent, and how a period is named."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, get_args

from oblix.agents.unheld import run_unheld
from oblix.client.books import Books
from oblix.client.hall import Hall
from oblix.errors import ConfigurationError, InvalidRequest, known_hint
from oblix.ledger import Standing
from oblix.ledger.advice import mending
from oblix.ledger.report import By, Spend, Sums, spend
from oblix.storage.jobs import StoreBusy
from oblix.storage.store import Store

_DAYS = re.compile(r"(\d{1,5})d")
Found = tuple[list[Standing], int | None]


async def report(hall: Hall, by: By, since: str | date | None) -> Spend:
    """What was spent, from the books; with what this client did up to now. Looking makes no file.

    Raises:
        InvalidRequest: `by` or `since` is not known.
        ConfigurationError: The books cannot be read.
    """
    import apsw

    if by not in get_args(By):
        raise InvalidRequest(f"by={by!r} is not known.", hint=known_hint(str(by), get_args(By)))
    store, ledger = hall.store, hall.books.ledger
    day = None if since is None else first_day(since, today=date.fromisoformat(ledger.today()))
    if not await _is_there(store):
        return Spend(by, {}, Sums(), since=day)
    ledger.flush()
    try:
        with suppress(apsw.BusyError, StoreBusy):  # who holds the file for long hides the latest, not the report
            await store.write(lambda _: None)  # comes after all that was posted
        return await store.read_aside(partial(spend, by=by, since=day))
    except apsw.Error as error:
        said = f"The books in {store.path} cannot be read: {error}."
        raise ConfigurationError(said, hint=mending(error), cause=error) from None


def first_day(since: str | date, *, today: date) -> str:
    """The day that a report begins with.

    Args:
        since: A day (`2026-11-01`), `today`, `month` (its first day), or so many days with the present one (`7d`).

    Raises:
        InvalidRequest: It is none of them.
    """
    if isinstance(since, date):
        return (since.date() if isinstance(since, datetime) else since).isoformat()
    text = str(since).strip().lower()
    if text == "today":
        return today.isoformat()
    if text == "month":
        return today.replace(day=1).isoformat()
    try:
        if found := _DAYS.fullmatch(text):
            return (today - timedelta(days=max(0, int(found[1]) - 1))).isoformat()
        return date.fromisoformat(text).isoformat()
    except (ValueError, OverflowError):
        hint = "Write a day (2026-11-01), `today`, `month`, or a number of days (7d)."
        raise InvalidRequest(f"since={since!r} is no day.", hint=hint) from None


async def standing(hall: Hall) -> list[Standing]:
    """Every budget that holds for this client, and where it stands. Looking makes no file."""
    books, store = hall.books, hall.store
    if not await _is_there(store):
        return [Standing(limit, 0, 0, 0, None, is_own=True) for limit in books.limits]
    await books.ledger.open()  # the client's own are counted from then on, beginning with what their windows hold
    return books.ledger.standing()


async def _is_there(store: Store) -> bool:
    return store.is_open or await asyncio.to_thread(store.exists)


async def look_into_books(hall: Hall) -> Found | None:
    """Every budget, and what was spent today in micro-USD; `None` where there are no books, or they cannot be read.

    Nothing is written down, and no file is made. A file that is not open yet is opened on a thread that holds up nobody.
    """
    import apsw

    books, store = hall.books, hall.store
    try:
        if store.is_open or await run_unheld(_open_if_there, store):
            return books.ledger.standing(), books.ledger.spent()
    except (apsw.Error, ConfigurationError, OSError):
        pass  # what cannot be read is not told
    return None


def _open_if_there(store: Store) -> bool:
    if there := store.exists() and not store.is_in_memory:  # in memory there is nothing before it is opened
        store.open()
    return there


def money(books: Books, today: Mapping[str, Any] | None, found: Found | None) -> dict[str, Any]:
    """The budgets and what was spent today, as plain data for a status.

    Args:
        today: What the log of decisions knows of today's answers; what it did not tell is `None` in what is told.
        found: What is in the books; without it, the client's own limits are told.
    """
    limits, spent = found or ([Standing(limit, 0, 0, 0, None, is_own=True) for limit in books.limits], None)
    days = [each.limit.micro_usd for each in limits if (each.limit.scope, each.limit.period) == ("all", "day")]
    if spent is not None:
        today = {**(today or dict.fromkeys(("answers", "unpriced", "failed"))), "spent_usd": spent / 1e6}
    return {
        "limit_usd": min(days) / 1e6 if days else None,
        "today": today,
        "on_limit": books.on_limit,
        "limits": [plain(each) for each in limits],
    }


def plain(standing: Standing) -> dict[str, Any]:
    """A budget, ready for JSON; times in seconds since the epoch."""
    limit = standing.limit
    return {
        "name": limit.name,
        "scope": limit.scope,
        "subject": limit.subject,
        "period": limit.period,
        "limit_usd": limit.micro_usd / 1e6,
        "spent_usd": standing.settled / 1e6,
        "reserved_usd": standing.reserved / 1e6,
        "allowed_usd": standing.allowed / 1e6,
        "left_usd": left(standing) / 1e6,
        "resets_at": standing.resets_at,
        "set_by": limit.origin,
        "is_for_all_programs": not standing.is_own,
    }


def left(standing: Standing) -> int:
    """What may still be reserved, in micro-USD."""
    return max(0, standing.limit.micro_usd + standing.allowed - standing.settled - standing.reserved)
