"""What stores and sources of secrets read by fixed names is closed to the manifests of a checkout."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from attack.two_targets import Checkout
from git_repositories import git
from psycopg import pq

from synapse_apply import EmbeddedServer
from synapse_apply.manifests.project.project import read_project_or_findings
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.secrets.secret_rules import CREDENTIAL_FAMILIES
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.sops.encrypted_file import KEY_KINDS
from synapse_apply.secrets.resolve import SecretResolver
from synapse_apply.stores.bucket import bucket_url

CANARY = "canary-0123456789abcdef"
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: thief}
spec:
  name: Thief
  provider: amazon_s3
  category: external
  configuration: {bucket_name: b, region_name: eu, access_key: {valueFrom: {env: FREE}}, secret_key: {valueFrom: VALUE}}
"""
S3, AZURE, DATABASE = (
    "s3://bucket/folder",
    "az://container/folder?account=acme",
    "postgresql://state@db/x",
)
CODECOMMIT = "git:https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/acme"
VAULT = {"address": "https://vault.example", "token": {"env": "LOGIN"}, "allow": ["kv/*"]}
VARIABLE = {"env": "STATE_URL"}


def write_project(root: Path, state: object = "", **settings: Any) -> None:
    target = {"url": "https://api.example", "token": {"env": "TOKEN"}, **settings}
    if state:
        target["state"] = {"url": state}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"prod": target}}
    (root / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Checkout:
    (tmp_path / "manifests").mkdir()
    return Checkout(tmp_path, {"TOKEN": "any", "FREE": "free", "HOME": str(tmp_path.parent)})


def steal(site: Checkout, value: str) -> None:
    (site.root / "manifests" / "thief.yaml").write_text(STORAGE.replace("VALUE", value))


@pytest.mark.parametrize(
    ("url", "settings", "name", "why"),
    [
        (S3, {}, "AWS_SECRET_ACCESS_KEY", "AWS_* gives access to targets.prod.state.url"),
        (S3, {}, "aws_session_token", "AWS_*"),
        (S3, {"allow_env": ["AWS_SECRET_ACCESS_KEY"]}, "AWS_SECRET_ACCESS_KEY", "AWS_*"),
        (S3, {"allow_env": ["*"]}, "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_*"),
        (f" {S3}", {}, "AWS_SECRET_ACCESS_KEY", "AWS_*"),
        (f"\t\n{S3}", {}, "AWS_SESSION_TOKEN", "AWS_*"),
        (AZURE, {}, "AZURE_CLIENT_SECRET", "AZURE_*"),
        (AZURE, {}, "IDENTITY_HEADER", "IDENTITY_HEADER"),
        ("gs://bucket/folder?untested=true", {}, "GOOGLE_BEARER_TOKEN", "GOOGLE_*"),
        (DATABASE, {}, "PGPASSWORD", "PG*"),
        ("POSTGRES://state@db/x", {}, "PGPASSFILE", "PG*"),
        ("git:origin", {}, "GIT_PASSWORD", "GIT_*"),
        (CODECOMMIT, {}, "AWS_SECRET_ACCESS_KEY", "AWS_*"),
        ("", {"vault": VAULT}, "VAULT_TOKEN", "VAULT_* gives access to targets.prod.vault"),
        *(
            (VARIABLE, {}, name, "targets.prod.state.url")
            for name in ("AWS_SESSION_TOKEN", "AZURE_STORAGE_SAS_TOKEN", "PGPASSWORD",
                         "GOOGLE_APPLICATION_CREDENTIALS", "GIT_CONFIG_VALUE_0")
        ),
    ],
)  # fmt: skip
def test_a_manifest_cannot_read_a_family_that_is_in_use(
    site: Checkout, url: object, settings: dict[str, Any], name: str, why: str
) -> None:
    """Whatever the checkout's own allow_env says: `validate` says why, and the way out."""
    write_project(site.root, url, **settings)
    steal(site, f"{{env: {name}}}")
    said = site.run("validate -t prod", 1, **{name: CANARY})
    assert "thief.yaml:8:" in said
    assert f"valueFrom may not read {name}: " in said
    assert why in said
    assert "--project-from" in said
    assert "may_read.allow_env" in said
    assert CANARY not in said


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "AWS_SECRET_ACCESS_KEY"),
        ("states/prod.db", "PGPASSWORD"),
        (S3, "AZURE_CLIENT_SECRET"),
        (S3, "RAW_AWS_SECRET_ACCESS_KEY"),
        (DATABASE, "PGP_PASSPHRASE"),
        ("git:origin", "AWS_SECRET_ACCESS_KEY"),
        (VARIABLE, "VAULT_OF_RAW"),
    ],
)
def test_what_nothing_reads_by_that_name_is_open(site: Checkout, url: object, name: str) -> None:
    """Another store's family, another name, or a state of this machine."""
    write_project(site.root, url)
    steal(site, f"{{env: {name}}}")
    site.run("validate -t prod")


