"""Two programs about money, run as users run them, and the books beside: our cost example, and the page's with its own flat prices."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oblix.testing.faults import FaultServer, Manner
from oblix.types.money import micro

from .outside import program

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "cost.py"
PAGE = Path(os.environ.get("SEED", ROOT.parent / "shared" / "seed" / "edge-cloud-orchestration.md"))
LENGTHS = Manner(lengths=(40, 400))  # tokens of an answer
FLAT = {"gpt-3.5-turbo": 0.0015, "gpt-4": 0.03}  # USD per 1,000 tokens, as the page has them
HOOKED = "    client.hook_agent(cost_agent)"
FINAL = r'    print("\n--- Final Budget Status ---")'


class Run:
    """A program with an edge server, a cloud, and a data file of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.stdout = ""
        self.billed = 0

    def play(self, text: str, *arguments: str, is_home_up: bool = True) -> None:
        async def main() -> None:
            async with FaultServer() as server:
                edge, cloud = server.upstream("edge", wire="ollama"), server.upstream("cloud", wire="openai")
                edge.manner = cloud.manner = LENGTHS
                environ = {
                    "OLLAMA_HOST": edge.url.removeprefix("http://") if is_home_up else "127.0.0.1:9",
                    "OPENAI_BASE_URL": f"{cloud.url}/v1",
                    "OPENAI_API_KEY": "sk-" + "0123456789abcdef" * 2,
                    "OBLIX_READINGS": str(ROOT / "tests" / "seed" / "idle_machine.json"),
                    "PYTHONPATH": str(ROOT / "examples"),
                }
                ran = await asyncio.to_thread(program, text, self.home, *arguments, environ=environ)
                assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
                self.stdout = ran.stdout
                self.billed = sum(micro(row.usd) for row in cloud.bill)

        asyncio.run(main())

    def oblix(self, *args: str) -> Any:
        ran = subprocess.run(
            [sys.executable, "-m", "oblix", *args, "--json"],
            env={**os.environ, "OBLIX_HOME": str(self.home)},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(ran.stdout)


def micro_of(text: str) -> int:
    """`0.000120` in micro-USD."""
    whole, _, part = text.partition(".")
    return int(whole) * 1_000_000 + int(part)


def test_our_example_prints_what_the_books_hold(tmp_path: Path) -> None:
    """Ten times its three queries, at the catalogue's prices: to the micro-dollar."""
    run = Run(tmp_path)
    run.play(EXAMPLE.read_text("utf-8"), "10")
    lines = re.findall(r"^(\S+:\S+)  \$(\d+\.\d{6})  budget_available  ←  ", run.stdout, re.MULTILINE)
    assert len(lines) == 30
    costs = [micro_of(cost) for _, cost in lines]
    here, in_all = re.findall(r"spent here: \$(\d+\.\d{6}), in all today: \$(\d+\.\d{6}) of \$5\.00", run.stdout)[0]
    total = run.oblix("spend", "--since", "today")["total"]
    assert total["micro_usd"] == sum(costs) == micro_of(here) == micro_of(in_all) > 0
    assert total["answers"] == 30
    assert total["uncertain_micro_usd"] == total["reaped_micro_usd"] == 0
    by_model = {row["name"]: row["micro_usd"] for row in run.oblix("spend", "--by", "model")["rows"]}
    for model, sums in by_model.items():
        assert sums == sum(cost for (name, _), cost in zip(lines, costs, strict=True) if name == model)
    assert run.oblix("budget", "check")["ok"]


@pytest.mark.seed
@pytest.mark.skipif(not PAGE.exists(), reason="the published page is not here")
@pytest.mark.parametrize(
    ("is_home_up", "has_ours"),
    [(True, False), (False, False), (False, True)],
    ids=["home answers", "the cloud answers", "our agent is beside it"],
)
def test_the_pages_example_agrees_with_the_books(is_home_up: bool, has_ours: bool, tmp_path: Path) -> None:
    """Its prices are flat, per token of input and output alike; the same set in a settings file: its `daily_spend` is the ledger's."""
    (text,) = (
        each for each in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "daily_spend" in each
    )
    rows = [f'[[model]]\nid = "openai:{name}"\nprice = [{1e3 * usd}, {1e3 * usd}]\n' for name, usd in FLAT.items()]
    (tmp_path / "prices.toml").write_text("\n".join(rows))
    assert (text.count(HOOKED), text.count(FINAL)) == (1, 1)
    assert text.count('OblixClient(oblix_api_key="your_oblix_api_key")') == 1
    text = text.replace('OblixClient(oblix_api_key="your_oblix_api_key")', 'OblixClient(config_path="prices.toml")')
    if has_ours:
        ours = "from oblix.agents import CostAgent; ours = CostAgent(); client.hook_agent(ours)"
        told = "print(f\"Ours: {ours.peek().metrics['daily_spend']:.6f}\")"
        text = text.replace(HOOKED, f"{HOOKED}\n    {ours}").replace(FINAL, f"    {told}\n{FINAL}")
    run = Run(tmp_path)
    run.play(text, is_home_up=is_home_up)
    printed = re.findall(r"^Total spend: \$(\d+\.\d{4})$", run.stdout, re.MULTILINE)
    total = run.oblix("spend")["total"]
    assert printed == [f"{total['usd']:.4f}"]
    assert (total["usd"] == 0) == is_home_up
    assert total["answers"] == 3
    if has_ours:
        assert f"\nOurs: {total['usd']:.6f}\n" in run.stdout
