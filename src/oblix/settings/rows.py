"""A `[[model]]` of the settings file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import inf
from typing import Any, get_args

from oblix.decision.section import KeyPath, Section, show
from oblix.types.ids import split_model_id
from oblix.types.spec import Place, Price, PriceTier, Rates, Timeouts

_KEYS = ("id", "endpoint", "tier", "place", "window", "price", "timeouts", "prefill")
_PRICE_HINT = "Write price = [3.0, 15.0], in USD per million tokens of input and output, or a table."


def parse_model(row: Section, origin: Callable[[KeyPath], str]) -> Mapping[str, Any]:
    """The row as it stands, its price with the line as its source. What depends on its provider is checked where it is hooked.

    Args:
        origin: A path in the file → that file and the line, in words.
    """
    row.expect(_KEYS, "key of [[model]]")
    model_id = row.text("id", '"ollama:llama3"')
    if model_id is None or not all(split_model_id(model_id)):
        said = "A [[model]] has no id." if model_id is None else f"{show(model_id)} is no id of a model."
        raise row.misfit("id", said, hint='Write it as "provider:name", e.g. id = "ollama:llama3".')
    row.text("endpoint", '"http://localhost:11434"')
    row.choice("place", get_args(Place), "place", '"edge"')
    row.whole("tier", 1, example="1")
    row.whole("window", 1, example="8192")
    row.switch("prefill")
    _timeouts(row.section("timeouts", "timeouts = { first_token = 20.0 }"))
    _price(row)
    told = {"price": _with_source(row.values["price"], origin((*row.path, "price")))} if "price" in row.values else {}
    return {**row.values, "id": model_id, **told}


def _with_source(price: Any, source: str) -> dict[str, Any]:
    """A price that says where it comes from."""
    if isinstance(price, list):
        return {"input_per_mtok": price[0], "output_per_mtok": price[1], "source": source}
    return {"source": source, **price}


def _timeouts(section: Section | None) -> None:
    if section is not None:
        names = [field.name for field in fields(Timeouts)]
        section.expect(names, "timeout")
        for name in names:
            section.number(name, 0.001, inf, example="20.0")


def _price(row: Section) -> None:
    """`[input, output]`, or a table of the parts of a `Price`."""
    given = row.values.get("price")
    if isinstance(given, list):
        if len(given) != 2 or not all(type(usd) in (int, float) and 0 <= usd < inf for usd in given):
            raise row.misfit("price", f"'price' is {show(given)}, not two amounts of USD.", hint=_PRICE_HINT)
        return
    if given is not None and not isinstance(given, dict):
        raise row.misfit("price", f"'price' is {show(given)}.", hint=_PRICE_HINT)
    price = Section(given or {}, (*row.path, "price"))
    price.expect([field.name for field in fields(Price)], "part of a price")
    price.text("source", '"our contract"')
    tiers = price.sections("tiers")
    for tier in tiers:
        tier.expect([field.name for field in fields(PriceTier)], "part of a tier of a price")
        tier.whole("above", 1, example="200000")
    for section in (price, *tiers):
        for field in fields(Rates):
            section.number(field.name, 0.0, inf, example="3.0")
