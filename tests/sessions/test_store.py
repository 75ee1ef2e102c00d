"""Sessions on a real file: against a small model of them, from two stores at once, and what they cost as they grow."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from oblix.errors import InvalidRequest
from oblix.sessions import rows
from oblix.sessions.store import LEASE, Sessions
from oblix.storage.store import Store, Work
from oblix.types.messages import Message, ToolCall

MINE, DEAD, UNSEEN = "me", "dead", "elsewhere"
ALIVE = {MINE: True, DEAD: False, UNSEEN: None}
EVERYTHING = 1 << 30


class Clock:
    """Goes on by a second whenever it is asked."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def made(path: Path | str = ":memory:", *, owner: str = MINE, clock: Clock | None = None) -> tuple[Store, Sessions]:
    store = Store(path)
    store.open()
    return store, Sessions(store, clock or Clock(), me=lambda: owner, is_alive=ALIVE.get)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Store, Sessions]]:
    store, sessions = made(tmp_path / "d.db")
    yield store, sessions
    store.close()


def say(store: Store, sessions: Sessions, session_id: str, question: str, answer: str | None, number: int) -> None:
    """A question and its answer, if it comes."""
    request_id = f"r{number}"
    store.write_now(sessions.asked(session_id, [Message("user", question)], request_id=request_id))
    if answer is not None:
        done = sessions.answered(session_id, Message("assistant", answer), request_id=request_id, model_id="a:b")
        store.write_now(done)


def told(store: Store, sessions: Sessions, session_id: str, tokens: int = EVERYTHING) -> list[str]:
    found = store.read(sessions.recent(session_id, tokens))
    return [] if found is None else [message.text for message in found.messages]


class Sessioned(RuleBasedStateMachine):
    """Two stores on one file against a list of turns per session, in the order in which they were begun."""

    sessions = Bundle("sessions")
    waiting = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.both = [made(Path(self.folder.name) / "d.db", clock=clock) for clock in [Clock()] * 2]
        self.turns: dict[str, dict[str, list[str]]] = {}  # session → request → its texts; none where it is not whole
        self.all: dict[str, int] = {}
        self.open: set[tuple[str, str]] = set()
        self.needles: dict[str, int] = {}
        self.numbers = count()

    def teardown(self) -> None:
        for store, _ in self.both:
            store.close()
        self.folder.cleanup()

    @initialize(target=sessions)
    def begin(self) -> str:
        return "s0"

    @rule(target=sessions, number=st.integers(1, 5))
    def name(self, number: int) -> str:
        return f"s{number}"

    @rule(target=waiting, session=sessions, which=st.integers(0, 1), text=st.text(max_size=8))
    def ask(self, session: str, which: int, text: str) -> tuple[str, str, str]:
        store, sessions = self.both[which]
        request_id = f"r{next(self.numbers)}"
        store.write_now(sessions.asked(session, [Message("user", text)], request_id=request_id))
        self.grows(session, request_id)
        self.open.add((session, request_id))
        return session, request_id, text

    @rule(asked=consumes(waiting), which=st.integers(0, 1), text=st.text(max_size=8), proved=st.booleans())
    def answer(self, asked: tuple[str, str, str], which: int, text: str, proved: bool) -> None:
        (store, sessions), (session, request_id, question) = self.both[which], asked
        waited = (session, request_id) in self.open  # else its session was deleted, and nothing of it comes back
        self.open.discard((session, request_id))
        if proved:
            answer = Message("assistant", text)
            done = sessions.answered(session, answer, request_id=request_id, model_id="a:b")
            assert bool(store.write_now(done)) is waited
            if waited:
                self.turns[session][request_id] = [question, text]
        else:
            store.write_now(sessions.broken(session, text, request_id=request_id, model_id="a:b"))
        if waited:
            self.all[session] += bool(proved or text)

    @rule(session=sessions, which=st.integers(0, 1))
    def delete(self, session: str, which: int) -> None:
        assert self.both[which][1].delete(session) == (self.turns.pop(session, None) is not None)
        self.all.pop(session, None)
        self.needles.pop(session, None)
        self.open = {each for each in self.open if each[0] != session}

    @rule(session=sessions, which=st.integers(0, 1), text=st.text(max_size=8))
    def ask_and_die(self, session: str, which: int, text: str) -> None:
        store, sessions = self.both[which]
        dying = Sessions(store, Clock(), me=lambda: DEAD)
        store.write_now(dying.asked(session, [Message("user", text)], request_id="r-dead"))
        self.grows(session)
        assert store.write_now(sessions.recover()) == 1

    @rule(session=sessions, which=st.integers(0, 1))
    def search(self, session: str, which: int) -> None:
        """The index follows whatever was asked, answered and deleted meanwhile."""
        _, sessions = self.both[which]
        asyncio.run(sessions.append(session, [Message("user", "needle")]))
        self.grows(session, f"n{next(self.numbers)}", ["needle"])
        self.needles[session] = self.needles.get(session, 0) + 1
        found = asyncio.run(self.both[1 - which][1].search("needle", limit=1000))
        assert Counter(each["session_id"] for each in found) == self.needles

    def grows(self, session: str, request_id: str = "", texts: Sequence[str] = ()) -> None:
        self.all[session] = self.all.get(session, 0) + 1
        self.turns.setdefault(session, {})[request_id] = list(texts)

    @rule(which=st.integers(0, 1))
    def close_and_open(self, which: int) -> None:
        self.both[which][0].close()

    @invariant()
    def both_know_the_same(self) -> None:
        for store, sessions in self.both:
            listed = {each["id"]: each["message_count"] for each in sessions.latest()}
            assert listed == self.all
            for session, turns in self.turns.items():
                assert told(store, sessions, session) == [text for turn in turns.values() for text in turn]
                loaded = sessions.load(session)
                assert loaded is not None
                assert len(loaded["messages"]) == self.all[session]


