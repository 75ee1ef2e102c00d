"""A stream, first token first. When a stream is cut, it begins again on the next model, and says so."""

import asyncio

from common import hook

from oblix import OblixClient, Reset
from oblix.agents import ResourceMonitor


async def main() -> None:
    async with OblixClient(policy="fastest") as client:
        await hook(client, "SMALL_EDGE_MODEL", "CLOUD_MODEL")
        client.hook_agent(ResourceMonitor())
        async with client.stream("Write a limerick about a slow computer.", on_break="restart") as stream:
            async for piece in stream:
                print(f"\n[{piece.reason}]" if isinstance(piece, Reset) else piece, end="", flush=True)
            reply = await stream.reply()
        first, total = reply.metrics["time_to_first_token"], reply.metrics["total_latency"]
        print(f"\n\n{reply.model_id}: first token after {first:.2f} s, all after {total:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
