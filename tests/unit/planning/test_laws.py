"""Laws of planning, over random situations (design section 10)."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.planning.world import Data, situation

from synapse_apply import Plan
from synapse_apply.model import values
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.resource import FoundBy, Observed
from synapse_apply.model.state import Record
from synapse_apply.model.values import ABSENT, DesiredSecret, Mac, WithheldSecret
from synapse_apply.planning.plan_input import PlanInput, ResourceState
from synapse_apply.planning.planner import build_plan

SENT = {Action.CREATE, Action.RECREATE, Action.ADOPT, Action.UPDATE}
SCALARS = st.sampled_from([0, 1, 1.0, True, "", "x", " x ", [], ["x", 1], [{"a": 1}], {}])
TREES = st.recursive(
    SCALARS, lambda below: st.dictionaries(st.sampled_from("abc"), below, max_size=3), max_leaves=5
)
SECRETS = st.sampled_from([{"$secret": "s"}, {"$secret": "t"}])
DIGESTS = st.sampled_from([{"$mac": "s"}, {"$mac": "t"}, {"$withheld": "masked"}])


def _build_specs(secrets: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    config = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)
    key = st.one_of(st.just({}), secrets.map(lambda secret: {"key": secret}))
    return st.fixed_dictionaries(
        {"config": st.builds(lambda tree, more: {**tree, **more}, config, key)},
        optional={
            "note": st.sampled_from(["", "x", "y"]),
            "size": st.sampled_from([1, 2, True]),
            "tags": st.lists(st.sampled_from("xy"), max_size=3),
            "serial": st.just("s"),
        },
    )


# Built once: to build a strategy costs more than to draw from it.
DECLARED_SPECS, LIVE_SPECS = _build_specs(SECRETS), _build_specs(DIGESTS)
NAMES = st.lists(st.sampled_from("abcde"), unique=True, max_size=5)
KINDS = st.sampled_from(["widget", "gadget"])


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Data]:
    """Up to five objects, declared, live and recorded at random, some needing an earlier one."""
    found: dict[str, Data] = {}
    for name in draw(NAMES):
        data: dict[str, Any] = {"natural_key": name}
        if declared := draw(st.booleans()):
            data["spec"] = draw(DECLARED_SPECS)
            data["depends_on"] = (
                draw(st.lists(st.sampled_from(list(found)), max_size=1)) if found else []
            )
        if draw(st.booleans()):
            data["live"] = draw(LIVE_SPECS)
        if not declared or draw(st.booleans()):
            data["record"] = {"applied": draw(DECLARED_SPECS), "seen": draw(LIVE_SPECS)}
        found[f"{draw(KINDS)}/{name}"] = data
    return found


def _applied(before: PlanInput, made: Plan) -> PlanInput:
    """The situation after this plan was carried out by a server that does as it is told."""
    items = dict(before.resources)
    for change in made.changes:
        item = items[change.address]
        if change.is_refused:
            continue
        if change.action in {Action.DELETE, Action.FORGET}:
            del items[change.address]
        elif change.action in SENT or change.rebase:
            items[change.address] = _after(item, change)
    return dataclasses.replace(before, resources=items)


def _after(item: ResourceState, change: Change) -> ResourceState:
    live = dict(item.live_fields) if item.lookup_result.observed else {}
    for field in change.fields:
        live = _set(
            live,
            field.path,
            field.after if not field.sensitive else item.declared_fields.get(field.path, ABSENT),
        )
    applied = {
        path: value.mac if isinstance(value, DesiredSecret) else value
        for path, value in item.declared_fields.items()
    }
    identity = change.remote_id or f"new-{item.address.name}"
    sighting = dataclasses.replace(
        item.lookup_result, observed=Observed(identity, "v1", {}), found_by=FoundBy.RECORD
    )
    record = Record(
        item.address,
        identity,
        "v1",
        natural_key=item.natural_key,
        applied=applied,
        seen=live,
        depends_on=item.needs,
    )
    return dataclasses.replace(item, live_fields=live, record=record, lookup_result=sighting)


def _set(live: dict[Any, Any], path: Any, after: Any) -> dict[Any, Any]:
    """A field set or removed: what stands above or below it goes."""
    kept = {
        at: value for at, value in live.items() if at[: len(path)] != path and path[: len(at)] != at
    }
    if isinstance(after, DesiredSecret):
        after = after.mac if isinstance(live.get(path), Mac) else WithheldSecret("masked")
    return kept if after is ABSENT else values.flatten(values.unflatten({**kept, path: after}))


@effort(15, 600)
@given(objects(), st.randoms(use_true_random=False), st.booleans())
def test_order_of_items_does_not_matter(found: dict[str, Data], random: Any, prune: bool) -> None:
    """The same items in another order give the same plan."""
    made = situation(found, prune=prune)
    shuffled = list(made.resources.items())
    random.shuffle(shuffled)
    assert build_plan(dataclasses.replace(made, resources=dict(shuffled))) == build_plan(made)


@effort(30, 1200)
@given(objects(), st.booleans())
def test_plan_is_empty_after_it_was_carried_out(found: dict[str, Data], prune: bool) -> None:
    """What was done once is not planned again, not even as a re-basing."""
    before = situation(found, prune=prune)
    first = build_plan(before)
    refused = {change.address for change in first.refused_changes}
    again = build_plan(_applied(before, first))
    left = {
        change.address: change
        for change in again.changes
        if change.address not in refused and (change.action is not Action.NO_OP or change.rebase)
    }
    assert not left


@effort(20, 800)
@given(objects(), st.booleans())
def test_every_update_names_a_path_and_no_secret(found: dict[str, Data], prune: bool) -> None:
    """A row that says update says what, and nothing sensitive holds a value or a digest."""
    for change in build_plan(situation(found, prune=prune)).changes:
        assert change.fields or change.action is not Action.UPDATE
        for field in change.fields:
            assert not field.sensitive or (field.before is ABSENT and field.after is ABSENT)
        for side in (change.before, change.after, [field.after for field in change.fields]):
            assert not any(marker in repr(side) for marker in ("Mac(", "SecretWant(", "Withheld("))
