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
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from oblix.agents.base import BaseAgent
from oblix.agents.gather import Panel
from oblix.client import figures, refusals
from oblix.client.facts import assemble, known_spec
from oblix.client.hooks import build, canonical
from oblix.client.lifeline import Lifeline, show_errors_briefly
from oblix.client.record import Recorder
from oblix.client.stream import Stream
from oblix.client.surroundings import ClientSurroundings, connectivity_metrics, resource_metrics
from oblix.client.wishes import Wishes, parse
from oblix.decision.decide import decide
from oblix.decision.policy import policy as preset
from oblix.errors import AttemptFailed, FailureKind, InvalidRequest, OblixError
from oblix.execution.health import HealthBook
from oblix.execution.run import Journey, walk
from oblix.models.base import Model
from oblix.models.catalog import PriceBook
from oblix.models.registry import catalogue_of
from oblix.models.transport import Transport
from oblix.settings import load
from oblix.types.attempt import Attempt
from oblix.types.chunk import Delta, Reset
from oblix.types.decision import Decision
from oblix.types.ids import ModelType, record_id, split_model_id
from oblix.types.reply import Reply
from oblix.types.request import Request
from oblix.types.spec import ModelSpec

_log = logging.getLogger("oblix")


class OblixClient:
    """Runs prompts where they should run.

    Constructing and hooking touch neither network nor disk (but for a settings file that is named). The client belongs to the event
    loop of its first awaited call, and may be used from many tasks of that loop. Leaving without `shutdown` is quiet.

    Args:
        oblix_api_key: Accepted and ignored: there is no account.
        host: Address of the gateway, for programs that were written for it; kept as an attribute.
        port: Its port.
        config_path: A settings file (`oblix.toml`): its models are hooked, its policy applies unless one is given.
        policy: `balanced`, `offline_first`, `fastest`, `cheapest`, `best` or `private`.
        store: The data file; by default `oblix.db` in the user's data folder, which `OBLIX_HOME` moves.
    """

    def __init__(
        self,
        oblix_api_key: str | None = None,
        host: str = "localhost",
        port: int = 4321,
        config_path: str | Path | None = None,
        policy: str = "balanced",
        store: str | Path | None = None,
    ) -> None:
        self.host = host
        self.port = port
        settings = load(config_path) if config_path is not None else None
        name = settings.policy if settings and settings.policy and policy == "balanced" else policy
        self.policy = preset(name)
        self._models: dict[str, Model] = {}
        self._hooked = 0
        self._panel = Panel()
        self._transport = Transport()
        self._health = HealthBook()
        self._prices = PriceBook()
        self._recorder = Recorder(store)
        self._lifeline = Lifeline(self._close, self._abandon)
        self._surroundings = ClientSurroundings(self._models)
        weakref.finalize(self, self._transport.abandon)
        show_errors_briefly()
        for row in settings.models if settings else ():
            options = {key: value for key, value in row.items() if key not in ("id", "endpoint")}
            self._hook(*split_model_id(row["id"]), row.get("endpoint"), None, options)

    # --- hooking ---

    async def hook_model(
        self,
        model_type: ModelType | str,
        model_name: str,
        endpoint: str | None = None,
        api_key: str | None = None,
        **options: Any,
    ) -> bool:
        """Make a model known. Nothing is contacted, nothing is paid; whether it answers shows when it is asked.

        Args:
            model_type: A provider: `ModelType.OLLAMA`, `OPENAI`, `CLAUDE`, `EMBEDDED`, or any name of the registry (`"groq"`, …).
            model_name: The provider's name of the model; for `embedded`: `smollm2`, a GGUF path, `ollama/NAME`, an address.
            endpoint: Base address; by default the provider's own, or its environment variable.
            api_key: By default from the environment; placeholders such as `"your_openai_api_key"` count as not given.
            options: `place` ("edge" or "cloud"), `tier` (1 is lowest), `window` (tokens), `price` ((input, output) in USD per million
                tokens); `keep_alive` for Ollama, `max_tokens` for Claude, `threads`, `slots`, `idle_unload` for embedded models.

        Returns:
            True. Impossible settings raise.

        Raises:
            ConfigurationError: A setting cannot be right; the message says which and what to do.
        """
        self._hook(model_type, model_name, endpoint, api_key, options)
        return True

    def _hook(
        self,
        model_type: ModelType | str,
        name: str,
        endpoint: str | None,
        api_key: str | None,
        options: Mapping[str, Any],
    ) -> None:
        self.hook(
            build(
                model_type,
                name,
                endpoint=endpoint,
                api_key=api_key,
                order=self._hooked,
                transport=self._transport,
                options=options,
            )
        )

    def hook(self, model: Model) -> None:
        """Make a model known that is no provider's: anything that keeps `oblix.models.base.Model`, e.g. a `ScriptedModel`.

        Hooked again with other settings, a model keeps its place in the order.
        """
        before = self._models.get(model.spec.id)
        model.spec = replace(model.spec, order=before.spec.order if before else self._hooked)
        self._hooked += 1
        self._models[model.spec.id] = model
        self._health.forget(model.spec)
        self._surroundings.refresh()
        catalogue = catalogue_of(model.spec.provider)
        if catalogue is not None and model.spec.price is None:
            self._prices.want(catalogue, model.spec.name)

    def hook_agent(self, agent: BaseAgent) -> bool:
        """Ask this agent before every prompt. Works outside of an event loop; an agent of the same name is replaced."""
        if not isinstance(agent, BaseAgent):
            raise InvalidRequest(f"{agent!r} is no agent.", hint="Derive it from oblix.agents.BaseAgent.")
        agent.attach(self._surroundings)
        self._panel.add(agent)
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
            session_id: Handed to the agents, and kept with the decision.
            stream: Write the text to stdout as it comes, and still return the reply.
            chat: Talk on the terminal until `exit`; returns the last reply.
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
                session_id=session_id,
                deadline=deadline,
            )
        asked_at = _now()
        try:
            request = self._request(request_id, prompt, model_id, temperature, max_tokens, deadline, session_id, wishes)
            async with aclosing(self._answer(request, asked_at, restart=True)) as events:
                async for event in events:
                    if not isinstance(event, str | Reset):
                        reply = event
                    elif stream:
                        sys.stdout.write(f"\n[{event.reason}]\n" if isinstance(event, Reset) else event)
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
            asked_at = _now()
            try:
                async with aclosing(self._answer(request, asked_at, restart=request.on_break == "restart")) as answer:
                    async for event in answer:
                        yield event
            except OblixError as error:
                raise error.with_traceback(None) from None

        return Stream(events)

    async def route(self, prompt: str | None = None, model_id: str | None = None, **wishes: Unpack[Wishes]) -> Decision:
        """The decision, without running it. Nothing is sent and nothing is logged."""
        try:
            request = self._request(None, prompt, model_id, None, None, None, None, wishes)
            return (await self._decide(request))[0]
        except OblixError as error:
            raise error.with_traceback(None) from None

    async def explain(self, decision_id: str = "last") -> str:
        """Why a request ran where it did, in plain words; of the latest one by default."""
        from oblix.decision.explain import sentence

        found = await self._recorder.find(decision_id)
        if found is None:
            raise InvalidRequest(
                f"No decision {decision_id!r} is in the log.", hint="Ask for 'last', or for the id of a reply."
            )
        record, outcome = found
        return sentence(record, outcome["attempts"] if outcome else ())

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
        wanted = self._wanted(model_id)
        return parse(
            request_id or record_id(time.time(), random.getrandbits(80)),
            prompt,
            model_id=wanted,
            temperature=temperature,
            max_tokens=max_tokens,
            deadline=deadline,
            session_id=session_id,
            wishes=wishes,
        )

    def _wanted(self, model_id: str | None) -> str | None:
        if model_id is None:
            return None
        provider, name = split_model_id(str(model_id))
        wanted = f"{provider}:{canonical(provider, name)}" if provider else name
        if wanted not in self._models:
            raise refusals.unknown_model(model_id, tuple(self._models))
        return wanted

    async def _decide(self, request: Request) -> tuple[Decision, dict[str, ModelSpec], Any]:
        """Look, then think."""
        if not self._lifeline.is_tied:
            await self._lifeline.tie()
            if any(model.spec.endpoint for model in self._models.values()):
                await self._transport.prepare()
        if not self._models:
            raise refusals.nothing_hooked()
        if request.max_cost_usd is not None and not self._prices.is_settled():
            await asyncio.to_thread(self._prices.wait, 5.0)
        reports = await self._panel.ask(prompt=request.prompt, request=request, session_id=request.session_id)
        facts = assemble(
            request, self._models.values(), reports, self._health, self._prices, now=time.time(), clock=_now()
        )
        decision = decide(facts, preset(request.policy) if request.policy else self.policy)
        return decision, {model.spec.id: model.spec for model in facts.models}, facts

    async def _answer(self, request: Request, asked_at: float, *, restart: bool) -> AsyncGenerator[str | Reset | Reply]:
        """The path of a prompt: look, think, write the decision down, act, write the outcome down."""
        decision, specs, facts = await self._decide(request)
        request = replace(request, private=decision.private) if decision.private != request.private else request
        await self._recorder.decided(decision, facts)
        if not decision.plan:
            error = refusals.no_route(decision)
            self._recorder.ended(decision, (), error=error)
            raise error
        self._prices.kick()
        journey = Journey(self._learn)
        plan = [self._models[model_id] for model_id in decision.plan]
        deadline = None if request.deadline is None else asked_at + request.deadline
        try:
            async with aclosing(walk(plan, request, journey, restart=restart, deadline=deadline)) as chunks:
                async for chunk in chunks:
                    if type(chunk) is Delta:
                        yield chunk.text
                    elif type(chunk) is Reset:
                        yield chunk
            if journey.end is None:
                raise refusals.all_failed(decision, journey.attempts)
        except OblixError as error:
            self._recorder.ended(decision, journey.attempts, error=error)
            raise refusals.sign(error, decision, journey.attempts) from None
        except (asyncio.CancelledError, GeneratorExit):
            self._recorder.ended(decision, journey.attempts)
            raise
        yield await self._reply(request, decision, specs, journey, asked_at)

    async def _reply(
        self, request: Request, decision: Decision, specs: dict[str, ModelSpec], journey: Journey, asked_at: float
    ) -> Reply:
        end, model_id = journey.end, journey.answered_by
        assert end is not None
        assert model_id is not None
        if not self._prices.is_settled() and catalogue_of(specs[model_id].provider):
            await asyncio.to_thread(self._prices.wait, 2.0)  # once, and mostly over while the model answered
        specs = {**specs, **self.models}  # prices may have been looked up since
        spec = specs[model_id]
        measured = figures.metrics(request, spec, journey, end, asked_at=asked_at, now=_now(), wall=time.time())
        measured["saved_usd"] = figures.saved(decision, specs, measured)
        self._recorder.ended(decision, journey.attempts, metrics=measured)
        return Reply(
            request.id,
            model_id,
            "".join(journey.text),
            measured,
            decision.checks,
            decision,
            tuple(journey.attempts),
            request.session_id,
            end.finish_reason,
            end.tool_calls,
            end.logprobs,
        )

    def _learn(self, attempt: Attempt, error: AttemptFailed | None) -> None:
        """What every attempt teaches: health for the next decision, news for the agents."""
        model = self._models.get(attempt.model_id)
        if model is not None and attempt.outcome == "ok":
            self._health.succeeded(model.spec, attempt.total)
        elif model is not None and error is not None:
            self._health.failed(model.spec, FailureKind(error.kind), error.message, _now(), error.retry_after)
        self._panel.notice(attempt)

    # --- looking ---

    def list_models(self) -> dict[str, list[str]]:
        """The hooked models: provider → names, in the order of hooking."""
        found: dict[str, list[str]] = {}
        for model in tuple(self._models.values()):
            found.setdefault(model.spec.provider, []).append(model.spec.name)
        return found

    def get_model(self, model_type: ModelType | str, model_name: str) -> ModelSpec | None:
        """What is known of a hooked model, `None` when it is not hooked."""
        provider = str(getattr(model_type, "value", model_type))
        model = self._models.get(f"{provider}:{canonical(provider, model_name)}")
        return None if model is None else known_spec(model, self._prices)

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """The hooked models by id."""
        return {model_id: known_spec(model, self._prices) for model_id, model in tuple(self._models.items())}

    @property
    def agents(self) -> Mapping[str, BaseAgent]:
        """The hooked agents by name."""
        return dict(self._panel.agents)

    async def get_resource_metrics(self) -> dict[str, Any]:
        """Readings of this machine: of the hooked ResourceMonitor, else of one made for this call."""
        return await resource_metrics(self._panel.agents.values())

    async def get_connectivity_metrics(self) -> dict[str, Any]:
        """Readings of the network: of the hooked ConnectivityAgent, else of one made for this call."""
        return await connectivity_metrics(self._panel.agents.values(), self._surroundings)

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

    async def _close(self) -> None:
        await self._panel.close()
        await asyncio.gather(*(model.close() for model in self._models.values()), return_exceptions=True)
        await self._transport.close()
        await self._recorder.close()

    def _abandon(self) -> None:
        self._panel.abandon()
        self._transport.abandon()
        self._recorder.abandon()


def _now() -> float:
    """The loop's clock, on which every duration and deadline is measured."""
    return asyncio.get_running_loop().time()
