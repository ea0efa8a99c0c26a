"""When what somebody changes again and again is restored: the waits, as numbers and as laws."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.controller.planned_rows import (
    MANY_FIELDS,
    ApplyTerms,
    FieldBrake,
    HoldReason,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import (
    RunCause,
    RunOutcome,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.assessment import assess_look
from synapse_apply.controller.rules.brakes import list_brakes, target_row_after_restoring
from synapse_apply.controller.rules.judging import judge_rows
from synapse_apply.controller.settings import (
    DAY,
    HOUR,
    MINUTE,
    AutoRule,
    Brake,
    BrakeHold,
    Mode,
    TargetRule,
)

AUTO = ApplyTerms(frozenset(RowCause), frozenset(RowAction) - {RowAction.GUARD})
RULE, BRAKE, START = TargetRule("*"), Brake(), 1_000_000.0
DRIFT = (RowCause.DRIFT,)


def build_row(*fields: str, address: str = "plugin/a", **more: object) -> PlannedRow:
    row = PlannedRow(f"row1:{address}", address, RowAction.UPDATE, DRIFT, fields=fields)
    return replace(row, **more)  # type: ignore[arg-type]


def restore(target: TargetRow, now: float, *rows: PlannedRow, **more: object) -> TargetRow:
    given: dict[str, object] = {"planned_rows": [], "rule": RULE, "brake": BRAKE, "is_live": False}
    return target_row_after_restoring(target, rows, now=now, **{**given, **more})  # type: ignore[arg-type]


def is_free(target: TargetRow, row: PlannedRow, now: float, rule: TargetRule = RULE) -> bool:
    terms = replace(AUTO, brakes=tuple(list_brakes(target, rule, BRAKE, now)))
    return bool(judge_rows([row], terms).permitted_rows)


def list_times(edits: list[float], row: PlannedRow, rule: TargetRule = RULE) -> list[float]:
    """When a field was restored that somebody changes at these times, at the next check."""
    target, times = TargetRow(TargetName("acme", "prod")), list[float]()
    for now in edits:
        if is_free(target, row, now, rule):
            target = restore(target, now, row, rule=rule)
            times.append(now)
    return times


def test_each_wait_is_twice_as_long_up_to_an_hour():
    """The first is a 32nd of the longest one."""
    edits = [START + number for number in range(3 * int(HOUR))]
    times = list_times(edits, build_row("name"))
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits[:9] == [1, 1, 113, 225, 450, 900, 1800, 3600, 3600]


@given(st.lists(st.floats(1.0, 7 * DAY), min_size=4, max_size=60).map(sorted))
def test_no_more_than_so_many_in_any_day(edits):
    """However it is changed: five before the waits are long, and then one an hour."""
    times = list_times([START + one for one in edits], build_row("name"))
    for first in times:
        assert sum(first <= one <= first + DAY for one in times) <= 8 + 24
        assert sum(first <= one <= first + HOUR for one in times) <= 8


@given(st.lists(st.floats(1.0, 7 * DAY), min_size=4, max_size=60).map(sorted))
def test_a_field_that_nobody_changes_for_a_day_is_restored_at_once(edits):
    target, row = TargetRow(TargetName("acme", "prod")), build_row("name")
    for one in edits:
        target = restore(target, START + one, row)
    assert is_free(target, row, START + edits[-1] + DAY + 1)
    assert restore(target, START + edits[-1] + DAY + 1).restored == ()


def test_what_is_always_restored_never_waits():
    """Nor with `brake: hold`; the times are counted all the same."""
    rule = replace(RULE, brake_holds=(BrakeHold(),))
    edits = [START + number for number in range(50)]
    row = build_row("name", is_always_restored=True)
    assert list_times(edits, row, rule) == edits
    assert list_times(edits, build_row("name"), rule) == edits[:3]


@pytest.mark.parametrize(
    ("row", "is_live", "is_counted"),
    [
        (build_row("name"), False, True),
        (build_row("name", causes=(RowCause.GIT,)), False, False),
        (build_row("name", causes=(RowCause.GIT, RowCause.DRIFT)), False, False),
        (build_row("name", causes=(RowCause.GIT,)), True, True),
        (build_row("name", causes=(RowCause.SECRET, RowCause.DRIFT)), True, False),
        (build_row(), True, False),
        (build_row("", action=RowAction.RECREATE), False, True),
        (build_row("", action=RowAction.ADOPT), False, False),
    ],
)
def test_only_what_others_changed_counts(row, is_live, is_counted):
    """Never a change in Git, unless all of it was live; nor a late call of the controller."""
    target = restore(TargetRow(TargetName("acme", "prod")), START, row, is_live=is_live)
    assert bool(target.restored) is is_counted


def test_a_clock_that_is_set_back_makes_nothing_wait_longer():
    target, row = TargetRow(TargetName("acme", "prod")), build_row("name")
    for number in range(9):
        target = restore(target, START + number, row)
    assert not is_free(target, row, START + 10)
    assert is_free(target, row, START - DAY)


def test_a_row_waits_only_where_all_of_it_does():
    """And what needs it waits, too; others are done."""
    brakes = (FieldBrake("plugin/a", "name", START, "name was restored 3 times"),)
    terms = replace(AUTO, brakes=brakes)
    release = build_row("x", address="release/a@1", needs=("plugin/a",))
    other = build_row("name", address="plugin/b")
    judgement = judge_rows([build_row("name"), release, other], terms)
    assert judgement.permitted_rows == (other,)
    assert [one.address for one in judgement.waiting_rows] == ["plugin/a", "release/a@1"]
    assert judgement.braked_until == START
    both = build_row("name", "description")
    assert judge_rows([both, release], terms).permitted_rows == (both, release)


def test_a_field_that_a_person_decides_holds_its_row():
    """Also beside a field that nobody changed often; an approval lets it go on."""
    brake = FieldBrake("plugin/a", "name", None, "name was restored 3 times")
    row = build_row("name", "description")
    terms = replace(AUTO, brakes=(brake,))
    (held,) = judge_rows([row], terms).held_rows
    assert (held.reason, held.detail) == (HoldReason.BRAKE, brake.reason)
    approved = replace(terms, approvals={row.digest: ("one",)})
    assert judge_rows([row], approved).permitted_rows == (row,)
    rejected = replace(terms, rejected=frozenset({row.digest}))
    (held,) = judge_rows([row], rejected).held_rows
    assert held.reason is HoldReason.APPROVAL


@pytest.mark.parametrize(
    ("hold", "is_held"),
    [
        (BrakeHold(), True),
        (BrakeHold("plugin"), True),
        (BrakeHold("storage"), False),
        (BrakeHold(field="configuration"), True),
        (BrakeHold("plugin", "configuration.url"), True),
        (BrakeHold(field="configuration.url.host"), False),
        (BrakeHold(field="config"), False),
    ],
)
def test_a_hold_is_of_a_kind_and_a_field_with_all_below(hold, is_held):
    rule = replace(RULE, brake_holds=(hold,))
    target, row = TargetRow(TargetName("acme", "prod")), build_row("configuration.url")
    for number in range(3):
        target = restore(target, START + number, row, rule=rule)
    assert target.restored[0].is_held is is_held
    assert is_free(target, row, START + 5 * MINUTE, rule) is not is_held


@pytest.mark.parametrize("stop", ["refused", "not compared", "rejected", "no plan"])
def test_a_hold_outlasts_whatever_else_stops_its_row(stop):
    """A person has to act, also after the 24 hours."""
    rule, row = replace(RULE, brake_holds=(BrakeHold("plugin", "name"),)), build_row("name")
    target = TargetRow(TargetName("acme", "prod"))
    for number in range(3):
        target = restore(target, START + number, row, rule=rule, planned_rows=[row])
    fields = () if stop == "not compared" else row.fields
    stopped = replace(row, refusal="policy" if stop != "rejected" else "", fields=fields)
    later = START + 2 * DAY
    seen = None if stop == "no plan" else [stopped]
    target = restore(target, later, rule=rule, planned_rows=seen)
    assert not is_free(target, row, later + 1, rule)
    target = restore(target, later, rule=rule)  # nothing drifts any more
    assert target.restored == ()


@pytest.mark.parametrize("others", [0, 499, 500])
@pytest.mark.parametrize(
    ("holds", "restored"),
    [((BrakeHold("plugin", "name"),), 3), ((BrakeHold(),), 3), ((), 7)],
)
def test_beside_any_number_of_other_fields_one_is_braked_alike(others, holds, restored):
    """Someone changes all of them before each check, every five minutes for an hour."""
    rule, target, count = TargetRule("*", brake_holds=holds), TargetRow(TargetName("a", "b")), 0
    row = build_row("name")
    rows = [build_row("description", address=f"plugin/o{n}") for n in range(others)] + [row]
    for now in range(300, int(HOUR), 300):
        terms = replace(AUTO, brakes=tuple(list_brakes(target, rule, BRAKE, now)))
        done = judge_rows(rows, terms).permitted_rows
        count += row in done
        target = restore(target, now, *done, planned_rows=rows, rule=rule)
    assert count == restored
    assert len(target.restored) <= 501


def test_a_held_field_is_held_among_too_many_to_name():
    """Whichever came first; it stays held in a row that names its fields again."""
    rule = TargetRule("*", brake_holds=(BrakeHold("plugin", "name"),))
    many, named = build_row(MANY_FIELDS), build_row("name", "author")
    for first, second in ((many, named), (named, many), (many, many)):
        target = TargetRow(TargetName("a", "b"))
        for time in range(3):
            assert is_free(target, first, START + HOUR * time, rule)
            target = restore(target, START + HOUR * time, first, planned_rows=[first], rule=rule)
        for row in (first, second, first):
            assert not is_free(target, row, START + 5 * HOUR, rule)
            target = restore(target, START + 5 * HOUR, planned_rows=[row], rule=rule)


def test_held_fields_are_kept_before_busier_ones():
    rule, held = replace(RULE, brake_holds=(BrakeHold("plugin", "name"),)), build_row("name")
    busy = [build_row("text", address=f"storage/{number}") for number in range(600)]
    target = TargetRow(TargetName("acme", "prod"))
    for number in range(3):
        target = restore(target, START + number, held, rule=rule, planned_rows=[held])
    for number in range(3, 8):
        rows = [held, *busy]
        target = restore(target, START + number, *busy, rule=rule, planned_rows=rows)
    assert not is_free(target, held, START + 9, rule)


def test_a_held_field_needs_a_person_also_where_the_rule_leaves_drift_alone():
    """What Git asks for again because another writer undid it is drift by then."""
    rule = TargetRule("*", Mode.AUTO, auto=AutoRule(causes=frozenset({RowCause.GIT})))
    row = build_row("name", causes=(RowCause.GIT,))
    brakes = (FieldBrake(row.address, "name", None, "name was restored 3 times"),)
    terms = replace(AUTO, causes=rule.auto.causes, is_live=True, brakes=brakes)
    judgement = judge_rows([row], terms)
    result = RunResult(RunOutcome.CHANGES, rows=(row,))
    found = assess_look(result, judgement, rule, None, RunCause.INTERVAL)
    assert found.condition is TargetCondition.HELD
