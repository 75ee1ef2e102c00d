"""What is known of an edge server and its models: values, and what follows from them. Pure."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal
from urllib.parse import urlsplit

from oblix.errors import FailureKind
from oblix.models.address import is_home_address, is_localhost, is_loopback
from oblix.models.memory import Room, Shape

ENGINES = ("ollama", "lmstudio", "llamacpp", "vllm")  # the providers that can be looked at
LOOK = 1.0  # seconds for a look at one of them
PROOF = 10.0  # seconds for one token; a 70B model on a processor alone takes 3

Capability = Literal["chat", "embed"]
State = Literal["ready", "loading", "hung", "absent", "locked", "strange"]


@dataclass(frozen=True, slots=True)
class EngineModel:
    """A model that an engine could answer with.

    Attributes:
        bytes: Size of its weights.
        window: Tokens that it can take at most.
        family: Its architecture, e.g. `llama`.
        quantization: E.g. `Q4_K_M`.
        does: What it is made for; `None` when the engine does not say.
        forwarded_to: The other machine that answers in its place; such a model is not run here.
        digest: Of its weights: two names with one digest are one model.
        shape: What its memory depends on beside its size; `None` when the engine does not say.
    """

    name: str
    _: KW_ONLY
    bytes: int | None = None
    window: int | None = None
    family: str | None = None
    quantization: str | None = None
    does: Capability | None = None
    forwarded_to: str | None = None
    digest: str | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that an engine has in memory.

    Attributes:
        window: Tokens that it was loaded for.
        bytes: Memory that it takes, weights and window together.
        vram_bytes: The part of it that lies on graphics processors.
        expires: When it is unloaded if nobody asks it, in seconds since the epoch.
    """

    name: str
    _: KW_ONLY
    window: int | None = None
    bytes: int | None = None
    vram_bytes: int | None = None
    expires: float | None = None

    @property
    def gpu_share(self) -> float | None:
        """The share in [0, 1] that lies on graphics processors."""
        if self.bytes is None or self.vram_bytes is None or not self.bytes:
            return None
        return min(1.0, self.vram_bytes / self.bytes)


@dataclass(frozen=True, slots=True)
class Engine:
    """What is known of an edge server.

    Attributes:
        address: As it was asked for, without the path of a protocol.
        state: `ready`; `loading`: it is bringing its only model into memory; `hung`: takes connections and answers nothing; `absent`:
            nobody listens; `locked`: it tells nothing without a key, which a look does not carry; `strange`: another server listens.
        reason: Why it is not ready, or what it did not say in time.
        models: What it could answer with.
        loaded: What it has in memory; `None` when it does not tell.
        running: Requests that it works on, ours among them; `None` when it does not tell.
        waiting: Requests that wait for their turn; `None` when it does not tell.
        slots: How many requests it works on at a time; `None` when it does not tell.
    """

    provider: str
    address: str
    state: State
    reason: str = ""
    _: KW_ONLY
    version: str | None = None
    models: tuple[EngineModel, ...] = ()
    loaded: tuple[LoadedModel, ...] | None = None
    running: int | None = None
    waiting: int | None = None
    slots: int | None = None

    def model(self, name: str) -> EngineModel | None:
        """The model of this name, if the engine has it."""
        return next((model for model in self.models if is_same(self.provider, model.name, name)), None)

    def loaded_model(self, name: str) -> LoadedModel | None:
        """The model of this name, if it is in memory."""
        return next((model for model in self.loaded or () if is_same(self.provider, model.name, name)), None)


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of asking for one token.

    Attributes:
        kind: `None` when it came; `TIMEOUT_FIRST_TOKEN` when the engine took the request and kept silent.
    """

    kind: FailureKind | None
    why: str = ""


def is_same(provider: str, name: str, other: str) -> bool:
    """Whether two names are one model of an engine: to Ollama `Phi` is `phi:latest`."""
    return name == other or (provider == "ollama" and _full(name) == _full(other))


def _full(name: str) -> str:
    return (name if ":" in name.rpartition("/")[2] else f"{name}:latest").lower()


def root_of(address: str) -> str:
    """The address without the path that OpenAI's protocol adds."""
    return address.rstrip("/").removesuffix("/v1").rstrip("/")


def is_here(address: str) -> bool:
    """Whether an address is this machine's loopback."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return False
    return is_localhost(host) or (is_home_address(host) is True and is_loopback(host))


def freed(room: Room, engine: Engine, name: str) -> Room:
    """The room for a model once its engine has unloaded the others, as Ollama does for one that has none."""
    if engine.provider != "ollama" or not is_here(engine.address):
        return room
    others = [model for model in engine.loaded or () if not is_same(engine.provider, model.name, name)]
    vram = sum(model.vram_bytes or 0 for model in others)
    return room.plus(ram=max(0, sum(model.bytes or 0 for model in others) - vram), vram=vram)
