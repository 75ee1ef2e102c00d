"""Loops, processes and exits: one client belongs to one loop, and leaving without `shutdown` is quiet."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oblix import ConfigurationError, OblixClient
from oblix.agents import ConnectivityAgent, ResourceMonitor
from oblix.testing import Wait

from .hooked import client_with, edge
from .outside import DEV, program, small_server

# In this mode asyncio also tells of every step that took longer than 100 ms, which on a busy machine is anybody's.
SETUP = """
    import asyncio, logging, sys
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    from oblix import OblixClient
    from oblix.agents import ConnectivityAgent, ResourceMonitor

    async def made(url):
        client = OblixClient()
        await client.hook_model("ollama", "phi", endpoint=url)
        await client.hook_model("openai", "gpt", endpoint=url + "/v1", api_key="sk-test")
        client.hook_agent(ResourceMonitor())
        client.hook_agent(ConnectivityAgent())
        return client
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with small_server() as address:
        yield address


def quiet(text: str, home: Path, url: str) -> str:
    """What a program prints that ends well and says nothing on stderr, with every warning on."""
    ran = program(SETUP + text, home, url, flags=DEV)
    assert (ran.stderr, ran.returncode) == ("", 0)
    return ran.stdout


# --- loops ---


def test_a_client_belongs_to_the_loop_of_its_first_call() -> None:
    async def main() -> None:
        client = client_with(edge("yes", [Wait(1e9)]))
        await client.execute("hi")

        def elsewhere() -> None:
            with pytest.raises(ConfigurationError, match="belongs to another event loop") as failed:
                asyncio.run(client.execute("hi"))
            assert failed.value.hint is not None
            assert "oblix.sync.OblixClient" in failed.value.hint

        await asyncio.to_thread(elsewhere)
        assert (await client.route("hi")).chosen == "ollama:phi"

    asyncio.run(main())


def test_after_its_loop_has_ended_a_client_works_in_the_next() -> None:
    client = client_with(edge("yes"))
    client.hook_agent(ResourceMonitor("lasting"))
    for _ in range(3):
        reply = asyncio.run(client.execute("hi"))
        assert reply.response == "yes"
        assert reply.agent_checks["lasting"].state != "error"


def test_a_loop_that_was_closed_without_care_is_no_obstacle() -> None:
    """`loop.close()` without `shutdown_asyncgens()`: nothing of the old loop may be used in the new one."""
    client = client_with(edge("yes"))
    for _ in range(3):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(client.execute("hi")).response == "yes"
        loop.close()


def test_shutdown_may_come_twice_and_before_anything() -> None:
    async def main() -> None:
        model = edge("yes")
        client = client_with(model)
        await client.shutdown()
        await client.execute("hi")
        await client.shutdown()
        assert model.is_closed
        await client.cleanup()
        assert (await client.execute("hi")).response == "yes"

    asyncio.run(main())


def test_sensors_stop_with_the_client_and_with_the_loop() -> None:
    def names() -> set[str]:
        return {thread.name for thread in threading.enumerate()} & {"oblix-sensor-machine"}

    def wait_until_silent() -> None:
        deadline = time.monotonic() + 20
        while names():
            assert time.monotonic() < deadline, "a sensor never stopped"
            time.sleep(0.005)

    async def main(name: str, *, shut: bool) -> OblixClient:
        client = client_with(edge("yes"))
        client.hook_agent(ResourceMonitor(name))
        client.hook_agent(ConnectivityAgent("never started: there is no cloud"))
        await client.execute("hi")
        assert names() == {"oblix-sensor-machine"}
        if shut:
            await client.shutdown()
        return client

    gc.collect()  # the sampler is shared: nobody else's client may hold it
    kept = asyncio.run(main("one", shut=True))
    wait_until_silent()
    other = asyncio.run(main("two", shut=False))
    wait_until_silent()
    del kept, other


def test_a_client_that_is_dropped_in_a_running_loop_leaves_no_thread_behind() -> None:
    async def main() -> None:
        client = client_with(edge("yes"))
        client.hook_agent(ResourceMonitor("dropped"))
        await client.execute("hi")
        del client
        for _ in range(1000):
            gc.collect()
            await asyncio.sleep(0.01)
            if "oblix-sensor-machine" not in {thread.name for thread in threading.enumerate()}:
                return
        raise AssertionError("a sensor never stopped")

    asyncio.run(main())


def test_constructing_and_hooking_touch_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "never made"
    monkeypatch.setenv("OBLIX_HOME", str(home))
    client = OblixClient(oblix_api_key="ignored")
    asyncio.run(client.hook_model("ollama", "phi", endpoint="http://127.0.0.1:1"))
    client.hook_agent(ResourceMonitor())
    client.hook_agent(ConnectivityAgent())
    assert (client.host, client.port) == ("localhost", 4321)
    assert not home.exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("oblix")]


