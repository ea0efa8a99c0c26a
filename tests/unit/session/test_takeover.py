"""Which edits take drift over."""

from __future__ import annotations

from typing import Any

from unit.applying.bench import Bench, widget

from synapse_apply.model.address import Address
from synapse_apply.model.values import ABSENT, SecretRef
from synapse_apply.planning.drift import drift
from synapse_apply.session.context import Planned
from synapse_apply.session.takeover import edits

ADDRESS = Address("widget", "w")
KEY = SecretRef("env", "KEY")


def drifted(bench: Bench, declared: Any, live: Any, **more: Any) -> Planned:
    """A plan of a widget that was applied and then got another configuration by hand."""
    bench.environ["KEY"] = "s3cr3t"
    bench.apply(widget("w", configuration=declared, **more))
    bench.live("w")["configuration"] = live
    return bench.plan(widget("w", configuration=declared, **more))


def edited(planned: Planned) -> dict[str, tuple[Any, Any]]:
    """From what to what, by the place in the configuration; a secret is no pair of values."""
    item = planned.items[ADDRESS]
    assert item.desired is not None
    (one,) = drift(planned.plan, planned.items).objects
    return {
        ".".join(map(str, edit.path[1:])): ("secret", "")
        if edit.sensitive
        else (edit.before, edit.after)
        for edit in edits(item, item.desired.spec, one.fields)
    }


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
