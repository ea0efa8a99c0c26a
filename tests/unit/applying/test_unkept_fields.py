"""Fields that a backend does not have: said once, recorded, and never a difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.applying.bench import Bench, outcome, plugin, release, told
from unit.applying.scripted import lost

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Result
from synapse_apply.model.resource import Desired
from synapse_apply.model.values import SecretRef
from synapse_apply.views.text.outcomes import render_report

AT = "release/yolo@1.0.0"
NO_FIELDS = ("version", "author", "configuration")
OF_THE_PAGE = {
    "config": {"threshold": 0.5}, "changelog": "first", "is_stable": True, "requirements": ["a"],
}  # fmt: skip


def platform(kind: str, made: dict[str, Any]) -> None:
    """As the platform keeps objects: a release's config is that of its package."""
    if kind == "plugin":
        for name in NO_FIELDS:
            made.pop(name, None)
    if kind == "release":
        for name in ("changelog", "is_stable", "requirements"):
            made.pop(name, None)
        made["config"] = {"name": "YOLO", "code": "yolo", "version": made["version"]}


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    made.api.quirk = platform
    return made


def full_release(**more: Any) -> Desired:
    new = release()
    return replace(new, spec={**new.spec, **OF_THE_PAGE, **more})


def test_what_the_backend_does_not_have_is_said_once(bench):
    """Then recorded; the plan after it is empty, and a change of it in Git is none."""
    report = bench.apply(plugin(version="1.0", author="me", description="d"))
    assert report.exit_code == 0
    assert told(report).count("This backend does not store `version` of a plugin") == 1
    assert told(report).count("This backend does not store `author` of a plugin") == 1
    assert "description" not in told(report)
    assert bench.record("plugin/yolo").unkept == ("author", "version")
    changed = plugin(version="2.0", author="me", description="d")
    assert not bench.plan(changed).plan.has_changes
    report = bench.apply(changed)
    assert bench.api.writes() == ["create_plugin"]
    report = bench.apply(plugin(version="2.0", author="me", description="e"))
    assert report.exit_code == 0
    assert "does not store" not in told(report)
    assert not bench.plan(plugin(version="2.0", author="me", description="e")).plan.has_changes


@pytest.mark.parametrize("shown", ["1.0", "0.9", None])
def test_what_appears_later_is_compared_again(bench, shown):
    """A newer backend has the field: what it shows otherwise is sent."""
    declared = plugin(version="1.0")
    bench.apply(declared)
    bench.api.quirk = None
    bench.api.objects["plugin"]["1"]["version"] = shown
    changes = [one for one in bench.plan(declared).plan.changes if one.fields]
    assert bool(changes) is (shown != "1.0")
    assert bench.apply(declared).exit_code == 0
    assert bench.live("yolo", "plugin")["version"] == "1.0"
    assert bench.record("plugin/yolo").unkept == ()
    assert not bench.plan(declared).plan.has_changes


def test_what_was_said_of_one_release_is_not_said_of_the_next(bench):
    """Every new version would tell the same again; a field that nobody had sent yet is told."""
    bench.apply(plugin(), full_release())
    newer = full_release(version="2.0.0")
    newer = replace(newer, address=Address("release", "yolo@2.0.0"))
    report = bench.apply(plugin(), newer)
    assert outcome(report, "release/yolo@2.0.0").result is Result.DONE
    assert "does not store `changelog`" not in told(report)
    assert bench.record("release/yolo@2.0.0").unkept == ("changelog", "is_stable", "requirements")
    assert not bench.plan(plugin(), newer).plan.has_changes
    report = bench.apply(plugin(), newer, plugin("sam", code="sam", author="A"))
    assert "does not store `author` of a plugin" in told(report)
    report = bench.apply(plugin(), newer, plugin("three", code="three", author="B", version="1"))
    assert "does not store `version` of a plugin" in told(report)
    assert "does not store `author`" not in told(report)


def test_a_release_is_taken_over_by_a_fresh_state(bench):
    """By plugin and version: what the backend has no place for is no obstacle."""
    bench.api.list_plugins = lambda: bench.api.all("plugin")
    declared = (plugin(version="1.0"), full_release())
    bench.apply(*declared)
    before = dict(bench.api.objects["release"])
    bench.begin_state()
    planned = bench.plan(*declared).plan
    row = next(one for one in planned.changes if str(one.address) == AT)
    assert (row.action, row.fields) == (Action.ADOPT, ())
    assert any("changelog: (not checked" in note for note in row.notes)
    assert any("config" in note and "not compared" in note for note in row.notes)
    report = bench.apply(*declared)
    assert report.exit_code == 0
    assert dict(bench.api.objects["release"]) == before
    assert not bench.plan(*declared).plan.has_changes


