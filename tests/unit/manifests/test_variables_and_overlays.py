"""Variables keep their type where they stand alone; overlays patch without moving anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.manifests.manifests_on_disk import HEAD, PLUGIN, load_of, project_of

from synapse_apply.manifests.decode.loading import load_all_manifests
from synapse_apply.manifests.decode.variables import apply_merge_patch, parse_given_variables
from synapse_apply.manifests.project.targets import select_targets_to_check
from synapse_apply.model.address import Address

YOLO = Address("plugin", "yolo")
VARIABLES = """\
variables:
  s: {default: text}
  n: {type: number, default: 0.8}
  i: {type: integer, default: 3}
  b: {type: boolean, default: true}
  l: {type: list, default: [1, "${var.s}"]}
  m: {type: map, default: {k: "${var.n}"}}
  chain: {default: "${var.s}-${var.i}"}
"""


def configured(folder: Path, value: str, project: str = VARIABLES, **more: Any) -> Any:
    """What `value` becomes in a plugin's configuration."""
    text = (
        HEAD
        + f"kind: Plugin\nmetadata: {{name: yolo}}\nspec:\n  name: Y\n  configuration:\n    x: {value}\n"
    )
    loaded = load_of(folder, text, project, **more)
    assert not loaded.diagnostics, loaded.diagnostics
    return loaded.desired[YOLO].spec["configuration"]["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"${var.s}"', "text"),
        ("${var.n}", 0.8),
        ("${var.i}", 3),
        ("${var.b}", True),
        ("${var.l}", [1, "text"]),
        ("${var.m}", {"k": 0.8}),
        ("a ${var.n} b ${var.b}", "a 0.8 b true"),
        ("${var.chain}", "text-3"),
        ("$${var.s}", "${var.s}"),
        ("a$${b}${var.i}", "a${b}3"),
        ("$ {var.s} $x", "$ {var.s} $x"),
        ('["${var.i}", {deep: "${var.s}"}]', [3, {"deep": "text"}]),
    ],
)
def test_a_variable_takes_its_place(tmp_path: Path, text: str, value: Any) -> None:
    """Alone with its type, inside a text as text, and `$${` writes `${`."""
    assert configured(tmp_path, text) == value


def test_the_nearest_value_wins(tmp_path: Path) -> None:
    """Default, then the target, then the command line."""
    project = VARIABLES + "targets: {prod: {variables: {s: of-prod}}, dev: {}}\n"
    assert configured(tmp_path, "${var.s}", project, target="dev") == "text"
    assert configured(tmp_path, "${var.s}", project, target="prod") == "of-prod"
    given = {"s": "given"}
    assert configured(tmp_path, "${var.s}", project, target="prod", variables=given) == "given"


def test_the_command_line_gives_typed_values(tmp_path: Path) -> None:
    """`--var` reads text as the declared type and wins over `--var-file`."""
    project = project_of(tmp_path, VARIABLES)
    given, findings = parse_given_variables(
        project,
        ["i=7", "b=false", "l=[1, two]", 'm={"k": null}', "s=1.10", "n=2"],
        [("v.yaml", b"i: 1\nchain: from the file\n")],
    )
    assert not findings
    assert given == {
        "i": 7, "b": False, "l": [1, "two"], "m": {"k": None}, "s": "1.10", "n": 2,
        "chain": "from the file",
    }  # fmt: skip


def test_a_variable_nobody_uses_needs_no_value(tmp_path: Path) -> None:
    """Only what is used must be there: targets differ."""
    assert not load_of(tmp_path, PLUGIN, "variables: {bucket: {}}\n").diagnostics


@pytest.mark.parametrize(
    ("value", "patch", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}, {"a": {"c": 2, "d": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
        ({}, {"a": None}, {}),
    ],
)
def test_a_merge_patch(value: Any, patch: Any, result: Any) -> None:
    """RFC 7386, appendix A; the value itself stays as it is."""
    before = repr(value)
    assert apply_merge_patch(value, patch) == result
    assert repr(value) == before


OVERLAYS = """\
variables: {who: {default: Platform}}
targets:
  prod:
    overlays:
      plugin/yolo:
        spec: {author: "${var.who}", description: null, configuration: {a: {b: 2}}}
        metadata: {labels: {tier: gold}}
        lifecycle: {prevent_destroy: true}
      release/yolo@*: {spec: {changelog: patched}}
  dev: {}
"""
PATCHED = (
    HEAD + "kind: Plugin\nmetadata: {name: yolo, labels: {team: v}}\nspec:\n  name: Yolo\n"
    "  description: gone\n  configuration: {a: {b: 1, c: 3}}\n---\n"
    + HEAD + 'kind: Release\nspec: {plugin: yolo, version: "1.0.0", source: published}\n'
)  # fmt: skip


def test_what_an_overlay_wrote_stands_in_the_project_file(tmp_path: Path) -> None:
    """Positions tell a patched field from its neighbours."""
    one = load_of(tmp_path, PATCHED, OVERLAYS, "prod").desired[YOLO]
    assert str(one.find_position(("author",))) == "synapse-apply.yaml:8:16"
    assert str(one.find_position(("configuration", "a", "b"))) == "synapse-apply.yaml:8:77"
    assert str(one.find_position(("configuration", "a", "c"))).endswith("a.yaml:7:29")
    assert str(one.find_position(("name",))).endswith("a.yaml:5:3")
    assert set(one.positions) >= {("spec", "author"), ("spec", "name"), ("lifecycle",)}


def test_a_finding_that_targets_share_stands_once(tmp_path: Path) -> None:
    """Each target's own findings name it."""
    load_of(tmp_path, PATCHED.replace("author", "athor"))
    (tmp_path / "manifests" / "b.yaml").write_text(
        HEAD + "kind: Plugin\nmetadata: {name: other}\nspec: {name: Y, athor: me}\n"
    )
    project = project_of(
        tmp_path, "targets:\n  a: {}\n  b: {overlays: {plugin/other: {spec: {zzz: 1}}}}\n"
    )
    _, found = load_all_manifests(project, select_targets_to_check(project, None))
    assert [(f.path, f.target) for f in found] == [
        (("spec", "athor"), None), (("spec", "zzz"), "b")
    ]  # fmt: skip
