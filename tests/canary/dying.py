"""A user's program that asks, talks as much as Python can, and comes to a bad end. The words of its command line say to which.

The prompt and the key are in its environment alone, so that no line of this source holds them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import sys
import warnings
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.traceback import Traceback

from oblix import OblixClient, OblixError

PROMPT = os.environ["CANARY_PROMPT"]
MODEL = "openai:played"


async def abort(client: OblixClient) -> None:
    """The process dies of a signal in mid-answer, and `faulthandler` dumps all threads. An image of it is the user's to allow or not."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    async with client.stream(PROMPT, MODEL) as stream:
        async for _ in stream:
            os.abort()


async def fail(client: OblixClient) -> None:
    """An error of ours, which nobody catches."""
    await client.execute(PROMPT, MODEL)


async def stumble(client: OblixClient) -> None:
    """An error of the program's own, while an answer is under way."""
    async with client.stream(PROMPT, MODEL) as stream:
        async for _ in stream:
            raise ZeroDivisionError


async def report(client: OblixClient) -> None:
    """As `fail`, under a hook that shows all local variables, as crash reporters do."""
    sys.excepthook = with_locals
    await client.execute(PROMPT, MODEL)


def with_locals(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    Console(stderr=True, width=400).print(Traceback.from_exception(kind, error, trace, show_locals=True))


async def forget(client: OblixClient) -> None:
    """What is never awaited, left half-way, or fails where nobody looks: Python warns of it, and asyncio logs it."""
    client.execute(PROMPT, MODEL)  # type: ignore[unused-coroutine]
    client.stream(PROMPT, MODEL)
    begun = client.stream(PROMPT, MODEL)
    await begun.__aenter__()
    await anext(aiter(begun))
    lost: Any = asyncio.create_task(client.execute(PROMPT, "openai:nobody"))
    await asyncio.wait([lost])
    del begun, lost
    gc.collect()
    left = asyncio.create_task(client.execute(PROMPT, MODEL))
    await asyncio.sleep(0)
    assert not left.done()  # the loop ends before it does


async def main() -> None:
    asyncio.get_running_loop().slow_callback_duration = 0.0  # every callback is logged, with its arguments
    client = OblixClient()
    await client.hook_model("openai", "played", price=(1.0, 5.0))
    await ENDS[sys.argv[1]](client)


ENDS = {each.__name__: each for each in (abort, fail, stumble, report, forget)}

if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    logging.captureWarnings(capture=True)
    warnings.simplefilter("always")
    try:
        asyncio.run(main(), debug=True)
    except OblixError:
        logging.getLogger("program").exception("it failed")
        raise
