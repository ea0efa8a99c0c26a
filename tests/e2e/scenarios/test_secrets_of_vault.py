"""A storage whose secrets are in Vault: from its first check to a changed value, and who is asked."""

from __future__ import annotations

import json
import re

import pytest
from e2e.scenarios.canaries import forms, leaks_in_files
from e2e.scenarios.workplace import TOKEN, Workplace, project
from installed import ROOT
from vault import jwts
from vault.echoes import VALUE, build_echo
from vault.stand_in import StandInVault

REPORT_KINDS = ("json", "markdown", "html", "github", "gitlab", "codequality")


# Long, and with characters that every encoding treats in its own way.
OTHER_VALUE = "cAn4ry-other?&=%<tag>'-8888"
VAULT_TOKEN = "hvs.cAn4ry-token-9999"
DATA_PATH = "/v1/kv/data/raw-data"


def build_storage(name: str = "raw", **sources) -> str:
    """A storage with two secrets; `sources` are what stands below `valueFrom`."""
    references = {
        "access_key_id": {"vault": {"path": "kv/raw-data", "key": "id"}},
        "secret_access_key": {"vault": {"path": "kv/raw-data", "key": "secret"}},
        **sources,
    }
    configuration = {"bucket_name": "b", "region": "r"}
    configuration |= {key: {"valueFrom": source} for key, source in references.items()}
    spec = {"name": name, "provider": "amazon_s3", "category": "external"}
    return json.dumps(
        {
            "apiVersion": "synapse-apply/v1",
            "kind": "Storage",
            "metadata": {"name": name},
            "spec": {**spec, "configuration": configuration},
        }
    )


def build_block(vault: StandInVault, **more) -> dict:
    """The target's settings of this Vault, with the login of a job."""
    jwt = {"role": "deploy", "token": {"env": "JOB_JWT"}}
    return {"address": vault.url, "jwt": jwt, "allow": ["kv/raw-data"], **more}


@pytest.fixture
def vault():
    with StandInVault() as made:
        made.put("kv/raw-data", {"id": "AKIA-of-tests", "secret": VALUE})
        made.make_role("deploy", "kv/raw-data")
        yield made
        assert made.violations == []


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def place(tmp_path, vault, server) -> Workplace:
    """A project whose target logs in with the JWT of its job."""
    made = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN, "JOB_JWT": jwts.sign()})
    made.write(
        "synapse-apply.yaml", project(server.url, settle_after=0.2, vault=build_block(vault))
    )
    made.write("manifests/raw.yaml", build_storage())
    return made


def read_stored_configuration(server) -> dict:
    """What the backend has of the one storage."""
    return server.call("GET", "_emulator/objects/storage/1/")["body"]["configuration"]


def require_no_leak(place: Workplace, vault: StandInVault, *ran) -> None:
    """No value, JWT or token of Vault is in what commands wrote, nor in the project's files."""
    sent = {one.headers.get("x-vault-token", VAULT_TOKEN) for one in vault.requests}
    hidden = {VALUE, OTHER_VALUE, place.environ["JOB_JWT"], *sent}
    told = "".join(one.text for one in ran).encode()
    told += b"".join(path.read_bytes() for path in place.root.rglob("*") if path.is_file())
    assert not [text for text in hidden if any(form in told for form in forms(text))]
    assert leaks_in_files(place.root, []) == []


def test_a_whole_life(place, vault, server):
    """Created, planned, changed in Vault, refused, rekeyed; every command logs in once and out."""
    place.environ["SYNAPSE_APPLY_LOG"] = "trace"
    ran = [place.run("state", "init", code=0), place.plan("--json", "--out", "first.plan", code=0)]
    assert [one.path for one in vault.requests] == [
        "/v1/auth/jwt/login", DATA_PATH, "/v1/auth/token/revoke-self",
    ]  # fmt: skip
    reports = [f"--report={kind}=reports/{kind}" for kind in REPORT_KINDS]
    ran += [
        place.plan(*reports, code=0),
        place.apply("--json", *reports),
        place.plan("--detailed-exitcode", code=0),
    ]
    assert {path.name for path in (place.root / "reports").iterdir()} == {*REPORT_KINDS}
    assert read_stored_configuration(server)["secret_access_key"] == VALUE
    vault.put("kv/raw-data", {"id": "AKIA-of-tests", "secret": OTHER_VALUE})
    changed = place.apply(code=5)
    assert "! storage/raw cannot be updated: configuration.secret_access_key" in changed.out
    assert "(sensitive, changed)" in changed.out
    ran += [
        changed,
        place.plan("--json"),
        place.run("show", "storage/raw", "--json"),
        place.run("state", "show", "storage/raw", code=0),
        place.run("state", "accept", "storage/raw", "--auto-approve", code=0),
        place.run("state", "rekey", code=0),
        place.run("get", "jobs", code=0),
        place.run("state", "history", "--json", code=0),
        place.run("doctor", code=0),
    ]
    assert vault.tokens == {}
    require_no_leak(place, vault, *ran)


