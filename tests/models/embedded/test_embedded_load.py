"""Loading: once for all who wait, and told apart when it fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from oblix.errors import AttemptFailed, FailureKind
from oblix.models.base import Loadable
from oblix.models.embedded import reload

if TYPE_CHECKING:
    from tests.models.embedded.conftest import Bench

    from oblix.models.embedded import EmbeddedModel

pytestmark = pytest.mark.engine
Gone = Callable[[int], Coroutine[Any, Any, None]]
StandIn = Callable[..., None]


def test_many_who_wait_share_one_load(bench: Bench) -> None:
    async def run() -> set[int]:
        model = bench.model(slots=2)
        try:
            children: set[int] = set()
            tasks = [asyncio.create_task(bench.answer(model)) for _ in range(6)]
            while not all(task.done() for task in tasks):
                children |= {child.pid for child in psutil.Process().children()}
                await asyncio.sleep(0.01)
            for task in tasks:
                assert task.result().end
            return children
        finally:
            await model.close()

    before = {child.pid for child in psutil.Process().children()}
    assert len(asyncio.run(run()) - before) == 1


def test_a_load_goes_on_when_its_first_caller_leaves(bench: Bench) -> None:
    async def run() -> None:
        model = bench.model()
        try:
            first = asyncio.create_task(bench.answer(model))
            while not model.state().processes:
                await asyncio.sleep(0.005)
            pid = bench.pid(model)
            assert model.state().loaded is False
            first.cancel()
            await asyncio.wait({first})
            assert (await bench.answer(model)).end
            assert bench.pid(model) == pid
        finally:
            await model.close()

    asyncio.run(run())


def test_closing_while_it_loads_ends_the_load(bench: Bench, gone: Gone) -> None:
    async def run() -> None:
        model = bench.model()
        task = asyncio.create_task(bench.answer(model))
        while not model.state().processes:
            await asyncio.sleep(0.002)
        pid = bench.pid(model)
        await model.close()
        await gone(pid)
        with pytest.raises(AttemptFailed) as failed:
            await task
        assert failed.value.kind is FailureKind.CANCELLED

    asyncio.run(run())


@pytest.mark.parametrize("kept", [0, 3, 100, 20_000_000, 98_000_000])
def test_a_file_that_was_cut_off_is_unloadable(bench: Bench, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    with Path(bench.weights).open("rb") as whole:
        cut.write_bytes(whole.read(kept))
    fails_unloadable(bench, cut)


def test_a_damaged_file_is_unloadable(bench: Bench, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    whole = bytearray(Path(bench.weights).read_bytes()[:30_000_000])
    whole[2000:200_000] = b"\xff" * 198_000
    damaged.write_bytes(whole)
    fails_unloadable(bench, damaged)


def fails_unloadable(bench: Bench, path: Path) -> None:
    failed = bench.failure_of(path)
    assert failed.kind is FailureKind.MODEL_UNLOADABLE
    assert failed.hint


def test_an_engine_that_is_not_installed_is_told_with_the_line_to_install_it(bench: Bench, stand_in: StandIn) -> None:
    stand_in("raise ModuleNotFoundError('No module named xllamacpp')")
    failed = bench.failure_of(bench.weights)
    assert failed.kind is FailureKind.MODEL_UNLOADABLE
    assert failed.hint == 'pip install "openoblix[embedded]"'


def test_prints_of_native_libraries_do_not_get_into_the_pipe(bench: Bench, stand_in: StandIn) -> None:
    stand_in("os.write(1, b'out' * 100_000); os.write(2, b'err' * 100_000)")

    async def run() -> None:
        model = bench.model()
        try:
            assert (await bench.answer(model)).end
        finally:
            await model.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("first", "kind", "word"),
    [
        ("os.kill(os.getpid(), 9)", FailureKind.ENGINE_CRASH, "SIGKILL"),
        ("os.kill(os.getpid(), 11)", FailureKind.MODEL_UNLOADABLE, "SIGSEGV"),
        ("os.write(2, b'the last words'); os._exit(3)", FailureKind.MODEL_UNLOADABLE, "exit code 3; .*the last words"),
        ("raise KeyError('odd')", FailureKind.MODEL_UNLOADABLE, "KeyError: 'odd'"),
    ],
)
def test_a_death_while_loading_is_told(
    bench: Bench, stand_in: StandIn, first: str, kind: FailureKind, word: str
) -> None:
    stand_in(first)
    failed = bench.failure_of(bench.weights)
    assert failed.kind is kind
    assert re.search(word, failed.message, re.DOTALL)


def test_a_missing_file_is_told_as_missing(bench: Bench, tmp_path: Path) -> None:
    failed = bench.failure_of(tmp_path / "none.gguf")
    assert failed.kind is FailureKind.MODEL_MISSING
    assert "none.gguf" in failed.message


def test_a_hundred_who_load_and_ask_share_one_load(bench: Bench) -> None:
    async def run() -> set[int]:
        async with bench.open() as model:
            tasks = [asyncio.create_task(model.load(bench.request())) for _ in range(99)]
            tasks.append(asyncio.create_task(ask(bench, model)))
            while not model.state().processes:
                await asyncio.sleep(0)
            assert model.state().loading
            children = {child.pid for child in psutil.Process().children()}
            await asyncio.gather(*tasks)
            assert model.state().loaded
            assert not model.state().loading
            return children | {child.pid for child in psutil.Process().children()}

    before = {child.pid for child in psutil.Process().children()}
    assert len(asyncio.run(run()) - before) == 1


async def ask(bench: Bench, model: EmbeddedModel) -> None:
    assert (await bench.answer(model)).end


def test_a_load_goes_on_when_all_who_waited_for_it_leave(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open() as model:
            tasks = [asyncio.create_task(model.load(bench.request())) for _ in range(3)]
            while not model.state().processes:
                await asyncio.sleep(0)
            pid = bench.pid(model)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert model.state().loading
            await model.load(bench.request())
            assert bench.pid(model) == pid

    asyncio.run(run())


def test_loading_what_is_loaded_does_nothing(bench: Bench) -> None:
    async def run() -> None:
        async with bench.open() as model:
            await model.load(bench.request())
            pid = bench.pid(model)
            await model.load(bench.request())
            assert bench.pid(model) == pid
            assert (await bench.answer(model)).phases == ["first_token"]

    asyncio.run(run())


def test_a_load_that_fails_is_no_load_under_way(bench: Bench, tmp_path: Path) -> None:
    async def run() -> None:
        async with bench.open(tmp_path / "none.gguf") as model:
            with pytest.raises(AttemptFailed):
                await model.load(bench.request())
            assert not model.state().loading

    asyncio.run(run())


def test_the_embedded_model_can_be_loaded_as_the_hands_load_models(bench: Bench) -> None:
    assert isinstance(bench.model(), Loadable)


def test_an_engine_that_dies_while_it_loads_is_loaded_three_times_and_then_left_alone(
    bench: Bench, stand_in: StandIn
) -> None:
    stand_in("os.kill(os.getpid(), 11)")

    async def run() -> None:
        async with bench.open() as model:
            for _ in range(reload.MOST):
                failed = await bench.failure(model)
                assert "SIGSEGV" in failed.message
                assert failed.certainty == "not_sent"  # no request had a part in it
            stand_in()  # it would load now, but the time has not passed
            failed = await bench.failure(model)
            assert failed.kind is FailureKind.MODEL_UNLOADABLE
            assert "was killed 3 times" in failed.message

    asyncio.run(run())