TestSessions = Sessioned.TestCase
TestSessions.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_a_long_session_is_read_from_its_end_only(tmp_path: Path) -> None:
    """Counted in steps of SQLite's machine: ten times as long, and it takes no more of them to go on with it."""
    took = []
    for length in (1_000, 10_000):
        store, sessions = made(tmp_path / f"{length}.db")
        talk = [Message("user" if n % 2 == 0 else "assistant", "word " * 40, pinned=n == 0) for n in range(length)]
        asyncio.run(sessions.append("s", talk))
        found = store.read(sessions.recent("s", 4_000))
        assert found is not None
        assert found.messages[0].pinned
        assert found.messages[1].role == "user"
        assert found.left_out + len(found.messages) == length
        answer = sessions.answered("s", Message("assistant", "a"), request_id="r", model_id="a:b")
        with store.reader() as db:
            read = steps(db, sessions.recent("s", 4_000))
        asked = store.write_now(lambda db: steps(db, sessions.asked("s", [Message("user", "q")], request_id="r")))  # noqa: B023
        answered = store.write_now(lambda db: steps(db, answer))  # noqa: B023
        took.append((len(found.messages), read, asked, answered))
        store.close()
    for short, long in zip(*took, strict=True):
        assert long <= short + 20, took


def steps(db: apsw.Connection, work: Work[Any]) -> int:
    """How many steps of its virtual machine SQLite takes for this."""
    taken = 0

    def step() -> bool:
        nonlocal taken
        taken += 1
        return False

    db.set_progress_handler(step, 1)
    try:
        work(db)
    finally:
        db.set_progress_handler(None)
    return taken