def test_a_real_openbao(tmp_path, server, openbao):
    """As with the stand-in: applied by the JWT of a job, then nothing is left to do; no token stays."""
    openbao.put("kv/for-apply", {"id": "AKIA-of-tests", "secret": VALUE})
    openbao.make_role("deploy", "kv/for-apply")
    place = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN, "JOB_JWT": jwts.sign()})
    block = build_block(openbao, allow=["kv/for-*"])
    place.write("synapse-apply.yaml", project(server.url, settle_after=0.2, vault=block))
    sources = {
        key: {"vault": {"path": "kv/for-apply", "key": name}}
        for key, name in (("access_key_id", "id"), ("secret_access_key", "secret"))
    }
    place.write("manifests/raw.yaml", build_storage(**sources))
    place.run("state", "init", code=0)
    tokens = openbao.count_tokens()
    ran = [place.apply("--json"), place.plan("--detailed-exitcode", code=0), place.run("doctor")]
    assert openbao.count_tokens() == tokens
    assert read_stored_configuration(server)["secret_access_key"] == VALUE
    told = "".join(one.text for one in ran).encode()
    assert not [
        form for text in (VALUE, place.environ["JOB_JWT"]) for form in forms(text) if form in told
    ]


def test_the_page_is_right(tmp_path, server):
    """What docs/vault.md shows fits the schemas; an overlay gives another source where there is no Vault."""
    page = (ROOT / "docs" / "vault.md").read_text(encoding="utf-8")
    storage, settings = re.findall(r"```yaml\n(apiVersion.*?|# syn.*?)```", page, re.DOTALL)
    place = Workplace(tmp_path / "project", {"RAW": VALUE, "SYNAPSE_PROD_TOKEN": TOKEN})
    place.write("manifests/raw.yaml", storage)
    overlay = """
  embedded:
    overlays:
      storage/raw-data:
        spec:
          configuration:
            access_key: {valueFrom: {vault: null, env: RAW}}
            secret_key: {valueFrom: {vault: null, env: RAW}}
"""
    place.write("synapse-apply.yaml", settings.rstrip() + overlay)
    place.run("validate", "-t", "prod", code=0)
    place.apply("-t", "embedded")
    place.edit("synapse-apply.yaml", "[kv/raw-data,", "[")
    assert "kv/raw-data matches no pattern" in place.run("validate", "-t", "prod", code=1).text


def test_a_pinned_version_stays(place, vault, server):
    """What is written to Vault later is not read, until the manifest names it."""
    pinned = {"vault": {"path": "kv/raw-data", "key": "secret", "version": 1}}
    place.write("manifests/raw.yaml", build_storage(secret_access_key=pinned))
    place.run("state", "init", code=0)
    place.apply()
    vault.put("kv/raw-data", {"id": "AKIA-of-tests", "secret": OTHER_VALUE})
    place.unchanged()


def test_checks_and_offline_plans_ask_nobody(place, vault):
    """Nor do they need the JWT."""
    del place.environ["JOB_JWT"]
    place.run("validate", code=0)
    place.run("state", "show", "--inventory", code=None)
    (place.root / "inventory.yaml").write_text("resources: []\n")
    offline = place.plan("--offline", "--against", "state:inventory.yaml", code=None)
    assert "Traceback" not in offline.text
    place.run("validate", "--graph", code=0)
    assert vault.requests == []


def test_a_vault_that_is_sealed(place, vault, server):
    """A plan says what it could not compare; an apply ends before its first call."""
    vault.sealed = True
    place.run("state", "init", code=0)
    planned = place.plan(code=0)
    assert f"(sensitive, not checked: the Vault at {vault.url} is sealed)" in planned.out
    stopped = place.apply(code=1)
    assert "Vault is sealed" in stopped.err
    assert "manifests/raw.yaml:1:" in stopped.err
    assert "vault operator unseal" in stopped.err
    assert server.writes == []
    assert len(vault.requests) == 2


