"""Holds what the killed processes acknowledged against what is in the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from oblix.ledger import chain
from oblix.ledger.balances import unbalanced

from .kills import Ack, Killing


@dataclass
class Verdict:
    """What came of it.

    Attributes:
        lost: Acknowledged, and not in the file.
        duplicated: In the file more than once.
        orphans: Reservations of the dead that nobody charged.
        wrong: Sentences about the books and the file.
    """

    kills: int
    acked: int
    recovery_ms: float
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    orphans: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        return not (self.lost or self.duplicated or self.orphans or self.wrong)

    def line(self) -> str:
        """The last line of `make kill`."""
        balance = "wrong" if self.wrong else "exact"
        return (
            f"kill: kills={self.kills} acked={self.acked} lost={len(self.lost)} duplicated={len(self.duplicated)} "
            f"orphans={self.orphans} balance={balance} max_recovery_ms={self.recovery_ms:.0f}"
        )


def judge(killing: Killing) -> Verdict:
    """Look the file through."""
    slowest = max(killing.recoveries, default=0.0)
    verdict = Verdict(killing.done, len(killing.acks), slowest * 1e3, wrong=list(killing.complaints))
    db = apsw.Connection(str(killing.path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        _judge_log(db, killing.acks, verdict)
        _judge_books(db, killing.acks, verdict)
        _judge_talks(db, killing.acks, verdict)
        if (found := db.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
            verdict.wrong.append(f"the file: {found[:3]}")
    finally:
        db.close()
    if left := [each.name for each in _leftovers(killing.path)]:
        verdict.wrong.append(f"the file was taken for a damaged one: {left}")
    return verdict


def _judge_log(db: apsw.Connection, acks: Iterable[Ack], verdict: Verdict) -> None:
    for kind, query in (("decision", "SELECT id FROM decision"), ("outcome", "SELECT decision_id FROM outcome")):
        _once(kind, (what for each, what, _ in acks if each == kind), _column(db, query), verdict)


def _judge_books(db: apsw.Connection, acks: list[Ack], verdict: Verdict) -> None:
    entries: Any = db.execute("SELECT kind, reservation, micro FROM entry WHERE reservation != ''").fetchall()
    said = {
        kind: {what: number for each, what, number in acks if each == kind} for kind in ("reserve", "raise", "settle")
    }
    _once("reserve", said["reserve"], [what for kind, what, _ in entries if kind == "reserve"], verdict)
    ends = [what for kind, what, _ in entries if kind in ("settle", "reap")]
    _once("settle", said["settle"], ends, verdict)
    charged: Counter[str] = Counter()
    for kind, what, micro in entries:
        if kind in ("settle", "reap", "correct"):
            charged[what] += micro
    for what, micro in said["settle"].items():
        if charged[what] != micro:
            verdict.lost.append(f"settle {what}: {micro} was acknowledged, {charged[what]} is charged")
    for what, micro in said["raise"].items():  # one that was left open, or killed, is charged at what it held at last
        if what not in said["settle"] and charged[what] < micro and _was_reaped(entries, what):
            verdict.lost.append(f"raise {what}: {micro} was acknowledged, {charged[what]} is charged")
    verdict.orphans += len(_column(db, "SELECT id FROM reservation"))
    verdict.wrong += unbalanced(db)
    if (found := chain.verify(db)).broken_at is not None:
        verdict.wrong.append(f"the chain is broken at {found.broken_at}: {found.why}")


def _judge_talks(db: apsw.Connection, acks: list[Ack], verdict: Verdict) -> None:
    messages: Any = db.execute(
        "SELECT session_id, seq, state, role, request_id FROM message ORDER BY session_id, seq"
    ).fetchall()
    for kind, role, states in (
        ("asked", "user", ("whole", "incomplete")),
        ("answered", "assistant", ("whole",)),
        ("broken", "assistant", ("incomplete",)),
    ):
        found = [request for *_, state, each, request in messages if each == role and state in states]
        _once(kind, (what for each, what, _ in acks if each == kind), found, verdict)
    answered = {what for kind, what, _ in acks if kind == "answered"}
    verdict.lost += [
        f"question {request}" for *_, state, _, request in messages if request in answered and state != "whole"
    ]
    verdict.orphans += sum(state == "open" for _, _, state, _, _ in messages)
    places: dict[str, list[int]] = {}
    for session, seq, *_ in messages:
        places.setdefault(session, []).append(seq)
    counts: Any = db.execute("SELECT id, message_count FROM session").fetchall()
    for session, count in counts:
        if places.get(session) != list(range(1, count + 1)):
            verdict.wrong.append(f"the places in {session!r} are not 1 to {count}")
    decided = set(_column(db, "SELECT id FROM decision"))
    verdict.wrong += [f"{request} was asked, and not decided" for *_, request in messages if request not in decided]


def _was_reaped(entries: Iterable[tuple[str, str, int]], what: str) -> bool:
    return ("reap", what) in {(kind, each) for kind, each, _ in entries}


def _once(kind: str, acked: Iterable[str], found: Iterable[str], verdict: Verdict) -> None:
    counts = Counter(found)
    verdict.lost += [f"{kind} {what}" for what in acked if what not in counts]
    verdict.duplicated += [f"{kind} {what}" for what, count in counts.items() if count > 1]


def _column(db: apsw.Connection, query: str) -> list[str]:
    return [str(row[0]) for row in db.execute(query)]


def _leftovers(path: Path) -> Iterable[Path]:
    return path.parent.glob(f"{path.name}.*")
