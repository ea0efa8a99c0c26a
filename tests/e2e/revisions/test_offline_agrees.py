"""Where the backend is what the base declares, an offline plan is the plan."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from e2e.revisions.conftest import Repository
from e2e.scenarios.workplace import PLUGIN, RELEASE
from laws.effort import DEEP


def rows(document: Any) -> dict[str, Any]:
    """What a plan says of each address, ids and notes aside."""
    return {
        row["address"]: (
            row["change"]["actions"],
            row["action_reason"],
            [(field["path"], field["cause"]) for field in row["fields"]],
            [refusal["rule"] for refusal in row["refusals"]],
        )
        for row in document["resource_changes"]
    }


def edit(repo: Repository, chosen: tuple[bool, ...]) -> None:
    """Some of: an update, a bump, a new plugin with a release, a fixed field, a removal, a rename."""
    place = repo.place
    update, bump, plugin, fixed, removal, rename = chosen
    if update:
        place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
        place.edit("manifests/plugin.yaml", "default: 0.8", "maximum: 1")
    if bump:
        place.edit("manifests/plugin.yaml", 'version: "1.0.0"\n  changelog: First',
                   'version: "1.1.0"\n  changelog: Second')  # fmt: skip
        place.edit("plugins/yolo/config.yaml", "1.0.0", "1.1.0")
        place.edit("manifests/plugin.yaml", 'version: "1.0.0"', 'version: "1.1.0"')
    if plugin:
        sam = [text.replace("yolo", "sam").replace("Yolo", "Sam") for text in (PLUGIN, RELEASE)]
        place.write("manifests/sam.yaml", *sam)
        place.write("plugins/sam/config.yaml", 'name: Sam\ncode: sam\nversion: "1.0.0"\n'
                    "category: pre_annotation\n")  # fmt: skip
    if fixed:
        place.edit("manifests/storage.yaml", "/data/raw", "/data/other")
    if removal:
        (repo.root / "manifests/storage.yaml").unlink()
    if rename:
        place.edit("manifests/plugin.yaml", "metadata: {name: yolo}", "metadata: {name: other}")
        place.edit("manifests/plugin.yaml", "plugin: yolo", "plugin: other")


# None of them, each alone, and any two; by default each in one pair.
PAIRS = {(0, 5), (1, 3), (2, 4)}
CHOICES = [
    one
    for one in itertools.product((False, True), repeat=6)
    if sum(one) <= 2 and not (one[3] and one[4])
    if DEEP or sum(one) < 2 or tuple(itertools.compress(range(6), one)) in PAIRS
]


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda one: "".join("-x"[at] for at in one))
def test_offline_is_online_without_drift(repo: Repository, chosen: tuple[bool, ...]) -> None:
    """The same actions, fields, causes and refusals, also after the base was only applied."""
    edit(repo, chosen)
    online = repo.place.plan("--json", code=0).document
    offline = repo.place.plan("--json", "--offline", "--against", "git:main", code=0).document
    assert rows(offline) == rows(online)
    assert offline["summary"] == online["summary"]
    assert offline["guards"] == online["guards"]