def test_a_target_without_vault(place, server):
    """It is told where a secret is needed, and how to name one; the manifests are right."""
    place.write("synapse-apply.yaml", project(server.url, settle_after=0.2))
    place.run("state", "init", code=0)
    place.run("validate", code=0)
    assert "(sensitive, not checked: this target has no Vault)" in place.plan(code=0).out
    stopped = place.apply(code=1)
    assert "targets.NAME.vault with address, token or jwt, and allow" in stopped.err


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        (
            {"path": "kv/other", "key": "a"},
            "kv/other matches no pattern of vault.allow: kv/raw-data",
        ),
        ({"path": "kv/raw-data/../other", "key": "a"}, "a part of it is empty, `.` or `..`"),
        ({"path": "kv", "key": "a"}, "it has no slash"),
        ({"path": "kv/raw-data?version=1", "key": "a"}, "a character that the path of a secret"),
        ({"path": "kv/raw-data", "key": "a", "version": 0}, "version"),
        ({"path": "kv/raw-data"}, "key"),
    ],
)
def test_what_a_manifest_may_not_name(place, vault, argument, told):
    """Told by `validate` at its place; Vault is not asked."""
    place.write("manifests/raw.yaml", build_storage(access_key_id={"vault": argument}))
    ran = place.run("validate", code=1)
    assert told in ran.text
    assert "manifests/raw.yaml:1:" in ran.text
    assert vault.requests == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"address": "http://vault.example:8200"}, "Vault without TLS"),
        ({"jwt": None}, "Vault without a login"),
        ({"namespace": "a\nX-Evil: 1"}, "namespace"),
        ({"address": "https://user:pw@vault.example"}, "address"),
        ({"allow": []}, "allow"),
    ],
)
def test_settings_that_cannot_be_used(place, vault, server, changes, told):
    """Told at their place in the project file."""
    block = {
        key: value for key, value in build_block(vault, **changes).items() if value is not None
    }
    place.write("synapse-apply.yaml", project(server.url, vault=block))
    ran = place.run("validate", code=1)
    assert told in ran.text
    assert "synapse-apply.yaml:1:" in ran.text


def test_the_credentials_of_vault_are_closed_to_manifests(place, vault, server):
    """Neither variable nor file: a manifest could send them to the backend."""
    token_file = {"token": {"file": "secrets/vault-token"}}
    place.write("secrets/vault-token", VAULT_TOKEN)
    place.write("synapse-apply.yaml", project(server.url, vault=build_block(vault, **token_file)))
    stolen = {
        "access_key_id": {"env": "JOB_JWT"},
        "secret_access_key": {"file": "secrets/vault-token"},
    }
    place.write("manifests/raw.yaml", build_storage(**stolen))
    ran = place.run("validate", code=1)
    assert "targets.prod.vault.jwt.token names it" in ran.text
    assert "targets.prod.vault.token names it" in ran.text


def test_hosts_that_a_credential_may_go_to(place, vault):
    """SYNAPSE_APPLY_HOSTS limits the token of Vault as it limits the backend's."""
    place.environ["SYNAPSE_APPLY_HOSTS"] = "vault.example"
    ran = place.run("doctor", code=1)
    assert "not listed in SYNAPSE_APPLY_HOSTS" in ran.text
    assert vault.requests == []


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "wrong"])
def test_a_certificate_authority_that_cannot_be_used(place, vault, server, content):
    """It is told as what it is, before anything is sent."""
    if content:
        place.write("certs/ca.pem", content)
    block = build_block(vault, ca_file="certs/ca.pem")
    place.write("synapse-apply.yaml", project(server.url, vault=block))
    place.run("state", "init", code=0)
    ran = place.apply(code=1)
    assert "The certificate authority cannot be used" in ran.err
    assert "holds no certificates" in ran.err if content else "does not exist" in ran.err
    assert vault.requests == []


