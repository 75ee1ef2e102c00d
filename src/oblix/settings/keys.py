"""Where an API key comes from: argument, environment, `.env`, the system's keyring, `keys.toml`; the first one that is no placeholder."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from oblix.errors import ConfigurationError, InvalidRequest
from oblix.settings import dotenv, keyfile, vault
from oblix.settings.environment import is_placeholder
from oblix.types.secret import SecretStr

T = TypeVar("T")
Origin = Literal["argument", "environment", ".env", "keyring", "file"]

_log = logging.getLogger("oblix")
_told: set[str] = set()
LONGEST = 4096  # characters of a key; they have about a hundred, and what is longer is another file
_SENDABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key, and where it was found.

    Attributes:
        place: In words: a variable's name, with the file's path for `.env`; the keyring's or the file's name.
    """

    provider: str
    origin: Origin
    place: str
    key: SecretStr


def near_key(given: SecretStr | None, variables: tuple[str, ...]) -> SecretStr | None:
    """The key to use as far as no file has to be read: the one given, else the first variable that holds one."""
    if given is not None and not is_placeholder(given.reveal()):
        return SecretStr(given.reveal().strip(), origin="the argument api_key")
    for name in variables:
        if not is_placeholder(os.environ.get(name)):
            return SecretStr(os.environ[name].strip(), origin=name)
    return None


def environment_keys(provider: str, variables: tuple[str, ...]) -> Iterator[FoundKey]:
    """Those keys of a provider that are in the environment. Reads no file."""
    for variable in variables:
        if (key := near_key(None, (variable,))) is not None:
            yield FoundKey(provider, "environment", variable, key)


def found_keys(provider: str, variables: tuple[str, ...], *, own: bool = True) -> Iterator[FoundKey]:
    """Every key of a provider, the one that is used first. Reads files and asks the keyring, so that it may block for `vault.PATIENCE`.

    What cannot be read is told once, in the log, and counts as not there.

    Args:
        own: The key is for the provider's own service. A key that we keep goes nowhere else: the keyring and the file are not asked.
    """
    yield from environment_keys(provider, variables)
    yield from _dotenv_keys(provider, variables, dotenv.find())
    if own:
        yield from _kept(provider)


def beside_keys(provider: str, variables: tuple[str, ...]) -> Iterator[FoundKey]:
    """Those keys of a provider that came with the working directory: in its own `.env`. Reads a file."""
    file = dotenv.find()
    if (
        file is not None and file.resolve().parent == Path.cwd().resolve()
    ):  # a link in a project may lead to a file of the user's
        yield from _dotenv_keys(provider, variables, file)


def _dotenv_keys(provider: str, variables: tuple[str, ...], file: Path | None) -> Iterator[FoundKey]:
    values = {} if file is None else _or_none(dotenv.read, file) or {}
    if file is not None and any(variable in values for variable in variables) and dotenv.is_open(file):
        tell(f"{file} holds keys, and every user of this machine can read it: chmod 600 {file}")
    for variable in variables:
        if variable in values and not is_placeholder(values[variable].reveal()):
            yield _found(provider, ".env", f"{variable} in {file}", values[variable])


def _kept(provider: str) -> Iterator[FoundKey]:
    key = _or_none(vault.get, provider)
    if key is not None and not is_placeholder(key.reveal()):
        yield _found(provider, "keyring", f"oblix/{provider} in the keyring", key)
    key = (_or_none(keyfile.read) or {}).get(provider)
    if key is not None and not is_placeholder(key.reveal()):
        yield _found(provider, "file", str(keyfile.path()), key)


def _found(provider: str, origin: Origin, place: str, key: SecretStr) -> FoundKey:
    return FoundKey(provider, origin, place, SecretStr(key.reveal().strip(), origin=place))


def check(value: str) -> SecretStr:
    """A key that somebody wants kept.

    Raises:
        InvalidRequest: It is a placeholder, too long, or holds what no header can carry.
    """
    key = SecretStr(value.strip())
    del value
    if is_placeholder(key.reveal()):
        raise InvalidRequest(
            "That is no key, but nothing, or what stands for one in an example.", hint="Paste the key."
        )
    if len(key.reveal()) > LONGEST:
        raise InvalidRequest(f"That is no key: it is longer than {LONGEST} characters.", hint="Paste the key alone.")
    if _SENDABLE.fullmatch(key.reveal()) is None:
        raise InvalidRequest(
            "That is no key: it holds blanks, line breaks or characters outside of ASCII.", hint="Paste the key alone."
        )
    return key


def _or_none(work: Callable[..., T], *given: object) -> T | None:
    try:
        return work(*given)
    except ConfigurationError as error:
        tell(str(error))
        return None


def tell(message: str) -> None:
    """Say it once in the log of this process."""
    if message not in _told:
        _told.add(message)
        _log.warning(message)
