"""One sampler for all: who looks on is told, the last one turns off the light, and a driver that hangs takes nothing along."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oblix.agents import ResourceMonitor
from oblix.agents.probes.graphics import Gpu
from oblix.agents.probes.machine import Machine
from oblix.agents.sampler import SAMPLER, Sampler
from oblix.agents.sensor import Sample

NAMES = ("oblix-sensor-machine", "oblix-sensor-gpu")


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name in NAMES)


def wait_until(true: Callable[[], object]) -> None:
    """Wall clocks only guard against hanging."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def _nobody_looks_on() -> Iterator[None]:
    """Monitors that earlier tests left behind are gone, and so are ours."""
    gc.collect()
    wait_until(lambda: not threads())
    yield
    gc.collect()
    wait_until(lambda: not threads())


class Watch:
    """Looks on, and counts."""

    def __init__(self, *ours: int, server: bool = False) -> None:
        self.ours, self.server = frozenset(ours), server
        self.seen: list[Sample[Machine]] = []

    def own_processes(self) -> frozenset[int]:
        return self.ours

    def has_local_server(self) -> bool:
        return self.server

    def take(self, sample: Sample[Machine]) -> None:
        self.seen.append(sample)

    def wait(self, readings: int) -> None:
        wait_until(lambda: len(self.seen) >= readings)

    def wait_for_silence(self) -> None:
        """Of the graphics processors."""
        wait_until(lambda: self.seen and self.seen[-1].value.gpus_stale)


def test_all_who_look_on_share_one_thread() -> None:
    sampler, watches = Sampler(), [Watch() for _ in range(5)]
    assert threads() == []
    for watch in watches:
        sampler.join(watch)
        sampler.join(watch)  # twice is once
    assert threads().count("oblix-sensor-machine") == 1
    wait_until(lambda: all(len(watch.seen) > 2 for watch in watches))
    for watch in watches[:-1]:
        sampler.leave(watch)
    gone, left = len(watches[0].seen), len(watches[-1].seen)
    wait_until(lambda: len(watches[-1].seen) > left + 2)
    assert len(watches[0].seen) <= gone + 1  # one may have been on its way
    sampler.leave(watches[-1])
    sampler.leave(watches[-1])
    wait_until(lambda: not threads())


def test_loops_that_come_at_the_same_moment_share_one_thread_as_well() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            sampler, watches, ready = Sampler(), [Watch() for _ in range(4)], threading.Barrier(4)

            def come(watch: Watch, sampler: Sampler = sampler, ready: threading.Barrier = ready) -> None:
                ready.wait()
                sampler.join(watch)

            comers = [threading.Thread(target=come, args=(watch,)) for watch in watches]
            for comer in comers:
                comer.start()
            for comer in comers:
                comer.join()
            assert len(sampler._present()) == 4
            assert threads() == ["oblix-sensor-machine"]
            for watch in watches:
                sampler.leave(watch)
            wait_until(lambda: not threads())
    finally:
        sys.setswitchinterval(before)


def test_readings_come_in_order_and_none_is_told_twice() -> None:
    sampler, watch = Sampler(), Watch()
    sensor = sampler.join(watch)
    assert sampler.join(watch) is sensor
    for _ in range(20):
        sensor.poke()
    watch.wait(4)
    times = [sample.at for sample in watch.seen]
    assert times == sorted(set(times))
    sampler.leave(watch)


def test_one_who_is_dropped_is_gone() -> None:
    sampler = Sampler()

    def look() -> None:
        watch = Watch()
        sampler.join(watch)
        watch.wait(1)

    look()
    gc.collect()
    wait_until(lambda: not threads())
    again = Watch()
    sampler.join(again)
    again.wait(1)
    sampler.leave(again)


def test_a_monitor_that_is_dropped_leaves_no_thread() -> None:
    async def main() -> None:
        monitor = ResourceMonitor("dropped")
        await monitor.initialize()
        assert threads()

    asyncio.run(main())
    gc.collect()
    wait_until(lambda: not threads())


def test_own_processes_are_those_of_all() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        sampler, owner, other = Sampler(), Watch(burner.pid), Watch()
        sampler.join(owner)
        sampler.join(other)
        wait_until(lambda: other.seen and other.seen[-1].value.own_percent > 5.0)
        sampler.leave(owner)
        wait_until(lambda: other.seen[-1].value.own_percent == 0.0)
        sampler.leave(other)
        burner.kill()


def test_monitors_of_two_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "machine.json"
    file.write_text(json.dumps({"cpu_percent": 85.0, "cores": 2}))
    monkeypatch.setenv("OBLIX_READINGS", str(file))
    states: list[str] = []
    both = threading.Barrier(2, timeout=30)

    async def main(thresholds: dict[str, float]) -> None:
        monitor = ResourceMonitor(custom_thresholds=thresholds)
        await monitor.initialize()
        async with asyncio.timeout(30):
            while (report := await monitor.check()).state == "unknown":
                await asyncio.sleep(0.01)
        states.append(report.state)
        both.wait()
        assert len([name for name in threads() if name == "oblix-sensor-machine"]) == 1
        both.wait()
        await monitor.shutdown()

    loops = [
        threading.Thread(target=lambda limits=limits: asyncio.run(main(limits)))
        for limits in ({"critical_cpu": 82.0}, {"cpu_threshold": 82.0})
    ]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(60)
    assert sorted(states) == ["constrained", "critical"]


