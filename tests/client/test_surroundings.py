"""What the client tells its agents of the models that are hooked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oblix.client.surroundings import ClientSurroundings
from oblix.testing import ScriptedModel


@pytest.mark.parametrize(
    ("endpoint", "has_server", "is_here"),
    [
        (None, False, True),  # it works in this process, or in a child of it
        ("http://localhost:11434", True, True),
        ("http://127.0.0.1:11434", True, True),
        ("http://192.168.7.7:11434", False, False),
        ("http://ollama:11434", False, False),  # a name of a container's network
    ],
)
def test_only_a_server_of_this_machine_works_here(endpoint: str | None, *, has_server: bool, is_here: bool) -> None:
    """Else the load of everything that is called like one would be taken for our own."""
    model = ScriptedModel("ollama:phi", "hello")
    model.spec = replace(model.spec, endpoint=endpoint)
    surroundings = ClientSurroundings({"ollama:phi": model})
    surroundings.refresh()
    assert surroundings.has_local_server() is has_server
    assert surroundings.runs_here("ollama:phi") is is_here
    assert not surroundings.runs_here("ollama:other")
