"""Which edits take drift over, and whether a plan would have nothing to do after them."""

from __future__ import annotations

from typing import Any

import pytest
from unit.applying.bench import Bench, widget

from synapse_apply.live.manifest_comparison import (
    ManifestComparison,
    build_live_edits,
)
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.resource import Lifecycle
from synapse_apply.model.values import ABSENT, SecretRef
from synapse_apply.planning.drift import build_drift_report
from synapse_apply.workspace.target_session import PlanResult

ADDRESS = Address("widget", "w")
KEY = SecretRef("env", "KEY")


def drifted(bench: Bench, declared: Any, live: Any, **more: Any) -> PlanResult:
    """A plan of a widget that was applied and then got another configuration by hand."""
    bench.environ["KEY"] = "s3cr3t"
    bench.apply(widget("w", configuration=declared, **more))
    bench.live("w")["configuration"] = live
    return bench.plan(widget("w", configuration=declared, **more))


def edited(planned: PlanResult) -> dict[str, tuple[Any, Any]]:
    """From what to what, by the place in the configuration; a secret is no pair of values."""
    item = planned.resources[ADDRESS]
    assert item.desired is not None
    (one,) = build_drift_report(planned.plan, planned.resources).objects
    return {
        ".".join(map(str, edit.path[1:])): ("secret", "")
        if edit.sensitive
        else (edit.before, edit.after)
        for edit in build_live_edits(item, item.desired.spec, one.fields)
    }


def remaining(
    bench: Bench, planned: PlanResult, configuration: Any, **more: Any
) -> tuple[FieldPath, ...]:
    secrets = bench.context().secrets
    now = widget("w", configuration=configuration, **more)
    return ManifestComparison(planned.resources, secrets).list_changed_fields(now)


def test_one_edit_a_place(bench):
    """Of many leaves below it there is one; what stays as it is has none."""
    declared = {"a": {"b": 1, "c": {"d": 2}}, "e": {"f": {"g": 1}, "h": {"i": 2}}, "same": {"k": 1}}
    planned = drifted(bench, declared, {"a": [7], "same": {"k": 1}})
    assert edited(planned) == {"a": (declared["a"], [7]), "e": (declared["e"], ABSENT)}


def test_a_map_with_a_secret_reference_is_never_edited(bench):
    """Live may have that secret where the map is declared; and a reference is no empty map."""
    declared = {"login": {"user": "u", "key": KEY}, "other": {"user": "u", "key": KEY}}
    planned = drifted(bench, declared, {"login": "s3cr3t"})
    assert edited(planned) == {"login": ("secret", ""), "other.user": ("u", ABSENT)}
    assert "s3cr3t" not in repr(edited(planned))


def test_a_live_secret_in_the_way(bench):
    """A text where all settings were may hold any of them, so all of it is a secret."""
    found = edited(drifted(bench, {"a": {"b": 1}, "n": 1}, "a=2;key=s3cr3t"))
    assert found == {"": ("secret", "")}


@pytest.mark.parametrize(
    ("proposed", "left"),
    [
        ({"deep": {"x": "flat"}, "n": 1}, []),
        ({"deep": {"x": {}}, "n": 1}, ["deep.x"]),
        ({"deep": {"x": {"y": "z"}}, "n": 1}, ["deep.x.y"]),
        ({"deep": {"x": "flat"}, "n": 1, "only": {}}, ["only"]),
        ({"deep": {"x": "flat"}, "n": True}, ["n"]),
        ({"deep": {"x": "flat"}}, ["n"]),
    ],
    ids=repr,
)
def test_what_a_plan_would_still_change(bench, proposed, left):
    """Anything but live, at a field of drift or at one that would become a change by the edit."""
    declared = {"deep": {"x": {"y": "z"}}, "n": 1, "only": {"k": 1}}
    planned = drifted(bench, declared, {"deep": {"x": "flat"}, "n": 1})
    found = remaining(bench, planned, proposed)
    assert [".".join(map(str, path[1:])) for path in found] == left


def test_what_git_had_to_send_before_is_no_remainder(bench):
    """It waits, whatever is accepted; what the rules leave alone is none either."""
    bench.apply(widget("w", size=1, configuration={"a": {"b": 1}, "i": 1}))
    bench.live("w")["configuration"] = {"a": "flat", "i": 2}
    more: dict[str, Any] = {
        "size": 2,
        "lifecycle": Lifecycle(ignore_changes=(("configuration", "i"),)),
    }
    planned = bench.plan(widget("w", configuration={"a": {"b": 1}, "i": 1}, **more))
    assert remaining(bench, planned, {"a": "flat", "i": 1}, **more) == ()
    assert remaining(bench, planned, {"a": "flat", "i": 1}, **{**more, "size": 3}) == ()
    assert remaining(bench, planned, {"a": {}, "i": 1}, **more) == (("configuration", "a"),)
