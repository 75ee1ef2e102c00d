"""What an Ollama server has in memory: known without asking where it can be, and loaded once for all who wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import pytest

from oblix.errors import AttemptFailed, ConfigurationError, FailureKind
from oblix.models.base import Loadable
from oblix.models.ollama import MIN_WINDOW, OllamaModel
from oblix.models.ollama_memory import keep_seconds
from oblix.models.transport import Transport
from oblix.types.spec import Place

from .asking import ask, gather, lanes, run, spec_of
from .test_ollama import GOOD, ends, stream
from .upstream import HANGUP, Hold, Script, Upstream, whole

K = FailureKind
NOTHING = [whole({"models": []})]
LOADED = [whole({"model": "tried", "response": "", "done": True, "done_reason": "load"})]


def listed(window: int | None = MIN_WINDOW, name: str = "tried:latest") -> Script:
    entry = {"name": name, "model": name} | ({} if window is None else {"context_length": window})
    return [whole({"models": [{"name": "other:latest", "context_length": 9}, entry]})]


def model_at(upstream: Upstream, transport: Transport, *, place: Place = "edge", **settings: Any) -> OllamaModel:
    window = settings.pop("window", None)
    return OllamaModel(spec_of("ollama", upstream.url, place=place, window=window), transport, **settings)


def paths(upstream: Upstream) -> list[str]:
    return [asked.path for asked in upstream.requests]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("300ms", 0.3),
        (0, 0.0),
        ("0", 0.0),
        ("0s", 0.0),
        (90, 90.0),
        (90.5, 90.0),
        ("90", 90.0),
        (-1, inf),
        ("-1", inf),
        ("-1m", inf),
    ],
)
def test_how_long_a_model_is_kept(said: str | float, seconds: float) -> None:
    assert keep_seconds(said) == pytest.approx(seconds)


@pytest.mark.parametrize("said", ["", "soon", "5 apples", "m", "nan", "inf", "1e3", "2.5", "5m!", "--1m"])
def test_what_ollama_would_refuse_is_refused_when_it_is_given(said: str) -> None:
    with pytest.raises(ConfigurationError, match="keep_alive"):
        keep_seconds(said)


def test_before_anything_was_asked_nothing_is_known() -> None:
    model = OllamaModel(spec_of("ollama", "http://127.0.0.1:9"), Transport())
    assert isinstance(model, Loadable)
    assert (model.state().loaded, model.state().loading) == (None, False)


def test_after_an_answer_it_is_loaded_for_its_time() -> None:
    """As long as `keep_alive` says, on the loop's clock; asking costs nothing then."""

    async def main() -> None:
        async with Upstream(GOOD) as upstream, lanes() as transport:
            model = model_at(upstream, transport, keep_alive="5m")
            await gather(model, ask())
            assert model.state().loaded is True
            await model.load(ask())
            assert paths(upstream) == ["/api/chat"]
            with ahead(299):
                assert model.state().loaded is True
            with ahead(301):
                assert model.state().loaded is None

    run(main())


@contextmanager
def ahead(seconds: float) -> Iterator[None]:
    """The loop's clock, so many seconds on."""
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.time = time  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("keep_alive", "wish", "loaded"), [("5m", 0, False), (0, "5m", True), (0, None, False), (-1, None, True)]
)
def test_a_request_may_have_a_wish_of_its_own(keep_alive: Any, wish: Any, loaded: bool) -> None:
    async def main() -> None:
        async with Upstream(GOOD) as upstream, lanes() as transport:
            model = model_at(upstream, transport, keep_alive=keep_alive)
            await gather(model, ask(provider_options={} if wish is None else {"keep_alive": wish}))
            assert model.state().loaded is loaded

    run(main())


def test_after_a_failure_nothing_is_known() -> None:
    async def main() -> None:
        async with Upstream(GOOD, [HANGUP]) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            assert (await gather(model, ask())).end
            assert (await gather(model, ask())).failed
            assert model.state().loaded is None

    run(main())


