"""The blocking twin: the same methods, and the same quiet exit."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import oblix
from oblix import AllModelsFailed, ConfigurationError, InvalidRequest, OblixError, Reset, StreamBroken
from oblix.agents import ResourceMonitor
from oblix.sync import OblixClient
from oblix.testing import Block, Cut, Fail, ScriptedModel, Wait

from .hooked import Says, cloud, edge
from .outside import DEV, program, small_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with small_server() as address:
        yield address


def client_with(*models: ScriptedModel) -> OblixClient:
    client = OblixClient(store=":memory:")
    for model in models:
        client.hook(model)
    return client


def public(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_it_has_every_method_with_the_same_parameters() -> None:
    ours, theirs = public(OblixClient), public(oblix.OblixClient)
    assert ours.keys() == theirs.keys()
    for name, signature in theirs.items():
        assert list(ours[name].parameters.values()) == list(signature.parameters.values()), name
    for name in ("models", "agents", "policy", "screening", "__enter__", "__exit__"):
        assert hasattr(OblixClient, name)


def test_it_asks_and_answers() -> None:
    with client_with(edge("home"), cloud("away")) as client:
        client.hook_agent(Says("mine", {"state": "fine"}))
        reply = client.execute("hi", session_id="s1")
        assert (reply.response, reply.session_id) == ("home", "s1")
        assert reply.agent_checks["mine"].state == "fine"
        assert client.execute("hi", model_id="openai:gpt").response == "away"
        assert client.route("hi").chosen == "ollama:phi"
        assert "openai:gpt (cloud) answered" in client.explain()
        assert client.list_models() == {"ollama": ["phi"], "openai": ["gpt"]}
        assert client.get_model("ollama", "phi") is not None
        assert list(client.models) == ["ollama:phi", "openai:gpt"]
        assert list(client.agents) == ["mine"]
    assert client.execute("hi").response == "home"


def test_sessions(tmp_path: Path) -> None:
    model = edge("one", "two", "three")
    with client_with(model) as client:
        session = client.create_and_use_session("Mine", {"system": "Be brief."}, {"a": 1})
        assert client.current_session_id == session
        assert client.execute("first").session_id == session
        with client.stream("second") as stream:
            assert stream.reply().session_id == session
        assert [message.text for message in model.requests[-1].messages] == ["Be brief.", "first", "one", "second"]
        (listed,) = client.list_sessions(filter_metadata={"a": 1})
        assert (listed["id"], listed["title"], listed["message_count"]) == (session, "Mine", 4)
        assert client.find_session(session[:6]) == session
        assert client.rename_session(session, "Yours")
        assert client.update_session_metadata(session, {"b": 2})
        assert client.get_session_metadata(session) == {"a": 1, "b": 2}
        loaded = client.load_session(session)
        assert loaded is not None
        assert client.pin_message(session, loaded["messages"][0]["id"])
        assert client.unpin_message(session, loaded["messages"][0]["id"])
        assert [each["role"] for each in client.search_sessions("second")] == ["user"]
        assert client.export_session(session, tmp_path / "s.json")
        copies = [
            client.import_session(tmp_path / "s.json"), client.copy_session(session), client.merge_sessions([session]),
            client.fork_session(session, loaded["messages"][1]["id"]),
        ]  # fmt: skip
        assert [len((client.load_session(each or "") or {})["messages"]) for each in copies] == [4, 4, 4, 2]
        client.add_messages("other", [{"role": "user", "content": "hi"}])
        assert client.use_session("other")
        once = client.chat_once("third", session_id="other")
        assert (once.response, once.session_id, client.current_session_id) == ("three", "other", "other")
        assert client.delete_session(session)


def test_hooking_works_as_in_the_other() -> None:
    client = OblixClient(store=":memory:")
    assert client.hook_model("ollama", "phi", endpoint="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="is no provider"):
        client.hook_model("olama", "phi")
    assert client.list_models() == {"ollama": ["phi"]}


def test_metrics_of_the_machine_and_the_network() -> None:
    client = client_with(edge())
    assert client.get_resource_metrics()["state"] in ("available", "constrained", "critical", "unknown")
    assert client.get_connectivity_metrics()["state"] == "unknown"
    client.shutdown()


def test_a_stream_is_iterated_plainly() -> None:
    client = client_with(edge(["Par", Wait(0.01), "is"]))
    with client.stream("hi") as stream:
        assert list(stream) == ["Par", "is"]
        assert stream.reply().response == "Paris"
    with client.stream("hi") as stream:
        assert stream.reply().response == "Paris"
        assert list(stream) == []


def test_a_stream_that_is_left_stops_the_model() -> None:
    model = edge(["a", Block()])
    client = client_with(model)
    with client.stream("hi") as stream:
        for piece in stream:
            assert piece == "a"
            break
    assert (model.open, model.left) == (0, 1)
    assert "cancelled" in client.explain()


def test_a_stream_that_breaks() -> None:
    client = client_with(edge(["half", Cut()]), cloud("whole"))
    with client.stream("hi") as stream, pytest.raises(StreamBroken) as failed:
        list(stream)
    assert failed.value.text == "half"
    assert failed.value.__suppress_context__
    with client.stream("hi", model_id="ollama:phi", fallback=True, on_break="restart") as stream:
        first, reset, last = stream
    assert isinstance(reset, Reset)
    assert (first, last) == ("half", "whole")


def test_errors_are_the_same_and_leave_without_a_trail() -> None:
    client = client_with(edge([Fail("connect")]))
    with pytest.raises(AllModelsFailed) as failed:
        client.execute("hi")
    assert failed.value.attempts[0].kind == "connect"
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None or failed.value.__suppress_context__
    with pytest.raises(InvalidRequest):
        client.execute("")
    with pytest.raises(InvalidRequest):
        client.stream("")


def test_many_threads_may_share_it() -> None:
    scripts = [[Wait(0.05), f"{number}"] for number in range(40)]
    client = client_with(edge(*scripts))
    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(lambda _: client.execute("hi").response, range(40)))
    assert sorted(told, key=int) == [str(number) for number in range(40)]
    assert sum(thread.name == "oblix-sync" for thread in threading.enumerate()) >= 1


def test_on_an_event_loop_it_refuses_instead_of_blocking() -> None:
    client = client_with(edge())

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"oblix\.sync blocks, and this is an event loop") as failed:
            client.execute("hi")
        assert failed.value.hint == "Use `oblix.OblixClient` with `await` here."

    asyncio.run(main())
    assert client.execute("hi").response == "ok"


def test_a_client_that_is_dropped_takes_its_thread_and_sensors_along() -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate()]

    gc.collect()
    before = names().count("oblix-sync")
    client = client_with(edge())
    client.hook_agent(ResourceMonitor("of the twin"))
    client.execute("hi")
    assert names().count("oblix-sync") == before + 1
    del client
    deadline = time.monotonic() + 20
    while names().count("oblix-sync") > before or "oblix-sensor-machine" in names():
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_hooking_in_one_thread_while_another_asks() -> None:
    client = client_with(edge([Wait(0.001), "ok"]))
    stop = threading.Event()

    def hook() -> None:
        number = 0
        while not stop.is_set():
            client.hook(edge("ok", name=f"ollama:m{number % 50}"))
            client.hook_agent(Says(f"a{number % 20}", {"state": "fine"}))
            number += 1

    thread = threading.Thread(target=hook)
    thread.start()
    try:
        for _ in range(100):
            assert client.execute("hi").response == "ok"
    finally:
        stop.set()
        thread.join()


# --- programs of their own ---

# In development mode asyncio also tells of every step that took longer than 100 ms, which on a busy machine is anybody's.
START = """
    import logging, sys
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    from oblix import OblixError
    from oblix.agents import ConnectivityAgent, ResourceMonitor
    from oblix.sync import OblixClient

    def made(url):
        client = OblixClient()
        client.hook_model("ollama", "phi", endpoint=url)
        client.hook_model("openai", "gpt", endpoint=url + "/v1", api_key="sk-test")
        client.hook_agent(ResourceMonitor())
        client.hook_agent(ConnectivityAgent())
        return client
