"""The entry of the command line: `oblix "a prompt"`, or a sub-command, each loaded when it is called."""

from __future__ import annotations

import importlib
import io
import logging
import sys
from difflib import get_close_matches
from itertools import takewhile
from typing import Any

import click

from oblix._version import __version__

# name → (module in cli/commands, one line of help); the modules are imported when they are called.
COMMANDS: dict[str, str] = {
    "ask": "Ask (the default: `oblix PROMPT`).",
    "budget": "Show, set, reset or check budgets.",
    "chat": "Talk, in a session that is kept.",
    "demo": "See a real model answer here, and five scenes that show why it ran where it did.",
    "keys": "Keep, list, forget or try API keys; no value is ever shown.",
    "models": "List the models that can be used here, or fetch one.",
    "privacy": "Find what is private in a file.",
    "replay": "Decide history again under another policy, and compare.",
    "route": "Where a prompt would run, and why, without running it.",
    "sessions": "List, show, search, export, import, merge or delete sessions.",
    "spend": "What was spent and saved, by day, model, place, tag or key.",
    "status": "What this machine, its network and its models are doing.",
    "why": "Why an answer ran where it did.",
}


class _Lazy(click.Group):
    """Knows its commands by name; a first word that is none of them starts a prompt."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"oblix.cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # from the table: help must not import what it lists
            formatter.write_dl([(name, text) for name, text in sorted(COMMANDS.items())])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if _is_prompt(args):
            near = get_close_matches(args[0], COMMANDS, 1, 0.7) if len(args) == 1 and " " not in args[0] else []
            if near:
                raise click.UsageError(f"Did you mean `oblix {near[0]}`? To ask it: oblix ask {args[0]}", ctx)
            args = ["ask", *args]
        return super().parse_args(ctx, args)


def _is_prompt(args: list[str]) -> bool:
    if not args:
        return not sys.stdin.isatty()  # something was piped in
    first = args[0]
    return first not in COMMANDS and first not in ("--help", "-h", "--version")


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__, prog_name="oblix")
@click.pass_context
def oblix(ctx: click.Context) -> None:
    """Run a prompt where it should run, on this machine or in the cloud, and hear why.

    oblix "What is the capital of France?"
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: list[str] | None = None) -> int:
    """Run, and give the exit code: 0 ok · 1 failed · 2 usage · 3 no route · 4 key · 5 budget · 130 interrupted.

    With `--json` an error is a line of JSON on stderr: `error` with `code`, `message`, `hint`, `request_id`, `exit_code`. Before it there
    may be warnings, each a line as well: `warning` with `message`.
    """
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a terminal that cannot show a character gets a question mark, not a traceback
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    args = sys.argv[1:] if args is None else args
    as_json = "--json" in takewhile(lambda word: word != "--", args)
    warnings, log = _Warnings(as_json=as_json), logging.getLogger("oblix")
    log.addHandler(warnings)
    try:
        return _run(args, as_json=as_json)
    finally:
        log.removeHandler(warnings)


def _run(args: list[str], *, as_json: bool) -> int:
    from oblix.errors import OblixError

    try:
        result: Any = oblix.main(args=args, prog_name="oblix", standalone_mode=False)
    except OblixError as error:
        from oblix.cli.render import show_error

        show_error(error, as_json=as_json)
        return error.exit_code
    except click.exceptions.Abort:
        sys.stderr.write("\ninterrupted\n")
        return 130
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    except click.ClickException as error:
        _show_usage(error, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk behind stdout; the network's errors are ours by now
        sys.stderr.write(f"error: the output cannot be written: {error.strerror or error}\n")
        return 1
    return result if isinstance(result, int) else 0


class _Warnings(logging.Handler):
    """Shows on stderr what the log warns of, once: nobody who types a command has a log to look at."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(logging.WARNING)
        self._as_json = as_json
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        from oblix.cli.render import show_warning

        message = record.getMessage()
        if message not in self._told:
            self._told.add(message)
            show_warning(message, as_json=self._as_json)


def _show_usage(error: click.ClickException, *, as_json: bool) -> None:
    if not as_json:
        error.show()
        return
    from oblix.cli.render import show_error_object
    from oblix.errors import InvalidRequest

    told = {"code": InvalidRequest.code, "message": error.format_message(), "hint": None, "request_id": None}
    show_error_object({**told, "exit_code": error.exit_code})
