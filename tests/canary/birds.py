"""The canaries: a key and a prompt that stand nowhere else, and every way to look for them."""

from __future__ import annotations

import asyncio
import base64
import gc
import traceback
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from types import FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

from oblix.types.secret import SecretStr

KEY = "sk-" + "canary" + "7Qm3Zt9Lx2Vb8Nc4"
PROMPT = "the heron" + " counts nineteen blue lanterns"


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a loop of its own, in the mode that tells most."""

    @wraps(test)
    def run(**given: Any) -> None:
        asyncio.run(test(**given), debug=True)

    return run


_FORMS = {
    "key": (KEY.encode(), base64.b64encode(KEY.encode()), KEY[::-1].encode(), KEY[6:].encode()),
    "prompt": (PROMPT.encode(), base64.b64encode(PROMPT.encode()), PROMPT[4:].encode()),
}


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
