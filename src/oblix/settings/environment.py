"""What the environment says: keys, addresses, and the folder for what we keep."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

# Short, because a random key of 40 signs and more may begin with any three of them.
_PLACEHOLDER = r"""(?xi)<.*> | \{\{.*\}\} | \$\{?(?-i:[A-Z][A-Z0-9_]*)\}? | \w+_api_key | api[-_ ]?key    # a gap that nobody filled in
      | [.…]+ | x+ | (sk-((ant|proj|svcacct|api\d+)-)*)?((your|insert|replace|enter|put)[-_ ].{0,36} | x{3,} | (\.{3}|…|\*{3}).*)
      | .{0,40}(api[-_]?key|token)[-_ ]?here.{0,40}
      | changeme | change[-_]me | placeholder | dummy | none | null | todo"""


def is_placeholder(key: str | None) -> bool:
    """Whether a key is none, or stands for one in an example (`"your_openai_api_key"`, `"<key>"`, `"sk-..."`)."""
    return key is None or not key.strip() or bool(re.fullmatch(_PLACEHOLDER, key.strip()))


def resolve_endpoint(
    given: str | None, variable: str | None, default: str | None, environ: Mapping[str, str] | None = None
) -> str | None:
    """The base address to use, without a slash at its end.

    `OLLAMA_HOST` may lack the scheme and the port, and may hold a bind address (`0.0.0.0`), which a client must turn into loopback:
    the rules of Ollama's own `envconfig`.
    """
    found = ((os.environ if environ is None else environ).get(variable) if variable else None) or ""
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
