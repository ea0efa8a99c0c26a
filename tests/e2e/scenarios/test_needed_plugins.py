"""What packages need of each other: the order of an apply, the graph, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from e2e.scenarios.workplace import Workplace, project

BASE = "release/a-user@1.0.0"
NEEDED = "release/z-needed@1.1.0"


def plugin(place: Workplace, name: str, version: str = "1.0.0", needs: str = "{}") -> None:
    """A plugin and its release; its package needs others."""
    place.write(
        f"manifests/{name}.yaml",
        "apiVersion: synapse-apply/v1\nkind: Plugin\n"
        f"metadata: {{name: {name}}}\nspec: {{from: plugins/{name}}}\n",
        "apiVersion: synapse-apply/v1\nkind: Release\n"
        f"spec: {{plugin: {name}, source: plugins/{name}}}\n",
    )
    place.write(
        f"plugins/{name}/config.yaml",
        f"name: {name}\ncode: code-{name}\nversion: {version}\ncategory: export\n"
        f"dependencies: {needs}\n",
    )


def rules(place: Workplace, *more: str) -> list[tuple[str, str, int]]:
    """Severity, rule and line of each finding of validate."""
    found = place.run("validate", "--json", *more).document["diagnostics"]
    return [(one["severity"], one["rule"], one["range"]["start"]["line"]) for one in found]


@pytest.fixture
def needing(place: Workplace) -> Workplace:
    """`a-user` needs `z-needed`, which comes later by name."""
    for name in ("plugin", "storage"):
        (place.root / f"manifests/{name}.yaml").unlink()
    plugin(place, "z-needed", "1.1.0")
    plugin(place, "a-user", needs="{code-z-needed: '>=1.0,<2'}")
    return place


def created(place: Workplace) -> list[str]:
    """The releases that a plan makes, in its order."""
    rows = place.plan("--json").document["resource_changes"]
    return [row["address"] for row in rows if row["address"].startswith("release/")]


def test_a_release_comes_after_what_its_package_needs(needing: Workplace) -> None:
    """In the plan, in the graph, in what the server got, in the record; then nothing is left."""
    assert rules(needing) == []
    needing.run("state", "init", code=0)
    assert created(needing) == [NEEDED, BASE]
    row = next(r for r in needing.plan("--json").document["resource_changes"]
               if r["address"] == BASE)  # fmt: skip
    assert row["depends_on"] == ["plugin/a-user", NEEDED]
    drawn = needing.run("validate", "--graph", code=0).out
    nodes = [line.strip().split('["') for line in drawn.splitlines() if '["' in line]
    names = {label.removesuffix('"]'): name for name, label in nodes}
    assert f"{names[BASE]} --> {names[NEEDED]}" in drawn
    needing.apply()
    needing.unchanged()
    shown = needing.run("state", "show", BASE, "--json", code=0).document
    assert NEEDED in shown["depends_on"]


def test_what_is_needed_and_fails_stops_what_needs_it(needing: Workplace) -> None:
    """A selection without it is refused, and nothing is sent for it."""
    needing.run("state", "init", code=0)
    said = needing.apply("--only", BASE, "--only", "plugin/a-user", code=None)
    assert said.code == 5
    assert f"it depends on {NEEDED}, which this plan cannot provide" in said.text
    needing.apply()
    needing.unchanged()


def test_what_is_missing_or_does_not_fit_is_told(needing: Workplace) -> None:
    """At its line of config.yaml; with --strict it is an error. Nothing is in the way of a plan."""
    plugin(needing, "a-user", needs="\n  code-z-needed: '>=2'\n  code-other: ''")
    found = [
        ("warning", "package:dependency-version", 6),
        ("warning", "package:dependency-missing", 7),
    ]
    assert rules(needing) == found
    assert {severity for severity, *_ in rules(needing, "--strict")} == {"error"}
    text = needing.run("validate", code=0).err
    assert "plugins/a-user/config.yaml:6:3" in text
    assert "needs code-z-needed >=2, but the manifests declare 1.1.0" in text
    needing.run("state", "init", code=0)
    needing.apply()
    needing.unchanged()


def test_a_circle_is_an_error_that_names_it(needing: Workplace) -> None:
    """For validate and for plan, also of three; nothing is sent."""
    plugin(needing, "z-needed", "1.1.0", needs="{code-middle: ''}")
    plugin(needing, "middle", needs="{code-a-user: ''}")
    ran = needing.run("validate", code=1)
    circle = f"{BASE} needs {NEEDED} needs release/middle@1.0.0 needs {BASE}"
    assert circle in ran.err
    assert "package:dependency-cycle" in ran.err
    needing.run("state", "init", code=0)
    assert circle in needing.plan(code=1).text
    assert needing.apply(code=None).code == 1
    needing.run("validate", "--graph", code=0)


def test_on_api_v2_the_first_release_waits_too(
    serve: Callable[..., Any], make: Callable[..., Workplace]
) -> None:
    """There the plugin's create makes it: so that waits for what the package needs."""
    server = serve()
    place = make(server, api="v2")
    for name in ("plugin", "storage"):
        (place.root / f"manifests/{name}.yaml").unlink()
    plugin(place, "z-needed", "1.1.0")
    plugin(place, "a-user", needs="{code-z-needed: '~=1.0'}")
    place.run("state", "init", code=0)
    rows = place.plan("--json").document["resource_changes"]
    order = [row["address"] for row in rows]
    assert order.index("plugin/z-needed") < order.index("plugin/a-user")
    assert next(r["depends_on"] for r in rows if r["address"] == "plugin/a-user") == [NEEDED]
    place.apply("--parallelism", "8")
    place.unchanged()
    made = [one["body"]["code"] for one in server.objects("plugin")]
    assert sorted(made) == ["code-a-user", "code-z-needed"]