def test_a_prompt_that_does_not_fit_says_nothing_about_the_memory() -> None:
    """It also gets both numbers, which Ollama does not name."""

    async def main() -> None:
        refused = [whole({"error": "the input length exceeds the context length"}, status=400)]
        async with Upstream(GOOD, refused) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            assert (await gather(model, ask())).end
            failed = (await gather(model, ask("=" * 9000))).failed
            assert (failed.kind, failed.tokens, failed.window) == (K.CONTEXT_OVERFLOW, 2375, 4096)
            assert model.state().loaded is True

    run(main())


def test_a_load_sends_no_prompt() -> None:
    async def main() -> None:
        async with Upstream(NOTHING, LOADED) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            await model.load(ask())
            assert [asked.line.split(" ")[0] for asked in upstream.requests] == ["GET", "POST"]
            assert upstream.requests[1].json == {
                "model": "tried",
                "keep_alive": 300.0,
                "stream": False,
                "options": {"num_ctx": MIN_WINDOW},
            }
            assert model.state().loaded is True
            await model.load(ask())
            assert len(upstream.requests) == 2

    run(main())


@pytest.mark.parametrize(("keep_alive", "sent"), [(0, 60.0), ("30s", 60.0), ("5m", 300.0), (-1, -1), ("-1", -1)])
def test_what_was_loaded_ahead_is_kept_until_its_prompt_comes(keep_alive: Any, sent: float) -> None:
    """With `keep_alive=0` a load would be an unload."""

    async def main() -> float:
        async with Upstream(NOTHING, LOADED) as upstream, lanes() as transport:
            await model_at(upstream, transport, keep_alive=keep_alive).load(ask())
            return float(upstream.requests[1].json["keep_alive"])

    assert run(main()) == sent


@pytest.mark.parametrize(
    ("there", "declared", "asked"),
    [(8192, None, 8192), (2048, None, 4096), (None, None, 4096), (8192, 4096, 4096), (4096, 4096, 4096)],
    ids=["wider", "narrower", "unknown", "wider than declared", "the same"],
)
def test_the_window_that_is_there_is_used(there: int | None, declared: int | None, asked: int) -> None:
    """Another one would make Ollama load the model anew."""

    async def main() -> None:
        async with Upstream(listed(there), LOADED, GOOD) as upstream, lanes() as transport:
            model = model_at(upstream, transport, window=declared)
            await model.load(ask())
            await gather(model, ask())
            assert paths(upstream) == ["/api/ps", "/api/generate", "/api/chat"]
            assert [asked.json["options"]["num_ctx"] for asked in upstream.requests[1:]] == [asked_for] * 2

    asked_for = asked
    run(main())


def windows(upstream: Upstream) -> list[tuple[str, int]]:
    """The windows that were asked for, and where."""
    return [(asked.path, asked.json["options"]["num_ctx"]) for asked in upstream.requests if asked.body]


def test_a_cold_start_with_a_long_prompt_is_one_load() -> None:
    """With the window that the prompt needs: a narrower one would have to be loaded anew before the answer."""

    async def main() -> None:
        async with Upstream(NOTHING, LOADED, GOOD) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            long = ask("=" * 40_000)
            await model.load(long)
            assert (await gather(model, long)).end
            assert windows(upstream) == [("/api/generate", 16384), ("/api/chat", 16384)]

    run(main())


