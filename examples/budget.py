"""An agent of your own keeps a budget, and steers: its vote weighs like a built-in agent's."""

import asyncio
from typing import Any

from common import hook

from oblix import AgentReport, BaseAgent, OblixClient, Reply


class Budget(BaseAgent):
    """Speaks for home as the budget is used up, and refuses nothing."""

    def __init__(self, limit: float) -> None:
        super().__init__("budget")
        self.limit = limit
        self.spent = 0.0

    async def check(self, **kwargs: Any) -> AgentReport:
        share = self.spent / self.limit
        reason = f"${self.spent:.4f} of ${self.limit:.5f} spent"
        if share > 0.9:
            return AgentReport(state="used up", target="local", reason=reason)
        return AgentReport(state="available", target="hybrid", lean="edge" if share > 0.5 else None, reason=reason)

    def add(self, reply: Reply) -> None:
        """Count what an answer cost; an unknown price counts as the limit itself, never as nothing."""
        cost = reply.metrics["cost_usd"]
        self.spent += self.limit if cost is None else cost


async def main() -> None:
    budget = Budget(limit=0.00004)
    async with OblixClient() as client:
        await hook(client, "EDGE_MODEL", "CLOUD_MODEL")
        client.hook_agent(budget)
        for prompt in (
            "Analyze the consequences of remote work for small towns, including housing and transport.",
            "Evaluate three strategies against inflation, including their limitations.",
            "What is 12 times 12?",
        ):
            reply = await client.execute(prompt)
            budget.add(reply)
            print(
                f"{reply.model_id}  ←  {prompt}\n   {reply.why()}\n   spent ${budget.spent:.6f} of ${budget.limit:.6f}"
            )


if __name__ == "__main__":
    asyncio.run(main())
