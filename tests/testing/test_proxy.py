"""The proxy between two real sockets: what passes, what is changed, and how a connection ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from oblix.testing import run
from oblix.testing.proxy import PIECE, QUEUED, Line, Passage, TcpProxy, _Way

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GUARD = 10.0  # seconds; only against hanging


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def between(serve: Serve = echo, *, seed: int = 0) -> AsyncIterator[TcpProxy]:
    """A proxy in front of a server that runs `serve` for each connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with (
        asyncio.timeout(GUARD),
        server,
        TcpProxy("127.0.0.1", server.sockets[0].getsockname()[1], seed=seed) as proxy,
    ):
        yield proxy


async def dial(proxy: TcpProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def say(proxy: TcpProxy, data: bytes) -> bytes:
    """Send, then read until the end of the answer."""
    reader, writer = await dial(proxy)
    try:
        writer.write(data)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


def test_bytes_pass_both_ways_and_are_recorded() -> None:
    async def main() -> None:
        async with between() as proxy:
            data = bytes(range(256)) * 1000
            assert await say(proxy, data) == data
            (passage,) = proxy.passages
            assert (bytes(passage.up), bytes(passage.down)) == (data, data)
            assert (passage.passed_up, passage.passed_down) == (len(data), len(data))

    asyncio.run(main())


def test_a_delayed_direction_is_overtaken_by_one_that_is_not() -> None:
    async def main() -> None:
        order: list[str] = []
        async with between() as slow, between() as quick:
            slow.down = Line(delay=0.05)

            async def ask(proxy: TcpProxy, name: str) -> None:
                await say(proxy, b"x")
                order.append(name)

            await asyncio.gather(ask(slow, "slow"), ask(quick, "quick"))
        assert order == ["quick", "slow"]

    asyncio.run(main())


def test_delayed_pieces_overlap_so_that_the_throughput_stays() -> None:
    async def main() -> list[tuple[float, bytes]]:
        reader, queue = asyncio.StreamReader(), asyncio.Queue[tuple[float, bytes]]()
        way = _Way("up", lambda: Line(delay=5.0), Passage(), random.Random(0), keep=0)
        reading = asyncio.create_task(way.read(reader, queue))
        for piece in (b"1", b"2"):
            reader.feed_data(piece)
            await asyncio.sleep(1.0)
        reader.feed_eof()
        await reading
        return [queue.get_nowait() for _ in range(queue.qsize())]

    assert run(main()) == [(5.0, b"1"), (6.0, b"2"), (7.0, b"")]


def test_jitter_keeps_the_order_and_is_drawn_from_the_seed() -> None:
    class Witness(TcpProxy):
        def draws(self) -> list[float]:
            return [self._chance["up"].random() for _ in range(3)]

    assert Witness("x", 1, seed=7).draws() == Witness("x", 1, seed=7).draws() != Witness("x", 1, seed=8).draws()

    async def main() -> None:
        async with between(seed=7) as proxy:
            proxy.up = proxy.down = Line(jitter=0.004)
            reader, writer = await dial(proxy)
            for number in range(50):
                writer.write(b"%03d" % number)
                await asyncio.sleep(0)
            assert await reader.readexactly(150) == b"".join(b"%03d" % number for number in range(50))
            writer.close()

    asyncio.run(main())


def test_a_rate_spreads_the_bytes_over_time() -> None:
    async def main() -> None:
        async with between() as proxy:
            proxy.down = Line(rate=10_000)
            loop = asyncio.get_running_loop()
            started = loop.time()
            assert await say(proxy, bytes(1000)) == bytes(1000)
            assert loop.time() - started >= 0.09  # 1,000 bytes at 10,000 a second, less the last pause

    asyncio.run(main())


def test_one_byte_is_turned_over_and_no_other() -> None:
    async def main() -> None:
        async with between() as proxy:
            proxy.down = Line(corrupt_at=20_000)
            got = await say(proxy, bytes(50_000))
            assert [(at, byte) for at, byte in enumerate(got) if byte] == [(20_000, 0xFF)]

    asyncio.run(main())


@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_a_cut_delivers_so_many_bytes_and_ends_in_order(count: int) -> None:
    async def main() -> None:
        async with between() as proxy:
            proxy.down = Line(cut_after=count)
            reader, writer = await dial(proxy)
            writer.write(bytes(50_000))
            assert len(await reader.read()) == count
            writer.close()
            assert proxy.passages[0].passed_down == count

    asyncio.run(main())


@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_a_reset_delivers_so_many_bytes_and_then_breaks(count: int) -> None:
    async def main() -> None:
        async with between() as proxy:
            proxy.down = Line(reset_after=count)
            reader, writer = await dial(proxy)
            writer.write(bytes(50_000))
            assert len(await reader.readexactly(count)) == count
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    asyncio.run(main())


def test_the_target_of_a_reset_connection_is_reset_as_well() -> None:
    seen: list[BaseException] = []
    over = asyncio.Event()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        try:
            await reader.read()
        except ConnectionResetError as error:
            seen.append(error)
        over.set()

    async def main() -> None:
        async with between(note) as proxy:
            proxy.down = Line(reset_after=2)
            _, writer = await dial(proxy)
            await over.wait()
            writer.close()
        assert len(seen) == 1

    asyncio.run(main())


def test_after_a_half_close_the_other_direction_goes_on() -> None:
    got: list[bytes] = []
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        got.append(await reader.readexactly(4))
        writer.write(b"this arrives nowhere")
        await writer.drain()
        over.set()

    async def main() -> None:
        async with between(talk) as proxy:
            proxy.down = Line(half_close_after=3)
            reader, writer = await dial(proxy)
            assert await reader.read() == b"hel"
            writer.write(b"more")
            await over.wait()
            assert got == [b"more"]
            writer.close()

    asyncio.run(main())


def test_swallowed_bytes_arrive_nowhere_and_later_ones_do() -> None:
    async def main() -> None:
        async with between() as proxy:
            proxy.up = Line(swallows=True)
            reader, writer = await dial(proxy)
            writer.write(b"lost")
            while not (proxy.passages and proxy.passages[0].swallowed == 4):
                await asyncio.sleep(0)
            proxy.up = Line()
            writer.write(b"kept")
            assert await reader.readexactly(4) == b"kept"
            assert proxy.passages[0].up == b"kept"
            writer.close()

    asyncio.run(main())


def test_a_black_hole_accepts_and_asks_no_target() -> None:
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))

    async def main() -> None:
        async with between(note) as proxy:
            proxy.is_black_hole = True
            reader, writer = await dial(proxy)
            writer.write(b"anybody there?")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
            assert len(proxy.passages) == 1
            proxy.is_black_hole = False
            assert await say(proxy, b"back") == b""
            assert asked == [b"back"]
            writer.close()

    asyncio.run(main())