"""


def quiet(text: str, home: Path, url: str) -> str:
    ran = program(START + text, home, url, flags=DEV)
    assert (ran.stderr, ran.returncode) == ("", 0)
    return ran.stdout


@pytest.mark.parametrize(
    "last",
    ["", "client.shutdown()", "del client", "import gc; del client; gc.collect()"],
    ids=["left", "shut down", "dropped", "collected"],
)
def test_leaving_is_quiet(last: str, tmp_path: Path, url: str) -> None:
    told = quiet(
        f"""
    client = made(sys.argv[1])
    print(client.execute("one"))
    with client.stream("two", model_id="openai:gpt") as stream:
        print(*stream)
    {last}
""",
        tmp_path / "home",
        url,
    )
    assert told == "you said one\nyou said two\n"


def test_leaving_in_the_middle_of_an_answer_is_quiet(tmp_path: Path, url: str) -> None:
    told = quiet(
        """
    client = made(sys.argv[1])
    stream = client.stream("hang")
    stream.__enter__()
    print(next(iter(stream)))
""",
        tmp_path / "home",
        url,
    )
    assert told == "you said hang\n"


def test_what_was_asked_last_is_in_the_log_after_an_exit_without_shutdown(tmp_path: Path, url: str) -> None:
    quiet(
        """
    client = made(sys.argv[1])
    client.execute("one", request_id="r1")
