"""`oblix spend`: what was spent and saved, by day, model, place, tag or key."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, get_args

import click

from oblix.cli.purse import amount, name_keys
from oblix.cli.render import json_line, show_story
from oblix.client import OblixClient
from oblix.decision.layout import Part, Table
from oblix.ledger.report import SAVED, By, Spend, Sums
from oblix.settings import load

_HEAD = ("spent", "calls", "answers", "tokens in", "tokens out", "saved")


@click.command("spend")
@click.option("--by", type=click.Choice(get_args(By)), default="day", show_default=True, help="What each row is.")
@click.option(
    "--since", help="A day (2026-11-01), `today`, `month`, or so many days (7d). By default all that there is."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values with a head.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(by: By, since: str | None, as_csv: bool, as_json: bool) -> None:
    """What was spent and saved, by every program that uses this data file. Amounts are in USD, to the millionth."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json cannot be had together.")
    found = asyncio.run(_spend(by, since))
    names = name_keys(found.rows) if by == "key" else {}
    if as_json:
        click.echo(json_line(found.to_dict()))
    elif as_csv:
        _write_csv(found)
    else:
        show_story(_parts(found, names))
    sys.stdout.flush()


async def _spend(by: By, since: str | None) -> Spend:
    async with OblixClient() as client:
        client.settle(load())  # the time zone of the days
        return await client.spend(by, since)


def _write_csv(found: Spend) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((found.by, "usd", *asdict(Sums())))
    for name, sums in found.rows.items():
        writer.writerow((name, amount(sums.micro_usd)[1:], *asdict(sums).values()))


def _parts(found: Spend, names: dict[str, str]) -> Iterator[Part]:
    if not found.rows:
        yield Part(lines=("Nothing was asked" + (f" since {found.since}." if found.since else " yet."),))
        return
    rows = [(names.get(name, name) or "(none)", *_cells(sums)) for name, sums in found.rows.items()]
    if len(rows) > 1:
        rows.append(("all", *_cells(found.total)))
    yield Part(table=Table((found.by, *_HEAD), tuple(rows)))
    if lines := tuple(_notes(found.total)):
        yield Part(lines=lines)


def _cells(sums: Sums) -> tuple[str, ...]:
    figures: tuple[Any, ...] = (sums.calls, sums.answers, sums.input_tokens, sums.output_tokens)
    spent = "unknown" if sums.unpriced and not sums.micro_usd else amount(sums.micro_usd)
    return (spent, *(f"{figure:,}" for figure in figures), amount(sums.saved_micro_usd))


def _notes(total: Sums) -> Iterator[str]:
    if total.uncertain_micro_usd:
        share = f"{100 * total.uncertain_share:.1f} %"
        yield f"{amount(total.uncertain_micro_usd)} of it ({share}) by estimate: the provider did not tell the usage."
    if total.reaped_micro_usd:
        yield f"{amount(total.reaped_micro_usd)} of that was reserved by programs that were killed."
    if total.unpriced:
        answers = "1 answer is" if total.unpriced == 1 else f"{total.unpriced:,} answers are"
        yield (
            f"{answers} not in it, or not wholly: no price is known of a model that was asked. "
            "Set it: `price = [0.5, 1.5]` below its [[model]]."
        )
    if total.saved_micro_usd:
        yield f"{SAVED[0].upper()}{SAVED[1:]}."
