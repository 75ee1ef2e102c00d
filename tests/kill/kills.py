"""Starts processes, kills them at random moments, starts others in their place, and keeps what they acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
import selectors
import signal
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from .worker import Worker

LANES = 3  # processes at a time on the file
LONGEST = 0.12  # seconds that a process works at most
HASTE = 0.2  # share of the kills that come while the process still opens the file …
OPENING = 0.012  # … which takes about so many seconds
PATIENCE = 30.0  # seconds without a word from anybody


class Ack(tuple[str, str, int]):
    """What a process said is done: the kind, the id, a number."""

    __slots__ = ()

    @classmethod
    def parse(cls, line: str) -> Ack:
        kind, what, number = line.split()
        return cls((kind, what, int(number)))


@dataclass
class Lane:
    """A process, and when it is to die (`None`: some time after it has opened the file)."""

    process: int
    pipe: int
    dies_at: float | None
    rest: bytes = b""


@dataclass
class Killing:
    """The rounds, and what they gave.

    Attributes:
        complaints: What a process said when it ended by itself, which none may.
        recoveries: Seconds that each process took to open the file and to charge what the dead left.
    """

    path: Path
    kills: int
    seed: int
    done: int = 0
    acks: list[Ack] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    _started: int = 0

    def run(self) -> None:
        """All rounds; then one process that opens the file after the last of them."""
        self._draw = random.Random(self.seed)
        self._selector = selectors.DefaultSelector()
        lanes = [self._start() for _ in range(min(LANES, self.kills))]
        while lanes:
            now = time.monotonic()
            for lane in [lane for lane in lanes if lane.dies_at is not None and lane.dies_at <= now]:
                os.kill(lane.process, signal.SIGKILL)
                lane.dies_at = float("inf")
            next_at = min((lane.dies_at for lane in lanes if lane.dies_at is not None), default=now + PATIENCE)
            events = self._selector.select(max(0.0, min(next_at - now, PATIENCE)))
            if not events and next_at - now > PATIENCE:
                raise TimeoutError("no process says anything any more")
            for key, _ in events:
                lane = key.data
                if not self._hear(lane):
                    lanes.remove(lane)
                    self._bury(lane)
                    if not self.complaints and self._started < self.kills:
                        lanes.append(self._start())
        self._selector.close()
        self._recover()

    def _start(self) -> Lane:
        self._started += 1
        reading, writing = os.pipe()
        seed, name = self._draw.getrandbits(32), f"p{self._started}"
        process = os.fork()
        if process == 0:
            os.close(reading)
            _live(Worker(self.path, name, writing, seed=seed))
        os.close(writing)
        in_haste = self._draw.random() < HASTE
        lane = Lane(process, reading, time.monotonic() + self._draw.uniform(0, OPENING) if in_haste else None)
        self._selector.register(reading, selectors.EVENT_READ, lane)
        return lane

    def _hear(self, lane: Lane) -> bool:
        """Take what a process says; whether it may say more."""
        said = os.read(lane.pipe, 1 << 16)
        *lines, lane.rest = (lane.rest + said).split(b"\n")
        for line in lines:
            if line.startswith(b"error"):
                self.complaints.append(line.decode().replace("\\n", "\n"))
                continue
            ack = Ack.parse(line.decode())
            if ack[0] == "ready":
                self.recoveries.append(ack[2] / 1e6)
                if lane.dies_at is None:
                    lane.dies_at = time.monotonic() + self._draw.uniform(0, LONGEST)
            else:
                self.acks.append(ack)
        return bool(said)

    def _bury(self, lane: Lane) -> None:
        self._selector.unregister(lane.pipe)
        os.close(lane.pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(lane.process, 0)[1])
        if status == -signal.SIGKILL:
            self.done += 1
        elif not self.complaints:
            self.complaints.append(f"process {lane.process} ended by itself with {status}")

    def _recover(self) -> None:
        """One that ends as it should."""
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reading)
            _live(Worker(self.path, "last", writing, seed=0), is_last=True)
        os.close(writing)
        lane = Lane(process, reading, float("inf"))
        while self._hear(lane):
            pass
        os.close(reading)
        if status := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
            self.complaints.append(f"the last process ended with {status}")


def _live(worker: Worker, *, is_last: bool = False) -> NoReturn:
    """In the child: nothing of the parent's runs on here."""
    status = 1
    try:
        asyncio.run(_recover(worker) if is_last else worker.live())
        status = 0
    except BaseException:  # noqa: BLE001  told to the parent
        os.write(worker._acks, b"error " + traceback.format_exc()[-3500:].replace("\n", "\\n").encode() + b"\n")
    finally:
        os._exit(status)


async def _recover(worker: Worker) -> None:
    await worker.recover()
    await worker.close()
