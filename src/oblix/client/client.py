"""The client: `execute` is the path of a prompt."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
import weakref
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from oblix.agents.base import BaseAgent
from oblix.client import figures, refusals
from oblix.client.books import Approve
from oblix.client.conversation import Conversations
from oblix.client.facts import known_spec
from oblix.client.hall import Hall, Thought, loop_time
from oblix.client.hooks import build, canonical, canonical_id, concealed, without_strays
from oblix.client.lifeline import Lifeline, show_errors_briefly
from oblix.client.screening import checked
from oblix.client.stream import Stream
from oblix.client.surroundings import connectivity_metrics, resource_metrics
from oblix.client.terminal import inert
from oblix.client.wishes import Wishes, parse
from oblix.decision.policy import Policy
from oblix.decision.policy_table import checked_policy
from oblix.errors import InvalidRequest, OblixError
from oblix.models.base import Model
from oblix.settings import Settings, find_policy, load
from oblix.storage.store import Store
from oblix.types.chunk import Reset
from oblix.types.decision import Decision
from oblix.types.ids import ModelType, record_id, split_model_id
from oblix.types.privacy import Screening
from oblix.types.reply import Reply
from oblix.types.request import Request
from oblix.types.secret import SecretStr
from oblix.types.spec import ModelSpec

if TYPE_CHECKING:
    from datetime import date

    from oblix.client.discovery import ClientArguments, Discovered
    from oblix.ledger.report import By, Spend

_log = logging.getLogger("oblix")


class OblixClient(Conversations):
    """Runs prompts where they should run.

    Constructing and hooking touch neither network nor disk (but for a settings file that is named). The client belongs to the event
    loop of its first awaited call, and may be used from many tasks of that loop. Leaving without `shutdown` is quiet.

    Args:
        oblix_api_key: Accepted and ignored: there is no account.
        host: Address of the gateway, for programs that were written for it; kept as an attribute.
        port: Its port.
        config_path: A settings file (`oblix.toml`): its models are hooked, its policy applies unless one is given.
        policy: `balanced`, `offline_first`, `fastest`, `cheapest`, `best`, `private`, the path of a policy file, or a `Policy`.
        store: The data file; by default `oblix.db` in the user's data folder, which `OBLIX_HOME` moves.

    Attributes:
        discovered: What `auto` or `discover` found and hooked; `None` before.
    """

    def __init__(
        self,
        oblix_api_key: str | None = None,
        host: str = "localhost",
        port: int = 4321,
        config_path: str | Path | None = None,
        policy: str | Policy = "balanced",
        store: str | Path | None = None,
    ) -> None:
        del oblix_api_key  # a local variable would show in a traceback
        self.host = host
        self.port = port
        self.discovered: Discovered | None = None
        self._settled: Policy | None = None  # its rules stay, whatever weights are asked for
        self._prices: dict[str, Any] = {}  # of the settings file: they hold for models that a program hooks itself, too
        self._hall = Hall(self._chosen(policy), Store(store))
        self._lifeline = Lifeline(self._close, self._hall.abandon)
        weakref.finalize(self, self._hall.transport.abandon)
        show_errors_briefly()
        if config_path is not None:
            self._settle(load(config_path), is_named=policy != "balanced")

    def settle(self, settings: Settings) -> None:
        """Take over what a settings file says: policy, privacy, budgets, how long what is kept; and hook its models."""
        self._settle(settings, is_named=False)

    def _settle(self, settings: Settings, *, is_named: bool) -> None:
        if settings.policy is not None:
            self._settled = settings.policy
            self.policy = self._hall.policy if is_named else settings.policy
        if settings.screening is not None:
            self.screening = settings.screening
        self._hall.recorder.keeps_prompts = settings.log_prompts
        self._hall.books.settle(settings.budget)
        self._hall.memory.retain_days = settings.retain_days
        for row in settings.models:
            if "price" in row:
                self._prices[canonical_id(row["id"])] = row["price"]
            self._hook_row(row, is_found=settings.is_found)

    @property
    def policy(self) -> Policy:
        """The policy of requests that name none; may be set. One without rules keeps those of the settings file."""
        return self._hall.policy

    @policy.setter
    def policy(self, policy: str | Policy) -> None:
        self._hall.policy = self._chosen(policy)

    @property
    def screening(self) -> Screening:
        """What the detectors look for in every request, and what follows; may be set."""
        return self._hall.screening

    @screening.setter
    def screening(self, screening: Screening) -> None:
        self._hall.screening = checked(screening)

    @property
    def approve_over_budget(self) -> Approve | None:
        """Asked with `on_limit = "ask"` whether a request may pass a budget: gets the `BudgetExceeded`, gives yes or no, or awaits it."""
        return self._hall.books.approve

    @approve_over_budget.setter
    def approve_over_budget(self, approve: Approve | None) -> None:
        self._hall.books.approve = approve

    @classmethod
    async def auto(cls, *, cloud: bool = False, **arguments: Unpack[ClientArguments]) -> Self:
        """A client with everything that this machine has: see `discover`. `client.discovered.lines()` tells what that was.

        Args:
            cloud: Use the cloud as well, where there is a key for it. A key alone changes nothing.
            arguments: Those of the constructor.
        """
        client = await asyncio.to_thread(partial(cls, **arguments))  # it may read a settings file
        await client.discover(cloud=cloud)
        return client

    # --- hooking ---

    async def discover(self, *, cloud: bool = False, agents: bool = True) -> Discovered:
        """Hook what this machine has: the models of running edge servers or else the small embedded one, and the built-in agents.

        At most four models of each server, the smallest first, so that tiers follow their size; none where models are hooked already. Who
        is contacted: the usual ports on loopback and the address in `OLLAMA_HOST`, for a second at most. Nothing is printed.

        Args:
            cloud: Hook a model of each provider that there is a key for, too; without it such keys are only told of.
            agents: Hook the built-in agents that are not hooked yet.
        """
        from oblix.client.discovery import discover

        await self._tie()
        self.discovered = await discover(self, self._hall.transport, cloud=cloud, agents=agents)
        self._hall.engines.take(self.discovered.engines)
        return self.discovered

    async def hook_model(
        self,
        model_type: ModelType | str,
        model_name: str,
        endpoint: str | None = None,
        api_key: str | SecretStr | None = None,
        **options: Any,
    ) -> bool:
        """Make a model known. Nothing is contacted, nothing is paid; whether it answers shows when it is asked.

        Args:
            model_type: A provider: `ModelType.OLLAMA`, `OPENAI`, `CLAUDE`, `EMBEDDED`, or any name of the registry (`"groq"`, …).
            model_name: The provider's name of the model; for `embedded`: `smollm2`, a GGUF path, `ollama/NAME`, an address.
            endpoint: Base address; by default the provider's own, or its environment variable.
            api_key: By default from wherever one is kept (docs/keys.md); placeholders such as `"your_openai_api_key"` count as not given.
            options: `place` ("edge" or "cloud"), `tier` (1 is lowest), `window` (tokens), `price` ((input, output) in USD per million
                tokens, a `Price`, or a mapping of its fields), `timeouts` (`Timeouts`, in seconds; learned where left out), `prefill`
                (whether it can go on from the beginning of an answer, for `on_break="continue"`); `keep_alive` for Ollama, `max_tokens` for
                Claude, `threads`, `slots`, `idle_unload`, `hung_after` for embedded models.

        Returns:
            True. Impossible settings raise.

        Raises:
            ConfigurationError: A setting cannot be right; the message says which and what to do.
        """
        api_key, options = concealed(api_key), without_strays(options)
        self._hook(model_type, model_name, endpoint, api_key, options)
        return True

    def hook_settings(self, row: Mapping[str, Any]) -> None:
        """Hook a model as a `[[model]]` of a settings file names it: `id`, `endpoint`, and options of `hook_model`."""
        self._hook_row(row)

    def _hook_row(self, row: Mapping[str, Any], *, is_found: bool = False) -> None:
        options = {key: value for key, value in row.items() if key not in ("id", "endpoint")}
        self._hook(*split_model_id(row["id"]), row.get("endpoint"), None, options, is_found=is_found)

    def _hook(
        self,
        kind: ModelType | str,
        name: str,
        endpoint: str | None,
        api_key: SecretStr | None,
        options: Mapping[str, Any],
        *,
        is_found: bool = False,
    ) -> None:
        transport, named = self._hall.transport, canonical_id(f"{getattr(kind, 'value', kind)}:{name}")
        if options.get("price") is None and named in self._prices:
            options = {**options, "price": self._prices[named]}
        self.hook(
            build(
                kind,
                name,
                endpoint=endpoint,
                api_key=api_key,
                transport=transport,
                options=options,
                is_found=is_found,
            )
        )

    def hook(self, model: Model) -> None:
        """Make a model known that is no provider's: anything that keeps `oblix.models.base.Model`, e.g. a `ScriptedModel`."""
        self._hall.hook(model)

    def hook_agent(self, agent: BaseAgent) -> bool:
        """Ask this agent before every prompt. Works outside of an event loop; an agent of the same name is replaced."""
        if isinstance(agent, type) and issubclass(agent, BaseAgent):
            called = f"hook_agent({agent.__name__}(...))"
            raise InvalidRequest(f"{agent.__name__} is no agent, but the class of one.", hint=f"Call it: {called}.")
        if not isinstance(agent, BaseAgent):
            raise InvalidRequest(f"{agent!r} is no agent.", hint="Derive it from oblix.agents.BaseAgent.")
        if not isinstance(getattr(agent, "name", None), str):
            raise InvalidRequest(f"{agent!r} has no name.", hint="Call super().__init__(name) in its __init__.")
        agent.attach(self._hall.surroundings)
        self._hall.books.watch(f"agent {agent.name}", agent.limits)
        self._hall.panel.add(agent)
        return True

    # --- asking ---

    async def execute(  # noqa: PLR0913  the signature is settled (contract.md)
        self,
        prompt: str | None = None,
        model_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        request_id: str | None = None,
        display_metrics: bool = False,
        session_id: str | None = None,
        stream: bool = False,
        chat: bool = False,
        deadline: float | None = 600.0,
        **wishes: Unpack[Wishes],
    ) -> Reply:
        """Run a prompt where it should run, and give the whole answer.

        Args:
            prompt: What is asked; may be left out when `messages` says it.
            model_id: This model, or an error that says why not; with `fallback=True` a preference.
            temperature: 0 to 2; the provider's own default when left out.
            max_tokens: Limit of the answer.
            request_id: Your own name for the request; by default one that sorts by time.
            display_metrics: Print one line about the answer to stderr.
            session_id: The conversation that this belongs to, else `current_session_id`: what was said in it goes before the prompt, as far
                as it fits the model, and the answer is kept. One that is not there yet begins.
            stream: Write the text to stdout as it comes, and still return the reply.
            chat: Talk on the terminal until `exit`, in this session, else in a new one; returns the last reply.
            deadline: Seconds for the whole call, `None` for no limit.
            wishes: See `Wishes`.

        Raises:
            InvalidRequest: A wish cannot be honoured; nothing was sent.
            NoRoute: No model may answer (`PrivacyViolation`, `ContextOverflow`, `BudgetExceeded`, `Vetoed`, `KeyMissing`).
            AllModelsFailed: Every allowed model was tried.
            DeadlineExceeded: The deadline passed.
        """
        if chat:
            from oblix.client.chat import talk

            return await talk(
                self,
                prompt,
                wishes,
                model_id=model_id,
                temperature=temperature,
                max_tokens=max_tokens,
                display_metrics=display_metrics,
                session_id=self.current_session_id if session_id is None else session_id,
                deadline=deadline,
            )
        asked_at = loop_time()
        try:
            request = self._request(request_id, prompt, model_id, temperature, max_tokens, deadline, session_id, wishes)
            await self._tie()
            async with aclosing(self._hall.answer(request, asked_at, on_break="unseen")) as events:
                async for event in events:
                    if not isinstance(event, str | Reset):
                        reply = event
                    elif stream:
                        sys.stdout.write(inert(f"\n[{event.reason}]\n" if isinstance(event, Reset) else event))
                        sys.stdout.flush()
        except OblixError as error:
            raise error.with_traceback(None) from None
        if stream:
            sys.stdout.write("\n")
        if display_metrics:
            sys.stderr.write(figures.footer(reply) + "\n")
        return reply

    def stream(
        self,
        prompt: str | None = None,
        model_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        request_id: str | None = None,
        session_id: str | None = None,
        deadline: float | None = 600.0,
        **wishes: Unpack[Wishes],
    ) -> Stream:
        """The same, piece by piece: `async with client.stream(…) as s: async for text in s: …`; `await s.reply()` at the end.

        Raises:
            StreamBroken: The model failed after its first token; `.text` is what had come. Otherwise as `execute`.
        """
        request = self._request(request_id, prompt, model_id, temperature, max_tokens, deadline, session_id, wishes)

        async def events() -> AsyncGenerator[str | Reset | Reply]:
            asked_at = loop_time()
            try:
                await self._tie()
                async with aclosing(self._hall.answer(request, asked_at, on_break=request.on_break)) as answer:
                    async for event in answer:
                        yield event
            except OblixError as error:
                raise error.with_traceback(None) from None

        return Stream(events)

    async def route(
        self,
        prompt: str | None = None,
        model_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        session_id: str | None = None,
        deadline: float | None = None,
        **wishes: Unpack[Wishes],
    ) -> Decision:
        """The decision that `execute` would take, without running it. Nothing is sent and nothing is logged."""
        thought = await self.consider(
            prompt, model_id, temperature, max_tokens, session_id=session_id, deadline=deadline, **wishes
        )
        return thought.decision

    async def consider(
        self,
        prompt: str | None = None,
        model_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        session_id: str | None = None,
        deadline: float | None = None,
        **wishes: Unpack[Wishes],
    ) -> Thought:
        """As `route`, with what the decision was taken on: the facts and the policy, for `oblix.decision.flips` and other what-ifs."""
        try:
            request = self._request(None, prompt, model_id, temperature, max_tokens, deadline, session_id, wishes)
            await self._tie()
            return await self._hall.think(request, unhurried=True)
        except OblixError as error:
            raise error.with_traceback(None) from None

    async def explain(self, decision_id: str = "last") -> str:
        """Why a request ran where it did, in plain words, and what would have changed that; of the latest one by default."""
        from oblix.storage.history import tell

        if not isinstance(decision_id, str):
            raise InvalidRequest(f"{decision_id!r} is no id of a decision.", hint="Pass reply.request_id, or 'last'.")
        await self._tie()
        found = await self._hall.recorder.look_up(decision_id)
        if found is None:
            raise InvalidRequest(
                f"No decision {decision_id!r} is in the log.", hint="Ask for 'last', or for the id of a reply."
            )
        return tell(found)

    def _request(
        self,
        request_id: str | None,
        prompt: str | None,
        model_id: str | None,
        temperature: float | None,
        max_tokens: int | None,
        deadline: float | None,
        session_id: str | None,
        wishes: Wishes,
    ) -> Request:
        return parse(
            record_id(time.time(), random.getrandbits(80)) if request_id is None else request_id,
            prompt,
            model_id=self._wanted(model_id, fallback=bool(wishes.get("fallback"))),
            temperature=temperature,
            max_tokens=max_tokens,
            deadline=deadline,
            session_id=self.current_session_id if session_id is None else session_id,
            wishes=wishes,
        )

    def _wanted(self, model_id: str | None, *, fallback: bool) -> str | None:
        """The id of a hooked model; one that is not hooked is an error, unless it is a mere preference."""
        if model_id is None:
            return None
        provider, name = split_model_id(str(model_id))
        wanted = f"{provider}:{canonical(provider, name)}" if provider else name
        if wanted not in self._hall.models and not fallback:
            raise refusals.unknown_model(model_id, tuple(self._hall.models))
        return wanted

    def _chosen(self, policy: str | Policy) -> Policy:
        if not isinstance(policy, str | Policy):
            raise InvalidRequest(f"{policy!r} is no policy.", hint="Name a preset or a file, or pass oblix.Policy(…).")
        found = checked_policy(policy) if isinstance(policy, Policy) else find_policy(policy)
        return found if self._settled is None else found.with_rules_of(self._settled)

    async def _close(self) -> None:
        # A method of the client, so that what waits for the loop's end keeps the client: dropped earlier, it would clean up in a task
        # that the end of the loop cancels.
        await self._hall.close()

    async def _tie(self) -> None:
        if not self._lifeline.is_tied:
            await self._lifeline.tie()

    # --- looking ---

    def list_models(self) -> dict[str, list[str]]:
        """The hooked models: provider → names, in the order of hooking."""
        found: dict[str, list[str]] = {}
        for model in tuple(self._hall.models.values()):
            found.setdefault(model.spec.provider, []).append(model.spec.name)
        return found

    def get_model(self, model_type: ModelType | str, model_name: str) -> ModelSpec | None:
        """What is known of a hooked model, `None` when it is not hooked."""
        provider = str(getattr(model_type, "value", model_type))
        model = self._hall.models.get(f"{provider}:{canonical(provider, model_name)}")
        return None if model is None else known_spec(model, self._hall.prices)

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """The hooked models by id."""
        return self._hall.specs()

    @property
    def agents(self) -> Mapping[str, BaseAgent]:
        """The hooked agents by name."""
        return dict(self._hall.panel.agents)

    async def get_resource_metrics(self) -> dict[str, Any]:
        """Readings of this machine: of the hooked ResourceMonitor, else of one made for this call."""
        return await resource_metrics(self._hall.panel.agents.values())

    async def get_connectivity_metrics(self) -> dict[str, Any]:
        """Readings of the network: of the hooked ConnectivityAgent, else of one made for this call."""
        return await connectivity_metrics(self._hall.panel.agents.values(), self._hall.surroundings)

    async def status(self) -> dict[str, Any]:
        """Everything that is known at this moment, as plain data: machine, network, engines, models, keys, money. See docs/senses.md."""
        from oblix.client.status import gather

        await self._tie()
        return await gather(self._hall)

    async def spend(self, by: By = "day", since: str | date | None = None) -> Spend:
        """What was spent and saved, by every process on the data file.

        Args:
            by: `day`, `model`, `place`, `tag` or `key`.
            since: A day (`2026-11-01`), `today`, `month`, or so many days with the present one (`7d`); by default all that there is.
        """
        from oblix.client.spend import report

        await self._tie()
        return await report(self._hall, by, since)

    # --- leaving ---

    async def shutdown(self) -> None:
        """Close everything now. Optional: leaving without it is quiet. The client can be used again afterwards."""
        await self._lifeline.cut()

    cleanup = shutdown

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()