@pytest.mark.parametrize(
    ("ruling", "is_open"),
    [
        (["AWS_SECRET_ACCESS_KEY", "FREE"], True),
        (["AWS_*", "FREE"], False),
        (["AWS_SECRET_ACCESS_KE?", "FREE"], False),
        ([], False),
    ],
)
def test_the_base_branch_opens_one_by_its_name(
    site: Checkout, ruling: list[str], *, is_open: bool
) -> None:
    """A project file that `--project-from` reads, without a wildcard; the change itself does not."""
    write_project(site.root, S3, **({"allow_env": ruling} if ruling else {}))
    steal(site, "{env: FREE}")
    for typed in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "All")):
        git(site.root, *typed)
    write_project(site.root, S3, allow_env=["AWS_SECRET_ACCESS_KEY", "FREE"])
    steal(site, "{env: AWS_SECRET_ACCESS_KEY}")
    said = site.run("validate -t prod --project-from git:main", 0 if is_open else 1)
    assert ("Manifests cannot read this variable" in said) is not is_open
    site.run("validate -t prod", 1)


def test_a_change_that_names_another_state_opens_nothing(site: Checkout) -> None:
    """Under the settings of another revision what either revision reads is closed."""
    write_project(site.root, S3)
    steal(site, "{env: AWS_SECRET_ACCESS_KEY}")
    for typed in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "All")):
        git(site.root, *typed)
    write_project(site.root, "states/prod.db")
    assert "AWS_*" in site.run("validate -t prod --project-from git:main", 1)
    write_project(site.root, DATABASE)
    steal(site, "{env: PGPASSWORD}")
    assert "PG*" in site.run("validate -t prod --project-from git:main", 1)


def test_nothing_is_sent(site: Checkout) -> None:
    """Plan and apply end before a call; the backend gets no storage."""
    with EmbeddedServer(site.root / "backend", any_token=True) as server:
        write_project(site.root, vault=VAULT, url=server.url)
        site.run("state init -t prod")
        steal(site, "{env: VAULT_TOKEN}")
        for typed in ("plan -t prod", "apply -t prod --auto-approve"):
            assert "VAULT_*" in site.run(typed, 1, VAULT_TOKEN=CANARY)
        steal(site, "{env: FREE}")
        assert "1 added" in site.run("apply -t prod --auto-approve", VAULT_TOKEN=CANARY)


def make_resolver(
    site: Checkout, allow_files: tuple[str, ...] = (), **environ: str
) -> SecretResolver:
    project, findings = read_project_or_findings(
        site.root / "synapse-apply.yaml", "synapse-apply.yaml"
    )
    assert project is not None, findings
    return SecretResolver(
        site.root, {**site.environ, **environ}, (), allow_files, project.reserved
    )  # fmt: skip