def test_refused_connections_keep_the_port_and_the_open_ones() -> None:
    async def main() -> None:
        async with between() as proxy:
            port = proxy.port
            reader, writer = await dial(proxy)
            writer.write(b"1")
            assert await reader.readexactly(1) == b"1"
            await proxy.refuse()
            with pytest.raises(ConnectionRefusedError):
                await dial(proxy)
            writer.write(b"2")
            assert await reader.readexactly(1) == b"2"
            await proxy.accept()
            assert proxy.port == port
            assert await say(proxy, b"3") == b"3"
            writer.close()

    asyncio.run(main())


def test_a_target_that_is_not_there_resets_the_caller() -> None:
    async def main() -> None:
        async with between() as proxy:
            other = TcpProxy("127.0.0.1", proxy.port)
            async with other:
                await proxy.refuse()
                reader, writer = await dial(other)
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                writer.close()

    asyncio.run(main())


def test_a_reader_that_does_not_read_holds_the_sender_up() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(PIECE))
            await writer.drain()
            sent += PIECE

    async def main() -> None:
        async with between(flood) as proxy:
            _, writer = await dial(proxy)
            before = -1
            while sent != before:  # until nothing moves any more
                before = sent
                await asyncio.sleep(0.1)
            held = sent - proxy.passages[0].passed_down
            # What lies between: the queue of the proxy, its reader, and the kernel's buffers (4 MiB at most each).
            assert 0 < held <= QUEUED * PIECE + 16 * (1 << 20)
            writer.transport.abort()

    asyncio.run(main())


def test_leaving_ends_every_connection_and_task() -> None:
    async def main() -> None:
        async with between() as proxy:
            async with TcpProxy("127.0.0.1", proxy.port) as outer:
                reader, writer = await dial(outer)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert [task for task in left if "TcpProxy" in repr(task)] == []

    asyncio.run(main())
