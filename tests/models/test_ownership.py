"""Who listens on this machine, and whether it passes on what it gets: real listeners, real relays, and one real kubectl."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from oblix import AllModelsFailed, OblixClient
from oblix.errors import AttemptFailed, FailureKind
from oblix.models import forwarders, ownership
from oblix.models.forwarders import Found, Lookout, forwarder
from oblix.models.ownership import Owner, listening, owners
from oblix.models.transport import Permit, Transport
from oblix.testing.faults import FaultServer
from oblix.types.messages import Message
from oblix.types.spec import ModelSpec

from .asking import WIRES, Wire, ask, hear, lanes, run
from .test_ollama import GOOD
from .test_ollama_remote import LOCAL
from .upstream import Upstream, whole

if TYPE_CHECKING:
    from tests.conftest import Require

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked in Linux's own way")

OK = [whole({"ok": True})]
SECRET = "the-private-words"
# Passes every connection on to the port that it is told, as `ssh -L` does, and says where it listens.
RELAY = """
import asyncio, sys
async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
async def joined(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)
async def main():
    server = await asyncio.start_server(joined, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextmanager
def listener(host: str = "127.0.0.1", port: int = 0, *, shared: bool = False) -> Iterator[socket.socket]:
    """A socket that listens."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        made.bind((host, port))
        made.listen()
        yield made


def port_of(made: socket.socket) -> int:
    return int(made.getsockname()[1])


def inode_of(made: socket.socket) -> int:
    return os.fstat(made.fileno()).st_ino


@contextmanager
def relay(name: str, folder: Path, to: int) -> Iterator[tuple[int, int]]:
    """A relay that runs under the name of a program; its port and its process. It is Python: only name and work are the program's."""
    program = folder / name
    program.symlink_to(sys.executable)
    child = subprocess.Popen([program, "-c", RELAY, str(to)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline()), child.pid
    finally:
        child.kill()
        child.communicate()


async def send(transport: Transport, port: int, *, private: bool = True, is_declared: bool = False) -> bytes:
    base = f"http://127.0.0.1:{port}"
    spec = ModelSpec("llamacpp:tried", "llamacpp", "tried", "edge", endpoint=base, is_declared=is_declared)
    answer = await transport.post(f"{base}/v1", body=SECRET.encode(), permit=Permit(spec, private))
    try:
        return await answer.read()
    finally:
        answer.close()


# Whose name says that it forwards


@pytest.mark.parametrize(
    ("names", "arguments", "known"),
    [
        (("ssh", "ssh"), "-N -L 11434:localhost:11434 box", "ssh"),
        (("ssh", "anything"), "", "ssh"),
        (("python3.11", "socat"), "", "socat"),
        (("socat1", "socat"), "", "socat"),
        (("stunnel4", "stunnel4"), "", "stunnel"),
        (("session-manager-plugin", "session-manager"), "", "session-manager-plugin"),
        (("", "systemd-socket-"), "", "systemd-socket-proxyd"),
        (("cloudflared", "cloudflared"), "access tcp --hostname llm.example", "cloudflared"),
        (("kubectl", "kubectl"), "port-forward svc/ollama 11434", "kubectl"),
        (("kubectl", "kubectl"), "-n llm port-forward svc/ollama 11434", "kubectl"),
        (("kubectl", "kubectl"), "get pods", None),
        (("gh", "gh"), "codespace ports forward 80:80", "gh"),
        (("gh", "gh"), "auth login", None),
        (("ollama", "ollama"), "serve", None),
        (("llama-server", "llama-server"), "--port 8080", None),
        (("python3.11", "python3"), "-m vllm.entrypoints.openai.api_server", None),
        (("docker-proxy", "docker-proxy"), "-container-port 11434", None),
        (("ssh-agent", "ssh-agent"), "", None),
        (("sshfs", "sshfs"), "", None),
        ((), "", None),
    ],
)
def test_programs_that_forward(names: tuple[str, ...], arguments: str, known: str | None) -> None:
    assert forwarder(names, arguments.split) == known


def test_arguments_are_read_only_where_the_name_does_not_tell() -> None:
    def unreadable() -> tuple[str, ...]:
        raise AssertionError("/proc was asked in vain")

    assert forwarder(("ssh", "ssh"), unreadable) == "ssh"
    assert forwarder(("ollama", "ollama"), unreadable) is None


# Who listens


@pytest.mark.parametrize(
    ("at", "asked", "found"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.2", "127.0.0.2", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "::1", False),
        ("::1", "::1", True),
        ("::", "::1", True),
        ("::", "127.0.0.1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
    ],
)
@pytest.mark.parametrize("netlink", [True, False], ids=["netlink", "/proc/net"])
def test_sockets_that_would_take_a_connection(
    at: str, asked: str, found: bool, netlink: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in both ways of asking; some sandboxes forbid the quick one."""
    if not netlink:
        monkeypatch.setattr(ownership, "_dump", refuse)
    with listener(at) as made:
        assert listening(asked, port_of(made)) == (frozenset({inode_of(made)}) if found else frozenset())


def refuse(*_: object) -> Iterator[Any]:
    raise PermissionError


def test_every_one_of_several_listeners_is_known() -> None:
    with listener(shared=True) as one, listener(port=port_of(one), shared=True) as other:
        assert listening("127.0.0.1", port_of(one)) == {inode_of(one), inode_of(other)}


def test_where_nobody_listens_nobody_is_known() -> None:
    with listener() as made:
        port = port_of(made)
        with socket.create_connection(("127.0.0.1", port)) as caller:
            assert listening("127.0.0.1", port_of(caller)) == frozenset()
    assert listening("127.0.0.1", port) == frozenset()


def test_other_systems_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with listener() as made:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert listening("127.0.0.1", port_of(made)) == frozenset()


def test_the_process_behind_a_socket(tmp_path: Path) -> None:
    with relay("some-engine", tmp_path, 9) as (port, pid):
        inodes = listening("127.0.0.1", port)
        (owner,) = owners(inodes)
        assert (owner.pid, owner.still_holds) == (pid, True)
        assert inodes == {owner.inode}
        assert owner.names == (Path(sys.executable).resolve().name, "some-engine")
        assert owner.arguments == ("-c", RELAY, "9")
    assert not owner.still_holds
    assert not owner.names
    assert not owner.arguments


def test_a_descriptor_that_is_something_else_holds_no_socket(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        assert not Owner(os.getpid(), file.fileno(), 1).still_holds


# Looking again


@pytest.fixture(name="searches")
def _searches(monkeypatch: pytest.MonkeyPatch) -> list[frozenset[int]]:
    """The sockets whose processes were searched for."""
    made: list[frozenset[int]] = []

    def search(inodes: frozenset[int]) -> tuple[Owner, ...]:
        made.append(inodes)
        return owners(inodes)

    monkeypatch.setattr(forwarders, "owners", search)
    return made


def test_processes_are_searched_for_once_per_socket(searches: list[frozenset[int]], tmp_path: Path) -> None:
    """The next program at the same port is looked at anew, however soon it comes."""

    async def main() -> None:
        lookout = Lookout()
        with listener(shared=True) as made:
            port = port_of(made)
            for _ in range(3):
                assert await lookout.forwarder_at("127.0.0.1", port) is None
            assert searches == [{inode_of(made)}]
            with listener(port=port, shared=True) as other:
                assert await lookout.forwarder_at("127.0.0.1", port) is None
                assert searches[1:] == [{inode_of(made), inode_of(other)}]
        assert await lookout.forwarder_at("127.0.0.1", port) is None
        assert len(searches) == 2  # nobody listens, nobody is searched for

    run(main())


def test_an_owner_that_left_its_socket_to_another_is_replaced(searches: list[frozenset[int]]) -> None:
    """`ssh -f` goes into the background: the socket stays, under another process."""
    lookout, words = Lookout(), [sys.executable, "-c", "input()"]
    with listener() as made:
        port = port_of(made)
        with subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[made.fileno()]) as heir:
            for _ in range(2):
                assert lookout._find("127.0.0.1", port, 0.0) is None
            assert len(searches) == 1
            made.close()
            assert lookout._find("127.0.0.1", port, 0.0) is None
            assert len(searches) == 2
            assert [owner.pid for owner in owners(listening("127.0.0.1", port))] == [heir.pid]
            heir.communicate(b"\n")


def test_whoever_was_not_seen_is_looked_for_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's process is not known, which passes; and one may join those who are."""
    asked: list[frozenset[int]] = []

    def search(inodes: frozenset[int]) -> tuple[Owner, ...]:
        asked.append(inodes)
        return ()

    monkeypatch.setattr(forwarders, "owners", search)
    lookout = Lookout()
    with listener() as made:
        for now, times in ((0.0, 1), (forwarders.LOOK_AGAIN - 1, 1), (forwarders.LOOK_AGAIN, 2)):
            assert lookout._find("127.0.0.1", port_of(made), now) is None
            assert len(asked) == times


# What follows for a private prompt


@pytest.mark.parametrize("name", ["ssh", "socat", "autossh", "systemd-socket-proxyd"])
def test_a_private_prompt_is_not_given_to_a_forwarder(name: str, tmp_path: Path) -> None:
    """Not a byte of it; a public one passes through, which shows that the relay works."""

    async def main() -> None:
        async with Upstream(OK) as away, lanes() as transport:
            with relay(name, tmp_path, away.port) as (port, pid):
                with pytest.raises(AttemptFailed) as failed:
                    await send(transport, port)
                assert failed.value.kind is FailureKind.POLICY
                assert f"'{name}' (process {pid}) listens there" in failed.value.message
                assert "place='edge'" in (failed.value.hint or "")
                assert away.received == b""
                assert await send(transport, port, private=False) == b'{"ok": true}'

    run(main())


def test_a_connection_that_a_public_prompt_left_is_looked_at_as_well(tmp_path: Path) -> None:
    async def main() -> None:
        async with Upstream(OK) as away, lanes() as transport:
            with relay("ssh", tmp_path, away.port) as (port, _):
                await send(transport, port, private=False)
                with pytest.raises(AttemptFailed, match="listens there"):
                    await send(transport, port)
                assert away.received.count(SECRET.encode()) == 1

    run(main())


def test_an_engine_of_this_machine_gets_private_prompts(tmp_path: Path) -> None:
    async def main() -> None:
        async with Upstream(OK) as engine, lanes() as transport:
            assert await send(transport, engine.port) == b'{"ok": true}'
            with relay("some-engine", tmp_path, engine.port) as (port, _):
                assert await send(transport, port) == b'{"ok": true}'

    run(main())


def test_who_declares_the_edge_may_have_a_tunnel_to_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with Upstream(OK) as ours, lanes() as transport:
            with relay("ssh", tmp_path, ours.port) as (port, _):
                assert await send(transport, port, is_declared=True) == b'{"ok": true}'

    run(main())


def test_the_declaration_of_a_caller_is_understood(tmp_path: Path) -> None:
    """Through the real client: refused with what to do, and answered once that was done."""

    async def main() -> None:
        async with FaultServer() as server, OblixClient(store=":memory:") as client:
            ours = server.upstream("ours", wire="ollama")
            with relay("ssh", tmp_path, ours.port) as (port, _):
                url = f"http://127.0.0.1:{port}"
                await client.hook_model("ollama", "phi", url)
                with pytest.raises(AllModelsFailed, match=r"'ssh' .* listens there") as failed:
                    await client.execute(SECRET, private=True)
                assert "place='edge'" in (failed.value.hint or "")
                assert SECRET.encode() not in ours.received  # asked to load the model, which tells nothing of a prompt
                await client.hook_model("ollama", "phi", url, place="edge")
                reply = await client.execute(f"{SECRET} REQ-00001", private=True)
                assert reply.response == ours.answer_for("REQ-00001")

    run(main())


@asynccontextmanager
async def kubectl_proxy(to: str) -> AsyncIterator[int]:
    """A real one, which needs no cluster to listen; its port."""
    words = ["kubectl", "--kubeconfig=/dev/null", f"--server={to}", "proxy", "--port=0"]
    child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        assert child.stdout is not None
        said = await child.stdout.readline()
        yield int(said.rpartition(b":")[2])
    finally:
        child.kill()
        await child.communicate()


def test_a_real_forwarder(require: Require) -> None:
    """Nothing played: the program itself, its own socket, and a server behind it that sees the public prompt only."""
    require(shutil.which("kubectl"), "no kubectl on this machine")

    async def main() -> None:
        async with Upstream(OK) as away, lanes() as transport, kubectl_proxy(away.url) as port:
            with pytest.raises(AttemptFailed, match=r"'kubectl' .* listens there"):
                await send(transport, port)
            assert SECRET.encode() not in away.received  # it asks its server for a version, unasked
            assert await send(transport, port, private=False) == b'{"ok": true}'
            assert SECRET.encode() in away.received

    run(main())


# The peer that a socket really has


@pytest.mark.parametrize("private", [True, False], ids=["private", "not private"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "new"])
def test_the_edge_looks_at_the_peer_of_every_connection(
    monkeypatch: pytest.MonkeyPatch, kept: bool, private: bool
) -> None:
    """Whatever was resolved, and whatever made the socket: here loopback is declared to be away from home, for that last look only."""

    async def main() -> None:
        async with Upstream(OK) as upstream, lanes() as transport:
            if kept:
                await send(transport, upstream.port)
            before = len(upstream.received)
            monkeypatch.setattr("oblix.models.transport.is_home_address", lambda host: host != "127.0.0.1")
            with pytest.raises(AttemptFailed, match=r"led to 127\.0\.0\.1, which is away from home") as failed:
                await send(transport, upstream.port, private=private)
            assert failed.value.kind is FailureKind.POLICY
            assert len(upstream.received) == before
            await asyncio.wait_for(upstream.connections[0].left.wait(), 5)

    run(main())


def test_a_client_that_is_closed_while_the_guard_looks_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it leave a connection behind, of which the loop would complain."""
    complaints: list[object] = []

    async def main() -> None:
        looks, goes_on = asyncio.Event(), asyncio.Event()

        async def look(self: Lookout, host: str, port: int) -> None:
            looks.set()
            await goes_on.wait()

        monkeypatch.setattr(Lookout, "forwarder_at", look)
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with Upstream(OK) as upstream, lanes() as transport:
            sending = asyncio.create_task(send(transport, upstream.port))
            await looks.wait()
            await transport.close()
            goes_on.set()
            with pytest.raises(AttemptFailed) as failed:
                await sending
            assert failed.value.kind is FailureKind.CONNECT
            assert upstream.received == b""
        gc.collect()

    run(main())
    assert complaints == []


@pytest.mark.parametrize("wire", WIRES)
def test_the_label_of_any_message_is_a_label_of_the_request(wire: Wire) -> None:
    """Every provider asks for its permit with the whole request: no connection is made."""
    request = ask(messages=(Message("user", SECRET, private=True), Message("user", "And now?")))
    heard = hear(wire, OK, request=request, place="cloud")
    assert heard.failed.kind is FailureKind.POLICY
    assert heard.connections == 0


def test_an_ollama_server_is_asked_about_its_model_for_a_labelled_message_as_well() -> None:
    request = ask(messages=(Message("user", SECRET, private=True),))
    heard = hear("ollama", LOCAL, GOOD, request=request)
    assert [asked.path for asked in heard.asked] == ["/api/show", "/api/chat"]


def test_one_attempt_is_looked_at_once(searches: list[frozenset[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ollama is asked two things for a private prompt, over one connection."""
    looks: list[Found | None] = []
    look = Lookout.forwarder_at

    async def counted(self: Lookout, host: str, port: int) -> Found | None:
        looks.append(await look(self, host, port))
        return looks[-1]

    monkeypatch.setattr(Lookout, "forwarder_at", counted)
    heard = hear("ollama", LOCAL, GOOD, request=ask(SECRET, private=True))
    assert heard.text == "Hello"
    assert looks == [None]
    assert len(searches) == 1
