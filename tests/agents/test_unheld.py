"""Work that may hang holds up nobody."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from oblix.agents.unheld import MOST, run_unheld


def test_it_gives_what_comes_of_it() -> None:
    async def main() -> None:
        assert await run_unheld(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await run_unheld(divmod, 7, 0)

    asyncio.run(main())


def test_what_hangs_gathers_no_threads_without_end() -> None:
    over = threading.Event()

    async def main() -> None:
        hung = [asyncio.create_task(run_unheld(over.wait, 60)) for _ in range(MOST)]
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await run_unheld(divmod, 7, 2)
        hung[0].cancel()  # who waits may give up; the work goes on
        over.set()
        assert (await asyncio.gather(*hung, return_exceptions=True))[1:] == [True] * (MOST - 1)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await run_unheld(divmod, 7, 2) == (3, 1)
                    return
                except TimeoutError:  # the last of them is just about to leave
                    await asyncio.sleep(0)

    asyncio.run(main())


def test_the_end_of_the_program_does_not_wait_for_it() -> None:
    program = """
import asyncio, threading
from oblix.agents.unheld import run_unheld

async def main():
    try:
        await asyncio.wait_for(run_unheld(threading.Event().wait), 0.01)
    except TimeoutError:
        print("gave up")

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "gave up\n", "")
