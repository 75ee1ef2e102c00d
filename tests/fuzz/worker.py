"""Runs one target under atheris, in `.venv-fuzz`: ``python -m tests.fuzz.worker NAME LIBFUZZER-OPTION …``."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]  # lives in .venv-fuzz, where mypy does not look

# Only what reads is instrumented: that the rest is followed as well costs half of the speed and finds nothing.
READERS = (
    *(
        f"oblix.models.{name}"
        for name in ("lines", "sse", "ndjson", "openai", "claude", "ollama", "classify", "retry_after")
    ),
    *(f"oblix.models.embedded.{name}" for name in ("pipe", "wire")),
)
with atheris.instrument_imports(include=READERS):
    from tests.fuzz.targets import TARGETS


def main(name: str, options: list[str]) -> None:
    """Fuzz until the number of runs is reached, or something is found. Does not return: libFuzzer ends the process."""
    atheris.Setup([name, *options], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
