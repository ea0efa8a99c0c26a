"""Variables keep their type where they stand alone; overlays patch without moving anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.manifests.manifests_on_disk import HEAD, PLUGIN, load_of, project_of

from synapse_apply.manifests.decode.variables import apply_merge_patch, parse_given_variables
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


def test_the_command_line_gives_typed_values(tmp_path: Path) -> None:
    """`--var` reads text as the declared type and wins over `--var @FILE`."""
    project = project_of(tmp_path, VARIABLES)
    given, findings = parse_given_variables(
        project,
        {"i": "7", "b": "false", "l": "[1, two]", "m": '{"k": null}', "s": "1.10", "n": "2"},
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
