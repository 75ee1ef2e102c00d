"""What the environment says: arguments first, then variables, then `oblix.toml`, then defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oblix.decision.policy import PRESETS
from oblix.errors import ConfigurationError, known_hint

# Short, because a random key of 40 signs and more may begin with any three of them.
_PLACEHOLDER = r"""(?xi)<.*> | \{\{.*\}\} | \$\{?(?-i:[A-Z][A-Z0-9_]*)\}? | \w+_api_key | api[-_ ]?key    # a gap that nobody filled in
      | [.…]+ | x+ | (sk-((ant|proj|svcacct|api\d+)-)*)?((your|insert|replace|enter|put)[-_ ].{0,36} | x{3,} | (\.{3}|…|\*{3}).*)
      | .{0,40}(api[-_]?key|token)[-_ ]?here.{0,40}
      | changeme | change[-_]me | placeholder | dummy | none | null | todo"""
_MODEL_KEYS = ("id", "endpoint", "tier", "place", "window", "price", "timeouts", "prefill")


def is_placeholder(key: str | None) -> bool:
    """Whether a key is none, or stands for one in an example (`"your_openai_api_key"`, `"<key>"`, `"sk-..."`)."""
    return key is None or not key.strip() or bool(re.fullmatch(_PLACEHOLDER, key.strip()))


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
    found = (environ.get(variable) if variable else None) or ""
    if variable == "OLLAMA_HOST":
        found = found.strip().strip("\"'").strip()
        found = found and _ollama_host(found)
    address = given or found or default
    return address and address.strip().rstrip("/")


def _ollama_host(text: str) -> str:
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = ("https", "ollama.com:443") if text == "ollama.com" else ("http", text)
    host, _, path = rest.rstrip("/").partition("/")
    bare = host.count(":") > 1 and not host.startswith("[")  # an IPv6 address without brackets has no port
    name, colon, port = (f"[{host}]", "", "") if bare else host.rpartition(":")
    if not bare and (not colon or port.endswith("]")):
        name, port = host, ""
    if not port.isdecimal():
        port = {"http": "80", "https": "443"}.get(scheme, "11434") if found else "11434"
    if name in ("0.0.0.0", "", "[::]"):  # noqa: S104  compared, not bound
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
    import tomllib

    try:
        found = tomllib.loads(source.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(
            f"{source} cannot be read: {error}", hint="It must be TOML, in UTF-8.", cause=error
        ) from None
    _known(found, ("route", "model"), source, "section")
    route, models = found.get("route", {}), found.get("model", [])
    if not isinstance(route, dict):
        raise ConfigurationError(f"{source}: [route] is no table.", hint="Write [route], and policy = … below it.")
    _known(route, ("policy",), source, "key of [route]")
    policy = route.get("policy")
    if policy is not None and policy not in list(PRESETS):
        raise ConfigurationError(f"{source}: {policy!r} is no policy.", hint=known_hint(str(policy), PRESETS))
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        raise ConfigurationError(
            f"{source}: [[model]] is no list of tables.", hint="Write [[model]] for each, and id = … below it."
        )
    for model in models:
        _known(model, _MODEL_KEYS, source, "key of [[model]]")
        if not isinstance(model.get("id"), str) or ":" not in model["id"]:
            raise ConfigurationError(
                f"{source}: a [[model]] has id {model.get('id')!r}.",
                hint='Write it as "provider:name", e.g. "ollama:llama3".',
            )
    return Settings(source, policy, tuple(models))


def _known(table: Mapping[str, Any], names: tuple[str, ...], source: Path, what: str) -> None:
    for key in table:
        if key not in names:
            raise ConfigurationError(f"{source}: {key!r} is no {what}.", hint=known_hint(key, names))
