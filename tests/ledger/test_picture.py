"""What the books say at this moment: a client's own limits count from the moment that they are known."""

from __future__ import annotations

from pathlib import Path

from oblix.testing import run

from .booking import claim, ledger_on, limit, spent, written


def test_own_limits_that_nobody_counts_yet_stand_where_their_windows_do(tmp_path: Path) -> None:
    """Before anything reserves, and without a word written down."""

    async def main() -> None:
        before = ledger_on(tmp_path / "oblix.db")
        for key in ("k1", "k2"):
            (await before.reserve(claim(100, key=key, tags=("x",)))).settle(spent(30))
        await before.reserve(claim(50, key="k2"))
        store = await written(before)
        entries = store.read(lambda db: db.execute("SELECT count(*) FROM entry").get)
        ledger = ledger_on(tmp_path / "oblix.db")
        assert ledger.rooms(["openai:a"]) == {"openai:a": None}  # not open
        await ledger.open()
        own, tag = limit(200, "key", "month", "k2"), limit(50, "tag", "day", "x")
        ledger.watch([own, tag, limit(90, "tag", "day", "x")])
        assert [(each.limit, each.settled, each.reserved) for each in ledger.standing()][:2] == [
            (own, 30, 50),
            (tag, 60, 0),
        ]
        assert ledger.spent("key", "month", "k2") == 30
        room = ledger.rooms(["openai:a"], key="k2")["openai:a"]
        assert room is not None
        assert (room.left_usd, room.spent_usd, room.held_usd) == (120e-6, 30e-6, 50e-6)
        assert (room.scope, room.subject, room.period, room.origin) == ("key", "k2", "month", "a test")
        room = ledger.rooms(["openai:a"], ("x",), key="k2")["openai:a"]
        assert room is not None
        assert (room.limit_usd, room.left_usd) == (50e-6, 0)
        assert ledger.rooms(["openai:a"], key="k1") == {"openai:a": None}
        assert store.read(lambda db: db.execute("SELECT count(*) FROM entry").get) == entries

    run(main())