@pytest.mark.parametrize(
    "make", [None, os.symlink, os.link], ids=["itself", "a link", "a second name"]
)
def test_a_file_that_such_a_variable_names_is_closed(
    site: Checkout, make: Callable[[Path, Path], None] | None
) -> None:
    """As pipelines write one into the checkout; under another name, too."""
    write_project(site.root, VARIABLE)
    written = site.root / "gha-creds.json"
    written.write_text(CANARY)
    if make is not None:
        make(written, site.root / "innocent.json")
    name = "gha-creds.json" if make is None else "innocent.json"
    for variable in ("GOOGLE_APPLICATION_CREDENTIALS", "PGPASSFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        resolver = make_resolver(site, **{variable: str(written)}, AWS_SESSION_TOKEN="x" * 5000)
        with pytest.raises(SecretUnavailable) as refused:
            resolver.resolve_secret(SecretRef("file", name))
        assert f"{variable} names it" in refused.value.diagnostics[0].detail
    assert make_resolver(site).resolve_secret(SecretRef("file", name)).reveal() == CANARY


@pytest.mark.parametrize("place", [".pgpass", ".aws/credentials", ".config/gcloud/adc.json"])
def test_credentials_of_the_home_are_closed_though_listed(site: Checkout, place: str) -> None:
    """A checkout can list any file of the machine; not those that its own stores read."""
    write_project(site.root, VARIABLE)
    path = Path(site.environ["HOME"]) / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CANARY)
    resolver = make_resolver(site, (str(path),))
    with pytest.raises(SecretUnavailable) as refused:
        resolver.resolve_secret(SecretRef("file", str(path)))
    assert "~/" in refused.value.diagnostics[0].detail
    write_project(site.root)
    resolver = make_resolver(site, (str(path),))
    assert resolver.resolve_secret(SecretRef("file", str(path))).reveal() == CANARY


SOPS_GOOGLE = {"sops": {"gcp_kms": {"keys": ["projects/x"], "credentials": {"env": "PROD_GCP"}}}}
SOPS_PGP = {"sops": {"pgp": {"home": {"env": "PROD_GPG"}}}}
TEAM_VAULT = {"vault": {**VAULT, "token": {"file": "~/team/vault"}}}
GIT = "git:ssh://git@forge.example/acme.git"


@pytest.mark.parametrize(
    ("state", "settings", "variables", "file", "named_by"),
    [
        ("", TEAM_VAULT, {}, "home/team/vault", "targets.prod.vault.token"),
        ("", SOPS_GOOGLE, {"PROD_GCP": "/gcp.json"}, "gcp.json", "PROD_GCP"),
        ("", SOPS_PGP, {"PROD_GPG": "/gpg"}, "gpg/private-keys-v1.d/a.key", "PROD_GPG"),
        (VARIABLE, {}, {"STATE_URL": "postgresql://s@db/x?passfile=/pw"}, "pw", "STATE_URL"),
        (VARIABLE, {}, {"STATE_URL": "user=s passfile='/pw'"}, "pw", "STATE_URL"),
        (
            VARIABLE,
            {},
            {"STATE_URL": "postgresql://db/x?sslkey=~%2Fc.key"},
            "home/c.key",
            "STATE_URL",
        ),
        (VARIABLE, {}, {"STATE_URL": "/state/prod.db"}, "state/prod.db.key", "STATE_URL"),
        (f"{DATABASE}?sslkey=/c.key", {}, {}, "c.key", "targets.prod.state.url"),
        (DATABASE, {}, {}, "home/.postgresql/postgresql.key", "~/.postgresql"),
        (DATABASE, {}, {"KRB5CCNAME": "FILE:/krb5cc"}, "krb5cc", "KRB5CCNAME"),
        (GIT, {}, {}, "home/.ssh/id_ed25519", "~/.ssh"),
        (GIT, {}, {}, "home/.gitconfig", "~/.gitconfig"),
        (GIT, {}, {}, "home/.config/gh/hosts.yml", "~/.config/gh"),
        (GIT, {}, {"XDG_CONFIG_HOME": "/xdg"}, "xdg/git/credentials", "$XDG_CONFIG_HOME/git"),
        (GIT, {}, {"GIT_SSH_COMMAND": "ssh -i/key -o 'x y'"}, "key", "GIT_SSH_COMMAND"),
        (AZURE, {}, {"AZURE_CONFIG_DIR": "/az"}, "az/msal_token_cache.json", "AZURE_CONFIG_DIR"),
        (
            "gs://bucket/folder?untested=true",
            {},
            {"CLOUDSDK_CONFIG": "/cloud"},
            "cloud/adc.json",
            "CLOUDSDK_CONFIG",
        ),
    ],
)
def test_files_that_a_target_reads_its_credentials_from_are_closed_though_listed(
    site: Checkout,
    tmp_path_factory: pytest.TempPathFactory,
    state: object,
    settings: dict[str, Any],
    variables: dict[str, str],
    file: str,
    named_by: str,
) -> None:
    """Named by a setting, by a variable that it names, in a url; or what a program looks for."""
    place = tmp_path_factory.mktemp("place")

    def at_place(value: str) -> str:
        return re.sub(r"(?<![\w~/:])/(?=\w)|(?<=FILE:)/|(?<=-i)/", f"{place}/", value)

    path = place / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CANARY)
    environ = {name: at_place(value) for name, value in variables.items()}
    closing = replace(site, environ={**site.environ, "HOME": str(place / "home"), **environ})
    write_project(site.root, at_place(state) if isinstance(state, str) else state, **settings)
    with pytest.raises(SecretUnavailable) as refused:
        make_resolver(closing, (str(path),)).resolve_secret(SecretRef("file", str(path)))
    assert f": {named_by} names it" in refused.value.diagnostics[0].detail
    write_project(site.root)
    opening = make_resolver(closing, (str(path),))
    assert opening.resolve_secret(SecretRef("file", str(path))).reveal() == CANARY


