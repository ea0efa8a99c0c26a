"""What a commit makes a target mean, and by which rule it is applied: two backends, `run --once`."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from attack.servers_of_secrets import SOPS, VAULT, Listener, encrypt_for
from attack.servers_of_secrets import STORAGE as SECRET_STORAGE
from contract.controller.store_urls import build_store_url
from contract.controller.upstream import Upstream
from controllers.forked_workers import fork_workers
from forges.loopback_server import wait_until
from git_repositories import git
from in_process import run, run_in_process
from installed import environment
from postgres.server import PostgresServer
from vault.stand_in import StandInVault

from synapse_apply import EmbeddedServer

TOKENS = {
    "ACME_DEV_TOKEN": "token-of-dev-1234567890",
    "ACME_PROD_TOKEN": "token-of-prod-1234567890",
}
RULES = """
      dev: {mode: auto, interval: 1s}
      prod: {mode: approve, approvals: 2, interval: 1s, paused: {reason: year end freeze}}
      "*": {mode: observe, interval: 1s}
"""
STAR = '\n      "*": {mode: observe, interval: 1s}'
STORAGE = """
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: NAME}
spec: {name: NAME, provider: file_system, category: external, configuration: {location: /data}}
"""
OF_VAULT = """
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: v}
spec:
  name: v
  provider: amazon_s3
  category: external
  configuration: {bucket_name: b, secret_access_key: {valueFrom: {vault: {path: kv/a, key: b}}}}
"""
CONFIGURATION = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources:
  acme:
    url: ./upstream.git
    may_read: {env: ["ACME_*"], files: [states/]}
    hosts: [127.0.0.1, localhost]
    poll: 1s
    targets:RULES
defaults: {interval: 1s, jitter: 0, retry: {first: 1s, most: 1s}}
listen: 127.0.0.1:0
"""


class Site:
    """A repository whose targets `dev` and `prod` have a backend and a state each."""

    def __init__(self, folder: Path, backends: dict[str, EmbeddedServer], store_url: str) -> None:
        self.folder, self.backends = folder, backends
        self.environ = {**TOKENS, "STORE_URL": store_url}
        self.upstream = Upstream(folder)
        self.write_configuration(RULES)
        (folder / "states").mkdir()
        self.commit("first", dev=self.describe("dev"), prod=self.describe("prod"))
        git(folder, "clone", "-q", str(self.upstream.path), str(folder / "checkout"))
        for name in ("dev", "prod"):
            run(f"state init -t {name}", folder / "checkout", self.environ)

    def write_configuration(self, rules: str) -> None:
        text = CONFIGURATION.replace("RULES", rules.rstrip())
        if self.environ["STORE_URL"]:
            text += "store: {url: {env: STORE_URL}}\n"
        (self.folder / "controller.yaml").write_text(text, encoding="utf-8")

    def describe(self, name: str, **changes: str) -> str:
        """The settings of a target, as the project file has them."""
        settings = {
            "url": f'"{self.backends[name].url}"',
            "token": f"{{env: ACME_{name.upper()}_TOKEN}}",
            "state": f'{{url: "{self.folder}/states/{name}.db"}}',
        } | changes
        return f"{{{', '.join(f'{key}: {value}' for key, value in settings.items())}}}"

    def commit(self, storage_name: str, **targets: str) -> None:
        """Declare these targets, and one storage for all of them."""
        lines = "".join(f"  {name}: {settings}\n" for name, settings in targets.items())
        project = f"apiVersion: synapse-apply/v1\nkind: Project\ntargets:\n{lines}"
        manifest = STORAGE.replace("NAME", storage_name)
        self.upstream.commit({"synapse-apply.yaml": project, "manifests/a.yaml": manifest})

    def type(self, arguments: str, *codes: int) -> str:
        """What a command of the controller prints; it ends with 0, or one of `codes`."""
        typed = ["controller", *arguments.split()]
        done = run_in_process(typed, self.folder, environment(self.environ))
        assert done.returncode in {0, *codes}, done.stdout + done.stderr
        return done.stdout + done.stderr

    def follow(self) -> dict[str, str]:
        """A round, in which whatever a commit or a rule changed is due; condition and summary of each target."""
        self.said = shown = self.type("run --once", 1, 3, 5)
        rows = re.findall(r"^(\w+(?: \w+)*)  +acme/(\S+) +.*?Z *(.*)$", shown, re.MULTILINE)
        return {
            name: f"{state}: {why.partition(': ')[0]}".removesuffix(": ")
            for state, name, why in rows
        }

    def list_live(self, name: str) -> list[str]:
        """The names of the storages that a backend has."""
        backend = self.backends[name]
        headers = {"Authorization": f"Token {TOKENS[f'ACME_{name.upper()}_TOKEN']}"}
        url = f"{backend.url}/_emulator/objects/storage/"
        rows = requests.get(url, headers=headers, timeout=60).json()["results"]
        return sorted(row["body"]["name"] for row in rows)


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """The first commit is live in dev, and waits in prod; in SQLite unless a test says where."""
    fork_workers(monkeypatch)
    store_url = ""
    if getattr(request, "param", "") == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        store_url = str(build_store_url(server).reveal())
    with ExitStack() as stack:
        backends = {
            name: stack.enter_context(
                EmbeddedServer(tmp_path / name, token=TOKENS[f"ACME_{name.upper()}_TOKEN"])
            )
            for name in ("dev", "prod")
        }
        made = Site(tmp_path, backends, store_url)
        shown = made.follow()
        assert (made.list_live("dev"), made.list_live("prod")) == (["first"], []), (
            shown,
            made.said,
        )
        yield made


