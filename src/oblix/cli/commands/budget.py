"""`oblix budget`: show budgets and where they stand, set or reset one for every program on the data file, check the books."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from oblix.cli.purse import amount, digest_of, name_keys
from oblix.cli.render import json_line, note, show_story
from oblix.client import OblixClient
from oblix.client.hall import Hall
from oblix.client.hooks import canonical_id
from oblix.client.spend import left, plain, standing
from oblix.decision.layout import Part, Table
from oblix.errors import ConfigurationError
from oblix.ledger import Standing, balances, chain
from oblix.ledger.advice import BY_COMMAND, mending
from oblix.ledger.failing import passing
from oblix.settings import load
from oblix.storage.jobs import StoreBusy
from oblix.storage.store import Store
from oblix.types.ids import split_model_id
from oblix.types.money import Limit, Period, Scope, micro

T = TypeVar("T")
_AMOUNT = re.compile(r"\$?(\d{1,9}(?:\.\d+)?|\.\d+)/(day|month|total)")


@click.group("budget")
def command() -> None:
    """Budgets: what may be spent in a day, a month, or in all. They hold for every program that uses this data file."""


def _subject(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say for whom a budget is."""
    for name, text in (
        ("--key", "Only with this key: a provider (openai) or a variable (OPENAI_API_KEY)."),
        ("--tag", "Only for requests with this tag."),
        ("--model", "Only for this model (provider:name)."),
    ):
        function = click.option(name, help=text)(function)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


@command.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(as_json: bool) -> None:
    """Show every budget, and where it stands."""
    asyncio.run(_with_hall(lambda hall: _show(hall, as_json=as_json)))


@command.command("set")
@click.argument("limit", metavar="AMOUNT/PERIOD")
@_subject
def set_(limit: str, model: str | None, tag: str | None, key: str | None, as_json: bool) -> None:
    """Set a budget, e.g. `5/day`, `50/month` or `100/total`, in USD; one for the same takes the place of the former."""
    found = _AMOUNT.fullmatch(limit.strip().lower())
    if found is None:
        raise click.UsageError(f"{limit!r} is no budget. Write USD, a slash and day, month or total: 5/day")
    scope, subject = _whose(model, tag, key)
    period: Period = found[2]  # type: ignore[assignment]  # one of the three
    wanted = Limit(scope, period, micro(float(found[1])), subject=subject, origin=BY_COMMAND)

    async def work(hall: Hall) -> None:
        await _be_lasting(hall.store)
        await hall.books.ledger.set_limit(wanted)
        await _show(hall, as_json=as_json)

    asyncio.run(_with_hall(work))


@command.command("reset")
@click.argument("period", type=click.Choice(get_args(Period)), required=False)
@_subject
def reset(period: Period | None, model: str | None, tag: str | None, key: str | None, as_json: bool) -> None:
    """Do away with a budget that was set here; without PERIOD with all of them for the same. What was spent stays counted."""
    scope, subject = _whose(model, tag, key)

    async def work(hall: Hall) -> None:
        periods = (period,) if period else get_args(Period)
        if is_known := hall.store.exists():  # looking makes no file
            await _be_lasting(hall.store)
        gone = [each for each in periods if is_known and await hall.books.ledger.reset_limit(scope, each, subject)]
        if not gone:
            note("There was no such budget. Those of oblix.toml are changed there.")
        await _show(hall, as_json=as_json)

    asyncio.run(_with_hall(work))


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(as_json: bool) -> int:
    """Check the books: that no entry was changed, and that each balance equals its entries. Ends with 1 where one does not."""
    verdict, wrong, aside = asyncio.run(_with_hall(_checked))
    is_right = verdict.broken_at is None and not wrong
    if as_json:
        click.echo(json_line({"ok": is_right, **verdict._asdict(), "unbalanced": wrong, "put_aside": aside}))
    elif is_right:
        click.echo(
            f"The books are right: {verdict.entries:,} entries, none was changed, and every balance equals its entries."
        )
    else:
        for line in [] if verdict.broken_at is None else [f"entry {verdict.broken_at}: {verdict.why}"]:
            click.echo(line)
        for line in wrong:
            click.echo(line)
    if aside and not as_json:
        note(
            f"A damaged data file was put aside: {', '.join(aside)}. What could be read of it is here; see `oblix budget show`."
        )
    return 0 if is_right else 1


