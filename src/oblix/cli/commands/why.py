"""`oblix why`: why an answer ran where it did."""

from __future__ import annotations

import sys

import click

from oblix.cli.render import json_line, show_story
from oblix.decision.record import joined
from oblix.errors import InvalidRequest
from oblix.settings import home
from oblix.storage.decisions import DecisionLog, Kept, with_checks
from oblix.storage.history import story, what_would_change


@click.command("why")
@click.argument("decision", default="last")
@click.option("--json", "as_json", is_flag=True, help="Print the record itself.")
def command(decision: str, as_json: bool) -> None:
    """Why an answer ran where it did, and what would have changed that.

    DECISION is an id, the start of one, or `last`.
    """
    kept = _look_up(decision)
    if as_json:
        found = what_would_change(kept)
        told = None if found is None else [flip.to_dict() for flip in found]
        click.echo(json_line({**joined(with_checks(kept), kept.outcome), "flips": told}))
    else:
        show_story(story(kept))
    sys.stdout.flush()


def _look_up(decision: str) -> Kept:
    path = home() / "oblix.db"
    log = DecisionLog(path)
    start = decision.encode("utf-8", "replace").decode()  # SQLite takes no halves of characters
    kept = log.look_up(start) if path.exists() else None  # asking makes no file
    log.close()
    if kept is not None:
        return kept
    if decision == "last":
        raise InvalidRequest(f"Nothing was asked yet: {path} holds no decision.", hint='Ask first: oblix "…"')
    raise InvalidRequest(
        f"{decision!r} is the start of no decision in {path}, or of several.",
        hint="Give more of it; `oblix why` alone tells of the latest.",
    )
