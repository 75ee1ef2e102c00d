"""`oblix why`: why an answer ran where it did."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import click

from oblix.cli.render import table
from oblix.decision import explain
from oblix.decision.money import usd
from oblix.errors import InvalidRequest
from oblix.settings import home
from oblix.storage.decisions import DecisionLog


@click.command("why")
@click.argument("decision", default="last")
@click.option("--json", "as_json", is_flag=True, help="Print the record itself.")
def command(decision: str, as_json: bool) -> None:
    """Why an answer ran where it did: DECISION is an id, the start of one, or `last`."""
    path = home() / "oblix.db"
    log = DecisionLog(path)
    found = log.find(decision) if path.exists() else None
    log.close()
    if found is None:
        if decision == "last":
            raise InvalidRequest(f"Nothing was asked yet: {path} holds no decision.", hint='Ask first: oblix "…"')
        raise InvalidRequest(
            f"No decision {decision!r} is in {path}.", hint="`oblix why` tells of the latest; ask something first."
        )
    record, outcome = found
    if as_json:
        click.echo(json.dumps({"decision": record, "outcome": outcome}, ensure_ascii=False))
        return
    attempts = outcome["attempts"] if outcome else ()
    at = datetime.fromtimestamp(record["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    click.echo(f"{explain.sentence(record, attempts)}\n")
    click.echo(table(("model", "place", "verdict", "because"), explain.table(record)))
    if record["checks"]:
        click.echo("\n" + table(("agent", "state", "target", "reason"), explain.checks(record)))
    if outcome and outcome["metrics"]:
        figures = outcome["metrics"]
        cost = "cost unknown" if figures["cost_usd"] is None else usd(figures["cost_usd"])
        click.echo(
            f"\n{figures['total_latency']:.2f} s, {figures['input_tokens']} tokens in, {figures['output_tokens']} out, {cost}"
        )
    click.echo(f"{record['id']} · {at} · policy {record['policy']}")
    sys.stdout.flush()
