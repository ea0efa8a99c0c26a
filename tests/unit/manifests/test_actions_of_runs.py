"""Which form of a run a `verify:` block makes, where the plugin lists actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.manifests.manifests_on_disk import HEAD, PLUGIN, load_of

from synapse_apply.kinds.release import RUN_VERIFICATION
from synapse_apply.model.address import Address

AT = Address("release", "yolo@1.0.0")
PROD = "targets: {prod: {url: 'https://api.example.com'}}\n"


def load_release(
    folder: Path, verify: str, *actions: str, target: str = "prod", more: str = ""
) -> Any:
    """The findings of a release, and what its run would send."""
    config = {"version": "1.0.0", "actions": {name: {"method": "job"} for name in actions}}
    text = f"{HEAD}kind: Release\nspec:\n  plugin: yolo\n  source: ./p\n{more}  verify: {verify}\n"
    loaded = load_of(
        folder, PLUGIN + text, PROD, target, package_config=lambda _source: (config, {})
    )
    desired = loaded.desired.get(AT)
    body = (
        RUN_VERIFICATION.build_body(desired.spec, desired.verify)
        if desired and desired.verify
        else None
    )
    return loaded.diagnostics, body


@pytest.mark.parametrize(
    ("verify", "sent"),
    [
        ("{}", {"params": {}}),
        ("{parameters: {q: 1}}", {"params": {"q": 1}}),
        ("{parameters: {q: 1}, context: {n: 2}}", {"params": {"q": 1}, "context": {"n": 2}}),
        ("{params: {q: 1}}", {"params": {"q": 1}}),
        ("{agent: 7}", {"params": {}, "agent": 7}),
        ("{action: convert, agent: 7}", {"params": {}, "agent": 7}),
    ],
)
def test_the_only_action_is_taken_by_itself(tmp_path: Path, verify: str, sent: Any) -> None:
    """In the platform's form, whatever the block is written in."""
    findings, body = load_release(tmp_path, verify, "convert")
    assert findings == ()
    assert body == {"action": "convert", "version": "1.0.0", **sent}


def test_the_actions_of_a_declared_config_count(tmp_path: Path) -> None:
    """Where the package lists none."""
    more = "  config: {actions: {detect: {method: job}}}\n"
    _, body = load_release(tmp_path, "{}", more=more)
    assert body["action"] == "detect"


def test_the_embedded_backend_is_given_a_context_for_our_mark(tmp_path: Path) -> None:
    """It shows the context of a job, by which a run whose answer was lost is found."""
    _, body = load_release(tmp_path, "{}", "convert", target="embedded")
    assert body == {"action": "convert", "params": {}, "context": {}, "version": "1.0.0"}


@pytest.mark.parametrize("verify", ["{}", "{parameters: {q: 1}}", "{agent: 3}", "{action: ''}"])
def test_one_of_several_actions_is_asked_for(tmp_path: Path, verify: str) -> None:
    """At validate, with its place and the list."""
    findings, _ = load_release(tmp_path, verify, "train", "test")
    (found,) = findings
    assert (found.is_error, found.summary) == (True, "Missing action")
    assert "it lists train, test" in found.detail
    assert "add `action: train`" in found.hint
    assert ("under `params`" in found.hint) == ("parameters" in verify)
    assert str(found.position).endswith("manifests/a.yaml:11:3")


def test_an_action_that_is_not_listed_is_an_error(tmp_path: Path) -> None:
    """With the list; what a checkout has named so is cut."""
    findings, _ = load_release(tmp_path, "{action: tran}", "train", "x" * 500)
    (found,) = findings
    assert (found.is_error, found.summary) == (True, "No such action")
    assert "train, xxx" in found.detail
    assert len(found.detail) < 300