# --- leaving, in programs of their own ---


def test_leaving_without_shutdown_is_quiet(tmp_path: Path, url: str) -> None:
    told = quiet(
        """
    async def main():
        client = await made(sys.argv[1])
        print(await client.execute("one"))
        print(await client.execute("two", model_id="openai:gpt"))

    asyncio.run(main())
""",
        tmp_path / "home",
        url,
    )
    assert told == "you said one\nyou said two\n"


def test_leaving_with_a_client_that_lives_on_in_the_module_is_quiet(tmp_path: Path, url: str) -> None:
    told = quiet(
        """
    client = asyncio.run(made(sys.argv[1]))
    for word in ("one", "two"):
        print(asyncio.run(client.execute(word)))
""",
        tmp_path / "home",
        url,
    )
    assert told == "you said one\nyou said two\n"


def test_leaving_in_the_middle_of_an_answer_is_quiet(tmp_path: Path, url: str) -> None:
    told = quiet(
        """
    async def main():
        client = await made(sys.argv[1])
        stream = client.stream("hang")
        await stream.__aenter__()
        print(await anext(stream))
        task = asyncio.create_task(client.execute("hang"))
        await asyncio.sleep(0.2)

    asyncio.run(main())
""",
        tmp_path / "home",
        url,
    )
    assert told == "you said hang\n"


def test_a_loop_made_by_hand_and_closed_without_care_is_quiet(tmp_path: Path, url: str) -> None:
    told = quiet(
        """
    async def main():
        client = await made(sys.argv[1])
        print(await client.execute("one"))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
""",
        tmp_path / "home",
        url,
    )
    assert told == "you said one\n"


def test_a_loop_made_by_hand_is_followed_by_another(tmp_path: Path, url: str) -> None:
    """The connections of the closed loop are never used again."""
    told = quiet(
        """
    client = asyncio.run(made(sys.argv[1]))
    for word in ("one", "two", "three"):
        loop = asyncio.new_event_loop()
        print(loop.run_until_complete(client.execute(word)))
        loop.close()
""",
        tmp_path / "home",
        url,
    )
    assert told == "you said one\nyou said two\nyou said three\n"


def test_a_loop_that_is_never_closed_is_quiet_for_our_part(tmp_path: Path, url: str) -> None:
    """asyncio itself complains of it; we add nothing."""
    ran = program(
        SETUP
        + """
    async def main():
        client = await made(sys.argv[1])
        print(await client.execute("one"))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
""",
        tmp_path / "home",
        url,
        flags=(),
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("you said one\n", "", 0)


def test_ctrl_c_in_the_middle_ends_quickly_and_says_only_what_python_says(tmp_path: Path, url: str) -> None:
    ran = program(
        SETUP
        + """
    import os, signal

    async def main():
        client = await made(sys.argv[1])
        async with client.stream("hang") as stream:
            print(await anext(stream))
            os.kill(os.getpid(), signal.SIGINT)
            await stream.reply()

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
""",
        tmp_path / "home",
        url,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("you said hang\ninterrupted\n", "", 0)


def test_a_fork_is_told_clearly_and_harms_nobody(tmp_path: Path, url: str) -> None:
    told = quiet(
        """
    import os, traceback

    async def main():
        client = await made(sys.argv[1])
        print(await client.execute("parent"), flush=True)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(client.execute("child"))
            except Exception as error:
                print(type(error).__name__, error, flush=True)
                fresh = asyncio.run(made(sys.argv[1]))
                print(asyncio.run(fresh.execute("child")), flush=True)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print(await client.execute("parent again"))

    asyncio.run(main())
""",
        tmp_path / "home",
        url,
    )
    assert told == (
        "you said parent\n"
        "ConfigurationError This client was made before a fork, and belongs to the parent process. [OBX-CONFIG]\n"
        "hint: Make a client in each process.\n"
        "you said child\n"
        "you said parent again\n"
    )


def test_everything_that_was_asked_is_in_the_log_after_an_exit_without_shutdown(tmp_path: Path, url: str) -> None:
    quiet(
        """
    async def main():
        client = await made(sys.argv[1])
        await client.execute("one", request_id="r1")
        stream = client.stream("hang", request_id="r2")
        await stream.__aenter__()
        await anext(stream)

    asyncio.run(main())
""",
        tmp_path / "home",
        url,
    )

    async def look() -> list[str]:
        client = OblixClient(store=tmp_path / "home" / "oblix.db")
        return [await client.explain(name) for name in ("r1", "r2")]

    whole, left = asyncio.run(look())
    assert " answered: " in whole
    assert "cancelled (the caller left)" in left
