"""Two programs for the ends of a bad link: `python far.py serve HOST` answers, `python far.py ask BASE` asks what it reads from its input.

The server's paths: `/bulk/SIZE` is that many bytes at once, `/drip/SIZE/PIECE/PAUSE` the same in pieces with pauses in between. The asker
reads one request a line, `PATH SIZE`, and prints as JSON lines what the traffic told, and `{"done": …}` after each.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys

from oblix.errors import AttemptFailed
from oblix.models.transport import Permit, Transport
from oblix.types.spec import ModelSpec
from oblix.types.traffic import Exchange

PORT = 8080


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await _head(reader):
        line, *rows = head.decode().lower().split("\r\n")
        await reader.readexactly(next(int(row.split(":")[1]) for row in rows if row.startswith("content-length")))
        _, kind, size, *how = line.split(" ")[1].split("/")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %s\r\n\r\n" % size.encode())
        left = int(size)
        piece, pause = (int(how[0]), float(how[1])) if kind == "drip" else (left, 0.0)
        while left > 0:
            writer.write(b"x" * min(piece, left))
            await writer.drain()
            left -= piece
            await asyncio.sleep(pause)


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""  # the peer has left


async def serve(host: str) -> None:
    """Until somebody ends this program."""
    server = await asyncio.start_server(_serve, host, PORT)
    print("ready", flush=True)
    await server.serve_forever()


async def ask(base: str) -> None:
    """Until the input ends."""
    transport, spec = Transport(), ModelSpec("openai:far", "openai", "far", "cloud", endpoint=base)
    transport.traffic.sink = tell
    while line := await asyncio.to_thread(sys.stdin.readline):
        path, size = line.split()
        try:
            answer = await transport.post(base + path, body=b"z" * int(size), permit=Permit(spec, False))
            while await answer.next():
                pass
            answer.close()
            print(json.dumps({"done": "well"}), flush=True)
        except AttemptFailed as failure:
            print(json.dumps({"done": failure.kind.value}), flush=True)
    await transport.close()


def tell(exchange: Exchange) -> None:
    """Print it."""
    print(json.dumps(dataclasses.asdict(exchange)), flush=True)


if __name__ == "__main__":
    asyncio.run({"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2]))
