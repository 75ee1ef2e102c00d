"""Three tiers and a budget of $5 a day that is never passed. What it prints is what the books hold, to the millionth of a dollar."""

import asyncio
import sys

from common import hook

from oblix import OblixClient
from oblix.agents import ConnectivityAgent, CostAgent, ResourceMonitor

QUERIES = (
    "What time is it?",
    "Explain how photosynthesis works",
    "Write a detailed analysis of sustainable energy solutions for developing nations",
)


async def main(rounds: int) -> None:
    budget = CostAgent(daily_budget=5.0)
    async with OblixClient() as client:
        await hook(client, "EDGE_MODEL", "CLOUD_MODEL", "STRONG_CLOUD_MODEL")
        for agent in (ResourceMonitor(), ConnectivityAgent(), budget):
            client.hook_agent(agent)

        paid = 0.0
        for query in QUERIES * rounds:
            reply = await client.execute(query, max_tokens=120)
            cost = reply.metrics["cost_usd"]
            paid += cost
            print(f"{reply.model_id}  ${cost:.6f}  {reply.agent_checks[budget.name].state}  ←  {query}")

        today = await client.spend(since="today")
        print(f"\nspent here: ${paid:.6f}, in all today: ${today.usd:.6f} of ${budget.daily_budget:.2f}")
        for model, sums in (await client.spend(by="model", since="today")).rows.items():
            print(f"- {model}: {sums.answers} answers, ${sums.usd:.6f}, saved ${sums.saved_usd:.6f}")


if __name__ == "__main__":
    asyncio.run(main(rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 1))