def test_the_token_of_prod_by_the_name_of_dev(tmp_path, monkeypatch):
    """One url whose tenants the tokens tell: the rule of dev is for the tenant of its own token."""
    fork_workers(monkeypatch)
    tenants = {TOKENS["ACME_DEV_TOKEN"]: "devt", TOKENS["ACME_PROD_TOKEN"]: "prodt"}
    with EmbeddedServer(tmp_path / "backend", tokens=tenants) as backend:

        def list_names(token: str) -> list[str]:
            headers = {"Authorization": f"Token {TOKENS[token]}"}
            answer = requests.get(f"{backend.url}/storages/", headers=headers, timeout=60).json()
            return sorted(row["name"] for row in answer["results"])

        site = Site(tmp_path, {"dev": backend, "prod": backend}, "")
        site.write_configuration(RULES.replace("dev:", '"dev*":'))
        site.follow()
        # Both rules are for this url: the looser one is accepted first.
        site.type("forget-rule acme/dev")
        site.follow()
        assert list_names("ACME_DEV_TOKEN") == ["first"]
        dev, prod = site.describe("dev"), site.describe("prod")
        moved = site.describe("dev", token="{env: ACME_PROD_TOKEN}")
        own = f'{{url: "{tmp_path}/states/dev2.db"}}'
        dev2 = site.describe("prod", tenant='"Token prodt"', state=own)
        site.commit("theirs", dev=moved, dev2=dev2, prod=prod)
        git(tmp_path / "checkout", "pull", "-q", "origin", "main")
        run("state init -t dev2", tmp_path / "checkout", site.environ)
        shown = site.follow()
        assert (shown["dev"][:4], shown["dev2"][:4]) == ("held", "held"), site.said
        assert list_names("ACME_PROD_TOKEN") == []
        site.commit("second", dev=dev, prod=prod)
        site.follow()
        assert list_names("ACME_DEV_TOKEN") == ["first", "second"]
        site.commit("third", dev=moved, prod=prod)
        site.follow()
        # On the controller's own machine its operator accepts another token likewise.
        assert "acme/dev is bound to" in site.type("forget-rule acme/dev")
        site.follow()
        assert list_names("ACME_PROD_TOKEN") == ["third"]


TAKEN = "failing: Another target already points to this backend and state"


@pytest.mark.parametrize("site", ["sqlite", "postgres"], indirect=True)
def test_prod_by_the_name_of_dev(site):
    """Whoever may push, and approve nothing, has nothing applied in prod by another name."""
    site.commit("theirs", dev=site.describe("prod"))
    shown = site.follow()
    assert site.list_live("prod") == []
    assert shown == {"dev": TAKEN}
    # Nor by a new one, in a commit that takes both names away, with its url in another spelling.
    site.write_configuration(RULES.replace("dev:", '"dev*":'))
    site.commit("theirs", dev2=site.describe("prod"))
    assert site.follow() == {"dev2": TAKEN}
    # What it was before is as it was.
    site.commit("second", dev=site.describe("dev"), prod=site.describe("prod"))
    shown = site.follow()
    assert (site.list_live("dev"), site.list_live("prod")) == (["first", "second"], []), shown