@pytest.mark.parametrize(("spec", "rule"), [
    ("{name: Y, category: export}", "package:plugin-code"),
    ("{name: Y, code: y, category: detection}", "package:plugin-category"),
    ("{name: Y, code: y}", "package:plugin-category"),
])  # fmt: skip
def test_a_plugin_unlike_the_platforms_is_a_warning_off_embedded(
    place: Workplace, spec: str, rule: str
) -> None:
    """With the list of categories and the place; a plan says nothing of it, embedded neither."""
    place.write(
        "manifests/plugin.yaml",
        f"apiVersion: synapse-apply/v1\nkind: Plugin\nmetadata: {{name: y}}\nspec: {spec}\n",
    )
    assert [(one, two) for one, two, _ in rules(place)] == [("warning", rule)]
    text = place.run("validate", code=0).err
    assert "manifests/plugin.yaml:4:" in text
    if rule.endswith("category"):
        assert "neural_net, export, upload, smart_tool, pre_annotation, post_annotation" in text
    assert rules(place, "-t", "embedded") == []
    place.run("state", "init", code=0)
    assert rule not in place.plan().text


def test_the_embedded_backend_alone_gets_warnings(place: Workplace) -> None:
    """What the platform would refuse is an error for it, and none for the embedded backend."""
    place.edit("plugins/yolo/config.yaml", "category: pre_annotation", "category: export\nenv: []")
    place.edit("manifests/plugin.yaml", "category: pre_annotation", "category: export")
    assert rules(place) == [("error", "package:shape", 5)]
    assert place.run("validate").code == 1
    assert rules(place, "-t", "embedded") == [("warning", "package:shape", 5)]
    place.run("validate", "-t", "embedded", code=0)
    place.run("validate", "-t", "embedded", "--strict", code=1)
    checked = place.run("validate", "plugins/yolo", code=1)
    assert re.search(r"^Not valid: .*, \d+ errors?.*\.$", checked.out, re.MULTILINE), checked.out
    two = project("https://a.example").replace('"targets": {', '"targets": {"embedded": {}, ')
    place.write("synapse-apply.yaml", two)
    assert rules(place) == [("error", "package:shape", 5)]


def test_findings_in_every_form_of_report(place: Workplace) -> None:
    """Annotations, code quality, Markdown, HTML and JSON name the rule; a note is one."""
    place.edit("plugins/yolo/config.yaml", "category: pre_annotation", "category: export\nkeys: 1")
    place.edit("manifests/plugin.yaml", "category: pre_annotation", "category: export")
    place.write("plugins/yolo/plugin/id.py", f'T = "ghp_{"a1B2" * 9}"\n')
    reports = [f"--report={kind}=r.{kind}" for kind in ("json", "html", "markdown", "codequality")]
    for command in (["validate"], ["validate", "plugins/yolo"]):
        ran = place.run(*command, *reports, "--report", "github", code=1)
        assert "Note: Key that is ignored" in ran.err
        assert "::notice file=plugins/yolo/config.yaml,line=5," in ran.err
        assert "::error file=plugins/yolo/plugin/id.py,line=1,col=6" in ran.err
        for kind in ("json", "html", "markdown", "codequality"):
            text = (place.root / f"r.{kind}").read_text(encoding="utf-8")
            assert "package:secret" in text.replace("<span></span>", "")
            assert "package:unknown-key" in text
            assert "a1B2" not in text
        assert "a1B2" not in ran.text
    document = place.run("validate", "plugins/yolo", "--json", code=1).document
    assert (document["error_count"], document["warning_count"], document["note_count"]) == (1, 0, 1)


def test_a_package_is_looked_into_whatever_is_wrong_with_its_release(place: Workplace) -> None:
    """No version, no release: what else is wrong with the package is told in the same run."""
    place.edit("manifests/plugin.yaml", '  version: "1.0.0"\n  changelog', "  changelog")
    place.edit("plugins/yolo/config.yaml", '"1.0.0"', "1.0")
    place.edit("plugins/yolo/config.yaml", "category: pre_annotation", "category: detection")
    ran = place.run("validate", code=1)
    assert "Malformed version" in ran.err
    assert "rule package:category" in ran.err
