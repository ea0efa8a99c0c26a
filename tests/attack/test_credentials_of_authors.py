"""What a commit's author chooses is no credential, and no program of theirs runs by a setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attack.servers_of_secrets import (
    SOPS,
    STORAGE,
    VAULT,
    Listener,
    encrypt_for,
    search_path_with_sops,
)
from attack.two_targets import Checkout
from git_repositories import git

from synapse_apply import EmbeddedServer

CANARY = "canary-of-the-state-key-0123456789"
GOOGLE_KEY = "projects/p/locations/global/keyRings/r/cryptoKeys/k"


def make_checkout(root: Path, target: dict[str, Any], source: str = "", **environ: str) -> Checkout:
    """A repository whose target has these settings, and a storage with a secret of the source."""
    (root / "manifests").mkdir(parents=True)
    settings = {"url": "http://127.0.0.1:9", "token": {"env": "TOKEN"}, **target}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"dev": settings}}
    (root / "synapse-apply.yaml").write_text(json.dumps(project))
    if source:
        (root / "manifests/b.yaml").write_text(STORAGE.replace("{SOURCE}", f"{{{source}}}"))
    git(root, "init", "-q")
    return Checkout(root, {"TOKEN": "any", **environ})


@pytest.mark.parametrize(
    "variable",
    [
        *("CI_COMMIT_TITLE", "CI_COMMIT_MESSAGE", "ci_commit_branch", "CI_MERGE_REQUEST_TITLE"),
        *("JOB_NAME", "CIRRUS_TAG", "BITRISE_GIT_TAG", "HEAD_REF", "DRONE_WORKSPACE"),
        *("CI_PROJECT_DIR", "GITHUB_HEAD_REF", "GITHUB_REF_NAME", "GITHUB_WORKSPACE", "PWD"),
        *("BUILDKITE_MESSAGE", "CHANGE_TITLE", "BITBUCKET_BRANCH", "BUILD_SOURCEBRANCHNAME"),
        *("SEMAPHORE_GIT_PR_NAME", "APPVEYOR_REPO_COMMIT_MESSAGE_EXTENDED", "ghprbPullTitle"),
        *("bamboo_planRepository_branchName", "gitlabTriggerPhrase", "BITBUCKET_PAYLOAD", "HEAD"),
        *("DRONE_SEMVER_PRERELEASE", "CF_BRANCH_TAG_NORMALIZED", "REF_NAME", "gitlabUserName"),
        *("GIT_CLONE_COMMIT_MESSAGE_BODY", "gitlabMergeRequestTitle", "CI_PREV_COMMIT_REF"),
    ],
)
@pytest.mark.parametrize("setting", ["url", "token", "agents", "vault", "sops"])
def test_a_text_of_a_commits_author_is_no_credential(
    tmp_path: Path, variable: str, setting: str
) -> None:
    """Whatever it holds, it is no url of the state and nothing that is sent or opened."""
    named = {"env": variable}
    target = {
        "url": {"state": {"url": named}},
        "token": {"token": named},
        "agents": {"agents": {"first": named}},
        "vault": {"vault": {"address": "https://v.example", "token": named, "allow": ["*"]}},
        "sops": {"sops": {"gcp_kms": {"keys": ["projects/p"], "credentials": named}}},
    }[setting]
    said = make_checkout(tmp_path, target, **{variable: "postgresql://h/db"}).run("validate", 1)
    assert "Variable set by a commit's author" in said
    assert f"names {variable}, which the forge sets to a value that the author of a commit" in said


@pytest.mark.parametrize("variable", ["CI_JOB_JWT", "STATE_URL", "GITHUB_TOKEN", "CI_JOB_TOKEN"])
def test_others_are_credentials(tmp_path: Path, variable: str) -> None:
    jwt = {"role": "x", "token": {"env": variable}}
    target = {"vault": {"address": "https://v.example", "jwt": jwt, "allow": ["*"]}}
    make_checkout(tmp_path, target).run("validate")


def plant_hook(folder: Path, canary: Path) -> None:
    """A bare repository with programs in all places from which Git starts some."""
    git(folder.parent, "init", "-q", "--bare", folder.name)
    for name in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction"):
        hook = folder / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {canary}\n")
        hook.chmod(0o755)
    git(folder, "config", "core.alternateRefsCommand", f"touch {canary}")
    (folder / "objects/info").mkdir(exist_ok=True)
    (folder / "objects/info/alternates").write_text(f"{folder}/objects\n")


@pytest.mark.parametrize("written", ["{root}/st.git", "{root}/link/st.git", "{root}/%73t.git"])
def test_a_state_is_in_no_repository_of_the_checkout(tmp_path: Path, written: str) -> None:
    root = tmp_path / "p"
    url = f"git:file://{written.format(root=root)}?pace=0"
    checkout = make_checkout(root, {"state": {"url": url}})
    plant_hook(root / "st.git", tmp_path / "canary")
    (root / "link").symlink_to(".")
    for typed in ("state init", "plan", "state show"):
        assert "lies in the checkout, where a commit could have put it" in checkout.run(typed, 1)
    assert not (tmp_path / "canary").exists()


def test_no_program_of_a_repository_on_this_machine_is_started(tmp_path: Path) -> None:
    """The state is kept there all the same."""
    checkout = make_checkout(
        tmp_path / "p", {"state": {"url": f"git:file://{tmp_path}/st.git?pace=0"}}
    )
    plant_hook(tmp_path / "st.git", tmp_path / "canary")
    checkout.run(
        "state init", SYNAPSE_APPLY_STATE_KEY="MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    )
    assert "refs/synapse-apply" in git(tmp_path / "st.git", "for-each-ref")
    checkout.run("state show")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("home", ["{root}", "{root}/keys", "{root}/../p", "work/keys"])
def test_the_home_of_gnupg_is_outside_of_the_checkout(tmp_path: Path, home: str) -> None:
    """A configuration there names programs."""
    root = tmp_path / "p"
    with EmbeddedServer(tmp_path / "backend", token="any") as backend:
        checkout = make_checkout(
            root,
            {"url": backend.url, "sops": {"pgp": {"home": {"env": "KEYS"}}}},
            SOPS,
            KEYS=home.format(root=root),
            PATH=search_path_with_sops(tmp_path),
        )
        (root / "secrets").mkdir()
        (root / "secrets/x.json").write_text(encrypt_for("pgp", {"fp": "FBC7"}))
        (root / "gpg.conf").write_text(f"agent-program {tmp_path}/agent\n")
        (tmp_path / "agent").write_text(f"#!/bin/sh\ntouch {tmp_path}/canary\n")
        (tmp_path / "agent").chmod(0o755)
        checkout.run("state init")
        said = checkout.run("plan")
    assert "not checked: the home of GnuPG is not an absolute path outside the checkout" in said
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("where", ["text", "file", "file of the checkout", "domain"])
def test_credentials_of_google_name_no_server_of_others(
    tmp_path: Path, listener: Listener, where: str
) -> None:
    """They can say where a token and the content of a file go.

    Without a network, sops would ask Google's key service first, and hear of no other server.
    """
    root, server = tmp_path / "p", f"localhost:{listener.port}"
    (tmp_path / "jwt").write_text(CANARY)
    credentials = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"http://{server}/token",
        "credential_source": {"file": str(tmp_path / "jwt")},
    }
    if where == "domain":
        url = "https://sts.googleapis.com/v1/token"
        credentials |= {"token_url": url, "universe_domain": server}
    path = (root if where == "file of the checkout" else tmp_path) / "google.json"
    with EmbeddedServer(tmp_path / "backend", token="any") as backend:
        named = {"keys": [GOOGLE_KEY], "credentials": {"env": "GOOGLE"}}
        checkout = make_checkout(
            root,
            {"url": backend.url, "sops": {"gcp_kms": named}},
            SOPS,
            GOOGLE=str(path) if where.startswith("file") else json.dumps(credentials),
            PATH=search_path_with_sops(tmp_path),
            SYNAPSE_APPLY_HOSTS="127.0.0.1",
        )
        path.write_text(json.dumps(credentials))
        (root / "secrets").mkdir()
        encrypted = encrypt_for("gcp_kms", {"resource_id": GOOGLE_KEY})
        (root / "secrets/x.json").write_text(encrypted.replace("vault:v1:AAAA", "AAAA"))
        checkout.run("state init")
        said = checkout.run("plan")
        assert listener.clients == 0
        if where == "file of the checkout":
            assert (
                "the path of the Google credentials is not an absolute path outside the checkout"
                in said
            )
            return
        name = f"www.{server}" if where == "domain" else server
        not_listed = f"not checked: {name} is not listed in SYNAPSE_APPLY_HOSTS"
        assert not_listed in said


@pytest.mark.parametrize(
    "file",
    [
        "{home}/.config/synapse-apply/keys/prod-1.key",
        "~/.config/synapse-apply/keys/prod-1.key",
        "{root}/.synapse-apply/state/dev.key",
        ".synapse-apply/state/dev.key",
        "{root}/link.key",
        "keys/../keys/prod.key",
    ],
)
def test_a_state_key_is_no_token_of_a_vault(tmp_path: Path, listener: Listener, file: str) -> None:
    root, home = tmp_path / "p", tmp_path / "home"
    named = {"file": file.format(root=root, home=home)}
    vault = {"address": f"http://127.0.0.1:{listener.port}", "token": named, "allow": ["*"]}
    with EmbeddedServer(tmp_path / "backend", token="any") as backend:
        target = {"url": backend.url, "vault": vault}
        checkout = make_checkout(root, target, VAULT, HOME=str(home))
        project = json.loads((root / "synapse-apply.yaml").read_text())
        project["targets"]["prod"] = {
            "url": "http://127.0.0.1:9",
            "state": {"key": {"file": "keys/prod.key"}},
        }
        (root / "synapse-apply.yaml").write_text(json.dumps(project))
        for folder in (home / ".config/synapse-apply/keys", root / "keys"):
            folder.mkdir(parents=True)
        (home / ".config/synapse-apply/keys/prod-1.key").write_text(CANARY)
        (root / "keys/prod.key").write_text(CANARY)
        (root / "link.key").symlink_to("keys/prod.key")
        checkout.run("state init -t dev")
        said = checkout.run("plan -t dev")
    assert "is a state key or a file of this tool, which is never sent to a server" in said
    assert CANARY not in said
    assert listener.clients == 0


@pytest.mark.parametrize("setting", ["token", "agents", "vault", "sops"])
@pytest.mark.parametrize(
    "variable", ["SYNAPSE_APPLY_STATE_KEY", "SYNAPSE_APPLY_STATE_KEY_PROD", "KEY"]
)
def test_a_state_key_is_no_other_credential(tmp_path: Path, setting: str, variable: str) -> None:
    """One that any target names as its key, too."""
    named = {"env": variable}
    target: dict[str, Any] = {
        "token": {"token": named},
        "agents": {"agents": {"first": named}},
        "vault": {"vault": {"address": "https://v.example", "token": named, "allow": ["*"]}},
        "sops": {"sops": {"hc_vault": {"keys": ["https://v.example/v1/e/keys/k"], "token": named}}},
    }[setting]
    target["state"] = {"key": {"env": "KEY"}}
    said = make_checkout(tmp_path, target).run("validate", 1)
    assert "State key as another credential" in said
    assert (
        f"names {variable}, which is a state key, and the tool never sends a state key to a server"
    ) in said
