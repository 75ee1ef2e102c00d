"""The tour: one real answer, then five scenes, each with the reason why it ran where it did."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from oblix.agents import ConnectivityAgent, ResourceMonitor
from oblix.client import OblixClient
from oblix.client.figures import footer
from oblix.demo.load import busy_machine
from oblix.demo.wire import Wire
from oblix.models.embedded.serve import LlamaServer, ServeOptions
from oblix.types.chunk import Reset
from oblix.types.reply import Reply

QUESTION = "Explain quantum computing in simple terms"  # the published page's own first prompt
SIMPLE = "What is the capital of France?"
HARD = "Analyze the trade-offs between solar and nuclear power for a small country, including costs and risks, step by step."
PRICE = (0.5, 1.5)  # made up: USD per million tokens, in the range of a small cloud model
ANSWER = 48  # tokens for each scene; enough to read, and quick on an old laptop
PATIENCE = 20.0  # seconds that the machine gets to calm down, or to be seen busy


async def run(weights: Path) -> int:
    """The whole tour on these weights; gives the number of scenes that went otherwise than announced."""
    key = secrets.token_hex(16)
    options = ServeOptions(weights, alias="pretend-cloud", api_key=key, threads=1, slots=1, window=2048)
    with LlamaServer(options) as server:
        async with Wire(urlsplit(server.url).port or 0) as wire, OblixClient() as client:
            monitor = ResourceMonitor()
            await client.hook_model("embedded", "smollm2", slots=1)
            await client.hook_model("openai", "pretend-cloud", endpoint=f"{wire.url}/v1", api_key=key, price=PRICE)
            client.hook_agent(monitor)
            client.hook_agent(ConnectivityAgent(check_interval=2))
            _introduce(weights)
            await _question(client)
            return await Scenes(client, wire, monitor).play()


def _introduce(weights: Path) -> None:
    _say(
        f"The edge is a real model in a child process of this program: SmolLM2, 135 million parameters "
        f"({weights.stat().st_size / 1e6:.0f} MB)."
    )
    _say(
        'The "cloud" is played by a second real llama.cpp server on loopback that speaks OpenAI\'s protocol. '
        f"Its price is made up (${PRICE[0]} and ${PRICE[1]} per million tokens in and out). Nothing leaves this machine."
    )
    _say("A model this small is fluent, and often wrong: look at where the answers come from, not at what they say.")


async def _question(client: OblixClient) -> None:
    print(f"\n› {QUESTION}\n")
    async with client.stream(QUESTION, max_tokens=2 * ANSWER, temperature=0.2, seed=1, on_break="restart") as stream:
        async for piece in stream:
            print(f"\n[{piece.reason}]\n" if isinstance(piece, Reset) else piece, end="", flush=True)
        reply = await stream.reply()
    print(f"\n\n{footer(reply)}")


class Scenes:
    """Five situations, made for real, and what became of a prompt in each."""

    def __init__(self, client: OblixClient, wire: Wire, monitor: ResourceMonitor) -> None:
        self._client = client
        self._wire = wire
        self._monitor = monitor
        self._surprises = 0

    async def play(self) -> int:
        """All five; the number of those that went otherwise than announced."""
        await self._until(lambda state: state == "available")
        await self._scene("1. The machine is idle, the prompt simple", "edge", self._ask(SIMPLE))
        with busy_machine():
            await self._until(lambda state: state == "critical")
            await self._scene("2. This machine is made busy, for real", "cloud", self._ask(SIMPLE))
        await self._until(lambda state: state == "available")
        await self._wire.pull()
        await self._scene('3. The "cloud" is cut off, the prompt hard', "edge", self._ask(HARD))
        await self._wire.plug()
        await self._until_reachable()
        self._wire.cut_after = 3000  # bytes: the first tokens have come, the last have not
        await self._scene("4. The answer's stream is killed in the middle", "edge", self._ask(HARD))
        self._wire.cut_after = None
        await self._until_reachable()
        before = self._wire.sent
        await self._scene("5. A hard prompt, marked private", "edge", self._ask(HARD, private=True))
        leaked = self._wire.sent - before
        print(f"   on the wire to the cloud: {leaked} bytes")
        self._surprises += leaked > 0
        print(f"\nAsk for the reasons of the latest answer with: {_command()} why")
        return self._surprises

    def _ask(self, prompt: str, *, private: bool = False) -> Callable[[], Awaitable[Reply]]:
        return lambda: self._client.execute(prompt, max_tokens=ANSWER, temperature=0.2, seed=1, private=private)

    async def _scene(self, title: str, expected: str, ask: Callable[[], Awaitable[Reply]]) -> None:
        print(f"\n{title} → {expected}")
        reply = await ask()
        place = next(attempt.place for attempt in reply.attempts if attempt.outcome == "ok")
        text = " ".join(reply.response.split())
        for line in textwrap.wrap(
            textwrap.shorten(text, 160, placeholder=" …"), min(100, shutil.get_terminal_size().columns - 4)
        ):
            print(f"   {line}")
        print(f"   {footer(reply)}")
        if place != expected:
            self._surprises += 1
            print(
                f"   Not as announced: it ran on the {place}. The reason is the one given; this machine may have been busy."
            )

    async def _until(self, reached: Callable[[str], bool]) -> None:
        """Wait for the monitor to see the machine as the scene needs it; after a while go on with what it is."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not reached((await self._monitor.check()).state):
                    await asyncio.sleep(0.25)
        except TimeoutError:
            print("   (the machine did not come to the state that the next scene needs; it is told as it goes)")

    async def _until_reachable(self) -> None:
        """Wait until the failure before is forgotten and the cloud is the first choice for a hard prompt again."""
        try:
            async with asyncio.timeout(PATIENCE + 10):
                while (await self._client.route(HARD)).place != "cloud":
                    await asyncio.sleep(0.25)
        except TimeoutError:
            print("   (the cloud is not the first choice yet; it is told as it goes)")


def _command() -> str:
    """How to call us from here: `make demo` does not put its environment on the path."""
    if shutil.which("oblix"):
        return "oblix"
    beside = Path(sys.executable).with_name("oblix")
    return os.path.relpath(beside) if beside.exists() else f"{sys.executable} -m oblix"


def _say(text: str) -> None:
    print("\n".join(textwrap.wrap(text, min(100, shutil.get_terminal_size().columns - 2))))