@pytest.mark.parametrize(
    ("state", "config", "text"),
    [
        ("", ".git/config", "[include]\n\tpath = PLACE/token\n"),
        ("", ".git/config", '[includeIf "gitdir:/x/.git"] path="PLACE/token" # of the job\n'),
        ("", ".git/config", "[include]\npath = ../inner\n[user]\nname = x\n"),
        ("", ".git", "gitdir: PLACE/main/.git/worktrees/here\n"),
        (GIT, "HOME/.gitconfig", "[include]\r\n  PATH = ~/token\r\n"),
        (GIT, "HOME/.config/git/config", '[includeIf "onbranch:x"]\npath = ../../token\n'),
    ],
)
def test_files_that_git_includes_are_closed_though_listed(
    site: Checkout, tmp_path_factory: pytest.TempPathFactory, state: str, config: str, text: str
) -> None:
    """Runners of CI have the token of their job there; in the clone whatever store is used."""
    place = tmp_path_factory.mktemp("place")
    (place / "token").write_text(CANARY)
    (site.root / "inner").write_text(f"[include]\npath = {place}/token\n")
    worktree = place / "main" / ".git" / "worktrees" / "here"
    worktree.mkdir(parents=True)
    (worktree / "commondir").write_text("../..\n")
    (worktree.parents[1] / "config").write_text(f"[include]\npath = {place}/token\n")
    path = Path(str(site.root / config).replace(f"{site.root}/HOME", str(place)))
    ref, site = SecretRef("file", f"{place}/token"), replace(site, environ={"HOME": str(place)})
    write_project(site.root, state)
    assert make_resolver(site, (ref.name,)).resolve_secret(ref).reveal() == CANARY
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("PLACE", str(place)))
    with pytest.raises(SecretUnavailable) as refused:
        make_resolver(site, (ref.name,)).resolve_secret(ref)
    assert "valueFrom can never read" in refused.value.diagnostics[0].detail


