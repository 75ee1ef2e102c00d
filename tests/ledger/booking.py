"""What the tests of the books share: one price, calls at it, and a ledger on a file."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from oblix.ledger import Ledger, balances, chain
from oblix.storage.store import Store
from oblix.types.money import Claim, Limit, Period, Scope, Spent
from oblix.types.spec import Price

PRICE = Price(1.0, 1.0, "a test")  # a token is a micro-USD
NOON = 1_795_435_200.0  # 2026-11-23 12:00 UTC
DAY = 86_400.0
_numbers = itertools.count(1)


class Clock:
    """The wall's, set by hand."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def claim(tokens: int = 100, *, model: str = "openai:a", prompt: int = 0, **given: Any) -> Claim:
    """A call that reserves exactly so many micro-USD: its bound is reserved at once."""
    name = f"r{os.getpid()}-{next(_numbers)}"  # other processes write to the same file
    given = {"most_tokens": tokens, "grows": False, **given}
    return Claim(f"{name}#1", name, model, "cloud", prompt, PRICE, **given)


def spent(micro: int, *, certain: bool = True, outcome: str = "ok", **given: Any) -> Spent:
    return Spent(micro, certain, outcome, **given)


def limit(micro: int, scope: Scope = "all", period: Period = "day", subject: str = "") -> Limit:
    return Limit(scope, period, micro, subject=subject, origin="a test")


def ledger_on(path: Path | str, *limits: Limit, **given: Any) -> Ledger:
    given = {"wall": Clock(), **given}
    return Ledger(Store(path), limits, **given)


def store_of(ledger: Ledger) -> Store:
    return ledger._store


async def written(ledger: Ledger) -> Store:
    """Its store, once all is in the file that was posted: where a write was slow, the next ones are left to a thread."""
    store = store_of(ledger)
    await store.write(lambda _: None)
    return store


def is_sound(store: Store) -> bool:
    """Whether every balance equals its entries, and the chain is whole; told by an assertion where not."""
    assert store.read(balances.unbalanced) == []
    assert store.read(chain.verify).broken_at is None
    return True


def told(store: Store, columns: str = "kind, micro", where: str = "TRUE") -> list[Any]:
    """Of the entries, in order."""
    return store.read(lambda db: db.execute(f"SELECT {columns} FROM entry WHERE {where} ORDER BY seq").fetchall())


def figures(store: Store, scope: str = "all", period: str = "day", subject: str = "") -> list[Any]:
    """Settled, reserved, allowed of an account, window by window."""
    return store.read(
        lambda db: db.execute(
            "SELECT settled, reserved, allowed FROM account WHERE scope = ? AND period = ? AND subject = ? ORDER BY span",
            (scope, period, subject),
        ).fetchall()
    )