def test_a_wider_wish_waits_for_the_load_that_is_under_way_and_then_loads() -> None:
    """A hundred of either kind are two loads, and the narrow ones use the wide one."""

    async def main() -> None:
        scripts: list[Script] = [NOTHING, [Hold("load"), *LOADED], listed(), LOADED, GOOD]
        async with Upstream(*scripts) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            narrow = [asyncio.create_task(model.load(ask())) for _ in range(100)]
            while len(upstream.requests) < 2:
                await asyncio.sleep(0.005)
            wide = [asyncio.create_task(model.load(ask("word " * 6000))) for _ in range(100)]
            await asyncio.sleep(0)
            upstream.release("load")
            await asyncio.gather(*narrow, *wide)
            assert (await gather(model, ask())).end
            assert windows(upstream) == [("/api/generate", 4096), ("/api/generate", 16384), ("/api/chat", 16384)]

    run(main())


def test_a_load_has_the_window_that_the_caller_set() -> None:
    async def main() -> None:
        async with Upstream(NOTHING, LOADED, GOOD) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            own = ask(provider_options={"options": {"num_ctx": 777}})
            await model.load(own)
            assert (await gather(model, own)).end
            assert windows(upstream) == [("/api/generate", 777), ("/api/chat", 777)]

    run(main())


def test_for_a_prompt_that_can_never_fit_nothing_is_loaded() -> None:
    async def main() -> None:
        async with Upstream() as upstream, lanes() as transport:
            with pytest.raises(AttemptFailed) as failed:
                await model_at(upstream, transport, window=2048).load(ask("word " * 3000))
            assert (failed.value.kind, failed.value.tokens, failed.value.window) == (K.CONTEXT_OVERFLOW, 3000, 2048)
            assert upstream.connections == []

    run(main())


def test_one_load_serves_a_hundred() -> None:
    async def main() -> None:
        loading: Script = [Hold("load"), *LOADED]
        async with Upstream(NOTHING, loading) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            waiting = [asyncio.create_task(model.load(ask())) for _ in range(100)]
            while len(upstream.requests) < 2:
                await asyncio.sleep(0.005)
            assert (model.state().loaded, model.state().loading) == (False, True)
            upstream.release("load")
            await asyncio.gather(*waiting)
            assert paths(upstream) == ["/api/ps", "/api/generate"]
            assert (model.state().loaded, model.state().loading) == (True, False)

    run(main())


def test_a_load_goes_on_when_all_who_wait_have_left() -> None:
    """Ollama gives a load up when its connection is closed."""

    async def main() -> None:
        async with Upstream(NOTHING, [Hold("load"), *LOADED]) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            first = asyncio.create_task(model.load(ask()))
            while len(upstream.requests) < 2:
                await asyncio.sleep(0.005)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert model.state().loading
            assert not any(connection.left.is_set() for connection in upstream.connections)
            second = asyncio.create_task(model.load(ask()))
            upstream.release("load")
            await second
            assert paths(upstream) == ["/api/ps", "/api/generate"]

    run(main())


def test_a_load_may_drive_a_neighbour_out() -> None:
    """Ollama unloads one model for another where memory is short: what was known of it is known no more."""

    async def main() -> None:
        here = [whole({"models": [{"name": "tried", "context_length": 4096}, {"name": "next:latest"}]})]
        async with Upstream(GOOD, NOTHING, LOADED, here, LOADED) as upstream, lanes() as transport:
            one, two = (
                model_at(upstream, transport),
                OllamaModel(spec_of("ollama", upstream.url, name="next"), transport),
            )
            await gather(one, ask())
            assert one.state().loaded is True
            await two.load(ask())
            assert (one.state().loaded, two.state().loaded) == (None, True)
            await one.load(ask())  # it had its place still: nobody was driven out
            assert (one.state().loaded, two.state().loaded) == (True, True)

    run(main())


def test_closing_ends_a_load_and_tells_who_waits() -> None:
    async def main() -> None:
        async with Upstream(NOTHING, [Hold("never")]) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            waiting = asyncio.create_task(model.load(ask()))
            while len(upstream.requests) < 2:
                await asyncio.sleep(0.005)
            await model.close()
            with pytest.raises(AttemptFailed) as failed:
                await waiting
            assert failed.value.kind is K.CANCELLED
            assert not model.state().loading
            await model.close()

    run(main())


