"""Readings beside the path of a prompt: a device that hangs or fails delays nobody, not even the exit."""

from __future__ import annotations

import asyncio
import itertools
import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable

import pytest

from oblix.agents.sensor import Sensor
from oblix.errors import ConfigurationError


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"oblix-sensor-{name}"]


def wait_until(true: Callable[[], object]) -> None:
    """Wall clocks only guard against hanging."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def program(text: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_nothing_is_read_before_it_starts() -> None:
    numbers = itertools.count()
    sensor = Sensor("t1", lambda: next(numbers), 1e6)
    assert sensor.latest is None
    assert sensor.age() == float("inf")
    assert next(numbers) == 0
    assert threads("t1") == []


def test_it_reads_at_its_interval_and_at_once_when_asked() -> None:
    numbers = itertools.count()
    often, seldom = Sensor("t2", lambda: next(numbers), 0.001), Sensor("t3", lambda: next(numbers), 1e6)
    often.start()
    wait_until(lambda: often.latest and often.latest.value > 5)
    often.stop()

    async def main() -> None:
        assert await seldom.refresh(20.0)
        first = seldom.latest
        assert first is not None
        assert await seldom.refresh(20.0)
        second = seldom.latest
        assert second is not None
        assert second.value > first.value
        assert second.at >= first.at
        assert seldom.age() < 20.0
        assert len(threads("t3")) == 1

    asyncio.run(main())
    seldom.stop()


def test_a_reading_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()
    sensor = Sensor("t4", lambda: release.wait(60), 1e6)

    async def main() -> None:
        for _ in range(100):
            assert not await sensor.refresh(0.001)
        assert sensor.latest is None
        assert len(threads("t4")) == 1
        release.set()
        assert await sensor.refresh(20.0)

    asyncio.run(main())
    sensor.stop()


def test_one_that_hangs_gathers_no_waiters() -> None:
    """Each prompt left an entry behind for as long as the device hung."""
    release = threading.Event()
    sensor = Sensor("t5", lambda: release.wait(60), 1e6)

    async def main() -> None:
        for _ in range(10):
            await sensor.refresh(0.001)

    asyncio.run(main())
    assert sensor._waiting == []
    release.set()
    sensor.stop()


def test_a_reading_that_fails_keeps_the_last_one_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    numbers = itertools.count()

    def read() -> int:
        number = next(numbers)
        if number in (1, 2, 3, 5):
            raise OSError(f"gone {number}")
        return number

    sensor = Sensor("t6", read, 1e6)
    seen = []
    with caplog.at_level(logging.WARNING, "oblix.agents"):
        for _ in range(6):
            sensor.take()
            assert sensor.latest is not None
            seen.append(sensor.latest.value)
    assert seen == [0, 0, 0, 0, 4, 4]
    assert [record.getMessage() for record in caplog.records] == [
        "the sensor 't6' failed, its last reading is kept: gone 1",
        "the sensor 't6' failed, its last reading is kept: gone 5",
    ]


def test_a_reading_that_fails_is_no_new_sample_and_says_why() -> None:
    sensor = Sensor("t12", lambda: 1 // 0, 1e6)

    async def main() -> None:
        assert not await sensor.refresh(20.0)

    asyncio.run(main())
    assert (sensor.latest, sensor.failure) == (None, "integer division or modulo by zero")
    sensor.stop()


def test_an_error_of_ours_is_told_on_one_line_with_what_to_do() -> None:
    def read() -> int:
        raise ConfigurationError("The file is missing.", hint="Write one.")

    sensor = Sensor("odd", read, 60.0)
    sensor.take()
    assert sensor.failure == "The file is missing. Write one"


def test_a_thread_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's limit of tasks, which was reached for a moment."""

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sensor = Sensor("t13", lambda: 7, 1e6)

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            assert not await sensor.refresh(20.0)
        assert sensor.failure == "can't start new thread"
        assert await sensor.refresh(20.0)

    asyncio.run(main())
    assert (sensor.latest and sensor.latest.value, sensor.failure) == (7, "")
    sensor.stop()


