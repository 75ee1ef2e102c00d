"""What the commands about money share: how amounts are written, and whose key a digest stands for."""

from __future__ import annotations

from collections.abc import Iterable

from oblix.client.books import provider_of
from oblix.client.keychain import all_keys
from oblix.errors import ConfigurationError


def amount(micro_usd: int) -> str:
    """Micro-USD as USD, every digit of it: `$0.000120`."""
    sign, rest = "-" if micro_usd < 0 else "", abs(micro_usd)
    return f"{sign}${rest // 1_000_000:,}.{rest % 1_000_000:06}"


def name_keys(digests: Iterable[str]) -> dict[str, str]:
    """Whose key each digest is, as far as this machine still has it; no value is shown."""
    known = {found.key.digest: f"{found.provider} ({found.place})" for found in all_keys()}
    return {digest: known[digest] for digest in digests if digest in known}


def digest_of(name: str) -> str:
    """The digest of the key that a provider's or a variable's name stands for.

    Raises:
        ConfigurationError: There is none.
    """
    provider = provider_of(name)
    for found in all_keys():
        if found.provider == provider:
            return found.key.digest
    hint = f"Keep it first: oblix keys set {provider}. Or set its budget below [budget] in oblix.toml."
    raise ConfigurationError(f"There is no key of {provider} here.", hint=hint)