def test_a_missing_model_comes_with_the_line_that_fetches_it() -> None:
    async def main() -> None:
        missing = [whole({"error": "model 'tried' not found"}, status=404)]
        async with Upstream(NOTHING, missing) as upstream, lanes() as transport:
            model = model_at(upstream, transport)
            with pytest.raises(AttemptFailed) as failed:
                await model.load(ask())
            assert failed.value.kind is K.MODEL_MISSING
            assert failed.value.hint == "ollama pull tried"
            assert (model.state().loaded, model.state().loading) == (None, False)

    run(main())


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (500, "model requires more system memory (5.5 GiB) than is available (3.1 GiB)", K.MODEL_UNLOADABLE),
        (500, "llama runner process has terminated: exit status 2", K.ENGINE_CRASH),
        (503, "server busy, please try again. maximum pending requests exceeded", K.OVERLOADED),
    ],
)
def test_why_a_load_failed(status: int, said: str, kind: FailureKind) -> None:
    async def main() -> None:
        async with Upstream(NOTHING, [whole({"error": said}, status=status)]) as upstream, lanes() as transport:
            with pytest.raises(AttemptFailed) as failed:
                await model_at(upstream, transport).load(ask())
            assert failed.value.kind is kind

    run(main())


def test_a_server_that_is_not_there_cannot_load() -> None:
    async def main() -> None:
        async with Upstream() as upstream:
            url = upstream.url
        async with lanes() as transport:
            with pytest.raises(AttemptFailed) as failed:
                await OllamaModel(spec_of("ollama", url), transport).load(ask())
            assert failed.value.kind is K.CONNECT

    run(main())


@pytest.mark.parametrize(
    "scripts",
    [
        [[whole(b"404 page not found", "text/plain", status=404)]],
        [[whole({"detail": "Not Found"}, status=404)]],
        [[whole({"error": "not implemented"}, status=501)]],
        [[whole(b"<html>", "text/html")]],
        [[whole({"models": 5})]],
        [[whole(json.dumps(["x"]).encode())]],
        [NOTHING, [whole(b"404 page not found", "text/plain", status=404)]],
        [NOTHING, [whole({"detail": "prompt: field required"}, status=422)]],
        [NOTHING, [whole(b"<html>", "text/html")]],
        [NOTHING, stream(ends())],
    ],
    ids=[
        "no ps",
        "no ps, JSON",
        "501",
        "a page",
        "odd",
        "a list",
        "no generate",
        "wants a prompt",
        "a page there",
        "lines",
    ],
)
def test_a_server_that_knows_nothing_of_loading_is_taken_to_be_ready(scripts: list[Script]) -> None:
    """There are many that speak the protocol in part. It is not asked again and again."""

    async def main() -> None:
        async with Upstream(*scripts, GOOD) as upstream, lanes() as transport:
            model = model_at(upstream, transport, keep_alive=0)
            await model.load(ask())
            assert model.state().loaded is True
            count = len(upstream.requests)
            await model.load(ask())
            assert len(upstream.requests) == count == len(scripts)

    run(main())


def test_a_model_in_the_cloud_is_never_loaded() -> None:
    async def main() -> None:
        async with Upstream() as upstream, lanes() as transport:
            model = model_at(upstream, transport, place="cloud")
            await model.load(ask())
            assert model.state().loaded is True
            assert upstream.connections == []

    run(main())


def test_two_loops_one_after_the_other() -> None:
    """What was known belongs to the loop, and its clock, that it was learned on."""
    transport = Transport()
    model = OllamaModel(spec_of("ollama", "http://127.0.0.1:9"), transport)

    async def main() -> FailureKind:
        try:
            await model.load(ask())
        except AttemptFailed as failure:
            return failure.kind
        finally:
            await transport.close()
        raise AssertionError

    assert [run(main()), run(main())] == [K.CONNECT, K.CONNECT]
