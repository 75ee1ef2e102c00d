"""From the arguments of `hook_model` to a model: place, key, price and window. Touches nothing outside."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import fields
from itertools import chain
from math import inf
from typing import Any
from urllib.parse import urlsplit

from oblix.client.keychain import is_own_address
from oblix.errors import ConfigurationError, known_hint
from oblix.models.base import Model
from oblix.models.registry import CLASSES, PROVIDERS, Provider
from oblix.models.transport import Transport
from oblix.settings import resolve_endpoint
from oblix.settings.keys import near_key
from oblix.types.ids import ModelType, split_model_id
from oblix.types.secret import SecretStr
from oblix.types.spec import FREE, Capability, KeyState, ModelSpec, Place, Price, PriceTier, Rates, Timeouts

_COMMON = ("place", "tier", "window", "price", "timeouts", "prefill")
_OWN: dict[str, tuple[str, ...]] = {
    "ollama": ("keep_alive",),
    "claude": ("max_tokens",),
    "openai": (),
    "embedded": ("threads", "slots", "idle_unload", "hung_after"),
}
_RATES = tuple(field.name for field in fields(Rates))  # the first two are needed
_PRICE_HINT = "Give (input, output) in USD per million tokens, or a Price, or a mapping of its fields."
_TIER_HINT = "Give each tier its prices, and as `above` the tokens that a prompt must exceed."
_HOME_NAMES = (".local", ".lan", ".home", ".internal", ".home.arpa", ".localhost")


def build(
    model_type: ModelType | str,
    name: str,
    *,
    endpoint: str | None,
    api_key: SecretStr | None,
    transport: Transport,
    options: Mapping[str, Any],
    is_found: bool = False,
) -> Model:
    """The model, not yet asked anything.

    Args:
        is_found: A settings file that nobody named says so: keys in the environment go to the addresses that its owner knows, and no other.

    Raises:
        ConfigurationError: An argument cannot be right: unknown provider or option (the nearest is named), impossible place.
    """
    provider = _provider(model_type)
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"model_name={name!r} is no name.", hint="Give the model's name, e.g. 'llama3'.")
    own = _own_options(provider, options)
    address = _check_address(
        resolve_endpoint(_text("endpoint", endpoint), provider.endpoint_env, provider.endpoint), provider
    )
    if api_key is not None and not isinstance(api_key.reveal(), str):
        raise ConfigurationError(f"api_key is of type {type(api_key.reveal()).__name__}.", hint="Expected: a text.")
    is_withheld = is_found and bool(provider.key_env) and not is_own_address(provider, address)
    key = near_key(api_key, () if is_withheld else provider.key_env)
    place, why = _place(provider, name, address, options.get("place"))
    spec = ModelSpec(
        f"{provider.name}:{canonical(provider.name, name)}",
        provider.name,
        canonical(provider.name, name),
        place,
        place_reason=why,
        is_declared=options.get("place") is not None,
        endpoint=address,
        tier=_whole("tier", options.get("tier")),
        window=_whole("window", options.get("window")),
        capabilities=_capabilities(provider, options.get("prefill")),
        price=_price(options.get("price"), place),
        key="withheld" if is_withheld else _key_state(provider, address, key, is_given=bool(api_key)),
        timeouts=_timeouts(options.get("timeouts")),
        keeps_prefix=provider.keeps_prefix,
    )
    module, _, kind = CLASSES[provider.wire].partition(":")
    made = getattr(importlib.import_module(module), kind)
    if provider.wire == "embedded":
        return made(spec, window=spec.window, **own)  # type: ignore[no-any-return]
    return made(spec, transport, key=key, **own)  # type: ignore[no-any-return]


def concealed(api_key: Any) -> SecretStr | None:
    """A key from the door on: not even a traceback with its local variables shows it. Whether it can be one, `build` says."""
    return api_key if api_key is None or isinstance(api_key, SecretStr) else SecretStr(api_key)


def without_strays(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `hook_model`; what is none of them may be a key under a wrong name (`apikey=`), and is concealed like one."""
    known = {*_COMMON, *chain.from_iterable(_OWN.values())}
    return {name: value if name in known else concealed(value) for name, value in options.items()}


