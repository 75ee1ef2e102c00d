"""One engine process, seen from its parent: questions go in by number, pieces of answers come out, its death is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded import obituary, pipe
from oblix.models.embedded.orphan import command
from oblix.models.embedded.pulse import Pulse

_TAIL = 4096  # bytes of the child's standard error that are kept for its obituary
_END_WAIT = 3.0  # seconds for the child to end by itself; it takes milliseconds
# Seconds for the engine to free a slot that nobody wants any more. It looks up after each batch of 64 tokens, which takes this long at
# one token every two seconds; slower is no engine at work, but one that hangs.
_FREE_WAIT = 120.0
# Threads that wait for each other by spinning make the engine crawl on a busy machine (threads.py). And the engine's own way to die
# starts a debugger to print where it was, seconds before the process is gone (ggml_print_backtrace).
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "GGML_NO_BACKTRACE": "1"}
# It calls nobody: what is named like a secret stays with us, and so out of every dump of that process.
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)S?$", re.IGNORECASE)

_Mail = pipe.Begun | pipe.Piece | pipe.Refused | pipe.Counted | pipe.Done | AttemptFailed


class Answer:
    """One question under way: an iterator over the engine's chunks. `close` it, however it ends."""

    def __init__(self, child: Child, number: int, *, holds_slot: bool) -> None:
        self.holds_slot = holds_slot
        self.mail: asyncio.Queue[_Mail] = asyncio.Queue()  # bounded by the window: the engine makes no more tokens
        self.freeing = Pulse(lambda: None, child.give_up, patience=_FREE_WAIT)
        self._child = child
        self._number = number

    async def begun(self) -> AttemptFailed | None:
        """Wait until the engine takes the question; how the process ended, if it did before: then the question had no part in it."""
        found = await self.mail.get()
        return found if isinstance(found, AttemptFailed) else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        found = await self.receive()
        if isinstance(found, pipe.Piece):
            return found.chunk
        raise StopAsyncIteration

    async def receive(self) -> pipe.Begun | pipe.Piece | pipe.Counted | pipe.Done:
        """The next frame about this question.

        Raises:
            AttemptFailed: The engine refused the question, or died.
        """
        found = await self.mail.get()
        if isinstance(found, AttemptFailed):
            raise found
        if isinstance(found, pipe.Refused):
            kind = FailureKind.BAD_REQUEST if found.bad_request else FailureKind.INTERNAL
            error = AttemptFailed(kind, f"The embedded engine refused the request: {found.why}.")
            error.is_told_by_peer = True
            raise error
        return found

    def close(self) -> None:
        """Tell the engine that nobody listens any more; its slot is free within one batch."""
        self._child.drop(self._number)


class Calls(NamedTuple):
    """Who is told: when questions begin or end, and, once, how the process ended."""

    on_change: Callable[[], None]
    on_end: Callable[[obituary.Ending], None]


