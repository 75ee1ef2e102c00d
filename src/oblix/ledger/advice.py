"""What to do about a budget that has no room, or books that cannot be used, in words that work when they are followed."""

from __future__ import annotations

import shlex
from math import ceil

from oblix.decision.money import next_window
from oblix.errors import ConfigurationError
from oblix.storage.jobs import StoreBusy
from oblix.types.ids import split_model_id
from oblix.types.money import Room, micro

BY_COMMAND = "oblix budget set"  # the origin of the limits that this command set; others are changed where they stand
MOST = 999_999_999_000_000  # micro-USD that the command takes


def advice(room: Room, model_id: str, needed: int) -> str:
    """The hint of an error.

    Args:
        model_id: Who was refused: a budget by key is named by the provider.
        needed: Micro-USD that the call will probably take.
    """
    wait = next_window(room).removeprefix("; it")
    then = f" It{wait}." if wait else ""
    return f"{_raise(room, model_id, needed)}; or hook a cheaper model, or one at home.{then}"


def mending(error: BaseException) -> str:
    """What to do about books that cannot be used, by what the store raised."""
    import apsw

    if isinstance(error, ConfigurationError) and error.hint:
        return error.hint
    if isinstance(error, (apsw.BusyError, apsw.LockedError, StoreBusy)):
        return "Another program is writing to the data file: try again in a moment."
    if isinstance(error, (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, PermissionError)):
        return "Give this user the right to write the data file, or set OBLIX_HOME to a folder of its own."
    if isinstance(error, (apsw.FullError, apsw.IOError, OSError)):
        return "Make room on the disk, then try again."
    return "Close the programs that use the data file, and move it away: the next one makes a new file."


def amount(micro_usd: int) -> str:
    """Micro-USD as the command and a settings file take it: `0.00002`, `5`."""
    return f"{micro_usd // 1_000_000}.{micro_usd % 1_000_000:06}".rstrip("0").rstrip(".")


def _raise(room: Room, model_id: str, needed: int) -> str:
    if room.origin != BY_COMMAND:
        return f"Raise it where it is set ({room.origin})" if room.origin else "Raise it where it is set"
    # Twice what is needed, so that the next call fits as well; and of what others hold a part is kept for them.
    used = micro(room.spent_usd + 2 * room.held_usd)
    enough = amount(min(MOST, max(2 * micro(room.limit_usd), used + _rounded(2 * needed))))
    subject = split_model_id(model_id)[0] if room.scope == "key" else room.subject
    whose = f" --{room.scope} {shlex.quote(subject)}" if subject else ""
    return f"Raise it: {BY_COMMAND} {enough}/{room.period}{whose}"


def _rounded(micro_usd: int) -> int:
    """Up to two digits, as a person would say it."""
    unit = int(10 ** max(0, len(str(micro_usd)) - 2))
    return ceil(micro_usd / unit) * unit