def test_doctor_says_which_login_won(place, vault, server):
    """And why another one did not, and whether Vault accepts it."""
    block = build_block(vault, token={"env": "VAULT_TOKEN"})
    place.write("synapse-apply.yaml", project(server.url, vault=block))
    place.run("state", "init", code=0)
    by_jwt = place.run("doctor", code=0).out
    assert "the token of VAULT_TOKEN: VAULT_TOKEN is not set; role deploy (JWT of JOB_JWT" in by_jwt
    assert f"{vault.url} accepts role deploy (JWT of JOB_JWT, auth/jwt), for 10 min" in by_jwt
    place.environ["VAULT_TOKEN"] = vault.make_token("kv/raw-data")
    by_token = place.run("doctor", code=0).out
    assert "role deploy (JWT of JOB_JWT, auth/jwt) is not needed" in by_token
    place.environ["VAULT_TOKEN"] = VAULT_TOKEN
    refused = place.run("doctor", code=1)
    assert "Vault does not accept the token" in refused.out
    del place.environ["VAULT_TOKEN"]
    place.environ["JOB_JWT"] = jwts.sign(aud="https://else.example")
    refused_jwt = place.run("doctor", code=1)
    assert "The login to Vault failed" in refused_jwt.out
    require_no_leak(place, vault, refused, refused_jwt)


@pytest.mark.parametrize(
    ("how", "status"),
    [("errors", 400), ("errors", 403), ("key names", 200), ("headers", 404), ("redirect", 307),
     ("broken", 200), ("html", 200)],
)  # fmt: skip
def test_a_vault_that_repeats_what_it_was_sent(place, vault, how, status):
    """Whatever it answers, no command repeats any of it: in messages, logs, JSON or the state."""

    def echo(request):
        sent = json.loads(request.body)["jwt"] if request.body else request.headers["x-vault-token"]
        return build_echo(how, status, [VALUE, sent])

    place.environ["SYNAPSE_APPLY_LOG"] = "trace"
    ran = [place.run("state", "init", code=0)]
    for override in (echo, lambda one: None if one.path.endswith("/login") else echo(one)):
        vault.override = override
        ran += [
            place.plan("--json"),
            place.apply("--json", code=None),
            place.apply(code=1),
            place.run("doctor", "--json"),
        ]
    require_no_leak(place, vault, *ran)


def test_a_number_and_an_object(place, vault, server):
    """What is no text in Vault needs `format: json`, and then stays what it is."""
    vault.put("kv/raw-data", {"id": {"deep": ["x", 1]}, "secret": 12345678901234567890})
    place.run("state", "init", code=0)
    stopped = place.apply(code=1)
    assert "kv/raw-data id is an object, not text" in stopped.err
    assert "kv/raw-data secret is a number, not text" in stopped.err
    assert "format: json" in stopped.err
    sources = {
        key: {"vault": {"path": "kv/raw-data", "key": name}, "format": "json"}
        for key, name in (("access_key_id", "id"), ("secret_access_key", "secret"))
    }
    place.write("manifests/raw.yaml", build_storage(**sources))
    place.apply()
    stored = read_stored_configuration(server)
    assert stored["access_key_id"] == {"deep": ["x", 1]}
    assert stored["secret_access_key"] == 12345678901234567890


def test_many_storages_share_one_read(place, vault):
    """Threads, keys and storages: one login and one read of a version in each command."""
    place.write("manifests/raw.yaml", *(build_storage(f"raw-{n}") + "\n" for n in range(12)))
    place.run("state", "init", code=0)
    place.apply("--parallelism", "8")
    assert [one.path for one in vault.requests] == [
        "/v1/auth/jwt/login", DATA_PATH, "/v1/auth/token/revoke-self",
    ]  # fmt: skip


def test_a_pull_request_cannot_widen_it(place, vault, server, tmp_path):
    """Address, login and allowed paths are those of the base branch."""
    from git_repositories import git

    for typed in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "All")):
        git(place.root, *typed)
    vault.make_role("admin", "*")
    vault.put("kv/other", {"id": VALUE})
    place.run("state", "init", code=0)
    with StandInVault() as hostile:
        widened = build_block(hostile, allow=["*"])
        place.write("synapse-apply.yaml", project(server.url, settle_after=0.2, vault=widened))
        pinned = ("--project-from", "git:main")
        ran = place.plan(*pinned, code=0)
        assert "targets.prod.vault: the plan uses the settings of main" in ran.text
        assert vault.count("GET", DATA_PATH) == 1
        other = {"vault": {"path": "kv/other", "key": "id"}}
        place.write("manifests/raw.yaml", build_storage(access_key_id=other))
        refused = place.run("validate", *pinned, code=1)
        assert "kv/other matches no pattern of vault.allow: kv/raw-data" in refused.text
        assert hostile.requests == []
    require_no_leak(place, vault, ran, refused)
