"""Updates of objects that hold secrets, as a kind will have them whose API can update it.

No kind of API v1 has secrets and an update at once. The throwaway kind here does: storages,
updated through the backend's door for outside edits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from laws import holds
from laws.bench import Project, combinations, name_of, pending
from laws.canaries import leaks
from laws.effort import effort, spread
from laws.worlds import SECRET_KEYS, Story, stories

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ResourceType, UpdateMode
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Result

pytestmark = pytest.mark.deep
STORAGES = ("storage/sa", "storage/sb")


def updatable(mode: UpdateMode, api: str) -> ResourceType:
    """Storages with an update of this sort, in this API version."""
    kind = CATALOGUE["storage"]

    def update(api: Any, found: str, body: Any) -> Any:
        put = mode is UpdateMode.PUT
        return api.put_storage(found, body) if put else api.patch_storage(found, body)

    known = kind.bindings["v1"]
    binding = replace(
        known,
        api=api,
        update_object=update,
        update_mode=mode,
        decode=lambda raw, marks: replace(known.decode(raw, marks), api=api),
    )
    return replace(kind, bindings={api: binding}, update_hint="")


def step(here: Project, shown: bool) -> None:
    """One apply and what must hold then."""
    state, stored = here.state(), here.server.everything()["storage"]
    try:
        done = here.apply()
    except InputError as stopped:
        holds.of_findings(stopped.diagnostics)
        return
    holds.of_plan(done.plan)
    holds.of_report(done.report)
    assert holds.MASK not in [text for _, body in done.sent for text in holds.texts_in(body)]
    assert [o for o in done.report.outcomes if o.result is not Result.DONE] == []
    after = {str(row["id"]): row["body"] for row in here.server.everything()["storage"]}
    rows = {str(row["id"]): row["body"] for row in stored}
    for change in [c for c in done.plan.changes if c.address.kind == "storage"]:
        if change.action is Action.UPDATE and change.remote_id in rows and not change.is_refused:
            keys = rows[change.remote_id]["configuration"].keys()
            touched = {str(field.path[1]) for field in change.fields if len(field.path) > 1}
            touched |= {str(p[1]) for p in state.records[change.address].applied if len(p) > 1}
            hidden = set() if shown else secret_keys(rows[change.remote_id])
            for key in keys - touched - hidden:
                before, now = (
                    drop_nulls(some[change.remote_id]["configuration"].get(key))
                    for some in (rows, after)
                )
                assert now == before, (change.address, key)
    again = here.plan().plan
    holds.of_plan(again)
    assert pending(again) == []


def drop_nulls(value: Any) -> Any:
    """A value without nulls in maps, and without maps of nulls alone: both count as absent."""
    if not isinstance(value, Mapping) or not value:
        return value
    inside = {key: drop_nulls(inner) for key, inner in value.items()}
    return {key: inner for key, inner in inside.items() if inner is not None} or None


def secret_keys(body: Any) -> set[str]:
    """Keys that a server which omits secrets does not show, so that nobody can keep them."""
    key = SECRET_KEYS.get(body["provider"], "")
    everything = set(body["configuration"])
    known = {"access_key_id", "private_key", str(key)}
    return everything if key == "" else everything & known


# On v2 an update sends what changed.
CASES = [
    *(
        (UpdateMode(switches.pop("update")), "v1", switches)
        for switches in spread(
            [
                {"update": mode.value, **switches}
                for mode in UpdateMode
                for switches in combinations()
            ]
        )
    ),
    *((UpdateMode.PATCH, "v2", switches) for switches in spread(combinations("v2"))),
]


@pytest.mark.parametrize(
    ("mode", "api", "switches"), CASES, ids=lambda one: getattr(one, "value", "") or name_of(one)
)
def test_an_update_keeps_secrets_and_echoes_none(project, mode, api, switches):
    """What only the server has survives; a second plan is empty; nothing is told."""
    catalogue = {**CATALOGUE, "storage": updatable(mode, api)}

    @effort(few=2, many=80)
    @given(stories(STORAGES))
    def law(story: Story) -> None:
        here = replace(project(switches, api), catalogue=catalogue)
        here.found(story.first, story.before)
        shown = here.server.switches()["secrets"] != "omitted"
        for world, edits in ((story.first, story.outside), (story.second, story.later)):
            world.write(here.root)
            step(here, shown)
            for edit in edits:
                here.server.edit(edit)
            step(here, shown)
        assert leaks(holds.files(here.root / ".synapse-apply")) == []

    law()
