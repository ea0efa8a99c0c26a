"""An apply of permitted rows: what it does, what it leaves, and when a permit ends it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from fault.commands import ended
from fault.convergence import on_api, pending, some, tells_the_truth
from fault.permitted import (
    RUN_ID,
    TESTS,
    WHO,
    CountingPermit,
    apply_permitted,
    compute_digests,
    permit_all,
)
from fault.scenarios import lock_and_prune
from fault.site import SEPARATOR, MakeSite, Server, Site
from forking import ForkedProcess
from installed import environment

from synapse_apply import Plan, open_state
from synapse_apply.library.plan_rows import PermittedRows
from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError, LockHeld, Refused, StateError
from synapse_apply.model.report import Result

REASON = "the window closed at 18:00 KST"
PLUGIN, RELEASE, STORAGE = (
    Address.parse(text)
    for text in ("plugin/plugin-0", "release/plugin-0@1.0.0", "storage/storage-0")
)


def only(*names: str) -> Callable[[Plan], PermittedRows]:
    return lambda plan: permit_all(plan, frozenset(names))


@on_api("v2")
def test_only_permitted_rows_are_made(make_site: MakeSite) -> None:
    """Under the run's id and in the name of who asked; their approvals are used up, no others."""
    site = make_site(groups=1, extra_storages=1)
    made = apply_permitted(site, only("storage/storage-0", "release/plugin-0@1.0.0"))
    # Its plugin is not permitted, and is made by the same call.
    assert {str(outcome.address) for outcome in made.report.outcomes} == {"storage/storage-0"}
    assert set(site.server.ids()) == {"storage/storage-0"}
    assert len(made.used_approvals) == 1
    assert made.stop_reason == ""
    (entry, *others) = site.written()[1]
    assert (entry.plan_id, entry.who, entry.address) == (RUN_ID, WHO, "storage/storage-0")
    assert others == []
    assert made.report.plan.id == RUN_ID
    rest = apply_permitted(site, run_id="run-2")
    assert rest.report.exit_code == 0
    assert len(rest.used_approvals) == 3
    assert pending(site.plan()) == []


@on_api("v1")
def test_an_approval_is_not_used_twice(make_site: MakeSite) -> None:
    """A controller that was set back gives it again: nothing is sent for that row, others go on."""
    site = make_site(groups=1, extra_storages=1)
    assert apply_permitted(site).report.exit_code == 0
    for kind in ("storage/more-0", "storage/storage-0"):
        with open_state(site.where()) as state, state.store.lock("state rm"):
            state.store.remove_records(Address.parse(kind))
        site.server.send("DELETE", f"/_emulator/objects/storage/{site.server.ids()[kind][0]}/")
    before = site.server.posts()

    def choose(plan: Plan) -> PermittedRows:
        rows = permit_all(plan)
        new = {**rows.approvals, Address.parse("storage/more-0"): ("a-new-one",)}
        return PermittedRows(rows.addresses, approvals=new)

    made = apply_permitted(site, choose, run_id="run-2")
    results = {str(one.address): one for one in made.report.outcomes}
    assert results["storage/more-0"].result is Result.DONE
    refused = results["storage/storage-0"]
    assert refused.result is Result.FAILED
    assert [finding.summary for finding in refused.diagnostics] == ["The approval was already used"]
    assert site.server.posts() == before + 1
    assert site.open_intents() == []
    assert "a-new-one" in made.used_approvals


@on_api("v1", "v2")
def test_no_call_begins_after_the_permit(make_site: MakeSite, server: Server, api: str) -> None:
    """Wherever it ends: what has begun ends and is recorded, and the rest says why it waits."""
    whole = CountingPermit()
    site = make_site(groups=2)
    assert apply_permitted(site, permit=whole).report.exit_code == 0
    for questions in some(whole.asked, 6, turn=1):
        permit = CountingPermit(questions - 1)
        site = make_site(groups=2)
        made = apply_permitted(site, permit=permit)
        results = {outcome.address: outcome for outcome in made.report.outcomes}
        there = server.ids()
        assert {str(at) for at, one in results.items() if one.result is Result.DONE} == set(there)
        assert {one.result for one in results.values()} <= {Result.DONE, Result.SKIPPED}
        assert made.stop_reason == REASON
        told = " ".join(
            finding.detail
            for one in results.values()
            if one.result is Result.SKIPPED
            for finding in one.diagnostics
        )
        assert "run was stopped" not in told
        assert REASON[1:] in told or all(one.result is Result.DONE for one in results.values())
        assert len(made.used_approvals) == len(there)
        assert site.open_intents() == []
        assert server.made() == len(there)
        # Once there is a permit again, the same approvals do.
        again = apply_permitted(site, permit=CountingPermit(), run_id="run-2")
        assert again.report.exit_code == 0
        assert pending(site.plan()) == []
        assert server.made() == len(site.expected)


