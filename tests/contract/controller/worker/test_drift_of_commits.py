"""Which drift a commit brings up: where the last one that was live left it alone, it is of Git."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract.controller.worker.applying import (
    EVERYTHING,
    NAME,
    ApplySite,
    open_site,
    permit_for_long,
)

from synapse_apply.controller.planned_rows import PlannedRow, RowAction, RowCause
from synapse_apply.controller.rows import CallCounts
from synapse_apply.controller.worker.exchange import Order

pytestmark = pytest.mark.usefixtures("forked_workers")

GIT, DRIFT = RowCause.GIT, RowCause.DRIFT
BY_HAND = {"description": "by hand", "configuration": {"kept": 1, "more": 2}}
MOVED = "moved: [{from: plugin/old, to: plugin/yolo}]\n"


class KeptSite(ApplySite):
    """A site whose only plugin is declared so."""

    def declare(
        self, lifecycle: str = "{}", *, name: str = "yolo", description: str = "d", more: str = ""
    ) -> str:
        """Push it; `more` stands at the end of the project file."""
        return self.push(
            {
                "synapse-apply.yaml": self.project + more,
                "manifests/yolo.yaml": f"""
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: {name}}}
lifecycle: {lifecycle}
spec:
  {{name: yolo, code: yolo, version: "1.0.0", category: neural_net, description: {description},
    configuration: {{kept: 1}}}}
""",
            }
        )

    def change_by_hand(self, **values: Any) -> None:
        (plugin,) = self._ask_backend("GET", "objects/plugin/")["results"]
        self._ask_backend("PATCH", f"objects/plugin/{plugin['id']}/", values)

    def delete_by_hand(self) -> None:
        (plugin,) = self._ask_backend("GET", "objects/plugin/")["results"]
        self._ask_backend("DELETE", f"objects/plugin/{plugin['id']}/")

    def find_row(self, live_commit: str) -> PlannedRow:
        result = self.pool.look(Order(*NAME, self.commit, 60.0, live_commit=live_commit))
        row, *guards = result.rows
        assert {guard.action for guard in guards} <= {RowAction.GUARD}
        return row


@pytest.fixture
def site(tmp_path: Path) -> Iterator[KeptSite]:
    with open_site(tmp_path, KeptSite) as made:
        yield made


@pytest.fixture(scope="module")
def site_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptSite]:
    with open_site(tmp_path_factory.mktemp("site"), KeptSite) as made:
        yield made


@pytest.fixture
def applied_site(site_of_module: KeptSite) -> KeptSite:
    """The plugin is live as it is declared, whatever was done to it before."""
    site_of_module.declare()
    site_of_module.apply()
    return site_of_module


HELD = "    on_drift: hold\n"
IGNORED = "{ignore_changes: [/description]}"
OWNED = "{own: [/configuration]}"


@pytest.mark.parametrize(
    ("before", "after", "is_of_git"),
    [
        ({}, {"more": "    guards: {max_share: 0.4}\n"}, False),
        ({"lifecycle": "{ignore_changes: [/author]}"}, {}, False),
        ({"lifecycle": IGNORED}, {}, True),
        ({"lifecycle": "{ignore_changes: [/description, /configuration]}"}, {}, True),
        ({"more": HELD}, {}, True),
        ({"more": HELD}, {"lifecycle": "{prevent_destroy: true}"}, True),
        ({}, {"lifecycle": OWNED}, True),
        ({"lifecycle": OWNED}, {"lifecycle": OWNED}, False),
        # As it was sent, after a commit that followed what was live.
        ({"description": "by hand"}, {}, True),
    ],
)
def test_drift_is_of_git_where_a_commit_brings_it_up(applied_site, before, after, is_of_git):
    """Beside the last commit that was live; an apply judges by the same commit."""
    check_drift(applied_site, before, after, is_of_git)


@pytest.mark.parametrize(("before", "is_of_git"), [({}, False), ({"lifecycle": IGNORED}, True)])
def test_drift_is_of_git_also_behind_a_rename(site, before, is_of_git):
    """The last commit declared it by its older address."""
    check_drift(site, {"name": "old", **before}, {"more": MOVED}, is_of_git)


def check_drift(
    site: KeptSite, before: dict[str, Any], after: dict[str, Any], is_of_git: bool
) -> None:
    site.declare(**before | ({"description": "d"} if "description" in before else {}))
    site.apply()
    site.change_by_hand(**BY_HAND)
    live = site.declare(**before)
    site.declare(**after)
    row = site.find_row(live)
    assert (row.address, row.action) == ("plugin/yolo", RowAction.UPDATE)
    assert row.causes == ((GIT, DRIFT) if is_of_git else (DRIFT,))
    # What nobody knows of the time before, and what is live itself.
    for commit in ("", site.commit):
        assert site.find_row(commit).causes == (DRIFT,)
    request = site.build_request(replace(EVERYTHING, causes=frozenset({DRIFT})))
    applied = site.pool.apply(replace(request, live_commit=live), permit_for_long)
    assert applied.calls == (CallCounts() if is_of_git else CallCounts(done=1))


def test_drift_of_a_commit_that_cannot_be_read_is_of_git(site):
    """One that nobody has any more, one that is broken, one without the target or the resource."""
    first = site.commit
    site.declare()
    site.apply()
    site.change_by_hand(**BY_HAND)
    broken = site.push({"manifests/yolo.yaml": "spec:\n\tbroken: true\n"})
    other = site.push({"synapse-apply.yaml": site.project.replace("  prod:", "  other:")})
    site.declare()
    for commit in (first, broken, other, "f" * 40):
        assert site.find_row(commit).causes == (GIT, DRIFT), commit
    site.delete_by_hand()
    for commit in (first, broken):
        row = site.find_row(commit)
        assert (row.action, row.causes) == (RowAction.RECREATE, (GIT, DRIFT))
    known = site.declare()
    site.declare("{prevent_destroy: true}")
    assert site.find_row(known).causes == (DRIFT,)


def test_renames_are_followed_to_their_beginning(site):
    """A chain of `moved` whose first address the last commit did not declare, either."""
    names = [f"n{number}" for number in range(9)] + ["yolo"]
    moves = [f"{{from: plugin/{a}, to: plugin/{b}}}" for a, b in itertools.pairwise(names)]
    site.declare()
    site.apply()
    site.change_by_hand(**BY_HAND)
    live = site.declare(name="n0")
    nowhere = site.declare(name="another")
    site.declare(more=f"moved: [{', '.join(moves)}]\n")
    assert site.find_row(live).causes == (DRIFT,)
    assert site.find_row(nowhere).causes == (GIT, DRIFT)
