"""What failures teach, of whom, for how long, and what wipes it out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oblix.decision.facts import HEALTHY, Health
from oblix.errors import FailureKind
from oblix.execution.health import HealthBook
from oblix.execution.latency import Timing
from oblix.types.failure import treatment
from oblix.types.spec import ModelSpec

K = FailureKind
PHI = ModelSpec("ollama:phi", "ollama", "phi", "edge", endpoint="http://localhost:11434")
LLAMA = ModelSpec("ollama:llama2", "ollama", "llama2", "edge", endpoint="http://localhost:11434")
GPT = ModelSpec("openai:gpt", "openai", "gpt", "cloud", endpoint="https://api.openai.com/v1")
GPT_MINI = ModelSpec("openai:mini", "openai", "mini", "cloud", endpoint="https://api.openai.com/v1")
CLAUDE = ModelSpec("claude:opus", "claude", "opus", "cloud", endpoint="https://api.anthropic.com")
ELSEWHERE = ModelSpec("openai:other", "openai", "other", "cloud", endpoint="https://cloud.example/v1")
OWN = ModelSpec("embedded:smollm2", "embedded", "smollm2", "edge")
OTHER = ModelSpec("embedded:other", "embedded", "other", "edge")
EVERY = (PHI, LLAMA, GPT, GPT_MINI, CLAUDE, OWN, OTHER)
SECOND = Timing(1.0, 0.5, 0.1)

# What a single failure says by itself, and for how long.
AT_ONCE: dict[FailureKind, tuple[str, float]] = {
    K.AUTH: ("key_refused", 600.0),
    K.MODEL_MISSING: ("missing", 30.0),
    K.MODEL_UNLOADABLE: ("missing", 60.0),
    K.QUOTA_EXHAUSTED: ("failing", 600.0),
    K.RATE_LIMITED: ("failing", 10.0),
    K.TLS: ("failing", 60.0),
    K.TIMEOUT_CONNECT: ("failing", 5.0),
    K.TIMEOUT_LOAD: ("failing", 5.0),
    K.TIMEOUT_FIRST_TOKEN: ("failing", 5.0),
    K.TIMEOUT_IDLE: ("failing", 5.0),
}
# What says something when it comes three times in a row.
AT_THREE = {
    K.LOCAL_NETWORK,
    K.DNS,
    K.CONNECT,
    K.OVERLOADED,
    K.SERVER_ERROR,
    K.PROTOCOL,
    K.TRUNCATED,
    K.ENGINE_CRASH,
    K.INTERNAL,
}
# The request's own fault, or the caller's wish: they say nothing of the model.
NEVER = {
    K.TIMEOUT_TOTAL,
    K.CONTEXT_OVERFLOW,
    K.CONTENT_FILTER,
    K.BAD_REQUEST,
    K.CANCELLED,
    K.POLICY,
    K.BUDGET,
    K.LEDGER,
}
OF_ENDPOINT = {K.LOCAL_NETWORK, K.DNS, K.TLS, K.CONNECT, K.TIMEOUT_CONNECT}


def a_book() -> HealthBook:
    """One whose chance is always in the middle: a first rest is five seconds."""
    return HealthBook(lambda: 0.5)


def after(*kinds: FailureKind, spec: ModelSpec = PHI, now: float = 0.0) -> HealthBook:
    """After these failures of one model, all at one moment."""
    book = a_book()
    for kind in kinds:
        book.failed(spec, kind, "what happened", now)
    return book


# --- what is held against whom ---


def test_every_kind_of_failure_is_decided_upon() -> None:
    assert AT_ONCE.keys() | AT_THREE | NEVER == set(FailureKind)
    assert len(AT_ONCE) + len(AT_THREE) + len(NEVER) == len(FailureKind)


@pytest.mark.parametrize(("kind", "told"), AT_ONCE.items())
def test_what_speaks_for_itself_is_told_for_its_time(kind: FailureKind, told: tuple[str, float]) -> None:
    field, seconds = told
    book = after(kind, now=100.0)
    for now in (100.0, 100.0 + seconds - 0.001):
        health = book.of(PHI, now)
        assert getattr(health, field) is not None
        assert sum(getattr(health, each) is not None for each in ("key_refused", "missing", "failing")) == 1
    assert book.of(PHI, 100.0 + seconds) == HEALTHY


@pytest.mark.parametrize("kind", sorted(AT_THREE))
def test_what_may_be_chance_is_told_after_the_third_in_a_row(kind: FailureKind) -> None:
    assert after(kind, kind).of(PHI, 0.0) == HEALTHY
    book = after(kind, kind, kind)
    assert book.of(PHI, 4.99) == Health(failing="what happened")
    assert book.of(PHI, 5.0) == HEALTHY


@pytest.mark.parametrize("kind", sorted(NEVER))
def test_what_is_no_fault_of_the_models_is_not_held_against_it(kind: FailureKind) -> None:
    book = after(*[kind] * 20)
    assert book.of(PHI, 0.0) == HEALTHY
    assert book.is_calm(0.0)


@pytest.mark.parametrize("kind", sorted(AT_ONCE.keys() | AT_THREE))
def test_a_dead_server_speaks_for_all_its_models_and_a_bad_model_for_itself(kind: FailureKind) -> None:
    book = after(*[kind] * 3)
    assert (book.of(LLAMA, 0.0) != HEALTHY) == (kind in OF_ENDPOINT)
    assert book.of(GPT, 0.0) == HEALTHY


def test_models_without_an_endpoint_do_not_share_their_fate() -> None:
    book = after(K.CONNECT, K.CONNECT, K.CONNECT, spec=OWN)
    assert book.of(OWN, 0.0).failing == "what happened"
    assert book.of(OTHER, 0.0) == HEALTHY


def test_the_models_own_trouble_is_told_before_its_servers() -> None:
    book = after(K.TLS)
    book.failed(PHI, K.TIMEOUT_FIRST_TOKEN, "silent", 0.0)
    assert book.of(PHI, 0.0).failing == "silent"
    assert book.of(LLAMA, 0.0).failing == "what happened"


def test_a_server_that_answers_with_errors_can_be_reached() -> None:
    """Refused, refused, an HTTP 500, refused: its models may be ill, the way to them is not."""
    book = after(K.CONNECT, K.CONNECT, K.SERVER_ERROR, K.CONNECT)
    assert book.of(LLAMA, 0.0) == HEALTHY


@pytest.mark.parametrize(
    ("asked", "until"), [(2.0, 2.0), (120.0, 120.0), (1e9, 3600.0)], ids=["shorter", "longer", "absurd"]
)
def test_a_provider_that_says_when_is_believed_for_up_to_an_hour(asked: float, until: float) -> None:
    book = a_book()
    book.failed(GPT, K.RATE_LIMITED, "slow down", 0.0, retry_after=asked)
    assert book.of(GPT, until - 0.01).failing == "slow down"
    assert book.of(GPT, until) == HEALTHY


def test_an_answer_that_was_under_way_does_not_shorten_what_the_provider_asked_for() -> None:
    book = a_book()
    book.failed(GPT, K.RATE_LIMITED, "slow down", 10.0, retry_after=60.0)
    book.succeeded(GPT, 12.0, Timing(8.0))
    assert book.of(GPT, 69.9).failing == "slow down"


def test_a_new_answer_says_that_credit_is_back() -> None:
    book = after(K.QUOTA_EXHAUSTED, spec=GPT)
    book.succeeded(GPT, 30.0, Timing(2.0))
    assert book.of(GPT, 30.0).failing is None


# --- who asked to be left alone ---


@pytest.mark.parametrize(
    ("kind", "retry_after", "seconds", "text"),
    [
        (K.RATE_LIMITED, 3000.0, 3000.0, "it asked to be left alone for another 2,990 s (rate limit)"),
        (K.OVERLOADED, 120.0, 120.0, "it asked to be left alone for another 110 s (overload)"),
        (K.QUOTA_EXHAUSTED, None, 600.0, "its account is out of credit; it is left alone for another 590 s"),
        (K.QUOTA_EXHAUSTED, 3000.0, 3000.0, "its account is out of credit; it is left alone for another 2,990 s"),
        (K.RATE_LIMITED, 1e9, 3600.0, "it asked to be left alone for another 3,590 s (rate limit)"),
    ],
    ids=["rate limit", "overload", "credit", "credit with a date", "absurd"],
)
def test_a_long_wish_to_be_left_alone_is_told_until_it_is_over(
    kind: FailureKind, retry_after: float | None, seconds: float, text: str
) -> None:
    book = a_book()
    book.failed(GPT, kind, "no", 100.0, retry_after=retry_after)
    assert book.rests_until(GPT, 110.0) == 100.0 + seconds
    assert book.of(GPT, 110.0).resting == text
    assert book.rests_until(GPT, 100.0 + seconds) is None
    assert book.of(GPT, 100.0 + seconds).resting is None
    assert book.rests_until(GPT_MINI, 110.0) is None


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("retry_after", [None, 60.0])
def test_a_wait_of_a_minute_is_left_to_the_hands(kind: FailureKind, retry_after: float | None) -> None:
    book = a_book()
    book.failed(GPT, kind, "no", 0.0, retry_after=retry_after)
    told = book.rests_until(GPT, 1.0)
    assert told == (600.0 if kind is K.QUOTA_EXHAUSTED and retry_after is None else None)
    assert (book.of(GPT, 1.0).resting is None) == (told is None)


def test_a_shorter_wish_does_not_shorten_a_longer_one() -> None:
    book = a_book()
    for retry_after in (3000.0, 100.0, 2.0):
        book.failed(GPT, K.RATE_LIMITED, "no", 0.0, retry_after=retry_after)
    assert book.rests_until(GPT, 1.0) == 3000.0


def test_a_rest_ends_with_an_answer_to_a_later_request_and_not_with_one_that_was_under_way() -> None:
    book = a_book()
    book.failed(GPT, K.RATE_LIMITED, "slow down", 10.0, retry_after=120.0)
    book.succeeded(GPT, 12.0, Timing(8.0))
    assert book.rests_until(GPT, 12.0) == 130.0
    book.succeeded(GPT, 20.0, Timing(8.0))
    assert book.rests_until(GPT, 20.0) is None


def test_new_settings_end_a_rest() -> None:
    book = after(K.QUOTA_EXHAUSTED, spec=GPT)
    book.forget(GPT)
    assert book.rests_until(GPT, 0.0) is None
    assert book.of(GPT, 0.0) == HEALTHY


# --- success ---


def test_success_wipes_what_was_counted_of_the_model_and_of_its_server() -> None:
    book = after(K.CONNECT, K.CONNECT, K.OVERLOADED, K.OVERLOADED)
    book.succeeded(PHI, 0.0)
    book.failed(PHI, K.CONNECT, "no", 0.0)
    book.failed(PHI, K.OVERLOADED, "no", 0.0)
    assert book.of(PHI, 0.0) == HEALTHY
    assert book.of(LLAMA, 0.0) == HEALTHY


def test_success_wipes_a_refused_key_and_a_missing_model() -> None:
    book = after(K.AUTH, K.MODEL_MISSING)
    assert book.of(PHI, 0.0) == Health(key_refused="its key was refused", missing="what happened")
    book.succeeded(PHI, 0.0)
    assert book.of(PHI, 0.0) == HEALTHY


def test_the_pace_follows_the_recent_answers() -> None:
    book = a_book()
    assert book.pace(GPT) is None
    for _ in range(20):
        book.succeeded(GPT, 0.0, Timing(11.0, 1.0, answer_tokens=11))
    pace = book.pace(GPT)
    assert pace is not None
    assert [pace.start, pace.write] == pytest.approx([1.0, 1.0])
    for _ in range(20):
        book.succeeded(GPT, 0.0, Timing(2.0, 1.0, answer_tokens=11))
    pace = book.pace(GPT)
    assert pace is not None
    assert pace.write == pytest.approx(0.1, rel=1.2)


def test_a_new_process_begins_with_what_the_log_says() -> None:
    book = a_book()
    book.recall([(GPT.id, Timing(3.0, 1.0, answer_tokens=11))])
    pace = book.pace(GPT)
    assert pace is not None
    assert [pace.start, pace.write] == pytest.approx([1.0, 0.2])
    assert book.pace(CLAUDE) is None
    book.forget(GPT)
    assert book.pace(GPT) is None  # hooked anew, it is another one


def test_new_settings_are_a_new_beginning_for_a_model_and_its_server() -> None:
    book = after(K.AUTH, K.TLS, K.TIMEOUT_IDLE)
    book.forget(PHI)
    assert book.of(PHI, 0.0) == HEALTHY
    assert book.of(LLAMA, 0.0) == HEALTHY
    book.failed(PHI, K.TLS, "again", 0.0)
    assert book.of(LLAMA, 0.0).failing == "again"


def test_a_model_at_another_address_is_another_model() -> None:
    book = after(K.TIMEOUT_IDLE)
    moved = ModelSpec("ollama:phi", "ollama", "phi", "edge", endpoint="http://10.0.0.7:11434")
    assert book.of(moved, 0.0) == HEALTHY


# --- probes ---


def test_one_probe_goes_for_all_models_of_a_server() -> None:
    book = after(K.CONNECT, K.CONNECT, K.CONNECT)
    assert [book.admit(spec, 5.0) for spec in (PHI, LLAMA, PHI)] == [True, False, False]
    assert book.of(LLAMA, 5.0).failing == "what happened"


def test_a_probe_that_its_owner_leaves_is_free_for_the_next() -> None:
    book = after(K.CONNECT, K.CONNECT, K.CONNECT)
    assert book.admit(PHI, 5.0)
    book.left(PHI, 6.0, started=5.0)
    assert book.admit(LLAMA, 6.0)


def test_who_leaves_from_before_frees_no_probe_of_somebody_elses() -> None:
    book = after(K.CONNECT, K.CONNECT, K.CONNECT)
    assert book.admit(PHI, 5.0)
    book.left(LLAMA, 6.0, started=0.0)
    assert not book.admit(LLAMA, 6.0)


@pytest.mark.parametrize("kind", FailureKind)
def test_a_probe_never_gets_lost_however_it_ends(kind: FailureKind) -> None:
    """Model and server both rest; whatever their common probe says, another goes within the minute, or each breaker has its reason."""
    book = after(K.TIMEOUT_FIRST_TOKEN, K.CONNECT, K.CONNECT, K.CONNECT)
    assert book.admit(PHI, 5.0)
    book.failed(PHI, kind, "no", 6.0, started=5.0)
    cooldown = treatment(kind).cooldown if treatment(kind).scope != "none" else None
    at = 6.0 + max(cooldown or 0.0, 10.0)
    assert book.of(PHI, at).failing is None
    for moment in range(20):  # the server may be in its slow start
        if book.admit(PHI, at + moment):
            return
    pytest.fail("nobody is let through any more")


def test_a_model_that_may_not_go_takes_no_probe_of_its_server() -> None:
    book = a_book()
    book.failed(PHI, K.RATE_LIMITED, "slow down", 0.0, retry_after=60.0)
    for _ in range(3):
        book.failed(PHI, K.CONNECT, "refused", 0.0)
    assert not book.admit(PHI, 5.0)
    assert book.admit(LLAMA, 5.0)


def test_an_answer_to_the_probe_begins_a_slow_start() -> None:
    book = after(K.TIMEOUT_IDLE)
    assert book.admit(PHI, 5.0)
    book.succeeded(PHI, 6.0, SECOND)
    assert [book.admit(PHI, 6.0) for _ in range(10)] == [False] * 9 + [True]
    assert not book.is_calm(15.9)
    assert book.is_calm(16.0)
    assert all(book.admit(PHI, 16.0) for _ in range(10))


def test_two_slow_starts_are_no_slower_than_one() -> None:
    book = after(K.TIMEOUT_FIRST_TOKEN, K.TIMEOUT_CONNECT)
    assert book.admit(PHI, 5.0)
    book.succeeded(PHI, 6.0, SECOND)
    assert sum(book.admit(PHI, 6.0) for _ in range(100)) == 10


# --- the way to the cloud ---


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if treatment(kind).is_local])
def test_two_local_failures_within_two_seconds_say_that_no_cloud_can_be_reached(kind: FailureKind) -> None:
    book = a_book()
    book.failed(GPT, kind, "no way", 0.0)
    assert book.of(CLAUDE, 0.0) == HEALTHY
    book.failed(CLAUDE, kind, "no way", 2.0)
    for cloud in (GPT, GPT_MINI, CLAUDE):
        assert "no way" in (book.of(cloud, 2.0).failing or "")
    assert book.of(PHI, 2.0) == HEALTHY


def test_a_cloud_that_was_never_asked_hears_of_it_too() -> None:
    book = after(K.DNS, K.DNS, spec=GPT)
    assert book.of(CLAUDE, 0.0) == Health(failing="no cloud can be reached from here: what happened")


@pytest.mark.parametrize(
    ("seconds", "kinds"),
    [(2.01, (K.DNS, K.DNS)), (0.0, (K.CONNECT, K.CONNECT)), (0.0, (K.SERVER_ERROR, K.DNS))],
    ids=["far apart", "not local", "one only"],
)
def test_less_says_nothing_of_the_way(seconds: float, kinds: tuple[FailureKind, FailureKind]) -> None:
    book = a_book()
    book.failed(GPT, kinds[0], "no", 0.0)
    book.failed(CLAUDE, kinds[1], "no", seconds)
    assert book.of(GPT_MINI, seconds) == HEALTHY


def test_a_misspelt_name_says_nothing_of_the_way_to_others() -> None:
    book = a_book()
    assert book.of(CLAUDE, 0.0) == HEALTHY
    for _ in range(3):
        book.failed(GPT, K.DNS, "no such name", 0.0)
    assert book.of(GPT, 0.0).failing == "no such name"
    assert book.of(CLAUDE, 0.0) == HEALTHY


def test_failures_at_home_say_nothing_of_the_way_to_the_cloud() -> None:
    book = after(K.TIMEOUT_CONNECT, K.LOCAL_NETWORK, K.LOCAL_NETWORK)
    assert book.of(GPT, 0.0) == HEALTHY


def test_the_first_answer_of_any_cloud_opens_the_way_to_all() -> None:
    book = after(K.DNS, K.DNS, spec=GPT)
    book.succeeded(CLAUDE, 1.0)
    assert book.of(GPT_MINI, 1.0) == HEALTHY
    assert book.admit(GPT_MINI, 1.0)


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if treatment(kind).scope == "model"])
def test_an_error_that_a_cloud_tells_is_an_answer_and_a_broken_stream_is_none(kind: FailureKind) -> None:
    """A stream breaks because the network went down; a captive portal answers in place of the cloud."""
    book = after(K.DNS, K.DNS, spec=GPT)
    book.failed(CLAUDE, kind, "no", 1.0, started=1.0)
    told = kind in {K.OVERLOADED, K.SERVER_ERROR, K.RATE_LIMITED, K.QUOTA_EXHAUSTED}
    assert (book.of(GPT_MINI, 1.0) == HEALTHY) == told


def test_an_answer_at_home_opens_no_way_to_the_cloud() -> None:
    book = after(K.DNS, K.DNS, spec=GPT)
    book.succeeded(PHI, 1.0)
    assert book.of(GPT_MINI, 1.0).failing is not None


def test_one_probe_goes_to_the_cloud_at_a_time() -> None:
    book = after(K.DNS, K.DNS, spec=GPT)
    assert [book.admit(spec, 5.0) for spec in (GPT, CLAUDE, GPT_MINI, PHI)] == [True, False, False, True]


def test_attempts_from_before_the_way_was_open_do_not_close_it() -> None:
    book = after(K.DNS, K.DNS, spec=GPT)
    book.succeeded(CLAUDE, 10.0)
    book.failed(CLAUDE, K.TIMEOUT_CONNECT, "late", 11.0, started=1.0)
    book.failed(GPT, K.TIMEOUT_CONNECT, "late", 11.0, started=1.0)
    assert book.of(ELSEWHERE, 11.0) == HEALTHY


def test_a_probe_that_finds_no_way_keeps_the_clouds_closed() -> None:
    book = after(K.DNS, K.DNS, spec=GPT)
    assert book.admit(CLAUDE, 5.0)
    book.failed(CLAUDE, K.DNS, "still no way", 6.0, started=5.0)
    assert book.of(ELSEWHERE, 15.9).failing == "no cloud can be reached from here: still no way"
    assert book.of(ELSEWHERE, 16.0) == HEALTHY


# --- poison ---


def test_a_request_that_crashed_an_engine_twice_is_kept_away_from_it() -> None:
    book = a_book()
    for now in (0.0, 1.0):
        book.failed(PHI, K.ENGINE_CRASH, "crashed", now, fingerprint=b"poison")
    assert book.of(PHI, 1.0, b"poison").quarantined == "this very request crashed its engine twice"
    assert book.of(PHI, 1.0, b"harmless") == HEALTHY
    assert book.of(PHI, 3601.0, b"poison") == HEALTHY


@pytest.mark.parametrize("other", [LLAMA, GPT], ids=["same server", "elsewhere"])
def test_a_quarantine_is_for_one_model_because_each_has_a_process_of_its_own(other: ModelSpec) -> None:
    book = a_book()
    for now in (0.0, 1.0):
        book.failed(PHI, K.ENGINE_CRASH, "crashed", now, fingerprint=b"poison")
    assert book.of(other, 1.0, b"poison") == HEALTHY


def test_whoever_was_in_a_crash_is_a_suspect_until_it_answers() -> None:
    book = a_book()
    for each in (b"poison", b"innocent"):
        book.failed(PHI, K.ENGINE_CRASH, "crashed", 0.0, fingerprint=each)
    book.succeeded(PHI, 10.0, SECOND, b"innocent")
    assert book.is_suspect(PHI, b"poison")
    assert not book.is_suspect(PHI, b"innocent")
    assert not book.is_suspect(LLAMA, b"poison")


@pytest.mark.parametrize("model_id", [PHI.id, LLAMA.id])
def test_new_settings_release_the_poison_of_their_own_model_only(model_id: str) -> None:
    book = a_book()
    for now in (0.0, 1.0):
        book.failed(PHI, K.ENGINE_CRASH, "crashed", now, fingerprint=b"poison")
    book.forget(PHI if model_id == PHI.id else LLAMA)
    assert (book.of(PHI, 1.0, b"poison").quarantined is None) == (model_id == PHI.id)


def test_a_model_at_another_address_is_not_suspected() -> None:
    book = a_book()
    for now in (0.0, 1.0):
        book.failed(PHI, K.ENGINE_CRASH, "crashed", now, fingerprint=b"poison")
    moved = ModelSpec("ollama:phi", "ollama", "phi", "edge", endpoint="http://10.0.0.7:11434")
    assert book.of(moved, 1.0, b"poison") == HEALTHY


def test_a_request_that_is_answered_after_all_is_no_suspect() -> None:
    book = a_book()
    book.failed(PHI, K.ENGINE_CRASH, "crashed", 0.0, fingerprint=b"poison")
    assert book.has_suspects(0.0)
    book.succeeded(PHI, 1.0, SECOND, b"poison")
    assert not book.has_suspects(1.0)


def test_a_suspicion_ends_after_an_hour() -> None:
    book = a_book()
    book.failed(PHI, K.ENGINE_CRASH, "crashed", 0.0, fingerprint=b"poison")
    assert book.has_suspects(3599.0)
    assert not book.has_suspects(3600.0)


def test_a_poisonous_request_does_not_close_the_engine_to_others() -> None:
    book = a_book()
    for now in (0.0, 1.0):
        book.failed(PHI, K.ENGINE_CRASH, "crashed", now, fingerprint=b"poison")
    assert book.admit(PHI, 1.0)


# --- all together ---

outcomes = st.sampled_from(["ok", "left", *FailureKind])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(EVERY), outcomes, st.floats(0, 30), st.booleans()), max_size=60),
    st.floats(0, 1, exclude_max=True),
)
def test_whatever_happened_once_it_is_over_everybody_answers_again(
    events: list[tuple[ModelSpec, str, float, bool]], chance: float
) -> None:
    """Liveness: attempts of any outcome, some never reported; then all succeed, and within their longest rest nothing is left of it."""
    book, now = HealthBook(lambda: chance), 0.0
    for spec, outcome, pause, reported in events:
        now += pause
        if not (book.admit(spec, now) and reported):
            continue
        if outcome == "ok":
            book.succeeded(spec, now + 0.5, Timing(0.5))
        elif outcome == "left":
            book.left(spec, now + 0.5, started=now)
        else:
            book.failed(spec, FailureKind(outcome), "no", now + 0.5, started=now)
    for second in range(400):
        for spec in EVERY:
            at = now + 600.0 + second
            if book.admit(spec, at):
                book.succeeded(spec, at, Timing(0.0))
    assert book.is_calm(now + 1000.0)
    for spec in EVERY:
        assert book.of(spec, now + 1000.0) == HEALTHY
        assert book.admit(spec, now + 1000.0)
