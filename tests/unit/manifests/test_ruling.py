"""The settings of one project file over what another declares."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from synapse_apply.manifests.files import pin_settings
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.project import (
    GuardSettings,
    Policy,
    PolicyRule,
    Project,
    StateSettings,
    Target,
)
from synapse_apply.model.values import SecretRef

BASE = Target("prod", url="https://base", position=Position("main:synapse-apply.yaml", 3, 1))
OTHER: dict[str, Any] = {
    "url": "https://evil",
    "tenant": "evil",
    "api": {"*": "v2"},
    "token": SecretRef("env", "EVIL"),
    "agents": {"a": SecretRef("env", "EVIL")},
    "state": StateSettings("postgresql://evil", "x"),
    "variables": {"v": 1},
    "variable_places": {"v": Position("synapse-apply.yaml", 5, 3)},
    "manifests": ("evil/",),
    "overlays": {"plugin/x": object()},
    "allow_env": ("*",),
    "allow_files": ("/etc/passwd",),
    "source_settings": {"sops": {"age": {"env": "EVIL"}}},
    "on_drift": "hold",
    "unsupported_fields": "warning",
    "require_verified": ("other",),
    "owners": ("evil",),
    "settle_after": 1.0,
    "guards": GuardSettings(1.0, 1000),
    "policy": Policy("refuse"),
    "labels": {"tier": "gold"},
    "row": {"name": "evil"},
}
FROM_THE_CHANGE = {"variables", "variable_places", "manifests", "overlays", "row"}


def project(*targets: Target, **more: Any) -> Project:
    named = {target.name: target for target in targets}
    return Project(Path("/p"), Path("/p/synapse-apply.yaml"), targets=named, **more)


def test_every_setting_is_tried() -> None:
    """A setting that is added later must say on which side it stands."""
    no_settings = {"name", "position", "looked_at", "opened"}
    assert {one.name for one in fields(Target)} == OTHER.keys() | no_settings


def test_what_is_opened_is_what_the_rules_list() -> None:
    """Not what the change lists, nor what it says is opened."""
    own = replace(BASE, allow_env=("AWS_B",), opened=("AWS_C",))
    rules = replace(BASE, allow_env=("AWS_A",), allow_files=("/run/token",))
    made = pin_settings(project(own), project(rules), "main")
    assert made.targets["prod"].opened == ("AWS_A", "/run/token")


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_setting_of_a_target(name: str) -> None:
    """All is taken from the rules, and told, but for what declares something."""
    own = replace(BASE, position=Position("synapse-apply.yaml", 9, 1), **{name: OTHER[name]})
    made = pin_settings(project(own), project(BASE), "main")
    declares = name in FROM_THE_CHANGE
    assert getattr(made.targets["prod"], name) == getattr(own if declares else BASE, name)
    if declares:
        assert made.findings == ()
        return
    (told,) = made.findings
    shown_name = "sops" if name == "source_settings" else name
    assert told.detail.startswith(
        f"targets.prod.{shown_name}: the plan uses the settings of main, not"
    )
    assert told.position == own.position


def test_settings_of_the_project_and_targets_of_one_side() -> None:
    """Defaults and limits are of the rules; a target needs both files."""
    new, gone = Target("new", position=BASE.position), Target("gone", position=BASE.position)
    own = project(BASE, new, default_target="new", max_package_size=1)
    made = pin_settings(own, project(BASE, gone, default_target="prod"), "main")
    assert set(made.targets) == {"prod"}
    assert (made.default_target, made.max_package_size) == ("prod", 4 * 1024**3)
    (told,) = made.findings
    names = told.detail.partition(":")[0]
    assert names == "default_target, max_package_size, targets.new, targets.gone"


def test_a_rule_of_a_policy_that_stands_elsewhere_is_the_same() -> None:
    """Two files have one rule at two places: nothing is told of it."""
    placed = [
        replace(BASE, policy=Policy(rules=(PolicyRule("changelog", "changelog", position=at),)))
        for at in (Position("synapse-apply.yaml", 9, 1), Position("main:synapse-apply.yaml", 3, 1))
    ]
    assert not pin_settings(project(placed[0]), project(placed[1]), "main").findings
