"""SIGKILL for an apply of approved rows at each boundary; then the same approvals once more."""

from __future__ import annotations

import signal

import pytest
from fault.commands import FOREVER, ended, kill, reaches
from fault.convergence import DEEP, Row, on_api, pending, some
from fault.permitted import apply_permitted, applying_permitted
from fault.scenarios import changes, first_apply, lock_and_prune
from fault.site import LATER, MakeSite, Server, Site, tally

SCENES = {"first-apply": first_apply, "changes": changes, "lock-and-prune": lock_and_prune}
# Plugins of API v1 that are not listed nobody can look up, and it deletes nothing.
PLACES = [
    (moment, api, scene)
    for moment in ("before", "after")
    for api, scene in [*(("v2", scene) for scene in SCENES), ("v1", "changes")]
    if DEEP
    or (scene == "first-apply" and api == "v2")
    or (moment, api, scene) in {("before", "v2", "lock-and-prune"), ("after", "v2", "changes")}
]
GROUPS_OF = {"first-apply": 1, "changes": 2, "lock-and-prune": 2}


def converges(site: Site, server: Server, row: Row) -> None:
    """An hour later the same approvals bring it to its end: no object twice, no call twice."""
    server.faults()
    with applying_permitted(site, "run-2", later=LATER, ahead=LATER) as process:
        code, out, err = ended(process)
    assert code == 0, (out, err)
    row.add(2, 0)
    found = tally(server, site.expected | set(server.ids()))
    assert not found["duplicates"], server.ids()
    assert pending(site.plan()) == []
    assert site.open_intents() == []


def changing(server: Server) -> list[str]:
    """The requests that change something, since the server was emptied."""
    return [asked for asked in server.requests() if not asked.startswith("GET ")]


_COUNTS: dict[tuple[str, str], tuple[int, list[str]]] = {}


def writes_and_methods_of(
    make_site: MakeSite, server: Server, scene: str, api: str
) -> tuple[int, list[str]]:
    """Of an apply of approved rows that nothing ends: its writes, and what its calls are."""
    if (scene, api) not in _COUNTS:
        site = make_site(groups=GROUPS_OF[scene])
        SCENES[scene](site)
        before = len(changing(server))
        with applying_permitted(site, counted=True) as process:
            code, _, err = ended(process)
        assert code == 0
        methods = [asked.partition(" ")[0] for asked in changing(server)[before:]]
        _COUNTS[scene, api] = len(err.split()), methods
    return _COUNTS[scene, api]


@pytest.mark.parametrize(("moment", "api", "scene"), PLACES, indirect=["api"])
def test_killed_at_a_write_with_approvals(
    moment: str, scene: str, api: str, make_site: MakeSite, server: Server, row: Row
) -> None:
    """An approval is used with the announcement, or neither is there."""
    writes, methods = writes_and_methods_of(make_site, server, scene, api)
    for nth in some(writes, 1, turn=2 if moment == "before" else 1):
        site = make_site(groups=GROUPS_OF[scene])
        SCENES[scene](site)
        before = len(changing(server))
        with applying_permitted(site, signal=signal.SIGKILL, nth=nth, moment=moment) as process:
            assert process.wait(60) == -signal.SIGKILL, nth
        converges(site, server, row)
        # Each call of an approved row was sent once.
        assert len(changing(server)) - before == len(methods), nth


@pytest.mark.parametrize(("commit", "api", "scene"), PLACES, indirect=["api"])
def test_killed_at_a_request_with_approvals(
    commit: str, scene: str, api: str, make_site: MakeSite, server: Server, row: Row
) -> None:
    """Nobody got the answer: what was not done is done by the same approval, and what was is not."""
    _, methods = writes_and_methods_of(make_site, server, scene, api)
    for position in some(len(methods), 1, turn=commit == "after"):
        method = methods[position - 1]
        nth = methods[:position].count(method)
        site = make_site(groups=GROUPS_OF[scene])
        SCENES[scene](site)
        before = len(changing(server))
        rule = {"match": {"method": method, "nth": nth}, "do": {"hang": FOREVER, "commit": commit}}
        server.faults(rule)
        with applying_permitted(site) as process:
            reaches(server, process)
            assert kill(process)
        converges(site, server, row)
        # One that was lost before it was done is no request to the server's log.
        assert len(changing(server)) - before == len(methods), (position, methods)


@on_api("v2")
def test_an_update_that_may_still_act_is_waited_for(
    api: str, make_site: MakeSite, server: Server, row: Row
) -> None:
    """Its approval is neither lost nor used again at once; the other rows go on."""
    update = {"v1": "PUT", "v2": "PATCH"}[api]
    site = make_site(groups=2)
    changes(site)
    before = len(changing(server))
    server.faults({"match": {"method": update, "nth": 1}, "do": {"hang": FOREVER}})
    with applying_permitted(site) as process:
        reaches(server, process)
        assert kill(process)
    server.faults()
    made = apply_permitted(site, run_id="run-2")
    unknown = [
        change for change in made.report.plan.refused_changes if change.refusals[0].outcome_unknown
    ]
    assert len(unknown) == 1
    assert {outcome.result.value for outcome in made.report.outcomes} == {"done"}
    updates = [asked for asked in changing(server)[before:] if asked.startswith(f"{update} ")]
    assert len(updates) == 1
    converges(site, server, row)
    # By the approval that it was given, and once.
    updates = [asked for asked in changing(server)[before:] if asked.startswith(f"{update} ")]
    assert len(updates) == len(set(updates)) == 2


@on_api("v2")
def test_what_approved_a_guard_comes_back_with_the_first_row(make_site: MakeSite, row: Row) -> None:
    """Killed before its first call is done: the same approvals of rows and guard do once more."""
    site = make_site(groups=1, extra_storages=3)
    assert apply_permitted(site).report.exit_code == 0
    for name, ids in site.server.ids().items():
        if name.startswith("storage/"):
            site.server.send("DELETE", f"/_emulator/objects/storage/{ids[0]}/")
    (site.root / "manifests" / "group-0.yaml").unlink()
    before = len(changing(site.server))
    site.server.faults({"match": {"method": "POST", "nth": 1}, "do": {"hang": FOREVER}})
    with applying_permitted(site) as process:
        reaches(site.server, process)
        assert kill(process)
    converges(site, site.server, row)
    assert sum(asked.startswith("POST ") for asked in changing(site.server)[before:]) == 3
