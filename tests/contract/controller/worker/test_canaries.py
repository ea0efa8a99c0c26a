"""No source reads what is not its own: the controller's secrets, another source's, other files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.controller.upstream import Upstream, build_source, read_no_secret
from git_repositories import git
from in_process import run

from synapse_apply import EmbeddedServer
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RunOutcome, TargetName
from synapse_apply.controller.settings import (
    Channel,
    Controller,
    HttpsToken,
    MayRead,
    SecretName,
    Source,
)
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.controller.worker.pool import WorkerPool

TOKEN, KEY = "token-of-acme-1234567890", "key-of-acme-1234567890"
CANARY = "canary-secret"
# As the controller has it: its own, of which one has a name like the source's, and another source's.
ENVIRON = {
    **os.environ,
    "ACME_TOKEN": TOKEN,
    "ACME_KEY": KEY,
    "ACME_VAULT": "token-of-vault",
    "VAULT_TOKEN": "login-of-vault-0123456789",
    "VAULT_DATA": "data-beside-vault-0123456789",
    "ACME_GIT_TOKEN": f"{CANARY}-git",
    "ACME_HOOK": f"{CANARY}-hook",
    "BETA_TOKEN": f"{CANARY}-beta",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws",
    "LD_PRELOAD": "",
    "HTTPS_PROXY": "http://user:password-of-proxy@127.0.0.1:9",
}
NOT_AVAILABLE = "is not set"
# Of a secret that was read: only with a state key would it be compared.
NOT_COMPARED = "not checked: there is no state key"
NOT_READABLE = "this project may not read the file"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("backend") / "data", token=TOKEN) as server:
        yield server


class Site:
    """A source with a target that has a state, and looks at what its repository declares."""

    def __init__(self, folder: Path, backend: EmbeddedServer) -> None:
        self.folder = folder
        self.upstream = Upstream(folder)
        self.states = folder / "states"
        self.states.mkdir()
        self.allowed, self.closed = folder / "allowed", folder / "closed"
        for place in (self.allowed, self.closed):
            place.mkdir()
            (place / "secret").write_text(f"{CANARY}-{place.name}-0123456789\n")
        (self.allowed / "own").write_text(f"{CANARY}-own\n")
        (self.allowed / "link").symlink_to(self.closed / "secret")
        (self.allowed / "..data").mkdir()
        (self.allowed / "..data" / "mounted").write_text("fine-0123456789")
        (self.allowed / "mounted").symlink_to("..data/mounted")
        self.settings = {"url": backend.url, "state": f"{{url: {self.states}/prod.db}}"}
        source = build_source(
            self.upstream,
            may_read=MayRead(
                ("ACME_*", "VAULT_*"), (str(self.allowed), f"{self.states}/"), ("VAULT_DATA",)
            ),
            credentials=HttpsToken(SecretName("env", "ACME_GIT_TOKEN")),
            hosts=("127.0.0.1",),
        )
        channel = Channel("hook", "webhook", SecretName("env", "ACME_HOOK"), frozenset())
        own_file = SecretName("file", str(self.allowed / "own"))
        other = Source("beta", "x", may_read=MayRead(("BETA_*",)), credentials=HttpsToken(own_file))
        self.data = folder / "data"
        self.mirror = GitMirror(build_source(self.upstream), self.data, read_no_secret)
        controller = Controller("main", {"acme": source, "beta": other}, channels=(channel,))
        self.pool = WorkerPool(controller, self.data, ENVIRON, 1)

    def look(self, value_from: str = "{env: ACME_KEY}", **settings: str) -> RunResult:
        """Look at a storage whose key is read so, on a target with these settings."""
        lines = {**self.settings, "token": "{env: ACME_TOKEN}", **settings}
        target = "".join(f"    {name}: {text}\n" for name, text in lines.items() if text)
        project = f"apiVersion: synapse-apply/v1\nkind: Project\ntargets:\n  prod:\n{target}"
        manifest = f"""
apiVersion: synapse-apply/v1
kind: Storage
metadata: {{name: a}}
spec:
  name: a
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: images
    region_name: eu-west-1
    access_key: {{valueFrom: {value_from}}}
    secret_key: {{valueFrom: {{env: ACME_KEY}}}}
