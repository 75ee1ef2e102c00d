"""Everything that a client knows at this moment, as plain data: what `oblix status` shows, and what a dashboard or a gateway may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from oblix._version import __version__
from oblix.agents.base import BaseAgent
from oblix.agents.network.verdict import words_of
from oblix.agents.probes.engine import ENGINES, LOOK, look
from oblix.agents.probes.engine_facts import Engine, root_of
from oblix.agents.unheld import run_unheld
from oblix.client import holdings
from oblix.client.discovery import free_memory, usual_address
from oblix.client.hall import Hall, Thought, loop_time
from oblix.client.keychain import all_keys_within
from oblix.client.spend import look_into_books, money
from oblix.client.standing import Around, address_of, row, servers_of
from oblix.decision.facts import ModelFacts
from oblix.settings import Settings
from oblix.types.messages import Message
from oblix.types.report import AgentReport
from oblix.types.request import Request

SCHEMA = 1  # of what is told; within one a key is never taken away, and never means something else
WITHIN = 1.2  # seconds for all of it, where a sensor, an engine or the network does not answer
AGAIN = 0.05  # seconds between two looks at a sensor that has not read yet
# What is decided on: what would become of a plain prompt now, as `oblix route` has it. It goes nowhere.
_PLAIN = Request("status", (Message("user", "Hello."),))
_SECTIONS = {"ResourceMonitor": "machine", "PowerAgent": "power", "ConnectivityAgent": "network"}

# What is told of a server at a usual port; another program there is none of our business.
_THERE = ("ready", "loading", "locked", "hung")
_OF_AN_ENGINE = ("provider", "address", "state", "reason", "version", "running", "waiting", "slots")
_OF_A_MODEL = ("name", "bytes", "window", "family", "quantization", "does", "forwarded_to")

T = TypeVar("T")
Plain = dict[str, Any]


async def gather(hall: Hall, *, settings: Settings | None = None, within: float = WITHIN) -> Plain:
    """The state of everything, ready for JSON; what did not tell in time is `None`. The keys stand in docs/senses.md.

    Only what is hooked is contacted, and the usual ports of edge servers on loopback. No prompt is sent, and nothing is written down.

    Args:
        settings: What the settings file said, for the name of that file.
        within: Seconds that it may take.
    """
    ends = loop_time() + within
    hall.prices.kick()  # not waited for: told where it is known by the end
    looked, engines, room, weights, keys, kept = await asyncio.gather(
        _look(hall, ends),
        _by(ends, _engines, hall, ends),
        _by(ends, free_memory),
        _by(ends, run_unheld, holdings.embedded, tuple(hall.specs().values())),
        all_keys_within(within),
        _kept(hall, ends),
    )
    thought, reports = looked
    embedded, needs = weights or (None, {})
    senses = _senses(hall, reports)
    cloud = _cloud(hall, senses["network"])
    models = _models(hall, thought, Around(engines, embedded, cloud, room, needs))
    return {
        "schema": SCHEMA,
        "version": __version__,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "ready": any(model["can_answer"] is not False for model in models),
        **senses,
        "cloud": cloud,
        "engines": None if engines is None else [_engine(engine) for engine in engines],
        "embedded": embedded,
        "models": models,
        "keys": holdings.keys(keys, hall.specs().values()),
        "budget": kept[0],
        "policy": {"name": hall.policy.name, "rules": len(hall.policy.rules)},
        "settings_file": None if settings is None or settings.source is None else str(settings.source),
        "data_file": kept[1],
    }


async def _kept(hall: Hall, ends: float) -> tuple[Plain, Plain | None]:
    """What is told of the money, and of the data file."""
    data = holdings.data_path(hall.recorder)
    today, size, found = await asyncio.gather(
        _by(ends, run_unheld, holdings.spent_today, data),
        _by(ends, run_unheld, holdings.size, data),
        _by(ends, look_into_books, hall),
    )
    file = None if data is None else {"path": str(data), "bytes": size, "trouble": hall.store.trouble}
    return money(hall.books, today, found), file


async def _by(ends: float, work: Callable[..., Awaitable[T]], *given: Any) -> T | None:
    """What comes of it, `None` where that takes longer."""
    try:
        async with asyncio.timeout_at(ends):
            return await work(*given)
    except TimeoutError:
        return None


# --- the senses ---


async def _look(hall: Hall, ends: float) -> tuple[Thought | None, dict[str, AgentReport]]:
    """A decision on a plain prompt, and what every agent says; a sensor of ours that has not read yet is waited for."""
    thought = await _by(ends, hall.think, _PLAIN) if hall.models else None
    if thought is not None:
        reports = dict(thought.decision.checks)
    else:
        ask = partial(hall.panel.ask, prompt=_PLAIN.prompt, request=_PLAIN, session_id=None)
        reports = await _by(ends, ask) or {}
    late = [agent for name, agent in hall.panel.agents.items() if _is_late(agent, reports.get(name))]
    settled = await asyncio.gather(*(_settled(agent, ends) for agent in late))
    return thought, reports | {agent.name: report for agent, report in zip(late, settled, strict=True)}


def _is_late(agent: BaseAgent, report: AgentReport | None) -> bool:
    return _section(agent) is not None and (report is None or report.stale)


async def _settled(agent: BaseAgent, ends: float) -> AgentReport:
    """What a sensor says as soon as it has read, else what it says in the end."""
    while True:
        report = AgentReport.parse(await agent.check())
        if not report.stale or loop_time() + AGAIN >= ends:
            return report
        await asyncio.sleep(AGAIN)


def _section(agent: BaseAgent) -> str | None:
    """Where the report of one of our own agents stands, whatever it is called; `None` for a user's."""
    ours = (kind.__name__ for kind in type(agent).__mro__ if kind.__module__.startswith("oblix.agents."))
    return next((_SECTIONS[name] for name in ours if name in _SECTIONS), None)


