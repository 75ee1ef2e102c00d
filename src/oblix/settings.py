"""What the environment says: arguments first, then variables, then `oblix.toml`, then defaults."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from oblix.errors import ConfigurationError

_PLACEHOLDER = re.compile(
    r"^\s*$|^<.*>$|^\.+$|^x+$|\*{3}|^(sk-)?(your|my|insert|replace|enter|put)[-_ ].*|.*(api[-_]?key|token)[-_]?here.*"
    r"|^(changeme|change[-_]me|placeholder|dummy|none|null|todo|xxx+|sk-(x{3,}|\.{3}.*)|sk-\.\.\.)$",
    re.IGNORECASE,
)
_MODEL_KEYS = ("id", "endpoint", "tier", "place", "window", "price")


def is_placeholder(key: str | None) -> bool:
    """Whether a key is none, or stands for one in an example (`"your_openai_api_key"`, `"<key>"`, `"sk-..."`)."""
    return key is None or bool(_PLACEHOLDER.match(key))


def resolve_key(given: str | None, variables: tuple[str, ...], environ: Mapping[str, str] | None = None) -> str | None:
    """The key to use: the one given, else the first variable that holds one. Placeholders count as not given."""
    environ = os.environ if environ is None else environ
    for key in (given, *(environ.get(name) for name in variables)):
        if key is not None and not is_placeholder(key):
            return key.strip()
    return None


def resolve_endpoint(
    given: str | None, variable: str | None, default: str | None, environ: Mapping[str, str] | None = None
) -> str | None:
    """The base address to use, without a slash at its end.

    `OLLAMA_HOST` may lack the scheme and the port, and may hold a bind address (`0.0.0.0`), which a client must turn into loopback:
    the rules of Ollama's own `envconfig`.
    """
    environ = os.environ if environ is None else environ
    address = given or (environ.get(variable) if variable else None) or default
    if address is None:
        return None
    if not given and variable == "OLLAMA_HOST":
        address = _ollama_host(address)
    return address.strip().rstrip("/")


def _ollama_host(text: str) -> str:
    scheme, found, rest = text.strip().partition("://")
    if not found:
        scheme, rest = "http", text.strip()
    host, _, path = rest.partition("/")
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name, port = host, "11434" if not found else {"http": "80", "https": "443"}.get(scheme, "11434")
    if name in ("0.0.0.0", "", "[::]", "::"):  # noqa: S104  compared, not bound
        name = "localhost"
    return f"{scheme}://{name}:{port}" + (f"/{path}" if path else "")


def home() -> Path:
    """The folder for what we keep: `OBLIX_HOME`, else the user's data folder."""
    moved = os.environ.get("OBLIX_HOME")
    if moved:
        return Path(moved).expanduser()
    from platformdirs import user_data_path

    return user_data_path("oblix", appauthor=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of `oblix.toml`.

    Attributes:
        source: The file that they come from, `None` when there is none.
        models: One mapping per `[[model]]`: `id`, and optionally `endpoint`, `tier`, `place`, `window`, `price`.
    """

    source: Path | None = None
    policy: str | None = None
    models: tuple[Mapping[str, Any], ...] = field(default=())


def load(path: str | Path | None = None) -> Settings:
    """Read `path`, else `OBLIX_CONFIG`, else `./oblix.toml`, else the one in the user's configuration folder.

    Raises:
        ConfigurationError: The file that was named is missing, is no TOML, or has a key that we do not know.
    """
    named = path or os.environ.get("OBLIX_CONFIG")
    if named:
        source = Path(named).expanduser()
        if not source.is_file():
            raise ConfigurationError(
                f"The settings file {str(source)!r} does not exist.", hint="Leave it out, or create it."
            )
        return _parse(source)
    from platformdirs import user_config_path

    for source in (Path("oblix.toml"), user_config_path("oblix", appauthor=False) / "oblix.toml"):
        if source.is_file():
            return _parse(source)
    return Settings()


def _parse(source: Path) -> Settings:
    try:
        found = tomllib.loads(source.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(
            f"{source} cannot be read: {error}", hint="It must be TOML, in UTF-8.", cause=error
        ) from None
    _known(found, ("route", "model"), source, "section")
    route = found.get("route", {})
    _known(route, ("policy",), source, "key of [route]")
    models = found.get("model", [])
    for model in models:
        _known(model, _MODEL_KEYS, source, "key of [[model]]")
        if not isinstance(model.get("id"), str) or ":" not in model["id"]:
            raise ConfigurationError(
                f"{source}: a [[model]] has id {model.get('id')!r}.",
                hint='Write it as "provider:name", e.g. "ollama:llama3".',
            )
    return Settings(source, route.get("policy"), tuple(models))


def _known(table: Mapping[str, Any], names: tuple[str, ...], source: Path, what: str) -> None:
    for key in table:
        if key not in names:
            near = get_close_matches(key, names, 1)
            raise ConfigurationError(
                f"{source}: {key!r} is no {what}.",
                hint=(f"Did you mean {near[0]!r}? " if near else "") + f"Known: {', '.join(names)}.",
            )
