"""The system's keyring (extra `keyring`): asked on a daemon thread, because it may hang, or wait for somebody to unlock it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from oblix.errors import ConfigurationError
from oblix.types.secret import SecretStr

# Seconds. The system's own service answers within 50 ms; who is asked to unlock it may take longer, and is asked again by the next program.
PATIENCE = 3.0
USER = "api_key"  # the second half of an entry's name; the first is `oblix/PROVIDER`
T = TypeVar("T")
_hung = threading.Event()  # it did not answer once: this process leaves it alone


def get(provider: str) -> SecretStr | None:
    """The key that it keeps; `None` where it keeps none, or there is no keyring.

    Raises:
        ConfigurationError: It failed, or did not answer in time.
    """
    if _hung.is_set() or find_spec("keyring") is None:
        return None

    def work(ring: Any) -> SecretStr:
        return SecretStr((_is_there(ring) and ring.get_password(_entry(provider), USER)) or "")

    found = _within(PATIENCE, work)
    return found if found and isinstance(found.reveal(), str) else None


def put(provider: str, value: Callable[[], str], *, patience: float = 120.0) -> str | None:
    """Keep a key, and read it back. Gives the keyring's name; `None` where this machine has none that keeps anything.

    Args:
        value: Gives the key, so that it is in no local variable.
        patience: Seconds; somebody may have to unlock it.

    Raises:
        ConfigurationError: It failed, or did not answer in time.
    """
    if find_spec("keyring") is None:
        return None

    def work(ring: Any) -> str | None:
        backend = ring.get_keyring()
        if backend.priority < 1:  # by its own convention, what does not keep or does not protect
            return None
        ring.set_password(_entry(provider), USER, value())
        return str(backend.name) if ring.get_password(_entry(provider), USER) == value() else None

    return _within(patience, work)


def remove(provider: str, *, patience: float = 120.0) -> bool:
    """Forget a key. Gives whether there was one.

    Raises:
        ConfigurationError: It failed, or did not answer in time.
    """
    if find_spec("keyring") is None:
        return False

    def work(ring: Any) -> bool:
        if not _is_there(ring) or ring.get_password(_entry(provider), USER) is None:
            return False
        ring.delete_password(_entry(provider), USER)
        return True

    return _within(patience, work)


def _entry(provider: str) -> str:
    return f"oblix/{provider}"


def _is_there(ring: Any) -> bool:
    """Whether the machine has a keyring: where it has none, the library puts one in its place that fails, or forgets."""
    return bool(ring.get_keyring().priority > 0)


def _within(seconds: float, work: Callable[[Any], T]) -> T:
    """Do it on a thread that holds up nobody, not even the exit."""
    done: list[T] = []
    failed: list[str] = []

    def run() -> None:
        try:
            keyring: Any = import_module("keyring")

            done.append(work(keyring))
        except Exception as error:  # noqa: BLE001  backends are other people's programs; their words may quote what they keep
            failed.append(type(error).__name__)

    thread = threading.Thread(target=run, name="oblix-keyring", daemon=True)
    thread.start()
    thread.join(seconds)
    if done:
        return done[0]
    if failed:
        said = f"The system's keyring failed ({failed[0]})."
    else:
        _hung.set()
        said = f"The system's keyring did not answer within {seconds:g} s, and is left alone from here on."
    hint = "Unlock it, or keep keys in the environment or in a file: oblix keys set PROVIDER --file."
    raise ConfigurationError(said, hint=hint)
