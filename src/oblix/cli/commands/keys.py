"""`oblix keys`: which API keys there are and where they lie; keep one, forget one, try one. No value is ever shown."""

from __future__ import annotations

import asyncio
import sys

import click

from oblix.cli.render import json_line, note, table
from oblix.client.keychain import all_keys
from oblix.errors import AttemptFailed, ConfigurationError, FailureKind, InvalidRequest, KeyMissing, known_hint
from oblix.models.registry import PROVIDERS, Provider
from oblix.settings import keyfile, resolve_endpoint, vault
from oblix.settings.keys import LONGEST, check, found_keys
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

_WAIT = 15.0  # seconds for a provider to tell whether it knows a key


@click.group("keys")
def command() -> None:
    """Keep API keys where programs find them and nobody else does."""


@command.command("set")
@click.argument("provider")
@click.option("--file", "to_file", is_flag=True, help="Keep it in keys.toml, though there is a keyring.")
def set_key(provider: str, to_file: bool) -> None:
    """Keep the key of PROVIDER: in the system's keyring, else in keys.toml. It is asked for unseen, or read from standard input."""
    row, key = _row(provider), check(_typed(provider))
    place = None if to_file else _in_keyring(row, key)
    if place is None:
        place = str(keyfile.put(row.name, key))
    note(f"The key of {row.name} is kept in {place}.")
    first = next(found_keys(row.name, row.key_env), None)
    if first is not None and first.key != key:
        note(f"Another one goes before it: {first.place}.")


def _typed(provider: str) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(f"Key of {provider}", hide_input=True, default="", show_default=False))
    return sys.stdin.read(LONGEST + 3)  # with a line break, and one more that tells that it is too long


def _in_keyring(row: Provider, key: SecretStr) -> str | None:
    try:
        name = vault.put(row.name, key.reveal)
    except ConfigurationError as error:
        note(error.message)
        return None
    return None if name is None else f"the keyring ({name})"


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def list_keys(as_json: bool) -> None:
    """List the keys that this machine has, and where each lies; of several for one provider, the first is used."""
    found, used = all_keys(), set[str]()
    rows = []
    for each in found:
        rows.append((each.provider, each.origin, each.place, each.provider not in used))
        used.add(each.provider)
    if as_json:
        click.echo(json_line([dict(zip(("provider", "origin", "place", "is_used"), row, strict=True)) for row in rows]))
    elif rows:
        shown = [(provider, place, "yes" if is_used else "no") for provider, _, place, is_used in rows]
        click.echo(table(("provider", "where", "used"), shown))
    else:
        note("There is no key. Keep one with: oblix keys set PROVIDER")


@command.command("rm")
@click.argument("provider")
def remove(provider: str) -> int:
    """Forget the key of PROVIDER, in the keyring and in keys.toml. Ends with 1 where there was none, or one of them cannot be reached."""
    row, removed, is_sure = _row(provider), False, True
    for forget in (keyfile.remove, vault.remove):  # what fails in one place does not keep the key in the other
        try:
            removed |= forget(row.name)
        except ConfigurationError as error:
            note(str(error))
            is_sure = False
    if is_sure and not removed:
        note(f"Neither the keyring nor {keyfile.path()} has a key of {row.name}.")
    for left in found_keys(row.name, row.key_env):
        note(f"There still is {left.place}, which is yours to remove.")
    return int(not (is_sure and removed))


@command.command("path")
def show_path() -> None:
    """Print where keys.toml lies, whether or not there is one."""
    click.echo(str(keyfile.path()))


@command.command("test")
@click.argument("provider")
def test(provider: str) -> None:
    """Ask PROVIDER for its list of models, which costs nothing, to see whether it knows the key."""
    row = _row(provider)
    found = next(found_keys(row.name, row.key_env), None)
    if found is None:
        raise KeyMissing(f"There is no key of {row.name}.", hint=f"oblix keys set {row.name}")
    try:
        where = asyncio.run(_try(row, found.key))
    except AttemptFailed as error:
        if error.kind is FailureKind.AUTH:
            raise KeyMissing(
                f"{row.name} refuses the key from {found.place}: {error.message}.", hint=error.hint
            ) from None
        raise
    note(f"{where} knows the key from {found.place}.")


async def _try(row: Provider, key: SecretStr) -> str:
    """The address that knows the key. Only the list of models is asked for.

    Raises:
        AttemptFailed: It does not, or nobody answers there.
    """
    from oblix.models.claude import API_VERSION
    from oblix.models.endpoint import Endpoint
    from oblix.models.transport import Permit, Transport

    address = resolve_endpoint(None, row.endpoint_env, row.endpoint) or ""
    spec = ModelSpec(f"{row.name}:any", row.name, "any", "cloud", endpoint=address)
    transport = Transport()
    endpoint = Endpoint(
        transport, (), key=key, headers={"anthropic-version": API_VERSION} if row.wire == "claude" else {}
    )
    try:
        async with asyncio.timeout(_WAIT):
            status, body, headers = await endpoint.fetch(
                _list_of(row, address),
                None,
                Permit(spec, private=False),
                connect_timeout=_WAIT,
                cap=64 << 10,
            )
        if status != 200:
            raise endpoint.refused(spec, status, body, headers)
    except TimeoutError:
        raise AttemptFailed(
            FailureKind.TIMEOUT_FIRST_TOKEN, f"{address} did not answer within {_WAIT:g} s", hint="Try again."
        ) from None
    finally:
        await transport.close()
    return address


def _list_of(row: Provider, address: str) -> str:
    if row.wire == "claude":
        return address.removesuffix("/v1") + "/v1/models"
    if row.wire == "ollama":
        return f"{address}/api/tags"
    return f"{address}/key" if row.name == "openrouter" else f"{address}/models"  # its list is open to everybody


def _row(provider: str) -> Provider:
    row = PROVIDERS.get(provider.lower())
    if row is None:
        raise InvalidRequest(f"{provider!r} is no provider.", hint=known_hint(provider, PROVIDERS))
    if not row.key_env:
        raise InvalidRequest(
            f"{row.name} needs no key.", hint="Pass api_key=… to hook_model if your server asks for one."
        )
    return row