def test_a_variable_that_names_the_checkout_closes_none_of_its_files(
    site: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitLab's GIT_CLONE_PATH is where the project itself is; an empty one names no folder."""
    write_project(site.root, GIT)
    (site.root / "manifests" / "secret.txt").write_text(CANARY)
    monkeypatch.chdir(site.root / "manifests")
    for value in (str(site.root), str(site.root.parent), "", "."):
        resolver = make_resolver(site, GIT_CLONE_PATH=value)
        ref = SecretRef("file", "manifests/secret.txt")
        assert resolver.resolve_secret(ref).reveal() == CANARY


@pytest.mark.parametrize("configuration", ["", "settings"])
@pytest.mark.parametrize("ending", ["", ".previous"])
def test_the_keys_of_the_user_are_closed_though_listed(
    site: Checkout, tmp_path_factory: pytest.TempPathFactory, configuration: str, ending: str
) -> None:
    """Where the project is the home, or lists such a file; whatever store its targets have."""
    home = tmp_path_factory.mktemp("home")
    site = replace(site, environ={**site.environ, "HOME": str(home)})
    name = f"{configuration or '.config'}/synapse-apply/keys/prod-1.key{ending}"
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CANARY)
    (site.root / "innocent.json").symlink_to(path)
    variables = {"XDG_CONFIG_HOME": str(home / configuration)} if configuration else {}
    write_project(home, allow_files=[name])
    for root, file in ((home, name), (site.root, str(path)), (site.root, "innocent.json")):
        write_project(root, allow_files=[str(path)])
        at_root = replace(site, root=root)
        with pytest.raises(SecretUnavailable) as refused:
            make_resolver(at_root, (str(path),), **variables).resolve_secret(
                SecretRef("file", file)
            )
        said = refused.value.diagnostics[0].detail
        assert "/synapse-apply names it" in said
        assert CANARY not in said


def test_families_have_all_names_that_are_read() -> None:
    """What the client of buckets, libpq and sops take from the environment."""

    def has(reader: str, name: str) -> bool:
        return any(
            reader in family.readers and fnmatchcase(name, pattern)
            for pattern, family in CREDENTIAL_FAMILIES.items()
        )

    for table in (bucket_url._VARIABLES, bucket_url._ENDPOINT_VARIABLES):
        for scheme, names in table.items():
            assert [name for name in names if not has(scheme, name)] == []
    names = [option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar]
    assert "PGPASSWORD" in names
    assert [name for name in names if not has("postgresql", name)] == []
    assert [name for name in names if "_" in name] == ["PGCONNECT_TIMEOUT"]  # no credential
    for kind in KEY_KINDS:
        assert [
            name
            for name in kind.variables.values()
            if name != "GNUPGHOME" and not has(kind.setting, name)
        ] == []


@pytest.mark.parametrize("folder", ["{root}/bin", "bin", ""])
def test_no_azure_cli_of_the_checkout_is_started(site: Checkout, folder: str) -> None:
    """The client of the bucket looks for `az` on PATH, and gives it all variables of the job."""
    write_project(site.root, AZURE)
    ran = site.root / "ran"
    for name in ("bin/az", "az"):
        planted = site.root / name
        planted.parent.mkdir(exist_ok=True)
        planted.write_text(f"#!/bin/sh\necho $TOKEN > {ran}\n")
        planted.chmod(0o755)
    path = f"{folder.format(root=site.root)}{os.pathsep}{os.environ['PATH']}"
    said = site.run("state show -t prod", 1, PATH=path, AZURE_USE_AZURE_CLI="true")
    assert "The Azure CLI of a checkout is not started" in said
    assert not ran.exists()


@pytest.mark.parametrize("name", ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"])
def test_credentials_of_google_lead_to_no_other_server(
    site: Checkout, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Messages and SYNAPSE_APPLY_HOSTS would not name it; nothing is sent."""
    write_project(site.root, "gs://bucket/folder?untested=true")
    file = tmp_path_factory.mktemp("home") / "account.json"
    file.write_text(
        json.dumps({"type": "service_account", "gcs_base_url": "https://other.example"})
    )
    said = " ".join(site.run("state show -t prod", 1, **{name: str(file)}).split())
    assert "The state bucket's credentials name a different server" in said
    assert f"{name} names {file}, in which gcs_base_url is not https://storage" in said
