"""Every agent is asked before every prompt, all at once; who cannot answer abstains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest

from oblix.agents import AgentReport, BaseAgent, ResourceMonitor
from oblix.agents.gather import DEADLINE, READY_DEADLINE, Panel
from oblix.testing import VirtualClockLoop, run

from .witness import GOOD, Witness


def now() -> float:
    return asyncio.get_running_loop().time()


def panel(*agents: BaseAgent) -> Panel:
    made = Panel()
    for agent in agents:
        made.add(agent)
    return made


async def ask(asked: Panel, **context: Any) -> tuple[dict[str, AgentReport], float]:
    """The reports, and how long they took."""
    started = now()
    reports = await asked.ask(**{"prompt": "hi", "request": None, "session_id": "s1", **context})
    return reports, now() - started


def test_all_are_asked_at_once_with_the_prompt_and_answer_in_the_order_of_hooking() -> None:
    agents = [Witness(name, after=after) for name, after in (("c", 0.09), ("a", 0.05), ("b", 0.0625))]
    reports, took = run(ask(panel(*agents)))
    assert took == 0.09
    assert list(reports) == ["c", "a", "b"]
    assert all(report == AgentReport(True, "fine", "local", "because") for report in reports.values())
    assert [agent.asked_at for agent in agents] == [[0.0]] * 3
    assert agents[0].asked == [{"prompt": "hi", "request": None, "session_id": "s1"}]


def test_who_hangs_is_left_behind_at_the_deadline() -> None:
    reports, took = run(ask(panel(Witness("hangs", after=1e9), Witness("quick"))))
    assert took == DEADLINE == 0.1
    assert reports["hangs"] == AgentReport(True, "error", "hybrid", "no answer within 100 ms")
    assert reports["quick"].state == "fine"


def test_who_hangs_and_clings_to_life_delays_nobody() -> None:
    """A check that swallows its cancellation cannot be stopped; nobody waits for it."""

    class Clinging(Witness):
        async def check(self, **kwargs: Any) -> Mapping[str, Any]:
            while now() < 50.0:
                try:
                    await asyncio.sleep(1e9)
                except asyncio.CancelledError:
                    await asyncio.sleep(60.0)
            return GOOD

    async def main() -> None:
        asked = panel(Clinging("clings"))
        for _ in range(2):
            assert await ask(asked) == (
                {"clings": AgentReport(True, "error", "hybrid", "no answer within 100 ms")},
                0.1,
            )
        await asyncio.sleep(200.0)

    run(main())


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (ZeroDivisionError("slip"), "check() raised ZeroDivisionError"),
        (ValueError("bad"), "check() raised ValueError"),
        (lambda: None, "check() returned NoneType, expected a dict or an AgentReport"),
        ("cloud", "check() returned str, expected a dict or an AgentReport"),
        ({}, "check() returned none of the keys proceed, state, target, reason, metrics, lean, stale, sparing"),
        (
            {"verdict": "go"},
            "check() returned none of the keys proceed, state, target, reason, metrics, lean, stale, sparing",
        ),
        ({"proceed": "no"}, "'proceed' is 'no', expected True or False"),
        ({"target": "moon"}, "'target' is 'moon', expected one of local, local_cpu, local_gpu, cloud, hybrid"),
        ({"target": ["cloud"]}, "'target' is ['cloud'], expected one of local, local_cpu, local_gpu, cloud, hybrid"),
        ({"target": {"a": 1}}, "'target' is {'a': 1}, expected one of local, local_cpu, local_gpu, cloud, hybrid"),
        ({"proceed": True, "metrics": 3}, "'metrics' is int, expected a mapping"),
    ],
)
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_who_raises_or_answers_junk_abstains_or_refuses(says: object, why: str, closed: bool) -> None:
    agent = Witness("odd", says)
    agent.fail_closed = closed
    reports, _ = run(ask(panel(agent, Witness("fine"))))
    assert reports["odd"] == AgentReport(not closed, "error", "hybrid", why)
    assert reports["fine"].state == "fine"


def test_a_traceback_of_a_users_slip_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    run(ask(panel(Witness("odd", ZeroDivisionError("slip")))))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.getMessage() == "agent 'odd' raised ZeroDivisionError in check(); it abstains"


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_who_hangs_and_must_be_heard_refuses(closed: bool) -> None:
    agent = Witness("odd", after=1e9)
    agent.fail_closed = closed
    assert run(ask(panel(agent)))[0]["odd"].proceed is not closed


class Mood(Enum):
    GOOD = "good"


def test_enums_and_missing_keys_are_read_kindly() -> None:
    reports, _ = run(ask(panel(Witness("mood", {"state": Mood.GOOD, "target": None, "reason": None}))))
    assert reports["mood"] == AgentReport(True, "good", "hybrid", "")


def test_a_report_that_is_one_already_is_taken_as_it_is() -> None:
    told = AgentReport(False, "shut", "cloud", "no", metrics={"x": 1}, lean="edge", stale=True)
    assert run(ask(panel(Witness("own", told))))[0]["own"] == told


# --- getting ready ---


def test_each_gets_ready_once_before_its_first_check() -> None:
    agent = Witness("a", ready_after=0.5)

    async def main() -> None:
        asked = panel(agent)
        assert (await ask(asked))[1] == 0.5
        assert (await ask(asked))[1] == 0.0
        assert agent.initialized == 1
        assert agent.asked_at == [0.5, 0.5]

    run(main())


def test_all_get_ready_at_once() -> None:
    assert run(ask(panel(*(Witness(f"a{number}", ready_after=0.75) for number in range(20)))))[1] == 0.75


@pytest.mark.parametrize(
    ("ready", "why"),
    [
        (False, "initialize() returned False"),
        (RuntimeError("no device"), "initialize() raised RuntimeError: no device"),
    ],
)
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_who_cannot_get_ready_is_not_asked(ready: bool | Exception, why: str, closed: bool) -> None:
    agent = Witness("a", ready=ready)
    agent.fail_closed = closed

    async def main() -> None:
        asked = panel(agent, Witness("b"))
        for _ in range(2):
            reports, took = await ask(asked)
            assert reports["a"] == AgentReport(not closed, "error", "hybrid", why)
            assert reports["b"].state == "fine"
            assert took == 0.0
        assert (agent.initialized, agent.asked) == (1, [])

    run(main())


def test_who_takes_long_to_get_ready_is_waited_for_once_and_votes_from_then_on() -> None:
    async def main() -> None:
        asked = panel(Witness("slow", ready_after=3.0), Witness("quick"))
        reports, took = await ask(asked)
        assert took == READY_DEADLINE == 1.0
        assert reports["slow"] == AgentReport(True, "error", "hybrid", "not ready yet")
        assert reports["quick"].state == "fine"
        reports, took = await ask(asked)
        assert (reports["slow"].reason, took) == ("not ready yet", 0.0)
        await asyncio.sleep(2.5)
        reports, took = await ask(asked)
        assert (reports["slow"].state, took) == ("fine", 0.0)

    run(main())


def test_an_agent_of_the_same_name_takes_the_place() -> None:
    async def main() -> None:
        asked = panel(Witness("a", ready=False), Witness("b"))
        assert (await ask(asked))[0]["a"].state == "error"
        asked.add(Witness("a", {"state": "new"}))
        reports, _ = await ask(asked)
        assert list(reports) == ["a", "b"]
        assert reports["a"].state == "new"

    run(main())


def test_an_agent_that_replaces_one_that_is_getting_ready_gets_ready_itself() -> None:
    async def main() -> None:
        asked = panel(Witness("a", ready_after=5.0))
        await ask(asked)
        new = Witness("a", {"state": "new"})
        asked.add(new)
        reports, _ = await ask(asked)
        assert (new.initialized, reports["a"].state) == (1, "new")
        await asyncio.sleep(10.0)
        assert (await ask(asked))[0]["a"].state == "new"

    run(main())


def test_agents_may_be_hooked_while_others_are_asked() -> None:
    async def main() -> None:
        asked = panel(Witness("a", after=0.05))
        task = asyncio.create_task(ask(asked))
        await asyncio.sleep(0.01)
        asked.add(Witness("b"))
        asked.add(Witness("a", {"state": "new"}))
        assert list((await task)[0]) == ["a"]
        assert {name: report.state for name, report in (await ask(asked))[0].items()} == {"a": "new", "b": "fine"}

    run(main())


# --- blocking ---


def test_who_blocks_the_loop_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "oblix")

    async def main() -> dict[str, AgentReport]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)

        def block() -> dict[str, Any]:
            loop.advance(0.4)
            return GOOD

        return (await ask(panel(Witness("blocks", block))))[0]

    assert run(main())["blocks"].state == "fine"
    (record,) = caplog.records
    assert record.getMessage() == (
        "agent 'blocks' blocked the event loop for 400 ms; use await, or a thread, in check()"
    )


@pytest.mark.parametrize("after", [0.0, 0.05], ids=["at the end", "then hangs"])
def test_who_blocks_in_the_middle_is_named_too(after: float, caplog: pytest.LogCaptureFixture) -> None:
    class Late(Witness):
        async def check(self, **kwargs: Any) -> Mapping[str, Any]:
            await asyncio.sleep(0.01)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualClockLoop)
            loop.advance(0.2)
            await asyncio.sleep(after and 1e9)
            return GOOD

    run(ask(panel(Late("late"))))
    (record,) = caplog.records
    assert "agent 'late' blocked the event loop for 200 ms" in record.getMessage()


def test_who_waits_while_somebody_else_blocks_is_not_blamed(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)
        loop.call_later(0.01, loop.advance, 0.4)
        await ask(panel(Witness("innocent", after=0.05)))

    run(main())
    assert caplog.records == []


def test_a_check_that_is_no_coroutine_abstains_like_any_slip() -> None:
    class Plain(Witness):
        def check(self, **kwargs: Any) -> Mapping[str, Any]:  # type: ignore[override]  # wrong on purpose
            return GOOD

    assert "check() raised TypeError" in run(ask(panel(Plain("plain"))))[0]["plain"].reason


def test_what_a_check_catches_and_raises_is_its_own_business() -> None:
    class Careful(Witness):
        async def check(self, **kwargs: Any) -> Mapping[str, Any]:
            try:
                async with asyncio.timeout(0.02):
                    await asyncio.sleep(1e9)
            except TimeoutError:
                return {"state": "gave up in time"}
            raise AssertionError

    assert run(ask(panel(Careful("careful"))))[0]["careful"].state == "gave up in time"


def test_who_merely_waits_is_not(caplog: pytest.LogCaptureFixture) -> None:
    run(ask(panel(Witness("slow", after=0.0999), Witness("hangs", after=1e9))))
    assert caplog.records == []


# --- leaving ---


def test_closing_shuts_down_who_was_ready_and_waits_for_nobody_long(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Witness):
        async def shutdown(self) -> None:
            raise RuntimeError("stuck")

    agents = [Witness("a"), Witness("hangs", leaves_after=1e9), Bad("bad"), Witness("never", ready=False)]

    async def main() -> None:
        asked = panel(*agents)
        await ask(asked)
        started = now()
        await asked.close()
        assert now() - started == 1.0
        assert [agent.left for agent in agents] == [1, 0, 0, 0]
        assert "agent 'bad' raised in shutdown()" in caplog.text
        await ask(asked)
        assert agents[0].initialized == 2

    run(main())


def test_a_prompt_that_is_cancelled_stops_the_checks() -> None:
    ended: list[str] = []

    class Watched(Witness):
        async def check(self, **kwargs: Any) -> Mapping[str, Any]:
            try:
                await asyncio.sleep(0.09)
            finally:
                ended.append(self.name)
            return GOOD

    async def main() -> None:
        asked = panel(Watched("a"), Watched("b"))
        task = asyncio.create_task(ask(asked))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(0)
        assert sorted(ended) == ["a", "b"]
        assert (await ask(asked))[0]["a"].state == "fine"

    run(main())


def test_prompts_at_the_same_time_get_their_own_answers() -> None:
    class Echo(Witness):
        async def check(self, **kwargs: Any) -> Mapping[str, Any]:
            await asyncio.sleep(0.01 * (kwargs["session_id"] % 5))
            return {"state": str(kwargs["session_id"])}

    async def main() -> None:
        asked = panel(Echo("echo"), Witness("late", ready_after=0.3))
        told = await asyncio.gather(*(ask(asked, session_id=number) for number in range(30)))
        assert [reports["echo"].state for reports, _ in told] == [str(number) for number in range(30)]

    run(main())


# --- shortcuts ---


class Peeking(Witness):
    """Knows its answer without waiting."""

    def peek(self) -> AgentReport | None:
        return AgentReport(state="peeked")


class OwnCheck(Peeking):
    """Inherits a shortcut, and has a check of its own."""

    async def check(self, **kwargs: Any) -> Mapping[str, Any]:
        return {"state": "checked"}


class CheckMixin:
    """A check from the side."""

    async def check(self, **kwargs: Any) -> Mapping[str, Any]:
        return {"state": "checked"}


class FromTheSide(CheckMixin, Peeking):
    """A check that comes before the shortcut in the order of inheritance, though from another class."""


class Both(Peeking):
    """A check and the shortcut for it."""

    async def check(self, **kwargs: Any) -> Mapping[str, Any]:
        return {"state": "checked"}

    def peek(self) -> AgentReport | None:
        return AgentReport(state="its own")


class Grandchild(OwnCheck):
    """Nothing of its own."""


@pytest.mark.parametrize(
    ("kind", "state"),
    [(Peeking, "peeked"), (OwnCheck, "checked"), (FromTheSide, "checked"), (Both, "its own"), (Grandchild, "checked")],
)
def test_a_shortcut_never_passes_a_newer_check_by(kind: type[Witness], state: str) -> None:
    assert run(ask(panel(kind("a"))))[0]["a"].state == state


def test_a_shortcut_that_raises_costs_nothing() -> None:
    class Slips(Witness):
        def peek(self) -> AgentReport | None:
            raise KeyError("slip")

    reports, _ = run(ask(panel(Slips("a"), Witness("b"))))
    assert reports["a"].state in ("fine", "error")
    assert reports["b"].state == "fine"


def test_a_subclass_of_the_resource_monitor_is_really_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nightly(ResourceMonitor):
        async def check(self, **kwargs: Any) -> AgentReport:
            report = await super().check(**kwargs)
            return AgentReport(state=f"{report.state} at night", target="local")

    class Recorded(Nightly):
        async def initialize(self) -> bool:
            return True

        def peek_of_parent(self) -> AgentReport | None:
            return ResourceMonitor.peek(self)

    class Silent(ResourceMonitor):
        async def initialize(self) -> bool:
            return True

        async def check(self, **kwargs: Any) -> AgentReport:
            return AgentReport(state="mine")

    assert Nightly("a").peek() is None
    assert Recorded("a").peek_of_parent() is None
    assert run(ask(panel(Silent())))[0]["resource_monitor"].state == "mine"


def test_no_agent_no_wait() -> None:
    assert run(ask(Panel())) == ({}, 0.0)
