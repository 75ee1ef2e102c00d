"""docs/policies.md says what is: its files are read, its tables are the code's, its error is the one that comes."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from oblix.decision.policy import PRESETS, SWITCHES, WEIGHTS, When
from oblix.errors import ConfigurationError
from oblix.settings import load, read_policy
from oblix.types.spec import Capability

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text("utf-8")
OFFICE, SETTINGS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the table whose first column has this heading: first cell → the others."""
    rows = PAGE.split(f"| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {first.strip("`"): others for first, *others in cells}


def test_the_policy_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "office.toml"
    path.write_text(OFFICE, "utf-8")
    policy = read_policy(path)
    assert (policy.name, policy.price, len(policy.rules)) == ("office", 2.0, 5)
    wishes = ["only", "to", "private", "refuse", "use"]
    assert [next(wish for wish in wishes if getattr(rule, wish)) for rule in policy.rules] == wishes
    assert set(table("wish")) == set(wishes)


def test_the_settings_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "oblix.toml"
    path.write_text(SETTINGS, "utf-8")
    found = load(path)
    assert found.policy is not None
    assert found.screening is not None
    assert (found.policy.name, found.policy.stay, found.screening.mode) == ("cheapest + oblix.toml", 1.0, "redact")
    assert f"`{found.policy.name}`" in PAGE


def test_every_key_is_told() -> None:
    assert list(table("weight")) == list(WEIGHTS)
    assert list(table("switch")) == list(SWITCHES)
    assert list(table("condition")) == [field.name for field in fields(When)]
    assert all(f'`"{need}"`' in table("condition")["needs"][0] for need in get_args(Capability))


def test_the_presets_are_the_codes() -> None:
    told = table("policy")
    assert list(told) == list(PRESETS)
    for name, cells in told.items():
        preset = PRESETS[name]
        assert [float(cell) for cell in cells[:-1]] == [getattr(preset, weight) for weight in WEIGHTS]
        unusual = [switch for switch in SWITCHES if getattr(preset, switch) != getattr(PRESETS["balanced"], switch)]
        assert cells[-1] == ", ".join(f"`{switch} = {str(getattr(preset, switch)).lower()}`" for switch in unusual)


def test_the_error_is_the_one_that_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("office.toml").write_text(OFFICE.replace("complexity_below", "complexity_belov", 1), "utf-8")
    with pytest.raises(ConfigurationError) as wrong:
        read_policy("office.toml")
    assert str(wrong.value) in PAGE