@on_api("v2")
def test_a_permit_that_ends_while_much_is_under_way(make_site: MakeSite, server: Server) -> None:
    """Ten threads: each call is done or not begun."""
    for questions in (25, 60):
        site = make_site(groups=6)
        made = apply_permitted(site, permit=CountingPermit(questions), parallelism=10)
        done = {str(one.address) for one in made.report.outcomes if one.result is Result.DONE}
        assert done == set(server.ids())
        assert {one.result for one in made.report.outcomes} <= {Result.DONE, Result.SKIPPED}
        assert len(made.used_approvals) == len(done)
        assert apply_permitted(site, run_id="run-2", parallelism=10).report.exit_code == 0
        assert pending(site.plan()) == []


@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_changes_and_deletes_end_with_the_permit(make_site: MakeSite, server: Server) -> None:
    """An update, a lock and a delete as well: none is sent without it, and none is lost."""
    for questions in (4, 9):
        site = make_site(groups=2)
        lock_and_prune(site)
        before = server.requests()
        made = apply_permitted(site, permit=CountingPermit(questions), run_id="run-2")
        sent = [asked for asked in server.requests()[len(before) :] if not asked.startswith("GET ")]
        done = [one for one in made.report.outcomes if one.result is Result.DONE]
        assert made.stop_reason == REASON
        assert len(sent) <= len(done)
        tells_the_truth(site, made.report, set(server.ids()))
        assert apply_permitted(site, run_id="run-3").report.exit_code == 0
        assert pending(site.plan()) == []


@on_api("v1")
def test_what_ends_it_before_its_first_call(make_site: MakeSite) -> None:
    """Errors of the plan before anybody is asked, a guard that is left, a lock that is held."""
    site = make_site(groups=1)
    asked: list[Plan] = []

    def override_policy(plan: Plan) -> PermittedRows:
        asked.append(plan)
        return replace(permit_all(plan), overridden_guards=frozenset({"policy:max-changes"}))

    project = json.loads((site.root / "synapse-apply.yaml").read_text())
    guarded = {**project, "policy": {"rules": [{"rule": "max-changes", "limit": 1}]}}
    (site.root / "synapse-apply.yaml").write_text(json.dumps(guarded))
    with pytest.raises(Refused):
        apply_permitted(site, override_policy)
    # Fewer rows than the rule counts may pass.
    assert apply_permitted(site, only("storage/storage-0")).report.exit_code == 0
    (site.root / "synapse-apply.yaml").write_text(json.dumps(project))
    with open_state(site.where()) as state, state.store.lock("plan"), pytest.raises(LockHeld):
        apply_permitted_at_once(site)
    manifest = site.root / "manifests" / "group-0.yaml"
    text = manifest.read_text()
    manifest.write_text(text.replace('"storage-0"', '"storage-0", "nonsense": 1', 1))
    with pytest.raises(InputError):
        apply_permitted(site, lambda plan: asked.append(plan) or permit_all(plan))
    assert len(asked) == 1
    assert set(site.server.ids()) == {"storage/storage-0"}
    with open_state(site.where()) as state, pytest.raises(StateError, match="not locked"):
        state.store.use_approvals_up_or_raise_if_used("a1")


def apply_permitted_at_once(site: Site) -> None:
    from synapse_apply import open_target

    with open_target(
        "site", folder=site.root, environ=environment(site.environ), lock_timeout=0.0
    ) as target:
        target.apply_permitted(permit_all, run_id="r", who="w", operation="o")


@on_api("v1")
def test_a_guard_is_overridden_by_name_and_used_up(make_site: MakeSite) -> None:
    """For one time: what was used for it is not used for another plan, and comes back unused."""
    site = make_site(groups=1, extra_storages=3)
    assert apply_permitted(site).report.exit_code == 0
    for name, ids in site.server.ids().items():
        site.server.send("DELETE", f"/_emulator/objects/{name.partition('/')[0]}/{ids[0]}/")

    def choose(plan: Plan) -> PermittedRows:
        assert "all-missing" in {guard.name for guard in plan.guards}
        rows = permit_all(plan)
        names = frozenset(guard.name for guard in plan.guards)
        return PermittedRows(rows.addresses, names, rows.approvals, ("guard-1",))

    stopped = apply_permitted(site, choose, permit=CountingPermit(0), run_id="run-2")
    assert "guard-1" not in stopped.used_approvals
    made = apply_permitted(site, choose, run_id="run-3")
    assert made.report.exit_code == 0
    assert "guard-1" in made.used_approvals
    assert "all-missing" in made.report.extras["guards_overridden"]
    for name, ids in site.server.ids().items():
        site.server.send("DELETE", f"/_emulator/objects/{name.partition('/')[0]}/{ids[0]}/")
    before = site.server.posts()
    refused = apply_permitted(site, choose, run_id="run-4")
    assert refused.report.outcomes == ()
    assert refused.stop_reason == "the approval of a guard was used by an earlier run"
    assert "guard-1" in refused.used_approvals
    assert site.server.posts() == before


