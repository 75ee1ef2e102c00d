"""The status of everything as one screen: from the plain data of `oblix.client.status` to paragraphs and tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from oblix.client.selection import size
from oblix.decision.layout import Part, Table
from oblix.decision.money import usd

Plain = Mapping[str, Any]
Row = tuple[str, str, str]

_CAN = {True: "yes", False: "no", None: "perhaps"}


def screen(status: Plain) -> list[Part]:
    """Every section of it, the verdict first."""
    return [
        Part(lines=(_verdict(status["models"]),)),
        Part(table=Table(("sense", "state", "reading"), tuple(_senses(status)))),
        *_servers(status),
        *_models(status["models"]),
        Part(table=Table(("settled", "value"), tuple(_settled(status)))),
    ]


def _verdict(models: Sequence[Plain]) -> str:
    if not models:
        return (
            "No model is here to answer: `oblix models fetch smollm2` brings a small one, `ollama serve` starts Ollama."
        )
    can, perhaps = ([model for model in models if model["can_answer"] is answer] for answer in (True, None))
    if len(models) == 1:
        only = models[0]
        return f"{only['id']} {'can' if can else 'may be able to' if perhaps else 'cannot'} answer: {only['why']}."
    if not can and not perhaps:
        return f"None of the {len(models)} models can answer at this moment."
    ranked = [model for model in [*can, *perhaps] if model["rank"] is not None]
    first = min(ranked, key=lambda model: model["rank"], default=None)
    told = f"{len(can)} of {len(models)} models can answer" + (f", {len(perhaps)} more may." if perhaps else ".")
    return told if first is None else f"{told} A plain prompt goes to {first['id']} first."


# --- the senses ---


def _senses(status: Plain) -> Iterator[Row]:
    machine, power, network = (status[section] for section in ("machine", "power", "network"))
    yield _sense("machine", machine, _machine)
    if machine is not None:
        yield from (("gpu", "", _gpu(gpu)) for gpu in machine["metrics"].get("gpus") or ())
    yield _sense("power", power, _power)
    yield _sense("network", network, _network)
    for way in status["cloud"]:
        yield "cloud", way["state"].replace("_", " "), _way(way)
    for name, report in status["agents"].items():
        yield name, report["state"], report["reason"]


def _sense(name: str, report: Plain | None, details: Any) -> Row:
    if report is None:
        return name, "", "not watched"
    is_known = report["state"] != "unknown"
    metrics = report["metrics"] if is_known else {**report["metrics"], "age_seconds": None}  # nothing has no age
    told = [report["reason"], *details(metrics)]
    is_old = report["stale"] and is_known
    return name, report["state"] + (" (old)" if is_old else ""), "; ".join(filter(None, told))


def _machine(metrics: Plain) -> Iterator[str]:
    cores, limit, own = (metrics.get(name) for name in ("cores", "cpu_limit_cores", "own_inference_percent"))
    if limit is not None:
        yield f"limited to {limit:g} cores"
    elif cores is not None:
        yield f"{cores:g} cores"
    if own:
        yield f"our own inference {own:.0f} %"
    yield _room(metrics)
    if (swap := metrics.get("swap_percent")) is not None:
        yield f"swap {swap:.0f} %"
    pressure = [
        f"{what} {value:.0f} %"
        for what, value in (
            ("CPU", metrics.get("pressure_cpu_percent")),
            ("memory", metrics.get("pressure_memory_percent")),
        )
        if value is not None
    ]
    yield f"pressure: {', '.join(pressure)}" if pressure else ""
    yield "in a container" if metrics.get("in_container") else ""
    yield "" if metrics.get("gpus") else "no GPU seen"


def _room(metrics: Plain) -> str:
    free, total = metrics.get("memory_available_bytes"), metrics.get("memory_total_bytes")
    if free is None:
        return ""
    return f"{size(free)} of {size(total)} free" if total else f"{size(free)} free"


def _gpu(gpu: Plain) -> str:
    parts = [gpu["name"], _percent("load", gpu.get("load_percent")), _percent("memory", gpu.get("memory_percent"))]
    if (heat := gpu.get("temperature_celsius")) is not None:
        parts.append(f"{heat:.0f} °C")
    if slowed := gpu.get("throttled"):
        parts.append(f"slowed down by {', '.join(slowed)}")
    return ", ".join(filter(None, parts))


def _percent(what: str, value: float | None) -> str:
    return f"{what} unknown" if value is None else f"{what} {value:.0f} %"


def _power(metrics: Plain) -> Iterator[str]:
    if (left := metrics.get("minutes_left")) is not None:
        yield f"{left:.0f} minutes left"
    if (watts := metrics.get("watts")) is not None:
        yield f"{watts:.1f} W"


def _network(metrics: Plain) -> Iterator[str]:
    yield _lost("up", metrics)
    yield _lost("down", metrics)
    yield _rate(metrics)
    if (kind := metrics.get("connection_type")) not in (None, "unknown"):
        yield str(kind)
    yield "metered" if metrics.get("metered") else ""
    yield "a captive portal answers" if metrics.get("captive_portal") else ""
    yield _measured(metrics)


def _lost(way: str, metrics: Plain) -> str:
    lost, interval = metrics.get(f"loss_{way}_percent"), metrics.get(f"loss_{way}_interval")
    if lost is None:
        return ""
    told = f"loss {way} {lost:.1f} %"
    return told if interval is None else f"{told} ({interval[0]:.1f} to {interval[1]:.1f})"


def _rate(metrics: Plain) -> str:
    rates = [
        f"{way} {value:.1f}" for way in ("up", "down") if (value := metrics.get(f"bandwidth_{way}_mbps")) is not None
    ]
    return f"{', '.join(rates)} Mbit/s" if rates else ""


def _measured(metrics: Plain) -> str:
    age, how = metrics.get("age_seconds"), metrics.get("measured_by")
    if age is None:
        return ""
    by = sorted(set(how.values()) - {None}) if isinstance(how, Mapping) else filter(None, [how])
    told = " and ".join(map(str, by))
    return f"by {told}, {age:.0f} s ago" if told else f"{age:.0f} s ago"


def _way(way: Plain) -> str:
    return f"{way['endpoint']} ({', '.join(way['models'])})" + (f": {way['reason']}" if way["reason"] else "")


# --- what can answer ---


def _servers(status: Plain) -> Iterator[Part]:
    rows = [(engine["provider"], engine["state"], _engine(engine)) for engine in status["engines"] or ()]
    embedded = status["embedded"]
    if embedded is not None:
        rows.append(("embedded", *_embedded(embedded)))
    if rows:
        yield Part(table=Table(("engine", "state", "what it has"), tuple(rows)))


def _engine(engine: Plain) -> str:
    loaded = [_loaded(model) for model in engine["loaded"] or ()]
    told = [
        " ".join(filter(None, (engine["address"], engine["version"]))),
        engine["reason"],
        _count(len(engine["models"]), "model") if engine["state"] == "ready" else "",
        f"in memory: {', '.join(loaded)}" if loaded else "" if engine["loaded"] is None else "none in memory",
        f"{engine['waiting']} waiting" if engine["waiting"] else "",
    ]
    return "; ".join(filter(None, told))


def _loaded(model: Plain) -> str:
    held, on_gpu = model.get("bytes"), model.get("vram_bytes")
    told = [f"window {model['window']:,}" if model.get("window") else "", size(held) if held else ""]
    if held and on_gpu is not None:
        told.append(f"{100 * min(1.0, on_gpu / held):.0f} % on GPU")
    figures = ", ".join(filter(None, told))
    return f"{model['name']} ({figures})" if figures else str(model["name"])


def _embedded(embedded: Plain) -> tuple[str, str]:
    here = [f"{each['name']} ({size(each['bytes'])})" for each in embedded["weights"]]
    told = f"weights here: {', '.join(here)}" if here else "no weights here: oblix models fetch smollm2 (98 MB)"
    if not embedded["engine"]:
        return "absent", f"pip install 'openoblix[embedded]' brings it; {told}"
    return "ready" if here else "empty", told


def _models(models: Sequence[Plain]) -> Iterator[Part]:
    if models:
        rows = tuple((model["id"], model["place"], _CAN[model["can_answer"]], _model(model)) for model in models)
        yield Part(table=Table(("model", "place", "can answer", "why"), rows))


def _model(model: Plain) -> str:
    told = [model["why"]]
    if model["fit"] is not None and not model["loaded"]:
        told.append(
            {"fits": "fits into memory", "tight": "fits tightly", "no": "does not fit into memory"}[model["fit"]]
        )
    if model["window"]:
        told.append(f"window {model['window']:,}")
    if model["queue"]:
        told.append(f"{model['queue']} waiting")
    if model["tokens_per_second"] is not None:
        told.append(f"{model['tokens_per_second']:g} tokens/s of late")
    return "; ".join(filter(None, told))


# --- what is settled ---


def _settled(status: Plain) -> Iterator[tuple[str, str]]:
    yield "keys", _keys(status["keys"])
    yield "budget", _budget(status["budget"])
    policy = status["policy"]
    yield "policy", policy["name"] + (f", {_count(policy['rules'], 'rule')}" if policy["rules"] else "")
    yield "settings", status["settings_file"] or "no settings file"
    data = status["data_file"]
    if data is None:
        yield "data", "nothing is kept"
    else:
        yield "data", f"{data['path']} ({'not there yet' if data['bytes'] is None else size(data['bytes'])})"
        if data.get("trouble"):
            yield "", data["trouble"]


def _keys(keys: Iterable[Plain]) -> str:
    told = [
        key["place"] + ("" if key["models"] else f" (no hooked model uses it: {key['provider']} is not asked)")
        for key in keys
    ]
    return "; ".join(told) or "none; keep one with: oblix keys set PROVIDER"


def _budget(budget: Plain) -> str:
    today, limit = budget["today"], budget["limit_usd"]
    limits = [
        f"{each['name']} {usd(each['limit_usd'])} ({usd(each['left_usd'])} left)" for each in budget.get("limits") or ()
    ]
    told = ", ".join(limits) or ("no budget set" if limit is None else f"limit {usd(limit)}")
    if today is None:
        return told
    told += f"; spent today: {usd(today['spent_usd'])}"
    if today["answers"] is None:
        return told
    told += f" for {_count(today['answers'], 'answer')}"
    return told + (f" ({today['unpriced']} of them unpriced)" if today["unpriced"] else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
