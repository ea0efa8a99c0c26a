"""The state of one target is not taken for that of another, whoever put it there."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from buckets.folders import open_folder_at
from buckets.servers import BucketServer
from contract.stores.git.repositories import make_checkout, make_remote
from e2e.scenarios.workplace import Server, Workplace, project, sample

from synapse_apply import Invocation, open_state

KEY = "A" * 44
PROJECT = "5f1c2d60-0000-4000-8000-000000000000"
OTHER = "This state belongs to another target"
NAMES = ("canary", "prod")


def write_project(place: Workplace, server: Server, urls: dict[str, str], **prod: object) -> None:
    """Targets of one backend, tenant and state key, each with a state of its own."""
    document = json.loads(project(server.url))
    (target,) = document["targets"].values()
    document |= {
        "project": {"id": PROJECT},
        "default_target": "prod",
        "targets": {name: {**target, "state": {"url": url}} for name, url in urls.items()},
    }
    document["targets"]["prod"] |= prod
    place.write("synapse-apply.yaml", json.dumps(document))


def begin(place: Workplace, server: Server, urls: dict[str, str], tmp_path: Path) -> Workplace:
    """What canary's state has, prod's has not: prod is empty."""
    place.environ |= {"SYNAPSE_APPLY_STATE_KEY": KEY, "HOME": str(tmp_path), "XDG_CACHE_HOME": ""}
    write_project(place, server, urls)
    sample(place)
    for name in urls:
        place.run("state", "init", "-t", name, code=0)
    place.apply("-t", "canary")
    return place


def on_a_fresh_machine(place: Workplace, tmp_path: Path) -> Workplace:
    """One that remembers no state: another home, and a checkout without our own folder."""
    home, root = tmp_path / "fresh-home", tmp_path / "fresh"
    home.mkdir(parents=True)
    root.mkdir()
    fresh = replace(place, root=root, environ={**place.environ, "HOME": str(home)})
    for name in ("synapse-apply.yaml", "manifests/storage.yaml"):
        fresh.write(name, (place.root / name).read_text())
    return fresh


def test_a_bucket_whose_objects_were_copied(
    place: Workplace, server: Server, moto: BucketServer, tmp_path: Path
) -> None:
    """By somebody without the key: each object is signed, and was another target's."""
    place.environ |= moto.environ
    urls = {name: moto.url() for name in NAMES}
    begin(place, server, urls, tmp_path)
    fresh = on_a_fresh_machine(place, tmp_path)
    fresh.plan(code=0)
    canary, prod = (open_folder_at(url, moto.environ) for url in urls.values())
    with closing(canary), closing(prod):
        for kind in ("links/", "snapshots/", "audit/"):
            prod.delete_and_count_undeleted([found.name for found in prod.list_objects(kind)])
            for name in [found.name for found in canary.list_objects(kind)]:
                content = canary.get_or_none_if_absent(name)
                assert content is not None
                prod.try_put_if_absent_and_tell_if_certain(name, content)
    sent = server.writes
    fresh = on_a_fresh_machine(place, tmp_path / "again")
    for typed in (
        ("plan",), ("apply", "--auto-approve"), ("drift",), ("doctor",), ("state", "init"),
        ("state", "rm", "storage/raw-data"), ("state", "rekey", "--auto-approve"),
    ):  # fmt: skip
        shown = fresh.run(*typed, code=1).text
        assert OTHER in shown, typed
        assert "The state that target prod names belongs to target canary" in shown
        assert "`synapse-apply state rebind -t prod`" in shown
        assert "state restore FILE" in shown
    assert server.writes == sent
    place.plan("-t", "canary", "--detailed-exitcode", code=0)


