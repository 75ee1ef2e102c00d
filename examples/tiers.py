"""Four tiers, picked by what the prompt asks for. `route` shows the decision without paying for it."""

import asyncio

from common import hook

from oblix import OblixClient

PROMPTS = (
    "What is the capital of Norway?",
    "Explain how a bicycle stays upright.",
    "Compare the security implications of three ways to store passwords, including attacks on each, step by step.",
)


async def main() -> None:
    async with OblixClient() as client:
        await hook(client, "SMALL_EDGE_MODEL", "EDGE_MODEL", "CLOUD_MODEL", "STRONG_CLOUD_MODEL")
        for prompt in PROMPTS:
            decision = await client.route(prompt)
            print(f"{decision.complexity:.2f}  {decision.chosen}  ←  {prompt}")
        reply = await client.execute(PROMPTS[0])
        print(f"\n{reply.model_id}: {reply.response}")


if __name__ == "__main__":
    asyncio.run(main())