""",
        tmp_path / "home",
        url,
    )
    with OblixClient(store=tmp_path / "home" / "oblix.db") as client:
        assert " answered: " in client.explain("r1")


def test_a_fork_is_told_clearly_and_never_hangs(tmp_path: Path, url: str) -> None:
    told = quiet(
        """
    import os, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # that a program with threads forks is the point here
    client = made(sys.argv[1])
    print(client.execute("parent"), flush=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            client.execute("child")
        except OblixError as error:
            print(error.message, flush=True)
            print(made(sys.argv[1]).execute("child"), flush=True)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print(client.execute("parent again"))
""",
        tmp_path / "home",
        url,
    )
    assert told == (
        "you said parent\n"
        "This client was made before a fork, and belongs to the parent process.\n"
        "you said child\n"
        "you said parent again\n"
    )


def test_ctrl_c_interrupts_and_stops_the_model(tmp_path: Path, url: str) -> None:
    told = quiet(
        """
    import os, signal, threading
    client = made(sys.argv[1])
    try:
        with client.stream("hang", request_id="r1") as stream:
            for piece in stream:
                print(piece)
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    except KeyboardInterrupt:
        print("interrupted")
    print("cancelled" in client.explain("r1"))
    print(client.execute("again"))
""",
        tmp_path / "home",
        url,
    )
    assert told == "you said hang\ninterrupted\nTrue\nyou said again\n"


def test_an_uncaught_error_is_short_here_too(tmp_path: Path) -> None:
    ran = program(
        """
        from oblix.sync import OblixClient
        client = OblixClient(store=":memory:")
        client.hook_model("ollama", "phi", endpoint="http://127.0.0.1:9")
        client.execute("hi")
        """,
        tmp_path / "home",
    )
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert ran.stderr.startswith("oblix.errors.AllModelsFailed: No model could answer.")
    assert ran.stderr.splitlines()[-1].startswith("hint: ")
    assert f"at {tmp_path}/home/program.py:5, in <module>" in ran.stderr


def test_the_error_family_is_one() -> None:
    with pytest.raises(OblixError):
        client_with().execute("hi")
