"""A state key that a target names in a file of sops, in Vault or on a disk reaches no backend."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sops
from attack.two_targets import Checkout
from git_repositories import commit, git

from synapse_apply import EmbeddedServer

KEY = "Y0FuNHJ5LW9mLXRoZS1zdGF0ZS1rZXktMTIzNC0xMjM0"
FREE = "free-0123456789"
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: thief}
spec: {name: Thief, provider: amazon_s3, category: external, configuration: {bucket_name: b, region: eu, access_key_id: a, secret_access_key: {valueFrom: VALUE}}}
"""
DOCUMENT = {"keys": {"state": KEY, "free": FREE, "many": [FREE, KEY]}, "key": FREE}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "backend", any_token=True) as server:
        yield server


def write_project(root: Path, url: str, key: str = "keys/state", **settings: Any) -> None:
    state = {"key": {"sops": {"file": "secrets/k.yaml", "key": key}}} if key else {}
    target = {"url": url, "token": {"env": "TOKEN"}, "sops": {"age": {"env": "AGE"}}, **settings}
    target["state"] = {"url": str(root.parent / "states" / "dev.db"), **state}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"dev": target}}
    (root / "synapse-apply.yaml").write_text(json.dumps(project))


@pytest.fixture
def site(tmp_path: Path, backend: EmbeddedServer) -> Checkout:
    root = tmp_path / "project"
    for folder in ("manifests", "secrets", "../states"):
        (root / folder).mkdir(parents=True)
    (root / "secrets" / "k.yaml").write_text(sops.encrypt(json.dumps(DOCUMENT)))
    write_project(root, backend.url)
    environ = {"TOKEN": "token-of-dev", "AGE": sops.KEY, "PATH": sops.install(tmp_path / "bin")}
    made = Checkout(root, {**environ, "HOME": str(tmp_path / "home")})
    made.run("state init -t dev")
    git(root, "init", "-q")
    commit(root, "base", with_ignored=False)
    git(root, "branch", "base")
    return made


def steal(site: Checkout, value: str) -> None:
    (site.root / "manifests" / "thief.yaml").write_text(STORAGE.replace("VALUE", value))
    commit(site.root, "thief", with_ignored=False)


def list_live(backend: EmbeddedServer) -> str:
    import requests

    headers = {"Authorization": "Token any"}
    return requests.get(
        f"{backend.url}/_emulator/objects/storage/", headers=headers, timeout=60
    ).text


def rebuild(site: Checkout, file: str, **changed: Any) -> None:
    """A file with the same encrypted values at other places, and the same `sops` block."""
    text = sops.encrypt(json.dumps(DOCUMENT), form="json")
    (site.root / "secrets" / "k.yaml").write_text(text)
    tree = json.loads(text)
    keys = tree["keys"]
    trees = {
        "list": {"keys": {"state": [keys["state"]], "free": keys["free"], "many": keys["many"]}},
        "colon": {"keys:state": keys["state"], "keys": {k: keys[k] for k in ("free", "many")}},
        "moved": {"keys": {**keys, "many": ["", *keys["many"]]}},
    }
    made = {**trees[changed["form"]], "key": tree["key"], "sops": tree["sops"]}
    (site.root / file).write_text(json.dumps(made))


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "own"])
@pytest.mark.parametrize(
    ("file", "key", "form"),
    [
        ("k.yaml", "keys/state", ""),
        ("k.yaml", "keys", ""),
        ("link.yaml", "keys/state", "link"),
        ("copy.yaml", "keys/state", "copy"),
        ("copy.yaml", "keys", "copy"),
        ("moved.yaml", "keys/state", "move"),
        ("l.yaml", "keys/state/0", "list"),
        ("c.yaml", "keys:state", "colon"),
    ],
)
def test_no_manifest_reads_a_key_in_a_file_of_sops(
    site: Checkout, backend: EmbeddedServer, file: str, key: str, form: str, pinned: bool
) -> None:
    """By the name of the setting, above it, and in any file that has the same encrypted value."""
    original, other = site.root / "secrets" / "k.yaml", site.root / "secrets" / file
    if form == "link":
        other.symlink_to("k.yaml")
    elif form in {"copy", "move"}:
        other.write_text(original.read_text())
        if form == "move":
            original.unlink()
    elif form:
        rebuild(site, f"secrets/{file}", form=form)
    steal(
        site,
        f"{{sops: {{file: secrets/{file}, key: '{key}'}}, format: {'json' if key == 'keys' else 'text'}}}",
    )
    option = " --project-from git:base" if pinned else ""
    said = site.run(f"apply -t dev --auto-approve{option}", 1)
    assert "targets.dev.state.key names it" in said
    assert KEY not in said + list_live(backend)


def test_another_place_of_the_same_list_is_closed_as_well(
    site: Checkout, backend: EmbeddedServer
) -> None:
    """sops binds the values of a list to the list alone, so that they can be moved in it."""
    write_project(site.root, backend.url, "keys/many/1")
    steal(site, "{sops: {file: secrets/m.yaml, key: keys/many/2}}")
    rebuild(site, "secrets/m.yaml", form="moved")
    assert "state.key names it" in site.run("validate -t dev", 1)


def test_values_beside_the_key_are_read(site: Checkout, backend: EmbeddedServer) -> None:
    steal(site, "{sops: {file: secrets/k.yaml, key: keys/free}}")
    site.run("apply -t dev --auto-approve --project-from git:base")
    assert FREE in list_live(backend)


@pytest.mark.parametrize(
    "file",
    [
        "/proc/self/environ",
        "/proc/thread-self/environ",
        "/proc/1/../self/environ",
        "/proc/PID/environ",
        "/proc/PID/root/etc/hostname",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/dev/fd/0",
        "link",
        "root-link",
    ],
)
def test_what_the_system_shows_of_processes_is_never_read(
    site: Checkout, backend: EmbeddedServer, file: str
) -> None:
    """Whatever `allow_files` of the checkout says: the variables of the run are in it."""
    file = file.replace("PID", str(os.getpid()))
    (site.root / "link").symlink_to("/proc/self/environ")
    (site.root / "root-link").symlink_to(f"/proc/{os.getpid()}/root/proc/self/environ")
    allowed = [file, "/proc/self/environ", f"/proc/{os.getpid()}/environ"]
    write_project(site.root, backend.url, "", allow_files=allowed)
    steal(site, f"{{file: {file}}}")
    said = site.run("apply -t dev --auto-approve", 1, SYNAPSE_APPLY_STATE_KEY=KEY)
    assert "may not read" in said or "can never read" in said, said
    assert "token-of-dev" not in said + list_live(backend)
    assert KEY not in said + list_live(backend)


@pytest.mark.parametrize("source", ["/proc/self/task", "pk"])
def test_nor_published_in_a_package(site: Checkout, backend: EmbeddedServer, source: str) -> None:
    (site.root / "pk").symlink_to("/proc/self/net")
    write_project(
        site.root, backend.url, "", allow_files=["/proc/self/task", "/proc/self/net", "pk"]
    )
    release = f"kind: Release\nspec: {{plugin: p, version: 1.0.0, source: {source}}}\n"
    plugin = (
        "kind: Plugin\nmetadata: {name: p}\nspec: {name: P, code: p, version: 1.0.0, category: a}\n"
    )
    head = "apiVersion: synapse-apply/v1\n"
    (site.root / "manifests" / "p.yaml").write_text(f"{head}{plugin}---\n{head}{release}")
    said = site.run("apply -t dev --auto-approve", 1)
    assert "(/proc, /sys, /dev) names it" in said or "lies outside" in said, said