@on_api("v2")
def test_nothing_permitted(make_site: MakeSite) -> None:
    """Nothing is done, and nothing is written."""
    site = make_site(groups=1)
    before = site.written()
    made = apply_permitted(site, lambda _plan: PermittedRows())
    assert made.report.outcomes == ()
    assert site.written()[1] == before[1]
    assert site.server.ids() == {}


DIGESTS = """
import json, os
from fault.permitted import compute_digests
print(json.dumps(compute_digests(".", os.environ)))
"""


def digests(site: Site, **environ: str) -> dict[str, str]:
    """The digest of each row of a plan that is made anew."""
    return compute_digests(site.root, environment({**site.environ, **environ}))


def digests_of_other_process(site: Site) -> dict[str, str]:
    process = ForkedProcess(
        [sys.executable, "-c", DIGESTS],
        cwd=site.root,
        env={**environment(site.environ), "PYTHONPATH": str(TESTS)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    code, out, err = ended(process)
    assert code == 0, err
    found: dict[str, str] = json.loads(out)
    return found


@on_api("v1", "v2")
def test_two_processes_compute_the_same_digests(make_site: MakeSite) -> None:
    """Of creates, updates and deletes; another secret is another row, and no other row changes."""
    site = make_site(groups=1)
    site = replace(site, environ={**site.environ, "SYNAPSE_APPLY_STATE_KEY": "A" * 44})
    first = digests(site)
    assert digests_of_other_process(site) == first
    other = digests(site, RAW_KEY="another-secret")
    moved = {name for name in first if first[name] != other[name]}
    assert moved == {"create storage/storage-0"}
    assert apply_permitted(site, only("plugin/plugin-0", "release/plugin-0@1.0.0")).report
    # What was made meanwhile does not count for what is left.
    left = {name: digest for name, digest in digests(site).items() if "no-op" not in name}
    assert left.items() <= first.items()
    assert apply_permitted(site, run_id="run-2").report.exit_code == 0
    manifest = site.root / "manifests" / "group-0.yaml"
    manifest.write_text(manifest.read_text().replace('"description": "a"', '"description": "b"'))
    first = digests(site)
    assert "update plugin/plugin-0" in first
    assert digests_of_other_process(site) == first
    rotated = digests(site, RAW_KEY="another-secret")
    assert "update storage/storage-0" in rotated
    again = digests(site, RAW_KEY="a-third-secret")
    assert again["update storage/storage-0"] != rotated["update storage/storage-0"]
    assert again["update plugin/plugin-0"] == first["update plugin/plugin-0"]


@on_api("v1", "v2")
def test_each_action_has_the_same_digest_in_each_plan(make_site: MakeSite, api: str) -> None:
    """Also where no record keeps a salt: creates, adoptions, deletes, forgotten ones and runs."""
    site = make_site(groups=4, extra_storages=1)
    site = replace(site, environ={**site.environ, "SYNAPSE_APPLY_STATE_KEY": "A" * 44})
    assert apply_permitted(site).report.exit_code == 0
    manifests = site.root / "manifests"
    with open_state(site.where()) as state, state.store.lock("state rm"):
        state.store.remove_records(Address.parse("storage/storage-0"))
    for number, old, new in (
        (0, '"region": "us-west-2"', '"region": "adopted"'),
        (2, '"region": "us-west-2"', '"region": "changed"'),
        (3, '"source": "./plugins/plugin-3"', '"source": "./plugins/plugin-3", "verify": {}'),
    ):
        path = manifests / f"group-{number}.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    remote_id = site.server.ids()["storage/storage-1"][0]
    site.server.send("DELETE", f"/_emulator/objects/storage/{remote_id}/")
    fourth = (manifests / "group-1.yaml").read_text().split(SEPARATOR)[2]
    (manifests / "more.yaml").write_text(fourth.replace("storage-1", "new"))
    plugin, _, storage = (manifests / "group-1.yaml").read_text().split(SEPARATOR)
    (manifests / "group-1.yaml").write_text(SEPARATOR.join([plugin, storage]))
    first = digests(site)
    assert digests(site) == digests_of_other_process(site) == first
    actions = {name.partition(" ")[0] for name in first}
    removal = "delete" if api == "v2" else "forget"
    assert actions == {"create", "adopt", "update", "recreate-missing", "no-op", "forget", removal}
    # A run is a row without another action.
    assert "no-op release/plugin-3@1.0.0" in first
    other = digests(site, RAW_KEY="another-secret")
    moved = {name for name in first if first[name] != other.get(name)}
    assert {"create storage/new", "recreate-missing storage/storage-1"} <= moved
    assert "no-op release/plugin-3@1.0.0" not in moved