def _senses(hall: Hall, reports: Mapping[str, AgentReport]) -> Plain:
    """The reports of our agents by section, `None` where none is hooked; those of other agents by name."""
    found: Plain = {**dict.fromkeys(_SECTIONS.values()), "agents": {}}
    for name, report in reports.items():
        section = _section(hall.panel.agents[name])
        if section is None or found[section] is not None:
            found["agents"][name] = report.to_dict()
        else:
            found[section] = report.to_dict()
    return found


# --- what can answer ---


def _models(hall: Hall, thought: Thought | None, around: Around) -> list[Plain]:
    if thought is None:
        return [row(ModelFacts(spec), None, None, around) for spec in hall.specs().values()]
    candidates = {candidate.model_id: candidate for candidate in thought.decision.candidates}
    learned = hall.specs()  # the catalogue may have been read since the decision
    known = [replace(facts, spec=learned.get(facts.spec.id, facts.spec)) for facts in thought.facts.models]
    rows = {facts.spec.id: row(facts, candidates.get(facts.spec.id), None, around) for facts in known}
    # The look around may know more than the decision did: who cannot answer has no place in the order.
    able = [model_id for model_id in thought.decision.plan if rows[model_id]["can_answer"] is not False]
    for rank, model_id in enumerate(able, 1):
        rows[model_id]["rank"] = rank
    return list(rows.values())


def _cloud(hall: Hall, network: Plain | None) -> list[Plain]:
    """Each hooked cloud endpoint, and how it was reached; one whose models have no key is not asked."""
    seen = {} if network is None else network["metrics"].get("endpoints") or {}
    models: dict[str, list[str]] = {}
    for spec in hall.specs().values():
        if not spec.is_edge and spec.endpoint:
            models.setdefault(address_of(spec.endpoint), []).append(spec.id)
    asked = {f"{endpoint.host}:{endpoint.port}" for endpoint in hall.surroundings.cloud_endpoints()}
    return [
        {"endpoint": address, "models": ids, **_way(seen.get(address), network, is_asked=address in asked)}
        for address, ids in models.items()
    ]


def _way(seen: Mapping[str, Any] | None, network: Plain | None, *, is_asked: bool) -> Plain:
    """`reached`, `failing`, `unknown` or `not_asked`, why, and figures."""
    if not is_asked:
        return {"state": "not_asked", "reason": "no key", "figures": {}}
    if seen is None:
        told = "no ConnectivityAgent is hooked" if network is None else "not measured yet"
        return {"state": "unknown", "reason": told, "figures": {}}
    trouble, latency = seen["trouble"], seen["latency_ms"]
    if seen["state"] == "down" or (network is not None and network["state"] == "disconnected"):
        return {"state": "failing", "reason": trouble or "the network is down", "figures": dict(seen)}
    if seen["state"] != "up" and trouble == words_of("lookup"):  # nothing can be reached by a name that nobody knows
        return {"state": "failing", "reason": trouble, "figures": dict(seen)}
    if seen["state"] != "up":
        return {"state": "unknown", "reason": trouble or "no answer from there yet", "figures": dict(seen)}
    return {"state": "reached", "reason": "" if latency is None else f"{latency:.0f} ms", "figures": dict(seen)}


async def _engines(hall: Hall, ends: float) -> list[Engine]:
    """The servers of the hooked models, and those at the usual ports of this machine that are what they should be."""
    await hall.transport.prepare()
    hooked = servers_of(hall.specs().values())
    around = {(name, root_of(usual_address(name))) for name in ENGINES} - hooked.keys()
    # A look that is cut off tells nothing; one that has run its time tells that somebody hangs.
    limit = round(min(LOOK, max(0.1, ends - loop_time() - AGAIN)), 1)
    looks = [look(hall.transport, *where, about=names, limit=limit) for where, names in hooked.items()]
    looks += [look(hall.transport, *where, about=(), limit=limit) for where in sorted(around)]
    found = await asyncio.gather(*looks)
    mine = [_patient(hall, engine) for engine in found[: len(hooked)]]
    return [*mine, *(engine for engine in found[len(hooked) :] if engine.state in _THERE)]


def _patient(hall: Hall, engine: Engine) -> Engine:
    """A busy machine may take longer to answer than a screen has time for: who was well a moment ago is not called hung."""
    well = hall.engines.lately_well(engine.provider, engine.address) if engine.state == "hung" else None
    return engine if well is None else replace(well, reason=engine.reason)


def _engine(engine: Engine) -> Plain:
    """As plain data, without what only matters for reckoning with it."""
    models = [{name: getattr(model, name) for name in _OF_A_MODEL} for model in engine.models]
    loaded = None if engine.loaded is None else [asdict(model) for model in engine.loaded]
    return {**{name: getattr(engine, name) for name in _OF_AN_ENGINE}, "models": models, "loaded": loaded}