"""
        self.upstream.commit({"synapse-apply.yaml": project, "manifests/a.yaml": manifest})
        request = Order(*TargetName("acme", "prod"), self.mirror.fetch_head().commit, 60.0)
        return self.pool.look(request)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, backend: EmbeddedServer) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    site = Site(folder, backend)
    site.look()
    checkout = folder / "checkout"
    git(folder, "clone", "-q", str(site.upstream.path), str(checkout))
    run("state init -t prod", checkout, {"ACME_TOKEN": TOKEN})
    yield site
    site.pool.close()


Look = Callable[..., str]


@pytest.fixture
def look(site: Site) -> Look:
    """All that a look says, in which there is never a canary."""

    def look_and_search(*arguments: str, **settings: str) -> str:
        result = site.look(*arguments, **settings)
        findings = [finding.to_json() for finding in result.findings]
        text = json.dumps([result.outcome.value, findings, result.plan_json])
        assert CANARY not in text
        assert TOKEN not in text
        assert KEY not in text
        assert "password-of-proxy" not in text
        return text

    return look_and_search


def test_what_it_may_read_is_read(look, site):
    """A variable of its pattern; a file below its folder, also through a link that stays there."""
    assert site.look().outcome is RunOutcome.CHANGES
    both = look().count(NOT_COMPARED)
    assert both
    for name in ("secret", "mounted"):
        listed = f"[{site.allowed}/{name}]"
        text = look(f"{{file: {site.allowed}/{name}}}", allow_files=listed)
        assert text.count(NOT_COMPARED) == both


@pytest.mark.parametrize(
    "name",
    ["ACME_GIT_TOKEN", "ACME_HOOK", "BETA_TOKEN", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"],
)
def test_variables_of_others_are_not_set(look, name):
    """For a manifest, for the token of a target, and for the url of its state."""
    closed = f"valueFrom may not read {name}"  # a proxy's, for any manifest
    refusal = closed if name.endswith("_PROXY") else f"{name} {NOT_AVAILABLE}"
    assert refusal in look(f"{{env: {name}}}")
    assert f"{name} {NOT_AVAILABLE}" in look(token=f"{{env: {name}}}")
    assert f"{name} {NOT_AVAILABLE}" in look(state=f"{{url: {{env: {name}}}}}")


def test_what_its_sources_read_is_open_by_name_alone(look):
    """A variable of Vault's that controller.yaml opens, and no other, whatever the commit lists."""
    settings = {
        "vault": "{address: 'http://127.0.0.1:9', token: {env: ACME_VAULT}, allow: [kv/a]}",
        "allow_env": "[VAULT_DATA, VAULT_TOKEN, 'ACME_*']",
    }
    assert NOT_COMPARED in look("{env: VAULT_DATA}", **settings)
    assert "Manifests cannot read this variable" in look("{env: VAULT_TOKEN}", **settings)


@pytest.mark.parametrize("name", ["closed/secret", "allowed/link", "allowed/own", "data/places"])
def test_other_files_are_not_read(look, site, name):
    """Whatever the project lists: outside, behind a link, the controller's own, its data folder."""
    path = site.folder / name
    listed = f"[{path}]"
    assert NOT_READABLE in look(f"{{file: {path}}}", allow_files=listed)
    key = look(state=f"{{url: {site.states}/prod.db, key: {{file: {path}}}}}")
    assert NOT_READABLE in key


def test_files_by_a_way_up_are_not_read(look, site):
    """From the project's folder, which lies in the controller's data folder."""
    way = os.path.relpath(site.closed / "secret", site.data / "places" / "acme")
    assert NOT_READABLE in look(f"{{file: {way}}}", allow_files=f"[{way}]")


@pytest.mark.parametrize(
    "form",
    [
        "{path}",
        "sqlite:///{path}",
        "file://{path}",
        "git:file://{path}",
        "postgresql://db.example/x?passfile={path}",
        "postgresql://db.example/x?sslmode=require&%73slkey={path}",
        "postgresql:///x?host={path}",
        "postgresql://db.example/x?service=other",
        "postgresql:///x",
        "postgresql://,db.example/x",
        "postgresql://user@:5432/x",
    ],
)
def test_a_state_elsewhere_is_not_opened(look, site, form):
    url = form.format(path=site.closed / "prod.db")
    assert "The state's file may not be used here" in look(state=f'{{url: "{url}"}}')
    assert [path.name for path in site.closed.iterdir()] == ["secret"]


def test_files_of_vault_are_not_read(look, site):
    """Neither its certificates nor a token."""
    reference = "{vault: {path: kv/a, key: a}}"
    common = "address: https://127.0.0.1:9, allow: [kv/*]"
    closed = site.closed / "secret"
    in_token = look(reference, vault=f"{{{common}, token: {{file: {closed}}}}}")
    assert NOT_READABLE in in_token
    token = "token: {env: ACME_VAULT}"
    assert NOT_READABLE in look(reference, vault=f"{{{common}, {token}, ca_file: {closed}}}")


def test_a_token_goes_to_the_listed_hosts_alone(look):
    assert "may not go to this host" in look(url="https://evil.example")


def test_a_file_of_the_project_is_read_from_the_commit(look, site):
    """Where it is committed; else it is not there, since nothing is checked out."""
    site.upstream.commit({"committed": "value-0123456789"})
    found, missing = look("{file: committed}"), look("{file: missing}")
    assert "missing is not a file at" in missing
    assert found.count(NOT_COMPARED) > missing.count(NOT_COMPARED)


def test_a_child_has_nothing_but_its_own(site):
    """Neither in its environment nor in its arguments."""
    site.look()
    (process_id,) = site.pool.list_process_ids()
    process = Path(f"/proc/{process_id}")
    environment = process.joinpath("environ").read_text()
    assert TOKEN in environment
    assert CANARY not in environment
    assert f"HOME={site.data}/homes/acme" in environment
    assert "LD_PRELOAD" not in environment
    assert TOKEN not in process.joinpath("cmdline").read_text()
    open_files = {os.readlink(file) for file in (process / "fd").iterdir()}  # noqa: PTH115
    assert not any(CANARY in name or "controller" in name for name in open_files)