def test_a_target_that_is_renamed(site):
    """Its rules' memory stays until it is forgotten; the new name takes its place then."""
    site.write_configuration(RULES.replace("dev:", '"dev*":'))
    site.commit("second", development=site.describe("dev"), prod=site.describe("prod"))
    assert site.follow()["development"] == TAKEN
    assert site.list_live("dev") == ["first"]
    assert "No matching target (acme/prod) has been removed" in site.type("forget-rule acme/prod")
    assert site.type("forget-rule acme/d*") == "acme/dev is no longer bound.\n"
    site.follow()
    assert site.list_live("dev") == ["first", "second"]


def test_tokens_go_to_the_hosts_of_the_rule(site):
    """Not to those of the source that the rule does not name, whatever a commit says."""
    host = site.backends["dev"].url.removeprefix("http://")
    site.write_configuration(RULES.replace("dev: {", f'dev: {{hosts: ["{host}"], '))
    site.commit("second", dev=site.describe("dev"), prod=site.describe("prod"))
    assert site.follow()["dev"] == "in sync"
    moved = {"url": f'"{site.backends["prod"].url}"'}
    site.commit("third", dev=site.describe("dev", **moved), prod=site.describe("prod"))
    assert site.follow()["dev"] == "failing: The token may not go to this host"


@pytest.mark.parametrize("is_taken_away", [False, True])
def test_a_token_goes_to_the_hosts_of_the_rule_that_it_was_first_for(site, is_taken_away):
    """A commit that names it for another target sends it nowhere, until prod's rule lets it."""
    host, other = (site.backends[name].url.removeprefix("http://") for name in ("prod", "dev"))
    site.write_configuration(RULES.replace("prod: {", f'prod: {{hosts: ["{host}"], '))
    site.follow()
    taken = {"token": "{env: ACME_PROD_TOKEN}"}
    prod = {} if is_taken_away else {"prod": site.describe("prod")}
    site.commit("second", dev=site.describe("dev", **taken), **prod)
    assert site.follow()["dev"] == "failing: The token may not go to this host"
    site.write_configuration(RULES.replace("prod: {", f'prod: {{hosts: ["{host}", "{other}"], '))
    assert site.follow()["dev"] != "failing: The token may not go to this host"


