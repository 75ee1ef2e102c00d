"""A program that watches every frame of Oblix while keys come from everywhere they can come from, and prints where one shows.

It prints a JSON list of (file, function, local variable). Run in an empty folder, which is its home.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import oblix
from oblix import OblixClient, OblixError
from oblix.settings import keyfile
from oblix.testing.faults import Fault, FaultServer, Upstream
from oblix.types.secret import SecretStr

KEY = os.environ.pop("CANARY_KEY")
ROOT = str(Path(oblix.__file__).parent)
WIRES = {"openai": "OPENAI", "claude": "ANTHROPIC", "ollama": "OLLAMA"}
# Looked at after each line; whatever else a frame holds, when it is left.
QUICK = (str, bytes, bytearray, dict, list, tuple, set)

shown: set[tuple[str, str, str]] = set()
frames = 0


def watch(frame: FrameType, event: str, _: object) -> Any:
    """Follow the frames of Oblix, in every thread."""
    global frames  # noqa: PLW0603  a trace function has no other place
    file = frame.f_code.co_filename
    if not file.startswith(ROOT) or "/testing/" in file:
        return None
    frames += event == "call"
    for name, value in list(frame.f_locals.items()):
        if (event != "line" or isinstance(value, QUICK)) and _shows(value):
            shown.add((file[len(ROOT) + 1 :], frame.f_code.co_qualname, name))
    return watch


def _shows(value: object) -> bool:
    with suppress(Exception):  # half of an object, in its `__init__`
        return KEY in repr(value)
    return False


def environment() -> None:
    for name in WIRES.values():
        os.environ[f"{name}_API_KEY"] = KEY


def dotenv() -> None:
    Path(".env").write_text("".join(f"{name}_API_KEY={KEY}\n" for name in WIRES.values()))


def kept() -> None:
    for provider in WIRES:
        keyfile.put(provider, SecretStr(KEY))


def nowhere() -> None:
    for name in WIRES.values():
        os.environ.pop(f"{name}_API_KEY", None)
    Path(".env").unlink(missing_ok=True)
    for provider in WIRES:
        keyfile.remove(provider)


@asynccontextmanager
async def hooked(ups: dict[str, Upstream], argument: str | None) -> AsyncIterator[OblixClient]:
    async with OblixClient(store=":memory:") as client:
        for provider in ups:
            await client.hook_model(provider, "played", api_key=argument, price=(1.0, 2.0), place="cloud")
        yield client


async def use(ups: dict[str, Upstream], keep: Callable[[], object], argument: str | None = None) -> None:
    """Ask each provider, in health and with a fault, with a key that is kept so."""
    await asyncio.to_thread(keep)
    for fault in (None, Fault("status_401", "before_headers")):
        for up in ups.values():
            up.default = fault
        async with hooked(ups, argument) as client:
            for provider in ups:
                with suppress(OblixError):
                    await client.execute("Hello", f"{provider}:played")
            await client.status()
    assert all(KEY.encode() in up.received for up in ups.values())
    await asyncio.to_thread(nowhere)


async def main() -> None:
    async with FaultServer() as server:
        for keep, argument in ((nowhere, KEY), (environment, None), (dotenv, None), (kept, None)):
            ups = {each: server.upstream(f"{each}-{keep.__name__}", wire=each) for each in WIRES}  # type: ignore[arg-type]
            os.environ |= {"OPENAI_BASE_URL": ups["openai"].url, "ANTHROPIC_BASE_URL": ups["claude"].url}
            os.environ["OLLAMA_HOST"] = ups["ollama"].url
            await use(ups, keep, argument)


threading.settrace(watch)
sys.settrace(watch)
asyncio.run(main())
sys.settrace(None)
print(json.dumps({"frames": frames, "shown": sorted(shown)}))
