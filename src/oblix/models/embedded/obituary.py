"""How an engine's process ended, in words and as a kind of failure."""

from __future__ import annotations

import signal
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.embedded import pipe

_VMSTAT = Path("/proc/vmstat")  # Linux; counts the kills of every memory limit, also of a container's (mm/oom_kill.c)
# Where no signals are, as on Windows, an engine only ends with an exit code.
_KILLED = -int(getattr(signal, "SIGKILL", 9))


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of a process that ended.

    Attributes:
        code: Its exit code, negative for the signal that ended it.
        said: The end of what it wrote to its standard error.
        closed: We asked it to end.
        loading: The weights were not in memory yet.
        hung: It gave no sign of life, and we killed it.
        starved: The system killed it for want of memory.
    """

    pid: int
    code: int | None
    _: KW_ONLY
    said: str = ""
    closed: bool = False
    loading: bool = False
    hung: bool = False
    starved: bool = False

    @property
    def repeats(self) -> bool:
        """Whether the next load is likely to end the same way."""
        return not self.closed and not self.hung and (self.starved or self.loading)


def oom_kills() -> int | None:
    """How many processes this system has killed for want of memory since it started; `None` where it does not say."""
    try:
        text = _VMSTAT.read_text("ascii")
    except (OSError, ValueError):
        return None
    found = (line.split() for line in text.splitlines())
    return next((int(words[1]) for words in found if words[0] == "oom_kill"), None)


def was_starved(code: int | None, kills_before: int | None, kills_after: int | None) -> bool:
    """Whether a process ended for want of memory; where the system does not count, a SIGKILL that is not ours is taken for that."""
    if code != _KILLED:
        return False
    return kills_before is None or kills_after is None or kills_after > kills_before


def failure(end: Ending) -> AttemptFailed:
    """What those are told who waited for the process."""
    if end.closed:
        return AttemptFailed(FailureKind.CANCELLED, "The embedded engine was closed.")
    kind = FailureKind.ENGINE_CRASH
    if end.hung:
        why = f"The embedded engine (process {end.pid}) gave no sign of life, and was killed."
        return AttemptFailed(kind, why, hint="the next request starts it anew")
    said = f"; its last words: {end.said[-500:]}" if end.said else ""
    if end.starved:
        how = "was killed for want of memory (SIGKILL)"
        hint = "choose smaller weights or a smaller window, or give it more memory"
    else:
        how = f"ended {_how(end.code)}"
        hint = "the next request starts it anew; if it happens again, check the weights with `oblix models`"
        if end.loading and end.code != _KILLED:
            kind = FailureKind.MODEL_UNLOADABLE
    found = AttemptFailed(kind, f"The embedded engine (process {end.pid}) {how}{said}.", hint=hint)
    found.is_told_by_peer = bool(end.said)  # an engine that fails on a prompt may quote it
    if end.loading:
        found.certainty = "not_sent"  # no request had a part in it
    return found


def killed_too_often(name: str, times: int, pause: float) -> AttemptFailed:
    """Why the engine is not loaded at present."""
    return AttemptFailed(
        FailureKind.MODEL_UNLOADABLE,
        f"The embedded engine for {name!r} was killed {times} times in a row for want of memory or while it loaded.",
        hint=f"it is tried again in {pause / 60:.0f} min; choose smaller weights or a smaller window, or give it more memory",
        retry_after=pause,
    )


def unloadable(message: pipe.Unloadable, said: str) -> AttemptFailed:
    """What the engine says of weights that it cannot load."""
    if message.missing:
        return AttemptFailed(
            FailureKind.MODEL_UNLOADABLE,
            f"The embedded engine is not installed: {message.why}.",
            hint='pip install "openoblix[embedded]"',
        )
    errors = [line.split(" E ", 1)[1] for line in said.splitlines() if " E " in line]  # llama.cpp marks its errors so
    why = (errors[0] if errors else said[-500:] or message.why).strip().rstrip(".")
    return AttemptFailed(
        FailureKind.MODEL_UNLOADABLE,
        f"The engine cannot load the weights: {why}.",
        hint="the file may be damaged, or too new for this engine: fetch it again, or choose another",
    )


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