@pytest.fixture
def two_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The first commit, which no controller has followed yet."""
    fork_workers(monkeypatch)
    with ExitStack() as stack:
        backends = {
            name: stack.enter_context(
                EmbeddedServer(tmp_path / name, token=TOKENS[f"ACME_{name.upper()}_TOKEN"])
            )
            for name in ("dev", "prod")
        }
        yield Site(tmp_path, backends, "")


@pytest.mark.parametrize("first", ["star", "renamed", "split", "prod is another"])
def test_a_token_goes_to_the_hosts_of_the_rule_that_its_target_has_now(two_backends, first):
    """Whatever pattern matched that target when its token was first seen, or what it was called."""
    site = two_backends
    host, other = (site.backends[name].url.removeprefix("http://") for name in ("prod", "dev"))
    rules = RULES.replace("prod: {", f'prod: {{hosts: ["{host}"], ')
    rules = rules.replace("dev: {", f'dev: {{hosts: ["{other}"], ')
    begun = {
        "star": STAR,
        "renamed": rules.replace("prod:", '"prod*":'),
        "split": f'\n      "[dp]*": {{mode: observe, interval: 1s, hosts: ["{host}", "{other}"]}}',
        "prod is another": STAR,
    }
    site.write_configuration(begun[first])
    if first == "prod is another":
        site.commit("first", dev=site.describe("dev"), production=site.describe("prod"))
        site.follow()
        site.commit("first", dev=site.describe("dev"), prod=site.describe("prod"))
    site.follow()
    site.write_configuration(rules)
    # Rounds may come within the interval of a look.
    wait_until(lambda: site.follow()["dev"] == "in sync", 60, "dev follows the new rules")
    # An ordinary commit after it, as months go by.
    site.commit("second", dev=site.describe("dev"), prod=site.describe("prod"))
    site.follow()
    taken = {"token": "{env: ACME_PROD_TOKEN}"}
    site.commit("third", dev=site.describe("dev", **taken), prod=site.describe("prod"))
    assert site.follow()["dev"] == "failing: The token may not go to this host"
    # Prod's own use of it stays as it was, and its rule may let it go there, too.
    assert "may not go" not in site.follow()["prod"]
    both = f'hosts: ["{host}", "{other}"], '
    site.write_configuration(rules.replace(f'prod: {{hosts: ["{host}"], ', f"prod: {{{both}"))
    assert site.follow()["dev"] != "failing: The token may not go to this host"


def test_a_token_that_an_older_version_remembered_by_a_pattern(two_backends):
    """A commit that comes with the upgrade finds the limit that was there before it."""
    site = two_backends
    host = site.backends["prod"].url.removeprefix("http://")
    site.write_configuration(RULES.replace("prod: {", f'"[p]rod": {{hosts: ["{host}"], '))
    site.follow()
    remembered = '[["ACME_DEV_TOKEN", "dev"], ["ACME_PROD_TOKEN", "[p]rod"]]'
    [file] = site.folder.rglob("controller.db")
    with closing(sqlite3.connect(file)) as store, store:
        [stored] = store.execute("UPDATE sources SET credentials = ? RETURNING name", [remembered])
        assert stored == ("acme",)
    taken = {"token": "{env: ACME_PROD_TOKEN}"}
    site.commit("second", dev=site.describe("dev", **taken), prod=site.describe("prod"))
    assert site.follow()["dev"] == "failing: The token may not go to this host"
    assert "may not go" not in site.follow()["prod"]


@pytest.mark.parametrize("is_taken_away", [False, True])
def test_a_token_of_a_target_that_no_rule_matches_goes_nowhere_by_another(
    two_backends, is_taken_away
):
    """Until a rule says where it may go: the hosts of dev's rule are for tokens of dev."""
    site = two_backends
    host, other = (site.backends[name].url.removeprefix("http://") for name in ("prod", "dev"))
    rules = f'\n      dev: {{mode: auto, interval: 1s, hosts: ["{other}"]}}'
    site.write_configuration(rules)
    assert site.follow() == {"dev": "in sync"}
    taken = {"token": "{env: ACME_PROD_TOKEN}"}
    prod = {} if is_taken_away else {"prod": site.describe("prod")}
    site.commit("second", dev=site.describe("dev", **taken), **prod)
    assert site.follow() == {"dev": "failing: The token may not go to this host"}
    # The token of dev itself stays what it was.
    site.commit("third", dev=site.describe("dev"), **prod)
    assert site.follow() == {"dev": "in sync"}
    site.write_configuration(f'{rules}\n      prod: {{hosts: ["{host}", "{other}"]}}')
    site.commit("fourth", dev=site.describe("dev", **taken), **prod)
    assert "may not go" not in site.follow()["dev"]


@pytest.mark.parametrize("password", ["PGPASSWORD", "ACME_PROD_DB"])
def test_a_password_of_a_database_goes_to_the_hosts_of_the_rule_that_it_was_first_for(
    two_backends, listener, password
):
    """Whether a fixed name has it, or the variable of a url: dev's rule is for dev's own."""
    site, theirs = two_backends, f"127.0.0.1:{listener.port}"
    host, other = (site.backends[name].url.removeprefix("http://") for name in ("prod", "dev"))
    site.environ[password] = "password-of-prod-1234567890"
    written = f"postgresql://state@{theirs}/db"
    if password != "PGPASSWORD":
        site.environ[password] = f"postgresql://state:password-of-prod-1234567890@{theirs}/db"
        written = f"{{env: {password}}}"
    rules = RULES.replace("prod: {", f'prod: {{hosts: ["{host}", "db.invalid"], ')
    site.write_configuration(rules.replace("dev: {", f'dev: {{hosts: ["{other}", "{theirs}"], '))
    file = site.folder / "controller.yaml"
    text = file.read_text("utf-8").replace("    hosts: [127.0.0.1, localhost]\n", "")
    file.write_text(text.replace('env: ["ACME_*"]', 'env: ["ACME_*", PGPASSWORD]'))
    db = "postgresql://state@db.invalid/db" if password == "PGPASSWORD" else written
    prod = site.describe("prod", state=f"{{url: {db}}}")
    site.commit("second", dev=site.describe("dev"), prod=prod)
    assert site.follow()["dev"] == "in sync"
    site.commit("third", dev=site.describe("dev", state=f"{{url: {written}}}"), prod=prod)
    said = "failing: The password of the state's database may not go to this host"
    assert site.follow()["dev"] == said
    assert listener.clients == 0
    file.write_text(file.read_text("utf-8").replace("db.invalid", theirs))
    wait_until(lambda: site.follow()["dev"] != said, 60, "dev follows the new rules")


