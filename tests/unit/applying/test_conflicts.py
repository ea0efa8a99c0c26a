"""A create whose key is taken: nothing is doubled, and nothing is taken over silently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.applying.bench import Bench, outcome, plugin, release, told, widget, widget_kind
from unit.applying.scripted import refused

from synapse_apply.model.job import LastRun, RunStatus
from synapse_apply.model.report import Result
from synapse_apply.model.resource import Desired, Lookup
from synapse_apply.model.values import SecretRef

AT = "release/yolo@1.0.0"


def made_meanwhile(bench: Bench, **theirs: Any) -> None:
    """Somebody makes the widget a moment before our create arrives."""
    make = bench.api.make

    def late(kind: str, body: Any) -> dict[str, Any]:
        bench.api.objects["widget"]["9"] = {"id": 9, **body, **theirs}
        bench.api.fail("create_widget", refused(409))
        return make(kind, body)

    bench.api.make = late  # type: ignore[method-assign]


def published_meanwhile(bench: Bench, status: int = 409, detail: Any = None) -> None:
    create = bench.api.create_plugin_release

    def late(data: Any, **_key: Any) -> dict[str, Any]:
        (owner,) = bench.api.objects["plugin"]
        bench.api._store("release", {"plugin": int(owner), "version": data["version"]})
        bench.api.fail("create_release", refused(status, detail))
        return create(data)

    bench.api.create_plugin_release = late  # type: ignore[method-assign]


def test_what_differs_is_never_taken_over(bench):
    """Its fields are named, not their values: a plan shows what adopting it would change."""
    made_meanwhile(bench, note="theirs")
    report = bench.apply(widget("w", note="x"), adopts=True)
    assert outcome(report, "widget/w").result is Result.FAILED
    assert "Fields that differ from the manifest: note." in told(report)
    assert "theirs" not in told(report)
    assert not bench.store.read_state().records


def test_a_secret_that_is_not_shown_proves_nothing(bench):
    """What the server hides may be somebody else's."""
    bench.environ["KEY"] = "s3cret-canary"
    made_meanwhile(bench, configuration={})
    desired = widget("w", note="a", configuration={"key": SecretRef("env", "KEY")})
    report = bench.apply(desired, adopts=True)
    assert outcome(report, "widget/w").result is Result.FAILED
    assert "Fields that differ from the manifest: configuration.key." in told(report)
    assert "canary" not in told(report)


def test_what_another_address_has_recorded_is_said(bench):
    """One object, two addresses: never both."""
    bench.apply(widget("old"))
    with bench.store.lock("test"):
        bench.store.write_records(replace(bench.record("widget/old"), remote_id="9"))
    bench.api.objects["widget"]["9"] = {"id": 9, "name": "old"}
    made_meanwhile(bench)
    report = bench.apply(widget("old"), widget("w"), adopts=True)
    assert outcome(report, "widget/w").result is Result.FAILED
    assert "This state records the object as widget/old (id 9)." in told(report)
    assert list(map(str, bench.store.read_state().records)) == ["widget/old"]


@pytest.mark.parametrize("lookup", [Lookup.COMPLETE, Lookup.POSITIVE])
def test_an_object_nobody_sees(bench, lookup):
    """Another tenant may own it; where a search proves no absence that is not claimed."""
    bench.catalogue["widget"] = widget_kind(lookup={"name": lookup})
    bench.api.fail("create_widget", refused(409))
    report = bench.apply(widget("w"), adopts=True)
    assert ("this token cannot see it" in told(report)) is (lookup is Lookup.COMPLETE)
    assert "`synapse-apply import widget/w ID`" in told(report)
    assert not bench.store.read_state().records


def test_a_release_is_adopted_as_unverified(bench):
    """Nothing tells what its bytes are; the plugin it belongs to is made as planned."""
    published_meanwhile(bench)
    declared: tuple[Desired, ...] = (plugin(), release())
    report = bench.apply(*declared, adopts=True)
    assert report.exit_code == 0
    assert "Its published bytes are unverified." in told(report)
    record = bench.record(AT)
    last = LastRun.from_json_or_none(record.verification)
    assert (record.digest, last.result if last else None) == (None, RunStatus.UNVERIFIED)
    assert not bench.plan(*declared).plan.has_changes


def test_a_release_that_would_be_run_is_not_adopted_on_the_way(bench):
    """A run of other bytes would vouch for ours."""
    published_meanwhile(bench)
    report = bench.apply(plugin(), release(verify={"parameters": {}}), adopts=True)
    assert outcome(report, AT).result is Result.FAILED
    assert "run_plugin" not in bench.api.writes()
    assert AT not in map(str, bench.store.read_state().records)


def refused_meanwhile(bench: Bench, status: int, detail: Any, **theirs: Any) -> None:
    """Somebody makes the plugin a moment before our create, which a list then shows."""
    make = bench.api.make
    bench.api.list_plugins = lambda: bench.api.all("plugin")  # type: ignore[method-assign]

    def late(kind: str, body: Any) -> dict[str, Any]:
        if theirs:
            bench.api.objects["plugin"]["9"] = {"id": 9, **body, **theirs}
        bench.api.fail("create_plugin", refused(status, detail))
        return make(kind, body)

    bench.api.make = late  # type: ignore[method-assign]


def test_a_code_that_no_plugin_of_ours_has(bench):
    """The backend's words decide nothing, so both reasons are said, and its words with them."""
    refused_meanwhile(bench, 400, {"code": ["Enter a valid slug."]})
    report = bench.apply(plugin())
    assert "it may be taken by another tenant" in told(report)
    assert "Enter a valid slug." in told(report)
    assert bench.api.writes() == ["create_plugin"]
    assert bench.store.read_state().open_intents == ()


def test_a_look_up_that_fails_claims_nothing(bench):
    """Neither that it is there, nor that another tenant has it."""
    refused_meanwhile(bench, 400, {"code": ["taken"]}, name="yolo")
    shown = bench.api.list_plugins

    def once_refused() -> Any:
        if bench.api.writes():
            raise refused(503)
        return shown()

    bench.api.list_plugins = once_refused  # type: ignore[method-assign]
    report = bench.apply(plugin(), adopts=True)
    assert outcome(report, "plugin/yolo").result is Result.FAILED
    assert "tenant" not in told(report)
    assert "taken" in told(report)


@pytest.mark.parametrize(
    "detail",
    [{"version": ["이미 존재"]}, {"non_field_errors": ["version_exists"]}, {"detail": "exists"}],
)
def test_a_taken_version_is_looked_up_too(bench, detail):
    """Published a moment before: 400 with any words is the same as 409."""
    published_meanwhile(bench, 400, detail)
    report = bench.apply(plugin(), release(), adopts=True)
    assert report.exit_code == 0
    assert "Its published bytes are unverified." in told(report)
    assert len(bench.api.objects["release"]) == 1
    assert bench.api.writes().count("create_release") == 1
