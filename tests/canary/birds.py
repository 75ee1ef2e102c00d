"""The canaries: a key and a prompt that stand nowhere else, and every way to look for them."""

from __future__ import annotations

import asyncio
import base64
import gc
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import wraps
from pathlib import Path
from types import FrameType, FunctionType, ModuleType, TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

from oblix.types.secret import SecretStr

KEY = "sk-" + "canary" + "7Qm3Zt9Lx2Vb8Nc4"
PROMPT = "the heron" + " counts nineteen blue lanterns"


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a loop of its own, in the mode that tells most: each callback is logged, with its arguments."""

    @wraps(test)
    def run(**given: Any) -> None:
        with asyncio.Runner(debug=True) as runner:
            runner.get_loop().slow_callback_duration = 0.0
            runner.run(test(**given))

    return run


def _forms(canary: str) -> tuple[bytes, ...]:
    """As it is, its ends (who shows a long text cuts its middle, as `reprlib` does), and as other layers would write it."""
    plain, shifted = canary.encode(), [base64.b64encode(bytes(at) + canary.encode())[4:-4] for at in range(3)]
    return (plain, plain[:12], plain[-12:], plain[::-1], plain.hex().encode(), canary.encode("utf-16-le"),
            quote(canary).encode(), quote_plus(canary).encode(), *shifted)  # fmt: skip


_FORMS = {"key": _forms(KEY), "prompt": _forms(PROMPT)}


def heard(where: bytes | str) -> list[str]:
    """Which of the canaries sing in it: `key`, `prompt`."""
    data = where.encode("utf-8", "surrogateescape") if isinstance(where, str) else where
    return [name for name, forms in _FORMS.items() if any(form in data for form in forms)]


def told(error: BaseException) -> str:
    """An exception as the most talkative of loggers writes it: causes, contexts, and the local variables of every frame."""
    parts = ["".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())]
    for each in _family(error):
        parts += [repr(each), str(each), repr(each.args), repr(vars(each))]
        parts += traceback.TracebackException.from_exception(each, capture_locals=True).format()
    return "\n".join(parts)


def _family(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            todo += [each.__cause__, each.__context__, getattr(each, "cause", None)]
            yield each


# What leads out of the client, to everything in the process.
_ELSEWHERE = (ModuleType, type, FunctionType, FrameType, TracebackType, asyncio.AbstractEventLoop, SecretStr)


def reachable(*roots: object, most: int = 300_000) -> Iterator[object]:
    """Every object that can be reached from these, but for what lies in a `SecretStr`, the loop, and code."""
    seen: set[int] = set()
    todo: list[Any] = list(roots)
    while todo and len(seen) < most:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if not isinstance(each, _ELSEWHERE) and not isinstance(each, str | bytes | int | float):
            todo += gc.get_referents(each)


def searched(folder: Path) -> dict[str, list[str]]:
    """The files that hold a canary."""
    return {file.name: found for file in folder.rglob("*") if file.is_file() and (found := heard(file.read_bytes()))}


def assert_silent(where: Mapping[str, str | bytes], *, of: tuple[str, ...] = ("key", "prompt")) -> None:
    """None of these sinks holds a canary."""
    singing = {name: [each for each in heard(text) if each in of] for name, text in where.items()}
    assert {name: found for name, found in singing.items() if found} == {}


def assert_hidden(*roots: object) -> None:
    """No object that can be reached shows the key: neither its `repr` nor, where it has none of its own, its parts."""
    singing = [(type(each).__name__, text[:200]) for each in reachable(*roots) if "key" in heard(text := _shown(each))]
    assert singing == []


def _shown(each: object) -> str:
    try:
        return repr(each)
    except Exception as error:  # noqa: BLE001  an object that cannot be shown shows nothing
        return type(error).__name__