def test_many_threads_start_one() -> None:
    """The first use in this process, by several event loops at the same moment."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for place in range(30):
            sensor, ready = Sensor(f"t14-{place}", lambda: 1, 1e6), threading.Barrier(4)
            starters = [threading.Thread(target=lambda s=sensor, r=ready: (r.wait(), s.start())) for _ in range(4)]
            for starter in starters:
                starter.start()
            for starter in starters:
                starter.join()
            assert len(threads(f"t14-{place}")) == 1
            sensor.stop()
    finally:
        sys.setswitchinterval(before)


def test_it_stops_and_starts_again() -> None:
    numbers = itertools.count()
    sensor = Sensor("t7", lambda: next(numbers), 0.001)
    sensor.start()
    sensor.start()
    assert len(threads("t7")) == 1
    sensor.stop()
    sensor.stop()
    wait_until(lambda: not threads("t7"))
    sensor.poke()
    before = next(numbers)
    wait_until(lambda: sensor.latest and sensor.latest.value > before)
    sensor.stop()


def test_a_loop_that_is_gone_is_told_nothing() -> None:
    release = threading.Event()
    sensor = Sensor("t8", lambda: release.wait(60), 1e6)

    async def main() -> None:
        task = asyncio.create_task(sensor.refresh(60))
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(main())
    release.set()
    wait_until(lambda: sensor.latest)
    sensor.stop()


def test_one_that_hangs_never_gets_a_second_thread() -> None:
    """Each client that came and went would have left one more behind."""
    release, readings = threading.Event(), itertools.count()

    def read() -> int:
        release.wait(60)
        return next(readings)

    sensor = Sensor("t9", read, 1e6)
    for _ in range(10):
        sensor.start()
        wait_until(lambda: threads("t9"))
        sensor.stop()
    assert len(threads("t9")) == 1
    sensor.start()
    release.set()
    wait_until(lambda: sensor.latest)
    assert len(threads("t9")) == 1
    sensor.stop()
    wait_until(lambda: not threads("t9"))


def test_its_interval_may_change() -> None:
    numbers, pauses = itertools.count(), iter([0.0, 0.0, 1e6])
    sensor = Sensor("t10", lambda: next(numbers), lambda: next(pauses))
    sensor.start()
    wait_until(lambda: sensor.latest and sensor.latest.value == 2)
    sensor.stop()


def test_two_loops_may_wait_at_once() -> None:
    release = threading.Event()
    sensor = Sensor("t11", lambda: release.wait(60), 1e6)
    came: list[bool] = []

    async def main() -> None:
        came.append(await sensor.refresh(30.0))

    loops = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for loop in loops:
        loop.start()
    wait_until(lambda: len(sensor._waiting) == 2)
    release.set()
    for loop in loops:
        loop.join(30)
    assert came == [True, True]
    sensor.stop()


def test_a_hung_device_delays_neither_a_prompt_nor_the_exit() -> None:
    ran = program(
        """
        import asyncio, time
        from oblix import OblixClient
        from oblix.agents import ResourceMonitor
        from oblix.testing import ScriptedModel
        from oblix.agents.probes import machine

        machine.MachineProbe.read = lambda self: time.sleep(3600)

        async def main():
            client = OblixClient(store=":memory:")
            client.hook(ScriptedModel("ollama:phi", "here"))
            client.hook_agent(ResourceMonitor())
            for _ in range(3):
                reply = await client.execute("hi")
                report = reply.agent_checks["resource_monitor"]
                print(reply, report.state, report.stale, report.reason)

        asyncio.run(main())
        """
    )
    assert ran.stdout == "here unknown True no reading within 90 ms\n" * 3
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_fork_has_sensors_of_its_own() -> None:
    ran = program(
        """
        import asyncio, os, threading
        from oblix.agents import ResourceMonitor
        from oblix.agents.sampler import SAMPLER

        async def look(agent):
            for _ in range(300):  # a busy machine may need more than the 90 ms that one check waits
                if (await agent.check()).state != "unknown":
                    return True
                await asyncio.sleep(0.05)

        agent = ResourceMonitor()
        assert asyncio.run(look(agent))
        with SAMPLER._lock, SAMPLER._machine._lock:   # as if the fork fell into the moment in which another thread held them
            child = os.fork()
        if child == 0:
            agent._seat.latest = None
            told = asyncio.run(look(agent))
            names = [thread.name for thread in threading.enumerate()]
            os._exit(0 if told and "oblix-sensor-machine" in names else 1)
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert (ran.returncode, ran.stderr) == (0, "")
