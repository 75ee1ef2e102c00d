"""Asks every agent before every prompt: all at once, each under a deadline; who cannot answer abstains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator, Iterable
from functools import partial
from typing import Any

from oblix.agents.base import BaseAgent
from oblix.types.attempt import Attempt
from oblix.types.report import AgentReport
from oblix.types.traffic import Exchange

DEADLINE = 0.1  # seconds for each check (contract.md)
READY_DEADLINE = 1.0  # seconds for all initialisations together, once
_log = logging.getLogger("oblix.agents")


class Panel:
    """The hooked agents of one client, and who of them is ready."""

    def __init__(self) -> None:
        self.agents: dict[str, BaseAgent] = {}
        self._starting: dict[str, asyncio.Task[str | None]] = {}
        self._patience = 0.0  # when those who are starting are no longer waited for
        self._broken: dict[str, str] = {}
        self._ready: set[str] = set()
        self._replaced: list[BaseAgent] = []
        self._stray: set[asyncio.Task[Any]] = set()

    def add(self, agent: BaseAgent) -> None:
        """Hook an agent; one of the same name is replaced."""
        before = self.agents.get(agent.name)
        if before is not None and before is not agent and agent.name in self._ready:
            self._replaced.append(before)
        self.agents[agent.name] = agent
        self._ready.discard(agent.name)
        self._broken.pop(agent.name, None)
        starting = self._starting.pop(agent.name, None)
        if starting is not None:
            self._let_go([starting])

    async def ask(self, *, deadline: float = DEADLINE, **context: Any) -> dict[str, AgentReport]:
        """The report of every agent, by name, in the order of hooking."""
        if len(self._ready) < len(self.agents):
            await self._get_ready()
        reports: dict[str, AgentReport | None] = {}
        open_: list[BaseAgent] = []
        for agent in self.agents.values():
            report = reports[agent.name] = (
                _peek(agent)
                if agent.name in self._ready
                else _abstain(agent, self._broken.get(agent.name, "not ready yet"))
            )
            if report is None:
                open_.append(agent)
        if open_:
            reports |= await self._ask(open_, deadline, context)
        return reports  # type: ignore[return-value]  # whoever was open has been asked

    def notice(self, attempt: Attempt) -> None:
        """Tell every agent of an attempt."""
        for agent in self.agents.values():
            try:
                agent.notice(attempt)
            except Exception:  # noqa: BLE001  the door to users' code
                _log.exception("agent %r raised in notice()", agent.name)

    def observe(self, exchange: Exchange) -> None:
        """Tell every agent of what the traffic showed."""
        for agent in self.agents.values():
            try:
                agent.observe(exchange)
            except Exception:  # noqa: BLE001  the door to users' code
                _log.exception("agent %r raised in observe()", agent.name)

    async def _ask(
        self, agents: Iterable[BaseAgent], deadline: float, context: dict[str, Any]
    ) -> dict[str, AgentReport]:
        tasks = {asyncio.create_task(_check(agent, deadline, context)): agent for agent in agents}
        try:
            await asyncio.wait(tasks, timeout=deadline)
        finally:
            self._let_go(task for task in tasks if not task.done())
        return {
            agent.name: task.result()
            if task.done() and not task.cancelled()
            else _abstain(agent, f"no answer within {deadline * 1000:.0f} ms")
            for task, agent in tasks.items()
        }

    async def _get_ready(self) -> None:
        """Initialise who is not; one that takes too long is not waited for again, and votes once it is ready."""
        now = asyncio.get_running_loop().time()
        for name, agent in self.agents.items():
            if name not in self._ready and name not in self._broken and name not in self._starting:
                self._starting[name] = asyncio.create_task(_initialize(agent))
                self._patience = now + READY_DEADLINE
        if self._starting and now < self._patience:
            await asyncio.wait(self._starting.values(), timeout=self._patience - now)
        for name, task in list(self._starting.items()):
            if not task.done():
                continue
            del self._starting[name]
            trouble = "cancelled" if task.cancelled() else task.result()
            if trouble is None:
                self._ready.add(name)
            else:
                self._broken[name] = trouble

    def _let_go(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Cancel, and keep a reference until they have ended."""
        for task in tasks:
            self._stray.add(task)
            task.add_done_callback(self._stray.discard)
            task.cancel()

    def abandon(self) -> None:
        """Forget a loop that was closed."""
        self._starting.clear()
        self._stray.clear()

    async def close(self) -> None:
        """Shut every agent down; none is waited for longer than a second."""
        self._let_go(self._starting.values())
        self._starting.clear()
        started = [*(agent for name, agent in self.agents.items() if name in self._ready), *self._replaced]
        self._replaced.clear()
        self._ready.clear()
        self._broken.clear()
        if started:
            tasks = [asyncio.create_task(_shutdown(agent)) for agent in started]
            await asyncio.wait(tasks, timeout=1.0)
            self._let_go(task for task in tasks if not task.done())


