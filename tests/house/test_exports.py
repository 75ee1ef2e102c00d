"""What is public is named in `__all__`, can be had, and nothing else looks public."""

from __future__ import annotations

import ast
import importlib
import pickle
from pathlib import Path

import pytest

import oblix
from oblix import errors
from oblix.errors import OblixError
from oblix.types.attempt import Attempt

SOURCE = Path(oblix.__file__).parent
PACKAGES = ("oblix", "oblix.agents", "oblix.client", "oblix.sync", "oblix.testing")


def imported(module: str) -> set[str]:
    """The names that a module takes out of the house at its top level, also for type checkers only."""
    parts = module.split(".")[1:]
    file = SOURCE.joinpath(*parts, "__init__.py") if parts != ["sync"] else SOURCE / "sync.py"
    found: set[str] = set()
    todo: list[ast.stmt] = list(ast.parse(file.read_text("utf-8")).body)
    while todo:
        statement = todo.pop()
        if isinstance(statement, ast.If):
            todo += statement.body
        elif isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("oblix"):
            found |= {alias.asname or alias.name for alias in statement.names}
    return found


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_package_imports_is_what_it_exports(name: str) -> None:
    module = importlib.import_module(name)
    assert imported(name) == set(module.__all__)
    assert list(module.__all__) == sorted(module.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_name_is_there(name: str) -> None:
    module = importlib.import_module(name)
    space: dict[str, object] = {}
    exec(f"from {name} import *", space)
    for each in module.__all__:
        assert space[each] is getattr(module, each)
        assert each in dir(module) or name == "oblix.agents"


def test_names_that_do_not_exist_are_an_attribute_error() -> None:
    for module in (oblix, importlib.import_module("oblix.agents")):
        with pytest.raises(AttributeError, match="Nothing"):
            module.Nothing  # noqa: B018


def family(kind: type[OblixError]) -> list[type[OblixError]]:
    found = [kind]
    for child in kind.__subclasses__():
        found += family(child)
    return [each for each in found if each.__module__ == "oblix.errors"]


def test_the_tree_of_errors_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn: dict[str, str] = {}
    parents = ["OblixError"]
    for line in errors.__doc__.splitlines():
        before, branch, after = line.partition("── ")
        if branch:
            depth = len(before) // 4
            drawn[after.split()[0]] = parents[depth - 1]
            parents[depth:] = [after.split()[0]]
    kinds = [kind for kind in family(OblixError) if kind is not OblixError]
    assert drawn == {kind.__name__: kind.__mro__[1].__name__ for kind in kinds}


def test_every_error_has_a_code_of_its_own_and_users_can_import_it() -> None:
    kinds = family(OblixError)
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.__name__ for kind in kinds} - set(oblix.__all__) == {"AttemptFailed"}
    assert all(kind.__doc__ for kind in kinds)


@pytest.mark.parametrize("kind", [kind for kind in family(OblixError) if kind.__name__ != "AttemptFailed"])
def test_errors_travel_between_processes(kind: type[OblixError]) -> None:
    error = kind(
        "what", hint="do this", request_id="r1", attempts=[Attempt("a:b", "edge", "failed")], cause=KeyError("x")
    )
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == f"what [{kind.code}]\nhint: do this"
    assert (copy.request_id, copy.attempts, copy.cause) == ("r1", error.attempts, None)
