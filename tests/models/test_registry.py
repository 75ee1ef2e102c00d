"""The table of providers, and what the kept price catalogue knows of their models."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest

from oblix.models import catalog
from oblix.models.catalog import Entry, PriceBook, look_up
from oblix.models.registry import CLASSES, PROVIDERS, Provider, catalogue_of


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=PROVIDERS)
def test_a_row_is_complete(row: Provider) -> None:
    """Every provider has a class, an address that can be, and the cloud ones a key and their prices."""
    module, _, name = CLASSES[row.wire].partition(":")
    assert hasattr(importlib.import_module(module), name)
    assert PROVIDERS[row.name] is row
    if row.endpoint is None:
        assert row.wire == "embedded"
        return
    parts = urlsplit(row.endpoint)
    assert not row.endpoint.endswith("/")
    if row.place == "cloud":
        assert parts.scheme == "https"
        assert row.key_env
        assert row.prices
    else:
        assert parts.hostname == "localhost"
        assert row.prices is None


def test_providers_of_the_catalogue_exist() -> None:
    """A row that names a provider which the catalogue does not have would stay unpriced for ever."""
    from genai_prices.data import providers

    known = {provider.id for provider in providers}
    named = {row.prices for row in PROVIDERS.values() if row.prices}
    assert named <= known


def test_the_catalogue_of_a_provider() -> None:
    assert catalogue_of("claude") == "anthropic"
    assert catalogue_of("ollama") is None
    assert catalogue_of("no such provider") is None


def test_reading_the_table_imports_no_provider() -> None:
    code = (
        "import sys; import oblix.models.registry, oblix.client.hooks; "
        "heavy = {'aiohttp', 'xllamacpp', 'genai_prices', 'oblix.models.openai', 'oblix.models.embedded'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_known_model_has_price_and_window() -> None:
    entry = look_up("openai", "gpt-4")
    assert entry.price is not None
    assert entry.price.input_per_mtok > 0
    assert entry.price.output_per_mtok >= entry.price.input_per_mtok
    assert entry.price.source.startswith("genai-prices ")
    assert entry.price.cost(1_000_000, 0) == entry.price.input_per_mtok


@pytest.mark.parametrize(
    ("provider", "name"),
    [("openai", "no-such-model-9"), ("no-such-provider", "gpt-4"), ("openai", ""), ("openai", "\0"), ("", "")],
)
def test_an_unknown_model_is_not_free(provider: str, name: str) -> None:
    """`None` is "not known", never zero."""
    assert look_up(provider, name) == Entry(None, None)


def test_the_book_looks_up_what_is_wanted() -> None:
    book = PriceBook()
    assert book.is_settled()
    book.want("openai", "gpt-4")
    assert not book.is_settled()
    assert book.entry("openai", "gpt-4") == Entry()
    book.wait(20)
    assert book.is_settled()
    assert book.entry("openai", "gpt-4").price is not None
    book.want("openai", "gpt-4")
    assert book.is_settled()


def test_what_is_wanted_meanwhile_is_looked_up_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model hooked while another is being looked up must not fall out of the list."""
    asked: list[str] = []
    looking, go_on = threading.Event(), threading.Event()

    def slowly(_provider: str, name: str) -> Entry:
        asked.append(name)
        looking.set()
        go_on.wait(20)
        return Entry(window=len(name))

    monkeypatch.setattr(catalog, "look_up", slowly)
    book = PriceBook()
    book.want("openai", "first")
    book.kick()
    assert looking.wait(20)
    book.want("openai", "second")
    go_on.set()
    book.wait(20)
    assert asked == ["first", "second"]
    assert book.entry("openai", "second") == Entry(window=6)
    assert book.is_settled()


def test_a_broken_catalogue_leaves_costs_unknown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in the log, once, and nobody waits for it."""

    def broken(_provider: str, _name: str) -> Entry:
        raise RuntimeError("no data")

    monkeypatch.setattr(catalog, "look_up", broken)
    book = PriceBook()
    book.want("openai", "gpt-4")
    book.want("openai", "gpt-5")
    book.wait(20)
    assert book.is_settled()
    assert book.entry("openai", "gpt-4") == Entry()
    assert [record.message for record in caplog.records] == ["the price catalogue cannot be used; costs stay unknown"]
