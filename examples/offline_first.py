"""Home first; the cloud only when nothing at home answers. It tells when the network is gone."""

import asyncio
import sys

from common import hook

from oblix import OblixClient, OblixError
from oblix.agents import ConnectivityAgent, ResourceMonitor


async def main() -> None:
    async with OblixClient(policy="offline_first") as client:
        await hook(client, "EDGE_MODEL", "CLOUD_MODEL")
        client.hook_agent(ResourceMonitor(custom_thresholds={"cpu_threshold": 90.0}))
        client.hook_agent(ConnectivityAgent(latency_threshold=100.0))
        for prompt in sys.argv[1:] or ("Name three uses of a paper clip.",):
            try:
                reply = await client.execute(prompt)
            except OblixError as error:
                print(f"No answer: {error}")
                continue
            offline = reply.agent_checks["connectivity_monitor"].state == "disconnected"
            print(f"{'[offline] ' if offline else ''}{reply.model_id}: {reply.response}")


if __name__ == "__main__":
    asyncio.run(main())
