"""`[budget]` and `[sessions]` of the settings file: what they mean, how slips are told, and what the client does with them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from oblix import OblixClient, Price
from oblix.client.books import key_of
from oblix.errors import ConfigurationError
from oblix.settings import Budget, Settings, load
from oblix.types.money import Limit

PAGE = (Path(__file__).parents[2] / "docs" / "money.md").read_text("utf-8")
FILE, ENERGY = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def write(folder: Path, text: str) -> Path:
    path = folder / "oblix.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_page_s_file(tmp_path: Path) -> None:
    found = load(write(tmp_path, FILE))
    assert found.budget == Budget(
        (
            Limit("all", "day", 5_000_000, origin="oblix.toml, line 2"),
            Limit("all", "month", 50_000_000, origin="oblix.toml, line 3"),
            Limit("model", "day", 1_000_000, subject="openai:gpt-4", origin="oblix.toml, line 8"),
            Limit("tag", "month", 20_000_000, subject="research", origin="oblix.toml, line 9"),
            Limit("key", "day", 2_000_000, subject="OPENAI_API_KEY", origin="oblix.toml, line 10"),
        ),
        on_limit="edge-only",
        zone=ZoneInfo("Europe/Berlin"),
        durability="normal",
        on_failure="refuse",
    )
    assert found.retain_days == 90
    assert found.models[0]["price"]["source"] == "oblix.toml, line 17"


def test_the_page_s_price_of_energy(tmp_path: Path) -> None:
    """It is what its formula gives, and what the model at home then costs."""
    client = OblixClient(config_path=write(tmp_path, ENERGY), store=":memory:")
    (model,) = client.models.values()
    assert (model.place, model.price) == ("edge", Price(0.00625, 0.125, "oblix.toml, line 3"))
    rows = re.findall(r"\| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", PAGE)
    sums = [float(watts) / float(pace) / 3.6 * float(usd) for watts, pace, usd, _ in rows]
    assert sums == pytest.approx([0.00625, 0.125])
    assert sums == pytest.approx([float(told) for *_, told in rows])


def test_the_page_s_program_runs() -> None:
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(text, names)  # our own page
    client = names["client"]
    assert isinstance(client, OblixClient)
    assert [limit.micro_usd for limit in client._hall.books.limits] == [5_000_000, 50_000_000]


def test_amounts_are_rounded_up_to_a_millionth(tmp_path: Path) -> None:
    (limit,) = load(write(tmp_path, "[budget]\ntotal_usd = 0.00000001\n")).budget.limits
    assert (limit.period, limit.micro_usd) == ("total", 1)


def test_a_file_that_says_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "[budget]\nmodels = {}\n[sessions]\n")
    assert load(path) == Settings(path)


@pytest.mark.parametrize(
    ("text", "line", "said", "hint"),
    [
        ("[budget]\ndayly_usd = 5", 2, "no key of [budget]", "Did you mean 'daily_usd'?"),
        ("daily_usd = 5", 1, "no section", "below [budget]"),
        ("retain_days = 5", 1, "no section", "below [sessions]"),
        ("[budget]\n\ndaily_usd = -1", 3, "not a number", "daily_usd = 5.0"),
        ("[budget]\ndaily_usd = true", 2, "not a number", "daily_usd = 5.0"),
        ("[budget]\ndaily_usd = '5'", 2, "not a number", "daily_usd = 5.0"),
        ("[budget]\ndaily_usd = inf", 2, "not a number", "daily_usd = 5.0"),
        ("[budget]\ndaily_usd = nan", 2, "not a number", "daily_usd = 5.0"),
        ('[budget]\non_limit = "halt"', 2, "'halt' is no", "edge-only, ask, stop"),
        ('[budget]\ndurability = "ful"', 2, "'ful' is no durability", "Did you mean 'full'?"),
        ('[budget]\nwhen_books_fail = "go on"', 2, "'go on' is no", "Did you mean 'go-on'?"),
        ('[budget]\ntime_zone = "Europe/Berln"', 2, "no time zone", "Did you mean 'Europe/Berlin'?"),
        ('[budget]\ntime_zone = "../../etc/passwd"', 2, "no time zone", "Europe/Berlin"),
        ("[budget]\nmodels = 5", 2, "not a table", "openai:gpt-4"),
        ('[budget]\nmodels = { "gpt-4" = { daily_usd = 1 } }', 2, "names none of the models", "openai:gpt-4"),
        ('[budget]\nmodels = { "openai:gpt-4" = 5 }', 2, "not a table", "daily_usd = 1.0"),
        ('[budget.models."openai:gpt-4"]\ndaily = 5', 2, "is no limit", "Did you mean 'daily_usd'?"),
        ("[budget]\ntags = { x = {} }", 2, "has no limit", "daily_usd"),
        ("budget = 5", 1, "not a table", "[budget] on a line"),
        ("[sessions]\nretain_days = 0", 2, "not a number", "retain_days = 90"),
        ("[sessions]\nkeep = 0", 2, "no key of [sessions]", "retain_days"),
    ],
)
def test_a_slip_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str, hint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as wrong:
        load(path)
    assert wrong.value.message.startswith(f"{path}, line {line}: ")
    assert said in wrong.value.message
    assert hint in str(wrong.value.hint)


def test_the_client_takes_it_over(tmp_path: Path) -> None:
    text = '[budget]\ndaily_usd = 2\non_limit = "stop"\ndurability = "full"\n[sessions]\nretain_days = 7\n'
    client = OblixClient(config_path=write(tmp_path, text), store=":memory:")
    books = client._hall.books
    assert [limit.micro_usd for limit in books.limits] == [2_000_000]
    assert (books.on_limit, client._hall.store.durability, client._hall.memory.retain_days) == ("stop", "full", 7)


def test_a_budget_by_key_holds_for_the_keys_of_its_provider(tmp_path: Path) -> None:
    """A variable's name stands for its provider; the key itself is known when a model has it."""
    client = OblixClient(
        config_path=write(tmp_path, "[budget]\nkeys = { OPENAI_API_KEY = { daily_usd = 2 } }\n"), store=":memory:"
    )
    asyncio.run(client.hook_model("openai", "gpt-4", api_key="sk-" + "0123456789abcdef" * 2))
    asyncio.run(client.hook_model("claude", "claude-opus-4-1", api_key="sk-" + "fedcba9876543210" * 2))
    hall = client._hall
    hall.books.know_keys(hall.models.values())
    assert [(each.scope, each.subject) for each in hall.books.limits] == [("key", key_of(hall.models["openai:gpt-4"]))]


def test_a_budget_by_a_key_of_nobody_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "[budget]\nkeys = { openapi = { daily_usd = 2 } }\n")
    with pytest.raises(ConfigurationError, match=r"oblix\.toml, line 2: 'openapi' is no provider"):
        OblixClient(config_path=path)


def test_prices_of_the_file_hold_for_models_that_a_program_hooks(tmp_path: Path) -> None:
    path = write(tmp_path, '[[model]]\nid = "openai:gpt-4"\nprice = [1.5, 2.5]\n')
    client = OblixClient(config_path=path, store=":memory:")
    asyncio.run(client.hook_model("openai", "gpt-4", api_key="sk-" + "0123456789abcdef" * 2))
    assert client.models["openai:gpt-4"].price == Price(1.5, 2.5, "oblix.toml, line 3")
    asyncio.run(client.hook_model("openai", "gpt-4", price=(3.0, 4.0)))
    assert client.models["openai:gpt-4"].price == Price(3.0, 4.0, "caller")
