"""Which wave a target belongs to, and what is refused at a head."""

from __future__ import annotations

from unit.controller.rollouts.rollout_play import RULE

from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.rollouts import RolloutAssignments, assign_targets_to_waves
from synapse_apply.controller.rules.targets import TargetAtHead
from synapse_apply.controller.settings import Rollout, TargetRule, Wave
from synapse_apply.model.diagnostic import Position

PLACE = Position("controller.yaml", 30, 9)


def key(
    name: str, rule: TargetRule = RULE, tier: str = "", required: tuple[str, ...] = ()
) -> TargetAtHead:
    labels = {"tier": tier} if tier else {}
    return TargetAtHead(TargetName("acme", name), rule, "d", labels, required)


def assign(waves: list[Wave], *keyed: TargetAtHead) -> RolloutAssignments:
    return assign_targets_to_waves([Rollout("all", "acme", tuple(waves), position=PLACE)], keyed)


def test_a_target_belongs_to_the_first_wave_that_matches_it():
    """By one of the patterns and all labels; patterns of both, and case counts."""
    waves = [
        Wave(("canary-*", "dev")),
        Wave(("eu-*",), {"tier": "st*"}),
        Wave(labels={"tier": "gold"}),
    ]
    keyed = [
        key("dev", tier="gold"),
        key("eu-1", tier="standard"),
        key("eu-2", tier="gold"),
        key("eu-3"),
        key("Dev"),
        key("us-1", tier="standard"),
    ]
    assignments = assign(waves, *keyed)
    found = {item.name.target: item.wave for item in assignments.targets_by_rollout["all"]}
    assert found == {"dev": 1, "eu-1": 2, "eu-2": 3}
    assert assignments.names_in_any_rollout == {TargetName("acme", name) for name in found}
    assert [finding.is_error for finding in assignments.findings] == [False]
    assert "`canary-*`" in assignments.findings[0].detail


def test_a_label_that_no_target_has_is_a_warning():
    """A misspelt one has its targets follow the head immediately."""
    waves = [Wave(labels={"tier": "standart"}), Wave(labels={"tire": "*"}), Wave(("b",))]
    findings = assign(waves, key("a", tier="standard"), key("b", tier="gold")).findings
    assert [finding.is_error for finding in findings] == [False, False]
    assert "wave 1 of rollout `all`: `tier: standart`" in findings[0].detail
    assert "wave 2 of rollout `all`: `tire: *`" in findings[1].detail


def test_a_wave_that_names_nothing_has_all_targets():
    assignments = assign([Wave(("a",)), Wave()], key("a"), key("b"), key("c"))
    assert [item.wave for item in assignments.targets_by_rollout["all"]] == [1, 2, 2]


def test_a_target_in_two_rollouts_is_refused():
    """With the place of the wave that would be the second."""
    rollouts = [
        Rollout("one", "acme", (Wave(("a*",)),)),
        Rollout("two", "acme", (Wave(("b",)), Wave(labels={"tier": "x"}, position=PLACE))),
    ]
    assignments = assign_targets_to_waves(rollouts, [key("a1", tier="x"), key("a2"), key("b")])
    (finding,) = assignments.findings
    assert finding.is_error
    assert finding.detail == "acme/a1 belongs to rollout `one` and to `two`"
    assert finding.position == PLACE


def test_a_target_in_mode_observe_is_refused():
    assignments = assign([Wave()], key("a"), key("b", TargetRule("b*")))
    (finding,) = assignments.findings
    assert finding.is_error
    assert "wave 1 of rollout `all` has acme/b, which rule `b*` only observes" in finding.detail


def test_a_target_cannot_wait_for_one_of_the_same_or_a_later_wave():
    """What it requires from an earlier wave or from outside is no matter."""
    keyed = [
        key("a", required=("c",)),
        key("b", required=("a", "elsewhere")),
        key("c", required=("d",)),
        key("d"),
    ]
    waves = [Wave(("a",)), Wave(("b",)), Wave(("c", "d"))]
    findings = assign(waves, *keyed).findings
    assert [finding.is_error for finding in findings] == [True, True]
    assert "in c (`require_verified`), which is in wave 3" in findings[0].detail
    assert "in d (`require_verified`), which is in the same wave" in findings[1].detail