@pytest.mark.parametrize("shown", [True, False])
def test_a_lost_answer_of_a_release(bench, shown):
    """It is found by plugin and version, in the same run or by the next."""
    bench.api.fail("create_release", lost(), done=True)
    declared = (plugin(), full_release())
    if not shown:
        lookup = bench.api.get_plugin_release_by_lookup

        def late(*given: Any, **more: Any) -> Any:
            if "create_release" in bench.api.writes():
                raise lost()
            return lookup(*given, **more)

        bench.api.get_plugin_release_by_lookup = late
    report = bench.apply(*declared)
    assert outcome(report, AT).result is (Result.DONE if shown else Result.UNKNOWN)
    if not shown:
        bench.api.get_plugin_release_by_lookup = lookup
        report = bench.apply(*declared)
    assert report.exit_code == 0
    assert len(bench.api.objects["release"]) == 1
    assert bench.api.writes().count("create_release") == 1
    assert not bench.plan(*declared).plan.has_changes
    assert bench.record(AT).digest == f"pkg1:sha256:{'aa' * 32}"


def test_a_storage_whose_credentials_are_not_shown(bench):
    """Under a regime of credentials nothing that is left out is a difference."""
    bench.environ["KEY"] = "s3cret-canary"
    spec = {
        "name": "raw", "provider": "s3",
        "configuration": {"key": SecretRef("env", "KEY"), "account": "a", "bucket": "b"},
    }  # fmt: skip
    declared = Desired(Address("storage", "raw"), spec)

    def regime(kind: str, made: dict[str, Any]) -> None:
        if kind == "storage":
            made["configuration"] = {"bucket": "b"}
            made["credential_regime"] = "session"

    bench.api.quirk = regime
    report = bench.apply(declared)
    assert report.exit_code == 0
    assert not bench.plan(declared).plan.has_changes
    bench.begin_state()
    planned = bench.plan(declared).plan
    (row,) = planned.changes
    assert (row.action, row.fields) == (Action.ADOPT, ())
    assert bench.apply(declared).exit_code == 0
    assert not bench.plan(declared).plan.has_changes
    assert bench.api.writes() == ["create_storage"]


def test_a_field_that_three_lack_is_said_once(bench):
    """It is a fact of the backend; other fields, and other findings, have lines of their own."""
    declared = [plugin(name, version="1.0") for name in ("yolo", "two", "three")]
    report = bench.apply(*declared, full_release())
    text = render_report(report, color=False)
    assert text.count("This backend does not store `version` of a plugin") == 1
    assert "This backend does not store `version` of a plugin (3 plugins)." in text
    assert text.count("`changelog` of a release.") == 1
    assert "does not store `config` of a release as sent" in text
    assert "compares with that" not in text


def test_a_plugin_is_taken_over_without_an_update(bench):
    """What its own answer does not name is no difference; what it shows otherwise is sent."""
    bench.api.list_plugins = lambda: bench.api.all("plugin")
    declared = plugin(version="1.0", author="me", description="d")
    bench.apply(declared)
    bench.begin_state()
    (row,) = bench.plan(declared).plan.changes
    assert (row.action, row.fields) == (Action.ADOPT, ())
    assert any("version: (not checked" in note for note in row.notes)
    assert bench.apply(declared).exit_code == 0
    assert bench.api.writes() == ["create_plugin"]
    assert not bench.plan(declared).plan.has_changes
    bench.api.quirk = None
    bench.api.objects["plugin"]["1"]["version"] = "0.9"
    assert bench.plan(declared).plan.has_changes


def test_the_digest_of_a_debug_release_proves_nothing(bench):
    """The platform replaces its bytes, so that what was published under it may be gone."""
    bench.api.list_plugins = lambda: bench.api.all("plugin")
    for debug in (True, False):
        new = release(version="2.0.0" if debug else "1.0.0")
        declared = (plugin(), replace(new, spec={**new.spec, "debug": debug}))
        bench.apply(*declared)
        raw = next(iter(bench.api.objects["release"].values()))
        assert raw["meta"]
        bench.begin_state()
        row = next(c for c in bench.plan(*declared).plan.changes if c.address == new.address)
        assert row.action is Action.ADOPT
        assert any("unverified" in note for note in row.notes) is debug
        assert ("published_digest" in row.extras) is not debug
