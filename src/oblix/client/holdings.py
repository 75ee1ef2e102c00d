"""What belongs to a client beside its models: keys by name, weights, the data file, and what that knows of today's costs. Plain data."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from importlib.util import find_spec
from math import fsum
from pathlib import Path
from typing import Any

from oblix.agents.probes.room import embedded_need
from oblix.client.keychain import is_own
from oblix.client.record import Recorder
from oblix.errors import AttemptFailed, ConfigurationError
from oblix.models.memory import Need
from oblix.settings.keys import FoundKey
from oblix.types.spec import ModelSpec

PATIENCE = 0.5  # seconds for adding up a day's costs; 20,000 answers take 0.25 s

Plain = dict[str, Any]


def keys(found: Iterable[FoundKey], specs: Collection[ModelSpec]) -> list[Plain]:
    """Keys by where they lie, never by value, and which hooked models each is for. One that lies in several places is told once."""
    firsts: dict[tuple[str, str], FoundKey] = {}
    for each in found:
        firsts.setdefault((each.provider, each.key.digest), each)
    return [
        {
            "variable": each.place if each.origin == "environment" else None,
            "provider": each.provider,
            "models": [spec.id for spec in specs if spec.provider == each.provider and _may_go_to(each, spec)],
            "origin": each.origin,
            "place": each.place,
        }
        for each in firsts.values()
    ]


def _may_go_to(found: FoundKey, spec: ModelSpec) -> bool:
    """A key that we keep goes to nobody but its provider; and none goes to an address that nobody named."""
    return (found.origin in ("environment", ".env") and spec.key != "withheld") or is_own(spec)


def embedded(specs: Collection[ModelSpec]) -> tuple[Plain, dict[str, Need]]:
    """Whether the engine is installed, which weights are here, and why others are not; and what each hooked model takes of memory.

    Reads the heads of files.
    """
    from oblix.models.embedded.known import KNOWN
    from oblix.models.embedded.weights import resolve

    hooked = {spec.name: spec for spec in specs if spec.provider == "embedded"}
    weights, missing, needs = [], {}, {}
    for name in dict.fromkeys([*KNOWN, *hooked]):
        try:
            found = resolve(name)
        except AttemptFailed as error:
            missing[name] = error.message
            continue
        weights.append({"name": name, "path": str(found.path), "bytes": found.size, "window": found.window})
        if name in hooked and (need := embedded_need(name, hooked[name].window)) is not None:
            needs[hooked[name].id] = need
    return {"engine": find_spec("xllamacpp") is not None, "weights": weights, "missing": missing}, needs


def data_path(recorder: Recorder) -> Path | None:
    """The data file, which need not be there yet; `None` where nothing is kept."""
    return None if recorder.store.is_in_memory else Path(recorder.store.path)


def size(path: Path | None) -> int | None:
    """Bytes of a file, `None` where there is none."""
    try:
        return None if path is None else path.stat().st_size
    except OSError:
        return None


def spent_today(path: Path | None) -> Plain | None:
    """What the log knows of today's costs, from midnight here; `None` where there is no log, or it cannot be read that soon."""
    from oblix.storage.decisions import DecisionLog

    if path is None or not path.exists():  # looking makes no file
        return None
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    log, ends, gives_up_at = DecisionLog(path), [], time.monotonic() + PATIENCE
    try:
        for kept in log.decisions(midnight.timestamp()):
            ends.append(kept.outcome)
            if time.monotonic() > gives_up_at:
                return None
    except ConfigurationError:
        return None
    finally:
        log.close()
    return _sum(ends)


def _sum(ends: Iterable[Mapping[str, Any] | None]) -> Plain:
    """Over the outcomes of a day; `unpriced` answers and `failed` requests are in no sum."""
    metrics = [None if end is None else end.get("metrics") for end in ends]
    costs = [each.get("cost_usd") for each in metrics if each]
    return {
        "spent_usd": fsum(cost for cost in costs if cost is not None),
        "answers": len(costs),
        "unpriced": costs.count(None),
        "failed": len(metrics) - len(costs),
    }
