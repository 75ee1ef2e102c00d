"""Prices of the kept catalogue."""

from __future__ import annotations

import pytest

from oblix.models.catalog import look_up


@pytest.mark.parametrize(
    ("provider", "name", "prices"),
    [
        ("openai", "gpt-3.5-turbo", (0.5, 1.5)),
        (
            "anthropic",
            "claude-sonnet-4-5",
            (3.0, 15.0),
        ),  # dearer above 200,000 tokens, which is not what most prompts have
        ("google", "gemini-2.5-pro", (1.25, 10.0)),
    ],
)
def test_prices_are_those_of_a_request_of_ordinary_size(provider: str, name: str, prices: tuple[float, float]) -> None:
    found = look_up(provider, name)
    assert found.price is not None
    assert (found.price.input_per_mtok, found.price.output_per_mtok) == pytest.approx(prices)
    assert found.price.source.startswith("genai-prices ")


def test_what_is_not_known_is_unknown() -> None:
    found = look_up("openai", "no-such-model")
    assert (found.price, found.window) == (None, None)
