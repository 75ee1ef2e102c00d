"""An agent's finding, readable as an object and as a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Literal, cast, get_args

from oblix.types.spec import Place

Target = Literal["local", "local_cpu", "local_gpu", "cloud", "hybrid"]
DEEPEST = 8  # levels of an agent's metrics that are kept as they are
TARGETS: tuple[str, ...] = get_args(Target)


@dataclass(frozen=True, slots=True)
class AgentReport(Mapping[str, Any]):
    """What an agent found, and where it would rather have the prompt run.

    Attributes:
        proceed: `False` is a veto: the request is refused with the agent's name and `reason`.
        state: The agent's own word, e.g. `available`, `degraded`, `budget_critical`; `error` when it could not tell.
        target: `local`, `local_cpu`, `local_gpu` → edge · `cloud` · `hybrid` → no vote.
        lean: With `hybrid`: the place that it leans to, at three quarters of a vote.
        metrics: Its readings, with units in their names.
        stale: The readings are older than they should be.
        sparing: Energy or coolness is scarce here: the policy says whether the cloud or a small model at home is to be asked.
    """

    proceed: bool = True
    state: str = "unknown"
    target: Target = "hybrid"
    reason: str = ""
    _: KW_ONLY
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lean: Place | None = None
    stale: bool = False
    sparing: bool = False

    @property
    def vote(self) -> Place | None:
        """The place voted for, or `None`."""
        if self.target == "hybrid":
            return None
        return "cloud" if self.target == "cloud" else "edge"

    def __getitem__(self, key: str) -> Any:
        if key in _FIELDS:
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON."""
        return {
            "proceed": self.proceed,
            "state": self.state,
            "target": self.target,
            "reason": self.reason,
            "metrics": _plain(self.metrics),
            "lean": self.lean,
            "stale": self.stale,
            "sparing": self.sparing,
        }

    @classmethod
    def parse(cls, found: object) -> AgentReport:
        """Read what an agent's `check` returned: a report, or a mapping with at least one known key.

        Raises:
            ValueError: It is neither, or a value is of the wrong kind; the message names the key.
        """
        if not isinstance(found, Mapping):
            raise ValueError(f"check() returned {type(found).__name__}, expected a dict or an AgentReport")
        if not any(key in found for key in _FIELDS):
            raise ValueError(f"check() returned none of the keys {', '.join(_FIELDS)}")
        proceed, target, metrics = found.get("proceed", True), found.get("target", "hybrid"), found.get("metrics", {})
        if not isinstance(proceed, bool):
            raise ValueError(f"'proceed' is {proceed!r}, expected True or False")
        target = "hybrid" if target is None else getattr(target, "value", target)
        if target not in TARGETS:
            raise ValueError(f"'target' is {target!r}, expected one of {', '.join(TARGETS)}")
        if not isinstance(metrics, Mapping):
            raise ValueError(f"'metrics' is {type(metrics).__name__}, expected a mapping")
        state, lean = found.get("state", "unknown"), found.get("lean")
        stale, sparing = found.get("stale", False), found.get("sparing", False)
        if lean not in (None, "edge", "cloud"):
            raise ValueError(f"'lean' is {lean!r}, expected 'edge' or 'cloud'")
        if not isinstance(stale, bool):
            raise ValueError(f"'stale' is {stale!r}, expected True or False")
        if not isinstance(sparing, bool):
            raise ValueError(f"'sparing' is {sparing!r}, expected True or False")
        return cls(
            proceed,
            str(getattr(state, "value", state)),
            cast("Target", target),
            str(found.get("reason") or ""),
            metrics={str(key): value for key, value in metrics.items()},
            lean=lean,
            stale=stale,
            sparing=sparing,
        )


def _plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON has it; what JSON does not know, or what is nested too deeply, becomes its text."""
    if type(value) in _SIMPLE or isinstance(value, str | int | float):
        return value
    if depth < DEEPEST and isinstance(value, Mapping):
        return {str(key): inner if type(inner) in _SIMPLE else _plain(inner, depth + 1) for key, inner in value.items()}
    if depth < DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, depth + 1) for inner in value]
    return str(value)


_SIMPLE = frozenset({str, int, float, bool, type(None)})
_FIELDS = tuple(item.name for item in fields(AgentReport))
