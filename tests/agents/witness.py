"""Agents that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from oblix.agents import AgentReport, BaseAgent

GOOD: dict[str, Any] = {"proceed": True, "state": "fine", "target": "local", "reason": "because"}


class Witness(BaseAgent):
    """Remembers what it is asked; takes its time, and says what it was given, or does it if it is a function."""

    def __init__(
        self,
        name: str,
        says: object = None,
        *,
        after: float = 0.0,
        ready_after: float = 0.0,
        ready: bool | Exception = True,
        leaves_after: float = 0.0,
    ) -> None:
        super().__init__(name)
        self.says = GOOD if says is None else says
        self.after, self.ready_after, self.ready, self.leaves_after = after, ready_after, ready, leaves_after
        self.asked: list[dict[str, Any]] = []
        self.asked_at: list[float] = []
        self.initialized = 0
        self.left = 0

    async def initialize(self) -> bool:
        self.initialized += 1
        await asyncio.sleep(self.ready_after)
        if isinstance(self.ready, Exception):
            raise self.ready
        return self.ready

    async def check(self, **kwargs: Any) -> Mapping[str, Any] | AgentReport:
        self.asked.append(kwargs)
        self.asked_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.after)
        if isinstance(self.says, BaseException):
            raise self.says
        if callable(self.says):
            says: Callable[[], Any] = self.says
            return says()  # type: ignore[no-any-return]  # junk on purpose
        return self.says  # type: ignore[return-value]  # junk on purpose

    async def shutdown(self) -> None:
        await asyncio.sleep(self.leaves_after)
        self.left += 1