class Child:
    """A running engine process. Made by `spawn`.

    Args:
        hung_after: Seconds without a sign of life after which the process is killed. It is asked for one when an answer is left before
            its end, for that is what a caller does who waits for a process that stands still.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        home: Path,
        slots: int,
        calls: Calls,
        *,
        hung_after: float,
        oom_kills: int | None,
    ) -> None:
        self.pid = process.pid
        self.slots = asyncio.Semaphore(slots)
        self.ready: asyncio.Future[pipe.Ready] = asyncio.get_running_loop().create_future()
        self.gone: AttemptFailed | None = None
        self.pulse = Pulse(self._ping, self.give_up, patience=hung_after)
        self._process = process
        self._home = home
        self._calls = calls
        self._numbers = itertools.count(1)
        self._open: dict[int, Answer] = {}
        self._tail = b""
        self._closed = False
        self._hung = False
        self._killed = False
        self._oom_kills = oom_kills
        self._life = asyncio.create_task(self._live(), name=f"oblix-engine-{process.pid}")

    @classmethod
    async def spawn(cls, wish: pipe.Open, home: Path, calls: Calls, *, hung_after: float) -> Child:
        """Start a process that loads what `wish` says; await `ready` to know how that went."""
        oom_kills = await asyncio.to_thread(obituary.oom_kills)
        try:
            process = await asyncio.create_subprocess_exec(
                *command("oblix.models.embedded.worker", str(os.getpid()), str(home)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**{name: os.environ[name] for name in os.environ if not _SECRET.search(name)}, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C in a terminal goes to whole process groups
            )
        except OSError as exc:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
            why = f"The engine's process cannot be started: {exc}."
            raise AttemptFailed(FailureKind.INTERNAL, why, cause=exc) from exc
        child = cls(process, home, wish.slots, calls, hung_after=hung_after, oom_kills=oom_kills)
        child._post(wish)
        return child

    @property
    def is_ready(self) -> bool:
        """Whether the weights are loaded and the process lives."""
        return self.gone is None and self.ready.done() and self.ready.exception() is None

    @property
    def busy(self) -> bool:
        """Whether any question is under way."""
        return bool(self._open)

    def ask(self, body: dict[str, Any]) -> Answer:
        """Begin an answer. The caller holds one of `slots`, which is given back when the engine is done with it."""
        return self._begin(pipe.Ask(next(self._numbers), body), holds_slot=True)

    async def count(self, body: dict[str, Any]) -> int:
        """How many tokens the prompt of `body` has, in the engine's own count."""
        answer = self._begin(pipe.Count(next(self._numbers), body), holds_slot=False)
        try:
            found = await answer.receive()
        finally:
            answer.close()
        assert isinstance(found, pipe.Counted)
        return found.tokens

    def _begin(self, question: pipe.Ask | pipe.Count, *, holds_slot: bool) -> Answer:
        if self.gone:
            raise self.gone
        answer = self._open[question.id] = Answer(self, question.id, holds_slot=holds_slot)
        try:
            self._post(question)
        except pipe.FrameError as exc:
            self._finish(question.id)
            raise AttemptFailed(FailureKind.BAD_REQUEST, f"The request cannot be told to the engine: {exc}.") from exc
        self._calls.on_change()
        return answer

    def drop(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        answer = self._open.get(number)
        if answer is None or self.gone:
            return
        if answer.holds_slot:  # it stays open until the engine says `Done`: only then the slot is free
            self._post(pipe.Stop(number))
            answer.freeing.doubt()
        else:
            self._finish(number)
        self.pulse.doubt()

    async def stop(self) -> None:
        """End the process, gently if it listens; bounded to a few seconds. Stopping twice does no harm."""
        self._closed = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        if not self.ready.done():  # it loads, and does not listen
            self._kill()
        done, _ = await asyncio.wait({self._life}, timeout=_END_WAIT)
        if not done:
            self._kill()
            await asyncio.wait({self._life}, timeout=_END_WAIT)

    def give_up(self) -> None:
        """It hangs: end it by force, so that the next request gets another."""
        self._hung = True
        self._kill()

    def _ping(self) -> None:
        self._post(pipe.Ping())

    def _kill(self) -> None:
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _post(self, message: pipe.ToChild) -> None:
        frame = pipe.pack(message)
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(frame)

    async def _live(self) -> None:
        """Read until the process ends; also when the event loop ends first (`asyncio.run` cancels what is left)."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_tail())
                await self._read()
        finally:
            if self._process.returncode is None:
                self._kill()
            await self._process.wait()
            self._bury(await self._examine())
            await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)

    async def _read(self) -> None:
        out = self._process.stdout
        assert out is not None
        try:
            while True:
                body = await out.readexactly(pipe.body_length(await out.readexactly(pipe.HEADER)))
                self._take(pipe.unpack_from_child(body))
        except asyncio.IncompleteReadError:
            # The process is about to be gone; its exit status tells how it ended.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_WAIT):
                    await self._process.wait()
        except pipe.FrameError as exc:
            self._tail = f"it wrote something that is no frame: {exc}".encode()
            self._kill()

    async def _keep_tail(self) -> None:
        err = self._process.stderr
        assert err is not None
        while piece := await err.read(_TAIL):
            self._tail = (self._tail + piece)[-_TAIL:]

    def _take(self, message: pipe.FromChild) -> None:
        if isinstance(message, pipe.Ready | pipe.Unloadable) and self.ready.done():
            raise pipe.FrameError("it told twice how its load went")
        if isinstance(message, pipe.Ready):
            self.ready.set_result(message)
        elif isinstance(message, pipe.Unloadable):
            self.ready.set_exception(obituary.unloadable(message, self._said()))
        elif isinstance(message, pipe.Pong):
            self.pulse.heard()
        elif answer := self._open.get(message.id):
            answer.mail.put_nowait(message)
            if isinstance(message, pipe.Done) or not answer.holds_slot:
                self._finish(message.id)

    def _finish(self, number: int) -> None:
        answer = self._open.pop(number)
        answer.freeing.heard()
        if answer.holds_slot:
            self.slots.release()
        self._calls.on_change()

    async def _examine(self) -> obituary.Ending:
        """How the process ended."""
        code, starved = self._process.returncode, False
        if code is not None and code < 0 and not self._killed:
            kills = await asyncio.to_thread(obituary.oom_kills)
            starved = obituary.was_starved(code, self._oom_kills, kills)
        return obituary.Ending(
            self.pid,
            code,
            said=self._said(),
            closed=self._closed,
            loading=not self.ready.done(),
            hung=self._hung,
            starved=starved,
        )

    def _bury(self, ending: obituary.Ending) -> None:
        """Tell everyone who waits. Those who wait for a slot wake one after the other, and see that it is gone."""
        self.gone = obituary.failure(ending)
        if not self.ready.done():
            self.ready.set_exception(self.gone)
        self.ready.exception()  # seen: nobody may be waiting for it
        self.pulse.heard()
        for number in list(self._open):
            self._open[number].mail.put_nowait(obituary.failure(ending))
            self._finish(number)
        self._calls.on_end(ending)
        self._calls.on_change()

    def _said(self) -> str:
        return self._tail.decode(errors="replace").strip()