def canonical(provider: str, name: str) -> str:
    """`llama2` and `llama2:latest` are the same Ollama model."""
    name = name.strip()
    return name.removesuffix(":latest") if provider == "ollama" else name


def canonical_id(model_id: str) -> str:
    """An id in the form that a hooked model has."""
    provider, name = split_model_id(model_id)
    return f"{provider.lower()}:{canonical(provider.lower(), name)}"


def _provider(model_type: ModelType | str) -> Provider:
    name = str(getattr(model_type, "value", model_type)).lower()
    found = PROVIDERS.get(name)
    if found is None:
        raise ConfigurationError(f"{model_type!r} is no provider.", hint=known_hint(name, PROVIDERS))
    return found


def _own_options(provider: Provider, options: Mapping[str, Any]) -> dict[str, Any]:
    own = _OWN[provider.wire]
    for option in options:
        if option not in (*_COMMON, *own):
            raise ConfigurationError(
                f"{option!r} is no option of hook_model for {provider.name}.",
                hint=known_hint(option, ("endpoint", "api_key", *_COMMON, *own)),
            )
    return {option: value for option, value in options.items() if option in own}


def _check_address(address: str | None, provider: Provider) -> str | None:
    if address is None or provider.wire == "embedded":
        return None
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and not (parts.query or parts.fragment or re.search(r"\s", address))
    except ValueError:
        usable = False
    if usable and (parts.username or parts.password):
        raise ConfigurationError(
            f"The endpoint of {provider.name} holds a login, which would show in logs and errors.",
            hint="Give the address without it, and the key as api_key=….",
        )
    if not usable:
        # One long word is a key, given in the wrong place.
        shown = "The endpoint" if re.fullmatch(r"[^\s:/.]{16,}", address) else f"endpoint={address!r}"
        hint = "Write it as http://host:port; a key goes into api_key=…."
        raise ConfigurationError(f"{shown} is no address of a server.", hint=hint)
    return address


def _place(provider: Provider, name: str, address: str | None, declared: object) -> tuple[Place, str]:
    if declared not in (None, "edge", "cloud"):
        raise ConfigurationError(f"place={declared!r} is not known.", hint="Use 'edge' or 'cloud'.")
    if declared == "cloud":
        return "cloud", "declared as cloud"
    remote = provider.wire == "ollama" and _is_remote_ollama(name)
    home = True if address is None else _is_home(address)
    if declared == "edge":
        if home is False or remote:
            why = "Ollama runs it in its own cloud" if remote else f"{address} is a public address"
            raise ConfigurationError(
                f"place='edge' cannot be: {why}.", hint="Leave `place` out, or give an address at home."
            )
        return "edge", "declared as edge"
    if provider.place == "cloud":
        return "cloud", f"{provider.name} is a cloud provider"
    if remote:
        return "cloud", "Ollama runs it in its own cloud"
    if address is None:
        return "edge", "runs inside this program's own child process"
    host = urlsplit(address).hostname or ""
    if home or "." not in host or host.endswith(_HOME_NAMES):
        return "edge", f"{host} is at home"
    return "cloud", f"{host} is not known to be at home; place='edge' declares it"


def _is_remote_ollama(name: str) -> bool:
    from oblix.models.ollama import is_remote_name

    return is_remote_name(name)


def _is_home(address: str) -> bool | None:
    from oblix.models.address import is_home_address

    return is_home_address(urlsplit(address).hostname or "")


def _key_state(provider: Provider, address: str | None, key: SecretStr | None, *, is_given: bool) -> KeyState:
    """A provider's own service needs a key; another server behind its protocol may do without, and says so itself if not."""
    if key is not None:
        return "given"
    if bool(provider.key_env) and provider.wire != "ollama" and address == provider.endpoint:
        return "missing"
    return "placeholder" if is_given or any(os.environ.get(name) for name in provider.key_env) else "not_needed"


