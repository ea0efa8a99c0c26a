"""What the platform takes in a form of its own, and the plain form where it refuses that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.applying.bench import Bench, outcome, plugin, release
from unit.applying.scripted import refused

from synapse_apply.model.report import Result
from synapse_apply.model.values import Reference

AT = "release/yolo@1.0.0"


def releases_sent(bench: Bench) -> list[dict[str, Any]]:
    return [body for name, body in bench.api.bodies if name == "create_release"]


def fussy(bench: Bench, *fields: str) -> None:
    """A server that refuses these fields of a release unless they are plain."""
    create = bench.api.create_plugin_release

    def checked(data: Any, **key: Any) -> dict[str, Any]:
        plain = {
            "plugin": isinstance(data["plugin"], int),
            "meta": "meta" not in data,
            "config": "x-synapse-apply-digest" not in data.get("config", {}),
        }
        if wrong := {name: ["no"] for name in fields if not plain[name]}:
            bench.api.fail("create_release", refused(400, wrong))
        return create(data, **key)

    bench.api.create_plugin_release = checked  # type: ignore[method-assign]


@pytest.mark.parametrize("fields", [("plugin",), ("meta",), ("plugin", "meta")])
def test_what_alone_is_refused_is_sent_plain(bench, fields):
    """Both calls stand in the history, one object is made, and later creates begin plain."""
    fussy(bench, *fields)
    declared = (plugin(), release(), release("2.0.0"))
    report = bench.apply(*declared)
    assert report.exit_code == 0
    first, second, third = releases_sent(bench)
    assert (first["plugin"], "meta" in first) == ("yolo", True)
    for sent in (second, third):
        assert (sent["plugin"] == 1) is ("plugin" in fields)
        assert ("meta" in sent) is ("meta" not in fields)
    assert len(bench.api.objects["release"]) == 2
    told_of = [(one.address, one.result) for one in bench.store.list_audit_entries_newest_first()]
    assert told_of.count((AT, "refused")) == 1
    assert told_of.count((AT, "done")) == 1
    assert bench.store.read_state().open_intents == ()
    assert not bench.plan(*declared).plan.has_changes


def test_fields_that_are_refused_one_after_the_other(bench):
    """Each is taken back once, and no field twice."""
    for name in ("config", "meta", "plugin"):
        bench.api.fail("create_release", refused(400, {name: ["no"]}))
    new = release()
    new = replace(new, spec={**new.spec, "config": {"a": 1}})
    report = bench.apply(plugin(), new)
    assert report.exit_code == 0
    last = releases_sent(bench)[-1]
    assert last == {"plugin": 1, "version": "1.0.0", "config": {"a": 1}}


@pytest.mark.parametrize(
    "detail",
    [
        {"plugin": ["no"], "version": ["no"]},
        {"file": ["no"]},
        {"detail": "no"},
        "no",
        None,
    ],
)
def test_a_refusal_of_anything_else_is_final(bench, detail):
    """Never a blind second create."""
    bench.api.fail("create_release", refused(400, detail))
    report = bench.apply(plugin(), release())
    assert outcome(report, AT).result is Result.FAILED
    assert len(releases_sent(bench)) == 1


def test_a_code_of_digits_is_never_sent_for_a_plugin(bench):
    """A server would take it for an id."""
    new = release()
    new = replace(
        new, spec={**new.spec, "plugin": Reference(plugin("77").address)}, address=new.address
    )
    bench.apply(plugin("77"), new)
    (sent,) = releases_sent(bench)
    assert sent["plugin"] == 1