# --- graphics processors ---


class Cards:
    """Graphics processors whose driver can be made to hang."""

    def __init__(self) -> None:
        self.is_there = True
        self.release = threading.Event()
        self.release.set()
        self.readings = 0

    def is_present(self) -> bool:
        return self.is_there

    def read(self) -> tuple[Gpu, ...]:
        self.release.wait(60)
        self.readings += 1
        return (Gpu("H100", 12.0, 34.0),)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Cards:
    made = Cards()
    monkeypatch.setattr("oblix.agents.sampler.GpuProbe", lambda own: made)
    monkeypatch.setattr("oblix.agents.sampler.GPU_FRESH", 0.2)
    return made


def test_cards_are_read_on_a_thread_of_their_own_where_there_are_any(cards: Cards) -> None:
    cards.is_there = False
    sampler, watch = Sampler(), Watch()
    sampler.join(watch)
    watch.wait(2)
    assert threads() == ["oblix-sensor-machine"]
    assert (watch.seen[-1].value.gpus, watch.seen[-1].value.gpus_stale) == ((), False)
    cards.is_there = True  # plugged in
    wait_until(lambda: watch.seen[-1].value.gpus)
    assert threads() == ["oblix-sensor-gpu", "oblix-sensor-machine"]
    sampler.leave(watch)
    wait_until(lambda: not threads())


def test_a_driver_that_hangs_takes_nothing_along(cards: Cards) -> None:
    """It is said that the cards are silent, and everything else goes on; come and go as they like, one thread hangs."""
    cards.release.clear()
    sampler = Sampler()
    for _ in range(5):
        watch = Watch()
        sampler.join(watch)
        watch.wait_for_silence()
        machine = watch.seen[-1].value
        assert machine.gpus == ()
        assert machine.memory_percent is not None
        sampler.leave(watch)
        wait_until(lambda: threads() == ["oblix-sensor-gpu"])
    cards.release.set()
    wait_until(lambda: not threads())


def test_cards_that_go_are_not_read_any_more(cards: Cards) -> None:
    sampler, watch = Sampler(), Watch()
    sampler.join(watch)
    wait_until(lambda: watch.seen and watch.seen[-1].value.gpus)
    cards.is_there = False
    wait_until(lambda: threads() == ["oblix-sensor-machine"])
    watch.wait(len(watch.seen) + 2)
    assert (watch.seen[-1].value.gpus, watch.seen[-1].value.gpus_stale) == ((), False)
    sampler.leave(watch)


def test_it_is_said_that_a_card_is_silent() -> None:
    report = ResourceMonitor().judge(Machine(3.0, 2, memory_percent=4.0, gpus_stale=True))
    assert report.reason == "machine idle (CPU 3 %, memory 4 %, GPU does not answer)"
    assert (report.metrics["gpus"], report.metrics["gpus_stale"]) == ([], True)


# --- prompts ---


def test_a_blocked_loop_finds_fresh_readings() -> None:
    """The seed's program waits in `input()` for its user; readings go on, and are looked at when it comes back."""

    async def main() -> None:
        watch, monitor = Watch(), ResourceMonitor()
        await monitor.initialize()
        async with asyncio.timeout(30):
            while (await monitor.check()).state == "unknown":
                await asyncio.sleep(0.01)
        SAMPLER.join(watch)
        watch.wait(4)  # blocks the loop, for longer than a second
        report, latest = monitor.peek(), monitor.machine()
        assert report is not None
        assert not report.stale
        assert latest in [sample.value for sample in watch.seen[-2:]]
        SAMPLER.leave(watch)
        await monitor.shutdown()

    asyncio.run(main())


def test_readings_that_hang_are_given_as_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt is answered with the last one, and says so."""
    file = tmp_path / "machine.json"
    file.write_text(json.dumps({"cpu_percent": 85.0, "cores": 2}))
    monkeypatch.setenv("OBLIX_READINGS", str(file))
    monkeypatch.setattr("oblix.agents.resource_monitor.FRESH", 0.05)

    async def main() -> None:
        monitor = ResourceMonitor()
        await monitor.initialize()
        async with asyncio.timeout(30):
            while (await monitor.check()).state == "unknown":
                await asyncio.sleep(0.01)
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        monkeypatch.setenv("OBLIX_READINGS", str(pipe))  # nobody writes
        async with asyncio.timeout(30):
            while not (report := await monitor.check()).stale:
                await asyncio.sleep(0.01)
        assert (report.state, report.reason) == ("constrained", "CPU 85 % (limit 80 %) (recorded: machine.json)")
        await monitor.shutdown()
        pipe.write_text("{}")  # lets the thread go on

    asyncio.run(main())


def program(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_leaving_without_a_word_is_quiet() -> None:
    ran = program(
        """
        import asyncio
        from oblix.agents import ResourceMonitor

        async def main():
            agents = [ResourceMonitor(str(number)) for number in range(3)]
            for agent in agents:
                await agent.initialize()
            print((await agents[0].check()).proceed)
            return agents

        kept = asyncio.run(main())
        """
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True\n", "")