async def _check(agent: BaseAgent, deadline: float, context: dict[str, Any]) -> AgentReport:
    steps = _Steps(_call(agent, context))
    try:
        found = await steps
    except Exception as error:  # noqa: BLE001  the door to users' code
        # It was given the prompt, and its error may hold it: the record gets the kind of the error only, and of a private request so does
        # the log.
        private = getattr(context.get("request"), "is_private", False)
        _log.error("agent %r raised %s in check(); it abstains", agent.name, type(error).__name__, exc_info=not private)
        return _abstain(agent, f"check() raised {type(error).__name__}")
    finally:
        if steps.longest > 1.5 * deadline:
            _log.warning(
                "agent %r blocked the event loop for %.0f ms; use await, or a thread, in check()",
                agent.name,
                steps.longest * 1000,
            )
    try:
        return AgentReport.parse(found)
    except ValueError as error:
        return _abstain(agent, str(error))


async def _call(agent: BaseAgent, context: dict[str, Any]) -> object:
    return await agent.check(**context)


class _Steps:
    """Awaits a coroutine, and measures the longest time for which it kept the loop to itself.

    The time from beginning to end would not tell: on a loop that somebody else blocks, or a machine that is overloaded, a check that
    merely waited takes as long.
    """

    def __init__(self, work: Coroutine[Any, Any, object]) -> None:
        self._work = work
        self.longest = 0.0

    def __await__(self) -> Generator[Any, Any, object]:
        clock = asyncio.get_running_loop().time
        step = partial(self._work.send, None)
        while True:
            began = clock()
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            finally:
                self.longest = max(self.longest, clock() - began)
            try:
                step = partial(self._work.send, (yield waits_for))
            except BaseException as error:  # noqa: BLE001  handed on to the coroutine
                step = partial(self._work.throw, error)


def _peek(agent: BaseAgent) -> AgentReport | None:
    try:
        return agent.peek()
    except Exception:  # noqa: BLE001  the door to users' code
        _log.exception("agent %r raised in peek(); it is asked in full", agent.name)
        return None


async def _initialize(agent: BaseAgent) -> str | None:
    """`None` when it went well, else what went wrong."""
    try:
        return None if await agent.initialize() else "initialize() returned False"
    except Exception as error:  # noqa: BLE001  the door to users' code
        _log.exception("agent %r raised in initialize(); it abstains", agent.name)
        return f"initialize() raised {type(error).__name__}: {error}"


async def _shutdown(agent: BaseAgent) -> None:
    try:
        await agent.shutdown()
    except Exception:  # noqa: BLE001  the door to users' code
        _log.exception("agent %r raised in shutdown()", agent.name)


def _abstain(agent: BaseAgent, why: str) -> AgentReport:
    return AgentReport(not agent.fail_closed, "error", "hybrid", why)
