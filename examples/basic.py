"""Edge and cloud, two agents, one prompt, and why it ran where it did."""

import asyncio

from common import hook

from oblix import OblixClient
from oblix.agents import ConnectivityAgent, ResourceMonitor


async def main() -> None:
    async with OblixClient() as client:
        await hook(client, "EDGE_MODEL", "CLOUD_MODEL")
        client.hook_agent(ResourceMonitor())
        client.hook_agent(ConnectivityAgent())

        reply = await client.execute("Explain in two sentences why the sky is blue.")

        print(reply.response)
        print(f"\n{reply.model_id}: {reply.why()}")
        for name, report in reply.agent_checks.items():
            print(f"- {name}: {report.state} ({report.reason})")


if __name__ == "__main__":
    asyncio.run(main())