def test_what_is_read_begins_with_a_question(opened: tuple[Store, Sessions]) -> None:
    """Half a turn is none, wherever the room ends."""
    store, sessions = opened
    for number in range(10):
        say(store, sessions, "s", f"question {number}", f"answer {number} " + "word " * number, number)
    for tokens in range(0, 300, 7):
        found = store.read(sessions.recent("s", tokens))
        assert found is not None
        assert [message.role for message in found.messages] == ["user", "assistant"] * (len(found.messages) // 2)
        assert found.left_out + len(found.messages) == 20


def test_the_pinned_are_read_however_far_back(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    for number in range(50):
        say(store, sessions, "s", f"question {number}", "answer " * 50, number)
    loaded = sessions.load("s")
    assert loaded is not None
    assert sessions.pin("s", loaded["messages"][4]["id"])
    found = store.read(sessions.recent("s", 500))
    assert found is not None
    assert found.messages[0].text == "question 2"
    assert found.messages[0].pinned
    assert found.left_out + len(found.messages) == 100
    assert sessions.unpin("s", loaded["messages"][4]["id"])
    assert "question 2" not in told(store, sessions, "s", 500)
    for nothing in ("x", "9" * 30, "-1", ""):
        assert not sessions.pin("s", nothing)
    assert not sessions.pin("other", loaded["messages"][4]["id"])


def test_one_message_that_is_longer_than_all_room(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    say(store, sessions, "s", "short", "long " * 1000, 1)
    found = store.read(sessions.recent("s", 100))
    assert found is not None
    assert (found.messages, found.left_out) == ((), 2)


def test_answers_stand_behind_their_questions_when_two_asked_at_once(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    for number in (1, 2):
        store.write_now(sessions.asked("s", [Message("user", f"q{number}")], request_id=f"r{number}"))
    for number in (2, 1):
        done = sessions.answered("s", Message("assistant", f"a{number}"), request_id=f"r{number}", model_id="a:b")
        store.write_now(done)
    assert told(store, sessions, "s") == ["q1", "a1", "q2", "a2"]


def test_a_request_name_that_comes_again_keeps_the_order(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    for number, name in enumerate((1, 2, 1, 1)):
        say(store, sessions, "s", f"q{number}", f"a{number}", name)
    assert told(store, sessions, "s") == ["q0", "a0", "q1", "a1", "q2", "a2", "q3", "a3"]


def test_an_answer_whose_question_lies_too_far_back_is_not_told(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    for number in (1, 2):
        store.write_now(sessions.asked("s", [Message("user", f"q{number} " + "word " * 50)], request_id=f"r{number}"))
    for number in (1, 2):
        answer = Message("assistant", f"a{number}")
        store.write_now(sessions.answered("s", answer, request_id=f"r{number}", model_id="a:b"))
    found = store.read(sessions.recent("s", 120))
    assert found is not None
    assert [message.text.split()[0] for message in found.messages] == ["q2", "a2"]
    assert found.left_out == 2


def test_a_system_prompt_is_told_however_far_back_it_lies(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    asyncio.run(sessions.append("s", [Message("system", "be brief"), Message("user", "word " * 500)]))
    say(store, sessions, "s", "q", "a", 1)
    assert told(store, sessions, "s", 100) == ["be brief", "q", "a"]
    loaded = sessions.load("s")
    assert loaded is not None
    assert sessions.unpin("s", loaded["messages"][0]["id"])  # it stays all the same
    assert told(store, sessions, "s", 100) == ["be brief", "q", "a"]


def test_a_call_of_tools_and_its_results_are_pinned_together(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    calls = tuple(ToolCall(f"c{number}", "find", "{}") for number in (1, 2))
    talk = [Message("user", "q"), Message("assistant", "", calls)]
    talk += [Message("tool", f"found {call.id}", tool_call_id=call.id) for call in calls]
    asyncio.run(sessions.append("s", [*talk, Message("assistant", "There."), Message("user", "word " * 500)]))
    loaded = sessions.load("s")
    assert loaded is not None
    for which in (1, 2, 3):
        assert sessions.pin("s", loaded["messages"][which]["id"])
        assert told(store, sessions, "s", 20) == ["", "found c1", "found c2"]
        assert sessions.unpin("s", loaded["messages"][which]["id"])
        assert told(store, sessions, "s", 20) == []
    assert sessions.pin("s", loaded["messages"][4]["id"])
    assert told(store, sessions, "s", 20) == ["There."]


def test_any_text_is_a_name(opened: tuple[Store, Sessions]) -> None:
    """Half a character in an id goes the way of any that cannot be written: it is replaced, everywhere alike."""
    store, sessions = opened
    name = "s\ud800\0"
    store.write_now(sessions.asked(name, [Message("user", "q")], request_id="\udfff"))
    done = sessions.answered(name, Message("assistant", "a"), request_id="\udfff", model_id="a:\ud800")
    assert store.write_now(done)
    assert told(store, sessions, name) == ["q", "a"]
    assert sessions.load(name) is not None
    assert sessions.delete(name)
    assert told(store, sessions, name) == []


def test_what_is_known_is_given_again_until_something_changes(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    say(store, sessions, "s", "q", "a", 1)
    known = store.read(sessions.recent("s", 100))
    assert known is not None
    assert store.read(sessions.recent("s", 100, known)) is known
    assert store.read(sessions.recent("s", 1, known)) is not known
    loaded = sessions.load("s")
    assert loaded is not None
    sessions.pin("s", loaded["messages"][0]["id"])
    again = store.read(sessions.recent("s", 100, known))
    assert again is not None
    assert again.messages[0].pinned
    sessions.delete("s")
    assert store.read(sessions.recent("s", 100, known)) is None
    say(store, sessions, "s", "other", "words", 2)
    assert told(store, sessions, "s") == ["other", "words"]


def test_it_goes_on_in_mind_only_where_nobody_else_spoke(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    say(store, sessions, "s", "q", "a", 1)
    known = store.read(sessions.recent("s", 100))
    assert known is not None
    version = known.version[1]
    said = (Message("user", "q2"), Message("assistant", "a2"))
    assert known.gone_on(said, version + 3, redacted=False) is None
    say(store, sessions, "s", "q2", "a2", 2)
    mine = known.gone_on(said, version + 2, redacted=True)
    assert mine is not None
    assert mine.redacted
    assert store.read(sessions.recent("s", 1000, mine)) is mine
    assert [message.text for message in mine.messages] == told(store, sessions, "s")


@pytest.mark.parametrize(("owner", "later", "state"), [
    (DEAD, 0.0, "incomplete"), (MINE, 2 * LEASE, "open"), (UNSEEN, 0.0, "open"), (UNSEEN, 2 * LEASE, "incomplete"),
])  # fmt: skip
def test_who_waits_for_nobody_any_more(owner: str, later: float, state: str, tmp_path: Path) -> None:
    clock = Clock()
    store, sessions = made(tmp_path / "d.db", owner=owner, clock=clock)
    say(store, sessions, "s", "q", None, 1)
    clock.now += later
    given_up = store.write_now(sessions.recover())
    loaded = sessions.load("s")
    assert loaded is not None
    assert loaded["messages"][0]["state"] == state
    assert given_up == (state == "incomplete")
    store.close()


def test_deleted_is_deleted(tmp_path: Path) -> None:
    """Not a word of it is left in the file, its log, or the index of the search."""
    store, sessions = made(tmp_path / "d.db")
    secret, kept = "Xylophonist", "Bagpiper"
    say(store, sessions, "s1", f"I am a {secret}", f"A {secret}!", 1)
    say(store, sessions, "s2", f"I am a {kept}", "Well.", 2)
    assert len(asyncio.run(sessions.search(secret))) == 2
    assert sessions.delete("s1")
    assert not sessions.delete("s1")
    assert asyncio.run(sessions.search(secret)) == []
    assert len(asyncio.run(sessions.search(kept))) == 1
    other, _ = made(
        tmp_path / "d.db"
    )  # another process: SQLite alone empties the log only when nobody has the file open
    store.close()
    held = {file.name: file.read_bytes().lower().decode("latin-1") for file in tmp_path.iterdir()}
    assert sorted(held) == ["d.db", "d.db-shm", "d.db-wal"]
    assert [name for name, text in held.items() if secret.lower() in text] == []
    assert "d.db" in [name for name, text in held.items() if kept.lower() in text]
    other.close()


def test_old_ones_are_forgotten_but_not_while_they_wait(tmp_path: Path) -> None:
    clock = Clock()
    store, sessions = made(tmp_path / "d.db", clock=clock)
    say(store, sessions, "old", "q", "a", 1)
    say(store, sessions, "waits", "q", None, 2)
    clock.now += 10 * 86_400
    say(store, sessions, "new", "q", "a", 3)
    assert sessions.forget(5) == 1
    assert sessions.forget(5) == 0
    assert {each["id"] for each in sessions.latest()} == {"waits", "new"}
    store.close()


def test_many_old_ones_are_forgotten_in_several_steps(opened: tuple[Store, Sessions]) -> None:
    """Other processes write between them."""
    store, sessions = opened
    for number in range(5):
        asyncio.run(sessions.append(f"s{number}", [Message("user", "word")] * 900))
    assert store.write_now(lambda db: rows.forget(db, 1e12)) == 3
    assert sessions.forget(-1, {"s4"}) == 1
    assert [each["id"] for each in sessions.latest()] == ["s4"]
    assert sessions.forget(-1) == 1


def test_nothing_private_becomes_a_title(opened: tuple[Store, Sessions], tmp_path: Path) -> None:
    store, sessions = opened
    for number, private in enumerate((1, 2)):
        told: dict[str, Any] = {"request_id": f"r{number}", "private": private}
        store.write_now(sessions.asked("s", [Message("user", "My ward")], **told))
        store.write_now(sessions.answered("s", Message("assistant", "12"), model_id="a:b", **told))
    asyncio.run(sessions.append("s", [Message("user", "My room", private=True)]))
    file = tmp_path / "s.json"
    assert asyncio.run(sessions.export_to("s", file))
    again = asyncio.run(sessions.import_from(file))
    assert [each["title"] for each in sessions.latest()] == ["", ""]
    asyncio.run(sessions.append("s", [Message("user", "The weather")]))
    assert {each["id"]: each["title"] for each in sessions.latest()} == {"s": "The weather", again: ""}


def test_titles_and_metadata(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    say(store, sessions, "s", "What is\n  the \ud800 capital of France, and " + "why " * 40, "Paris", 1)
    (listed,) = sessions.latest()
    assert listed["title"].startswith("What is the ? capital of France, and why")
    assert len(listed["title"]) <= 60
    assert sessions.rename("s", "Mine \udfff")
    assert sessions.latest()[0]["title"] == "Mine ?"
    assert sessions.update_metadata("s", {"a": {"b": [1, None]}, "x.y": True, "gone": 1})
    assert sessions.update_metadata("s", {"gone": None})
    assert sessions.metadata("s") == {"a": {"b": [1, None]}, "x.y": True}
    for wanted, is_held in (
        ({"a": {"b": [1, None]}}, True), ({"a.b": [1, None]}, True), ({"x.y": True}, True), ({"a.c": 1}, False),
        ({"a.b.c": 1}, False), ({"nothing": None}, True), ({}, True),
    ):  # fmt: skip
        assert bool(sessions.latest(filter_metadata=wanted)) is is_held, wanted
    assert not sessions.update_metadata("nowhere", {})
    assert sessions.metadata("nowhere") is None
    assert sessions.latest(limit=0) == []
    assert sessions.latest(limit=-1) == []


@pytest.mark.parametrize("junk", [{"a": object()}, [1], "text", {"a": float}])
def test_what_cannot_be_kept_is_a_clear_error(junk: Any, opened: tuple[Store, Sessions]) -> None:
    _, sessions = opened
    with pytest.raises(InvalidRequest, match="cannot be kept"):
        asyncio.run(sessions.create(metadata=junk))
    with pytest.raises(InvalidRequest, match="initial_context cannot be kept"):
        asyncio.run(sessions.create(context=junk))
    if not isinstance(junk, str):
        with pytest.raises(InvalidRequest, match="A title is of type"):
            sessions.rename("s", junk)
    assert sessions.latest() == []


def test_ids_by_their_start(opened: tuple[Store, Sessions]) -> None:
    _, sessions = opened
    for each in ("abc", "abcd", "b%", "B_"):
        asyncio.run(sessions.create(session_id=each))
    assert sessions.starting("abc") == ["abc"]
    assert sessions.starting("ab") == ["abc", "abcd"]
    assert sessions.starting("b") == ["b%"]
    assert sessions.starting("\ud800") == []


def test_a_broken_answer_is_kept_with_what_came_of_it(opened: tuple[Store, Sessions]) -> None:
    store, sessions = opened
    for number, text in enumerate(("half an", "")):
        say(store, sessions, "s", f"q{number}", None, number)
        store.write_now(sessions.broken("s", text, request_id=f"r{number}", model_id="a:b"))
        store.write_now(sessions.broken("s", "too late", request_id=f"r{number}", model_id="a:b"))
    found = sessions.load("s")
    assert found is not None
    assert [(each["content"], each["state"]) for each in found["messages"]] == [
        ("q0", "incomplete"), ("half an", "incomplete"), ("q1", "incomplete"),
    ]  # fmt: skip
    assert told(store, sessions, "s") == []


def test_looking_makes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "d.db"
    sessions = Sessions(Store(file), Clock())
    assert sessions.latest() == []
    assert sessions.load("s") is None
    assert asyncio.run(sessions.search("word")) == []
    assert not asyncio.run(sessions.export_to("s", tmp_path / "s.json"))
    assert list(tmp_path.iterdir()) == []