def _capabilities(provider: Provider, prefill: object) -> frozenset[Capability]:
    if prefill is None:
        return provider.capabilities
    if not isinstance(prefill, bool):
        raise ConfigurationError(f"prefill={prefill!r} is not known.", hint="Use True or False.")
    return provider.capabilities | {"prefill"} if prefill else provider.capabilities - {"prefill"}


def _timeouts(given: object) -> Timeouts:
    """A `Timeouts`, or a mapping of its fields (as a settings file has it)."""
    if given is None or isinstance(given, Timeouts):
        found = given or Timeouts()
    elif isinstance(given, Mapping):
        names = tuple(field.name for field in fields(Timeouts))
        for name in given:
            if name not in names:
                raise ConfigurationError(f"{name!r} is none of the timeouts.", hint=known_hint(str(name), names))
        found = Timeouts(**given)
    else:
        raise ConfigurationError(
            f"timeouts={given!r} is not known.", hint="Give Timeouts(first_token=…, idle=…), in seconds."
        )
    for field in fields(found):
        value = getattr(found, field.name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf):
            raise ConfigurationError(f"timeouts: {field.name}={value!r} is not a number of seconds above 0.")
    return found


def _text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ConfigurationError(f"{name} is of type {type(value).__name__}.", hint="Expected: a text.")


def _whole(name: str, value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ConfigurationError(f"{name}={value!r} is not a whole number above 0.")


def _price(given: object, place: Place) -> Price | None:
    """What the caller says: (input, output), or a `Price`, or a mapping of its fields (as a settings file has it).

    Edge models are free; the price of others is looked up later.
    """
    if given is None:
        return FREE if place == "edge" else None
    if isinstance(given, Price):
        for rates in (given, *given.tiers):
            _rates({name: getattr(rates, name) for name in _RATES})
        found = given
    elif isinstance(given, tuple | list) and len(given) == 2:
        found = Price(_usd("input", given[0]), _usd("output", given[1]), "caller")
    elif isinstance(given, Mapping):
        source = _text("source", given.get("source")) or "caller"
        found = Price(source=source, tiers=_tiers(given.get("tiers", ())), **_rates(given, "source", "tiers"))
    else:
        raise ConfigurationError(f"price={given!r} is not known.", hint=_PRICE_HINT)
    steps = [tier.above for tier in found.tiers]
    if steps != sorted(set(steps)):
        raise ConfigurationError(f"price: the tiers begin above {steps} tokens.", hint="Put them in rising order.")
    return found


def _tiers(given: object) -> tuple[PriceTier, ...]:
    if isinstance(given, tuple | list) and all(isinstance(tier, Mapping) for tier in given):
        return tuple(_tier(tier) for tier in given)
    raise ConfigurationError(f"price: tiers={given!r} is no list of mappings.", hint=_TIER_HINT)


def _tier(given: Mapping[Any, Any]) -> PriceTier:
    rates, above = _rates(given, "above"), _whole("above", given.get("above"))
    if above is None:
        raise ConfigurationError(f"price: `above` is missing from the tier {dict(given)!r}.", hint=_TIER_HINT)
    return PriceTier(above=above, **rates)


def _rates(given: Mapping[Any, Any], *more: str) -> dict[str, Any]:
    """The prices per million tokens among the fields of a price, which has `more` of other kinds."""
    names = (*_RATES, *more)
    for name in given:
        if name not in names:
            hint = known_hint(str(name), names, closeness=0.5)
            raise ConfigurationError(f"{name!r} is no part of a price.", hint=f"{hint} Or give (input, output).")
    needed = {name: _usd(name, given.get(name)) for name in _RATES[:2]}
    return needed | {name: _usd(name, given[name]) for name in _RATES[2:] if given.get(name) is not None}


def _usd(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        why = "is missing" if value is None else f"is {value!r}, no amount of USD per million tokens"
        raise ConfigurationError(f"price: {name} {why}.", hint=_PRICE_HINT)
    return float(value)
