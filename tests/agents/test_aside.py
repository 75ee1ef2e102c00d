"""A loop on a thread of its own: it starts when it is needed, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from oblix.agents.aside import Aside


class Owner:
    """Something that holds an `Aside`, and counts its farewells."""

    def __init__(self) -> None:
        self.farewells: list[int] = []
        farewells = self.farewells

        async def farewell() -> None:
            farewells.append(threading.get_ident())

        self.aside = Aside("oblix-test", farewell)


def wait(condition: Callable[[], Any]) -> None:
    deadline = threading.Event()
    for _ in range(3000):
        if condition():
            return
        deadline.wait(0.01)
    raise AssertionError("it did not come about")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "oblix-test"]


def test_it_runs_elsewhere_and_starts_at_the_first_use() -> None:
    owner, seen = Owner(), list[int]()

    async def work() -> None:
        seen.append(threading.get_ident())

    assert threads() == []
    owner.aside.spawn(work())
    wait(lambda: seen and not owner.aside.pending)
    assert seen[0] != threading.get_ident()
    ended = owner.aside.stop()
    assert ended is not None
    ended.result(30)
    assert owner.farewells == seen  # on the same thread
    wait(lambda: not threads())


def test_what_is_under_way_is_cancelled_and_the_next_work_begins_anew() -> None:
    owner, cancelled = Owner(), list[bool]()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    for times in (1, 2):
        owner.aside.spawn(endless())
        ended = owner.aside.stop()
        assert ended is not None
        ended.result(30)
        assert len(owner.farewells) == times
        assert owner.aside.pending == set()
    assert owner.aside.stop() is None
    assert len(cancelled) <= 2  # one that had not begun is closed without a word


def test_an_error_is_logged_and_the_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    owner, seen = Owner(), list[bool]()

    async def breaks() -> None:
        raise RuntimeError("a slip")

    async def works() -> None:
        seen.append(True)

    owner.aside.spawn(breaks())
    wait(lambda: not owner.aside.pending)
    owner.aside.spawn(works())
    wait(lambda: seen)
    assert "a slip" in caplog.text
    owner.aside.stop()
    wait(lambda: not threads())


def test_an_owner_that_is_dropped_takes_the_thread_along() -> None:
    owner = Owner()

    async def work() -> None:
        await asyncio.Event().wait()

    owner.aside.spawn(work())
    wait(threads)
    there = weakref.ref(owner.aside)
    del owner
    gc.collect()
    wait(lambda: there() is None and not threads())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_the_child_has_a_thread_of_its_own() -> None:
    owner = Owner()

    async def nothing() -> None:
        return

    owner.aside.spawn(nothing())
    wait(lambda: not owner.aside.pending)
    child = os.fork()
    if child == 0:
        told = threading.Event()

        async def work() -> None:
            told.set()

        owner.aside.spawn(work())
        os._exit(0 if told.wait(30) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    owner.aside.stop()
    wait(lambda: not threads())
