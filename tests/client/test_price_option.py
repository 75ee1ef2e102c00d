"""The user's own prices: as a pair, as a `Price`, as a mapping, and in a settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oblix import ConfigurationError, OblixClient
from oblix.types.spec import Price, PriceTier

from .test_hooks import hook, refused

GIVEN = {"input_per_mtok": 3, "output_per_mtok": 15.0}
TIER = {"above": 200_000, "input_per_mtok": 6.0, "output_per_mtok": 22.5}
FILE = """
[[model]]
id = "openai:gpt-4o"
price = { input_per_mtok = 3.0, output_per_mtok = 15, cached_input_per_mtok = 0.3, source = "our contract" }

[[model]]
id = "claude:claude-sonnet-4-5"
[model.price]
input_per_mtok = 3.0
output_per_mtok = 15.0
tiers = [{ above = 200_000, input_per_mtok = 6.0, output_per_mtok = 22.5 }]

[[model]]
id = "groq:llama"
price = [0.5, 0.8]
"""


@pytest.mark.parametrize(
    ("given", "price"),
    [
        pytest.param((3, 15.5), Price(3.0, 15.5, "caller"), id="a pair"),
        pytest.param(GIVEN, Price(3.0, 15.0, "caller"), id="a mapping"),
        pytest.param({**GIVEN, "source": "contract"}, Price(3.0, 15.0, "contract"), id="with its source"),
        pytest.param(
            {**GIVEN, "cached_input_per_mtok": 0.3, "cache_write_per_mtok": None},
            Price(3.0, 15.0, "caller", cached_input_per_mtok=0.3),
            id="cached",
        ),
        pytest.param(
            {**GIVEN, "tiers": [TIER, {**TIER, "above": 500_000, "cached_input_per_mtok": 1}]},
            Price(
                3.0,
                15.0,
                "caller",
                tiers=(
                    PriceTier(6.0, 22.5, above=200_000),
                    PriceTier(6.0, 22.5, above=500_000, cached_input_per_mtok=1.0),
                ),
            ),
            id="tiers",
        ),
    ],
)
def test_a_price_in_every_form(given: Any, price: Price) -> None:
    found = hook("openai", price=given).spec.price
    assert found == price
    assert isinstance(found.input_per_mtok, float)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"input_per_mtok": 3}, "output_per_mtok is missing", id="no output"),
        pytest.param({**GIVEN, "cached_input_per_mtok": "0.3"}, "cached_input_per_mtok is '0.3'", id="a text"),
        pytest.param({**GIVEN, "cache_write_per_mtok": -1}, "cache_write_per_mtok is -1", id="below zero"),
        pytest.param({**GIVEN, "source": 7}, "source is of type int", id="a source that is no text"),
        pytest.param({**GIVEN, "tiers": 7}, "tiers=7 is no list of mappings", id="tiers that are none"),
        pytest.param({**GIVEN, "tiers": [GIVEN]}, "`above` is missing", id="a tier without a beginning"),
        pytest.param({**GIVEN, "tiers": [{**TIER, "above": 0.5}]}, "above=0.5", id="a beginning that is no number"),
        pytest.param({**GIVEN, "tiers": [{"above": 9}]}, "input_per_mtok is missing", id="a tier without prices"),
        pytest.param({**GIVEN, "tiers": [TIER, TIER]}, "begin above [200000, 200000]", id="two tiers at once"),
        pytest.param(Price(-1.0, 1.0, "mine"), "input_per_mtok is -1.0", id="a Price that cannot be"),
        pytest.param(
            Price(1.0, 1.0, "mine", tiers=(PriceTier(float("nan"), 1.0, above=1),)),
            "is nan",
            id="a tier that cannot be",
        ),
    ],
)
def test_a_price_that_cannot_be_is_refused_where_it_is_given(given: Any, told: str) -> None:
    assert told in refused("openai", price=given).message


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ({**GIVEN, "cached_per_mtok": 1}, "cached_input_per_mtok"),
        ({"input_per_mtoks": 1, "output_per_mtok": 1}, "input_per_mtok"),
        ({**GIVEN, "tier": []}, "tiers"),
        ({**GIVEN, "tiers": [{**TIER, "abov": 1}]}, "above"),
    ],
)
def test_a_slip_gets_the_nearest_name(given: dict[str, Any], nearest: str) -> None:
    assert f"Did you mean {nearest!r}?" in str(refused("openai", price=given).hint)


def test_prices_of_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "oblix.toml").write_text(FILE)
    models = OblixClient(config_path=tmp_path / "oblix.toml", store=":memory:").models
    assert [spec.price for spec in models.values()] == [
        Price(3.0, 15.0, "our contract", cached_input_per_mtok=0.3),
        Price(3.0, 15.0, "oblix.toml, line 8", tiers=(PriceTier(6.0, 22.5, above=200_000),)),
        Price(0.5, 0.8, "oblix.toml, line 15"),
    ]


def test_a_price_of_a_settings_file_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "oblix.toml").write_text('[[model]]\nid = "openai:gpt"\nprice = { input_per_mtok = 3.0 }\n')
    with pytest.raises(ConfigurationError, match="output_per_mtok is missing"):
        OblixClient(config_path=tmp_path / "oblix.toml", store=":memory:")