async def _checked(hall: Hall) -> tuple[chain.Verdict, list[str], list[str]]:
    """What was found; and the damaged files that were put aside, now or earlier."""
    store = hall.store
    if not store.exists():
        return chain.Verdict(0, None, ""), [], []
    verdict, wrong = await store.read_aside(chain.verify), await store.read_aside(balances.unbalanced)
    file = Path(store.path)
    aside = sorted(
        each.name for each in file.parent.glob(f"{file.name}.corrupt-*") if not each.name.endswith(("-wal", "-shm"))
    )
    return verdict, wrong, aside


async def _with_hall(work: Callable[[Hall], Awaitable[T]]) -> T:
    """What a work finds in the books of the settings.

    Raises:
        ConfigurationError: They cannot be used.
    """
    import apsw

    async with OblixClient() as client:
        client.settle(load())
        hall = client._hall
        try:
            return await work(hall)
        except (apsw.Error, StoreBusy) as error:
            said = f"The books in {hall.store.path} cannot be used: {error}."
            raise ConfigurationError(said, hint=mending(error), cause=error) from None


async def _be_lasting(store: Store) -> None:
    """A budget that ends with this command must not look like one that holds.

    Raises:
        ConfigurationError: The data file cannot be written to, so that all is in memory.
    """
    await asyncio.to_thread(store.open)
    if (lost := passing(store)) is not None:
        raise lost


def _whose(model: str | None, tag: str | None, key: str | None) -> tuple[Scope, str]:
    given = [each for each in (model, tag, key) if each is not None]
    if len(given) > 1:
        raise click.UsageError("A budget is for one model, one tag or one key.")
    if any("\ud800" <= sign <= "\udfff" for each in given for sign in each):  # bytes that are no UTF-8
        raise click.UsageError("A model, a tag or a key is named by text in UTF-8.")
    if model is not None:
        if not all(split_model_id(model)):
            raise click.UsageError(f"{model!r} is no model id. Write provider:name, e.g. openai:gpt-4.")
        return "model", canonical_id(model)
    if tag is not None:
        if not tag.strip():
            raise click.UsageError("A tag is not empty.")
        return "tag", tag
    return ("all", "") if key is None else ("key", digest_of(key))


async def _show(hall: Hall, *, as_json: bool) -> None:
    found = await standing(hall)
    if as_json:
        click.echo(json_line({"on_limit": hall.books.on_limit, "budgets": [plain(each) for each in found]}))
        return
    if not found:
        show_story([Part(lines=("No budget is set. One for each day: oblix budget set 5/day",))])
        return
    names = name_keys(each.limit.subject for each in found if each.limit.scope == "key")
    rows = tuple(_row(each, names) for each in found)
    head = ("budget", "limit", "spent", "reserved", "left", "begins anew (UTC)", "set by")
    at_the_limit = {
        "edge-only": "models at home answer",
        "stop": "nobody answers in place of the model that would have",
        "ask": "you are asked",
    }[hall.books.on_limit]
    show_story([Part(table=Table(head, rows)), Part(lines=(f"At a limit {at_the_limit}.",))])


def _row(each: Standing, names: dict[str, str]) -> tuple[str, ...]:
    from datetime import UTC, datetime

    limit = each.limit
    name = limit.name.replace(limit.subject, names[limit.subject]) if limit.subject in names else limit.name
    anew = "never" if each.resets_at is None else f"{datetime.fromtimestamp(each.resets_at, UTC):%Y-%m-%d %H:%M}"
    amounts = (amount(figure) for figure in (limit.micro_usd, each.settled, each.reserved, left(each)))
    return name, *amounts, anew, limit.origin
