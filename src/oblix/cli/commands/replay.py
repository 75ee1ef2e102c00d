"""`oblix replay`: decides history again under another policy, or checks that it comes out the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

import click

from oblix.cli.render import json_line, show_story
from oblix.decision import replay
from oblix.decision.layout import Part, Table
from oblix.decision.money import usd
from oblix.decision.policy import PRESETS, Policy
from oblix.decision.replay import Report, Sides
from oblix.errors import InvalidRequest
from oblix.settings import find_policy, home
from oblix.storage.cases import cases
from oblix.storage.decisions import DecisionLog

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@click.command("replay")
@click.option(
    "--policy",
    "name",
    help="A preset (the rules that there were stay), or a file (.toml); without it, each decision's own.",
)
@click.option("--since", help="Only what is younger: 30m, 12h, 7d, 2w, or a date such as 2026-11-01.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str | None, since: str | None, as_json: bool) -> int:
    """Decide history again: what would have gone elsewhere, at which cost, and why.

    Nothing is asked and nothing is sent: the log holds what each decision was taken on. Without --policy it checks that every decision
    comes out as it was. Ends with 1 where one does not, or where a private request would have a cloud model in its plan.
    """
    policy = None if name is None else find_policy(name)
    after = None if since is None else _moment(since, datetime.now().astimezone())
    path = home() / "oblix.db"
    if not path.exists():
        raise InvalidRequest(f"Nothing was asked yet: {path} holds no decision.", hint='Ask first: oblix "…"')
    with closing(DecisionLog(path)) as log:
        history = cases(log, policy, after, keeps_rules=name in PRESETS)
        report = replay.check(history) if policy is None else replay.replay(history)
    if as_json:
        click.echo(json_line(report.to_dict()))
    else:
        show_story(_checked(report) if policy is None else _compared(report, policy))
        click.echo(f"\n{_summary(report)}")
    return 1 if report.crossings or (policy is None and report.changed) else 0


def _moment(text: str, now: datetime) -> float:
    """`7d` or `2026-11-01` as seconds since the epoch; a date without a zone is meant here."""
    ago = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    try:
        if ago:
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"--since {text!r} is no time.", hint="Write 30m, 12h, 7d or 2w, or a date such as 2026-11-01."
        ) from None


def _compared(report: Report, policy: Policy) -> list[Part]:
    transitions = _transitions(report)
    return [
        Part(lines=(_read(report, f"under the policy {policy.name}"),)),
        *_left_out(report),
        Part("In figures", table=_figures(report)),
        Part("How they are reckoned", (_RECKONED_COST, _RECKONED_TIME)),
        Part("What would go elsewhere", () if transitions.rows else ("Nothing.",), transitions),
        Part("Privacy", tuple(_privacy(report))),
    ]


def _checked(report: Report) -> list[Part]:
    transitions = _transitions(report)
    return [
        Part(lines=(_read(report, "under the policy that each was taken under"),)),
        *_left_out(report),
        Part("What came out otherwise", () if transitions.rows else ("Nothing.",), transitions),
    ]


def _read(report: Report, how: str) -> str:
    judged = report.same + report.changed
    return f"{report.decisions:,} decisions read, {judged:,} of them taken again {how}: {report.same:,} same, {report.changed:,} changed."


def _left_out(report: Report) -> list[Part]:
    lines = tuple(f"{count:,}: {why}." for why, count in report.skipped.most_common())
    return [Part("Left out", lines)] if lines else []


_RECKONED_COST = (
    "Cost: what was paid, where the model is the same. Else the other model's price for the tokens that were used, though its answer might "
    "have been longer or shorter. Requests with a model of unknown price are left out."
)
_RECKONED_TIME = "Time: predicted for both sides from what was known then, so that they can be compared."


def _figures(report: Report) -> Table:
    edge, cost, seconds, refused = report.edge, report.cost, report.seconds, report.refused
    rows = (
        ("on the edge", f"{100 * edge.mean_old:.0f} %", f"{100 * edge.mean_new:.0f} %", _of(edge)),
        ("cost in all", usd(cost.old), usd(cost.new), _of(cost)),
        ("predicted time, mean", f"{seconds.mean_old:.1f} s", f"{seconds.mean_new:.1f} s", _of(seconds)),
        ("refused", f"{refused.old:.0f}", f"{refused.new:.0f}", _of(refused)),
    )
    return Table(("", "then", "now", ""), rows)


def _of(sides: Sides) -> str:
    return f"of {sides.count:,} request{'' if sides.count == 1 else 's'}"


def _transitions(report: Report) -> Table:
    rows = tuple(
        (
            f"{each.requests:,}",
            each.before or "refused",
            each.after or "refused",
            f"{each.reason.text} (e.g. {each.example})",
        )
        for each in report.transitions()[: replay.TOLD]
    )
    return Table(("", "then", "now", "because"), rows)


def _privacy(report: Report) -> Iterator[str]:
    yield f"{report.crossings:,} private requests have a cloud model in their plan." + (
        "" if report.crossings else " There must be none, and there is none."
    )
    if report.released:
        yield f"{report.released:,} requests were private because the policy of then said so; under this one they are not."


def _summary(report: Report) -> str:
    skipped = sum(report.skipped.values())
    return f"replay: decisions={report.decisions} same={report.same} changed={report.changed} skipped={skipped}"
