"""The contract's rules, held against every cell of docs/truth-table.md."""

from __future__ import annotations

import pytest

from .truth_table import CASES, LINE_UPS, PAGE, Case, page

# The contract's conflict rules (3.) speak where the policy has no stronger wish: these presets are named for one.
STAYS_HOME = ("offline_first", "private", "cheapest")  # whatever the machine says
NOT_FOR_A_LEAN = ("best", "fastest")  # whatever a poor network says


def cells(machine: str | None = None, network: str | None = None, without: tuple[str, ...] = ()) -> list[Case]:
    """Those of these states, without these presets."""
    return [
        case
        for case in CASES
        if machine in (None, case.machine.state)
        and network in (None, case.network.state)
        and case.preset not in without
    ]


def told(cases: list[Case]) -> list[str]:
    """Cells as a failure shows them."""
    return [f"{c.machine.state}, {c.network.state}, {c.prompt}, {c.preset}: {c.decision.chosen}" for c in cases]


def test_the_page_says_what_the_code_does() -> None:
    """After a change: `python -m tests.decision.truth_table`, then read the rows that moved."""
    assert PAGE.read_text("utf-8") == page()


def test_a_critical_machine_with_a_good_network_goes_to_the_cloud() -> None:
    cases = cells("critical", "optimal", without=STAYS_HOME)
    assert cases
    assert not told([case for case in cases if case.decision.place != "cloud"])


def test_a_poor_network_with_a_free_machine_stays_at_home() -> None:
    cases = cells("available", "degraded", without=NOT_FOR_A_LEAN)
    assert cases
    assert not told([case for case in cases if case.decision.place != "edge"])


def test_a_network_that_is_down_stays_at_home_and_keeps_the_cloud_for_the_end() -> None:
    for case in cells(network="disconnected"):
        decision = case.decision
        assert decision.place == "edge", told([case])
        everyone = {each.spec.id for each in LINE_UPS[case.line_up]}
        if case.preset != "private":
            assert set(decision.plan) == everyone


@pytest.mark.parametrize("preset", ["offline_first", "private"])
def test_home_first_means_home_in_every_cell(preset: str) -> None:
    assert not told([case for case in CASES if case.preset == preset and case.decision.place != "edge"])


def test_the_best_is_the_last_hooked_wherever_the_network_is_there() -> None:
    cases = [case for case in CASES if case.preset == "best" and case.network.state != "disconnected"]
    assert not told([case for case in cases if case.decision.chosen != LINE_UPS[case.line_up][-1].spec.id])


def test_a_sensor_that_cannot_tell_counts_like_one_that_has_nothing_to_say() -> None:
    known = {(c.line_up, c.machine.state, c.network.state, c.prompt, c.preset): c.decision.plan for c in CASES}
    for (line_up, machine, network, prompt, preset), plan in known.items():
        usual = ("available" if machine == "unknown" else machine, "optimal" if network == "unknown" else network)
        assert plan == known[line_up, *usual, prompt, preset]


def test_on_an_idle_machine_with_a_good_network_the_prompt_decides() -> None:
    """The page's second program: a simple question stays on the first tier, an analysis climbs."""
    chosen = {(c.line_up, c.prompt): c.decision for c in cells("available", "optimal") if c.preset == "balanced"}
    for line_up, models in LINE_UPS.items():
        assert chosen[line_up, "simple"].chosen == models[0].spec.id
        assert chosen[line_up, "complex"].chosen == models[-1].spec.id


def test_a_harder_prompt_never_gets_a_lower_tier() -> None:
    for preset in ("balanced", "offline_first", "best", "cheapest", "private"):
        for case in CASES:
            if case.preset == preset and case.prompt == "simple":
                tiers = [
                    case._replace(prompt=prompt).decision.candidates[0].tier
                    for prompt in ("simple", "moderate", "complex")
                ]
                assert tiers == sorted(tiers), told([case])