@pytest.mark.parametrize("store", ["postgres", "git"])
def test_a_url_that_names_another_target_s_state(
    place: Workplace, server: Server, database: str, tmp_path: Path, store: str
) -> None:
    """A variable of the pipeline with the schema, or the ref, of the other."""
    urls = {"canary": database, "prod": f"{database}_prod"}
    if store == "git":
        checkout = make_checkout(tmp_path, make_remote(tmp_path))
        place = Workplace(checkout, place.environ)
        urls = {name: f"git:origin?pace=0&ref=refs/states/{name}" for name in NAMES}
    begin(place, server, urls, tmp_path)
    place.plan("-t", "prod", code=0)
    write_project(place, server, {"prod": urls["canary"]})
    assert OTHER in place.plan(code=1).err


def test_a_target_that_is_renamed(
    place: Workplace, server: Server, database: str, tmp_path: Path
) -> None:
    """It is told how it goes on, is asked, and then the former name is refused."""
    begin(place, server, {"canary": database, "prod": f"{database}_prod"}, tmp_path)
    write_project(place, server, {"prod": database})
    assert OTHER in place.plan(code=1).err
    bound = place.run("state", "rebind", "--auto-approve", code=0).out
    backend = f"{server.url} (tenant acme)"
    assert bound == (
        f"The state was bound to {backend}, target canary and project {PROJECT} "
        f"and is now bound to {backend}, target prod and project {PROJECT}.\n"
    )
    place.unchanged()
    assert "already" in place.run("state", "rebind", "--auto-approve", code=0).out
    write_project(place, server, {"canary": database, "prod": f"{database}_prod"})
    assert "belongs to target prod" in place.plan("-t", "canary", code=1).err


def test_a_state_of_an_earlier_version_names_no_target(
    place: Workplace, server: Server, database: str, tmp_path: Path
) -> None:
    """It goes on under either name, and belongs to who first applies something to it."""
    begin(place, server, {"canary": database, "prod": f"{database}_prod"}, tmp_path)
    invocation = Invocation(place.root, target="canary", environ=place.environ)
    with open_state(invocation) as session, session.store.lock("test"):
        ids = session.store.read_project_and_key_ids()
        session.store.replace_project_and_key_ids(replace(ids, target=""))
    write_project(place, server, {"prod": database})
    place.unchanged()
    place.apply()
    write_project(place, server, {"canary": database, "prod": f"{database}_prod"})
    place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    place.apply("-t", "canary")
    write_project(place, server, {"prod": database})
    assert OTHER in place.plan(code=1).err


def test_a_rekey_says_whose_state_it_is(
    place: Workplace, server: Server, database: str, tmp_path: Path
) -> None:
    """It writes what a state is bound to anyway; another target's name stays."""
    begin(place, server, {"canary": database, "prod": f"{database}_prod"}, tmp_path)
    invocation = Invocation(place.root, target="canary", environ=place.environ)
    with open_state(invocation) as session, session.store.lock("test"):
        ids = session.store.read_project_and_key_ids()
        session.store.replace_project_and_key_ids(replace(ids, target=""))
    place.environ["SYNAPSE_APPLY_STATE_KEY"] = "B" * 44
    place.run("state", "rekey", "-t", "canary", "--auto-approve", code=0)
    write_project(place, server, {"prod": database})
    assert OTHER in place.plan(code=1).err


def test_verified_runs_of_another_target_do_not_count(
    place: Workplace, server: Server, database: str, tmp_path: Path
) -> None:
    """`require_verified: [canary]` asks canary's state, and not one in its place."""
    begin(place, server, {"canary": database, "prod": f"{database}_prod"}, tmp_path)
    urls = {"canary": f"{database}_prod", "prod": f"{database}_third"}
    write_project(place, server, urls, require_verified=["canary"])
    place.run("state", "init", code=0)
    for name in ("manifests/plugin.yaml", "plugins/yolo/config.yaml"):
        place.edit(name, 'version: "1.0.0"', 'version: "1.1.0"')
    shown = place.plan().text
    assert "The state that target canary names belongs to target prod" in shown