def test_a_token_without_a_limit_stays_so_for_whom_it_was_first(two_backends):
    """A commit that names it for a target whose rule has `hosts` takes it from nobody."""
    site = two_backends
    other = site.backends["dev"].url.removeprefix("http://")
    site.write_configuration(RULES.replace("dev: {", f'dev: {{hosts: ["{other}"], '))
    site.follow()
    taken = {"token": "{env: ACME_PROD_TOKEN}"}
    for name in ("second", "third"):
        site.commit(name, dev=site.describe("dev", **taken), prod=site.describe("prod"))
        assert "may not go" not in site.follow()["prod"]


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    yield listening
    listening.close()


@pytest.mark.parametrize("begins", ["rules", "star"])
@pytest.mark.parametrize("setting", ["agents", "vault", "jwt", "sops"])
def test_so_does_a_token_that_another_setting_names(two_backends, listener, setting, begins):
    """As an agent's token, and for a Vault at a host that is right for dev's own credentials."""
    site = two_backends
    if begins == "star":
        site.write_configuration(STAR)
        site.follow()
    host, other = (site.backends[name].url.removeprefix("http://") for name in ("prod", "dev"))
    theirs, token = f"127.0.0.1:{listener.port}", "{env: ACME_PROD_TOKEN}"
    rules = RULES.replace("prod: {", f'prod: {{hosts: ["{host}"], ')
    site.write_configuration(rules.replace("dev: {", f'dev: {{hosts: ["{other}", "{theirs}"], '))
    file = site.folder / "controller.yaml"
    hosts = f'hosts: ["{host}", "{other}", "{theirs}"]'
    file.write_text(file.read_text("utf-8").replace("hosts: [127.0.0.1, localhost]", hosts))
    site.follow()
    address = f'address: "http://{theirs}", allow: ["*"]'
    taken = {
        "agents": {"agents": f"{{first: {token}}}"},
        "vault": {"vault": f"{{{address}, token: {token}}}"},
        "jwt": {"vault": f"{{{address}, jwt: {{role: x, token: {token}}}}}"},
        "sops": {
            "sops": f'{{hc_vault: {{keys: ["http://{theirs}/v1/e/keys/k"], token: {token}}}}}'
        },
    }[setting]
    secret = SOPS if setting == "sops" else VAULT
    key = {"vault_address": f"http://{theirs}", "engine_path": "e", "key_name": "k"}
    storage = SECRET_STORAGE.replace("{SOURCE}", f"{{{secret}}}")
    files = {"secrets/x.json": encrypt_for("hc_vault", key)}
    if setting != "agents":
        files["manifests/b.yaml"] = storage
    site.upstream.commit(files)
    site.commit("second", dev=site.describe("dev", **taken), prod=site.describe("prod"))
    followed = site.follow()["dev"]
    said = site.said + followed
    assert "may not go to this host" in said or "is not listed in SYNAPSE_APPLY_HOSTS" in said
    assert "b" not in site.list_live("dev")
    assert listener.clients == 0


