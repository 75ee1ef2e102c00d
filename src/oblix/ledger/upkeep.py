"""What has to be done now and then while somebody holds something: leases renewed, the dead charged, debts to the books paid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from oblix.ledger import books, owner
from oblix.ledger.failing import Owed, Trouble, failures
from oblix.ledger.owner import Lease
from oblix.storage.store import Store

BEAT = 2.0  # seconds between two rounds
LEASE = (
    90.0  # seconds: what is held by a machine that cannot be looked into is charged so long after its last sign of life
)
RENEWED = 20.0  # seconds after which leases are renewed


class Upkeep:
    """Rounds every two seconds, beside the path of any call, while there is something to do.

    Args:
        wall: Seconds since the epoch.
        held: What this client holds, whose leases are renewed one by one: what a loop held that was closed in mid-call is nobody's now,
            though its process lives.
        is_needed: Whether anybody holds something, or waits.
        wake: The figures changed: who waits may look again.
    """

    def __init__(
        self,
        store: Store,
        wall: Callable[[], float],
        owed: Owed,
        trouble: Trouble,
        *,
        held: Callable[[], Iterable[str]],
        is_needed: Callable[[], bool],
        wake: Callable[[], None],
    ) -> None:
        self.owner = ""
        self._store = store
        self._wall = wall
        self._owed = owed
        self._trouble = trouble
        self._held = held
        self._is_needed = is_needed
        self._wake = wake
        self._renewed = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_going(self) -> bool:
        """Whether there will be another round."""
        return self._timer is not None

    async def begin(self, holders: list[Lease]) -> None:
        """Find out who we are, and charge what the dead left."""
        self.owner, dead = await asyncio.to_thread(_look_around, holders, self._wall())
        self.reap(dead)

    def lease(self) -> Lease:
        """For something that is reserved now."""
        return Lease(self.owner, self._wall() + LEASE)

    def go_on(self) -> None:
        """There is something to do."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BEAT, self._round)

    def close(self) -> None:
        """No more rounds."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def dead(self) -> list[Lease]:
        """Who holds something, and died. Reads files."""
        try:
            with self._store.reader() as db:
                return owner.dead(books.holders(db), self._wall())
        except failures() as error:
            self._trouble.is_here(error)
            return []

    def reap(self, dead: Iterable[Lease]) -> None:
        """Charge what they left."""
        for each in dead:
            work = partial(books.reap, owner=each.owner, before=each.until, at=self._wall())
            self._store.post(work, self._trouble.is_here)
            self._wake()

    def _round(self) -> None:
        self._timer = None
        if not (self._is_needed() or self._owed or self._store.pending):
            return
        self.go_on()
        self._owed.repay()
        now = self._wall()
        if abs(now - self._renewed) >= RENEWED:
            self._renewed = now
            work = partial(books.renew, ids=tuple(self._held()), until=self.lease().until)
            self._store.post(work, self._trouble.is_here)
        self._look_for_dead()

    def _look_for_dead(self) -> None:
        """Where others hold something, see aside whether they live; of our own process that is known, up to what nobody renews."""
        if not self._store.is_open:  # opening it takes milliseconds
            return
        try:
            leases, late = self._store.read(books.holders), self._wall() - owner.OVERDUE
            others = any(lease.owner != self.owner or lease.until < late for lease in leases)
        except failures() as error:
            self._trouble.is_here(error)
            return
        if others:
            look = asyncio.get_running_loop().run_in_executor(None, self.dead)
            look.add_done_callback(lambda done: self.reap(done.result()))


def _look_around(holders: list[Lease], now: float) -> tuple[str, list[Lease]]:
    return owner.me(), owner.dead(holders, now)