@pytest.mark.parametrize("begins", ["rules", "star"])
@pytest.mark.parametrize("token", ["env: ACME_VAULT", "file: prod.token", "file: ../states/link"])
def test_a_token_of_vault_goes_to_the_hosts_of_the_rule_that_it_was_first_for(
    two_backends, token, begins
):
    """Of a variable or a file, however commits write its path, for prod and for another target."""
    site = two_backends
    site.environ["ACME_VAULT"] = secret = "hvs.token-of-prod-1234567890"
    states = site.folder / "states"
    (states / "prod.token").write_text(secret)
    (states / "link").symlink_to("prod.token")
    first_spelling = f"{site.folder}//states" if "link" in token else f"{states}"
    named = f'{{file: "{first_spelling}/prod.token"}}' if "file" in token else f"{{{token}}}"
    written = token.replace("file: ", f"file: {states}/")

    def commit(**tokens: str) -> None:
        targets = "".join(
            f"  {name}: {site.describe(name, vault=vault)}\n"
            for name, text in tokens.items()
            for server in (theirs if name == "dev" else ours,)
            for vault in (f'{{address: "{server.url}", token: {text}, allow: ["kv/*"]}}',)
        )
        project = f"apiVersion: synapse-apply/v1\nkind: Project\ntargets:\n{targets}"
        site.upstream.commit({"synapse-apply.yaml": project, "manifests/a.yaml": OF_VAULT})

    with StandInVault() as ours, StandInVault() as theirs:
        rules = RULES
        for name, vault in (("dev", theirs), ("prod", ours)):
            places = [urlsplit(server.url).netloc for server in (site.backends[name], vault)]
            rules = rules.replace(f"{name}: {{", f"{name}: {{hosts: {json.dumps(places)}, ")
        site.write_configuration(rules if begins == "rules" else STAR)
        commit(prod=named)
        site.follow()
        site.write_configuration(rules)
        site.follow()
        assert {request.headers["x-vault-token"] for request in ours.requests} == {secret}
        commit(dev=f"{{{written}}}", prod=named)
        site.follow()
        # Another test's program may ask at this port.
        assert not [one for one in theirs.requests if "x-vault-token" in one.headers]
        let = json.dumps(urlsplit(theirs.url).netloc)
        site.write_configuration(rules.replace("prod: {hosts: [", f"prod: {{hosts: [{let}, "))
        site.follow()
        assert secret in {request.headers.get("x-vault-token") for request in theirs.requests}


SPELLINGS = ["run/secrets", "var/run/secrets", "run//secrets", "run/x/../secrets", "relative"]


@pytest.mark.parametrize("named", SPELLINGS)
def test_a_file_that_a_target_named_stays_closed_however_it_was_spelled(two_backends, named):
    """By a link above it, too; the next commit names it for a manifest alone."""
    site, folder = two_backends, two_backends.folder
    secret = "hvs.token-of-dev-1234567890"
    (folder / "run" / "secrets").mkdir(parents=True)
    (folder / "run" / "x").mkdir()
    (folder / "run" / "secrets" / "token").write_text(secret)
    (folder / "var").mkdir()
    (folder / "var" / "run").symlink_to(folder / "run")
    file = folder / "controller.yaml"
    listed = f"files: [states/, {folder}/run/secrets/]"
    file.write_text(file.read_text("utf-8").replace("files: [states/]", listed))
    path = f"{folder}/{named}/token"
    if named == "relative":
        # From the project's folder, where all of the way to the root is known.
        path = f"{'../' * 40}{str(folder).lstrip('/')}/run/secrets/token"
    vault = f'{{address: "https://127.0.0.1:9", allow: ["kv/*"], token: {{file: "{path}"}}}}'
    site.commit("first", dev=site.describe("dev", vault=vault), prod=site.describe("prod"))
    site.follow()
    assert site.list_live("dev") == ["first"], site.said
    real = f"{folder}/run/secrets/token"
    listing = site.describe("dev", allow_files=f'["{path}", "{real}"]')
    site.commit("first", dev=listing, prod=site.describe("prod"))
    for written in (path, real):
        manifest = OF_VAULT.replace("vault: {path: kv/a, key: b}", f'file: "{written}"')
        site.upstream.commit({"manifests/v.yaml": manifest})
        # By its text in a plan, by what a link leads to where the value is read.
        assert "not allowed" in site.follow()["dev"], site.said
        assert site.list_live("dev") == ["first"]


def test_prod_by_its_host_in_percent_codes(site):
    """A spelling that only a connection resolves is an error of the commit."""
    file = site.folder / "controller.yaml"
    site.write_configuration(RULES.replace("dev:", '"dev*":'))
    file.write_text(file.read_text("utf-8").replace("    hosts: [127.0.0.1, localhost]\n", ""))
    own = f'{{url: "{site.folder}/states/dev2.db"}}'
    prod = site.describe("prod")
    for host in ("127.0.0.%31", "localhos%74"):
        url = site.backends["prod"].url.replace("127.0.0.1", host)
        dev2 = site.describe("prod", url=f'"{url}"', state=own)
        site.commit("theirs", dev=site.describe("dev"), dev2=dev2, prod=prod)
        site.follow()
        assert "cut short" not in site.said
        assert "Malformed value  `targets.dev2.url` is not of the form" in site.said
        assert site.list_live("prod") == []
    site.commit("second", dev=site.describe("dev"), prod=prod)
    assert site.follow()["dev"] == "in sync"
