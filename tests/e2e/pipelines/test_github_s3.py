"""The workflows of examples/github-actions-s3: a role for each job, and the state in a bucket."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from buckets.servers import BucketServer
from e2e.pipelines.actions import Runner, read_artifact
from e2e.pipelines.forge import PROJECT, TOKEN, Forge, make_pull, make_run
from e2e.pipelines.schemas import check_published_schema
from git_repositories import git, read_head
from in_process import run
from installed import ROOT, copied, variables
from listening import Server

from synapse_apply import EmbeddedServer

EXAMPLE = ROOT / "examples" / "github-actions-s3"
WORKFLOWS = sorted((EXAMPLE / ".github" / "workflows").glob("*.yml"))
BACKEND = "prod-token-of-tests"
SECRETS = {
    **variables(EXAMPLE / "example.env"),
    "SYNAPSE_PROD_TOKEN": BACKEND,
    "SYNAPSE_APPLY_STATE_KEY_PROD": "c3RhdGUta2V5LW9mLXRlc3RzLTMyLWJ5dGVzLWxvbmc=",
    "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/synapse-apply",
}


class Identities(BaseHTTPRequestHandler):
    """Where a job of GitHub asks for the token that says which job it is."""

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "bearer of-the-job"
        asked = self.path.endswith("&audience=sts.amazonaws.com")
        self.send_response(200 if allowed and asked else 403)
        self.end_headers()
        self.wfile.write(json.dumps({"value": "of.one.job"}).encode())

    def log_message(self, *given: Any) -> None:
        """Say nothing."""


class Roles(BaseHTTPRequestHandler):
    """Where a token becomes credentials (AWS STS, AssumeRoleWithWebIdentity)."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        asked = parse_qs(urlsplit(self.path).query or body)
        allowed = asked.get("WebIdentityToken") == ["of.one.job"]
        assert asked["RoleArn"] == [SECRETS["AWS_ROLE_ARN"]]
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Length", str(len(CREDENTIALS)))
        self.end_headers()
        self.wfile.write(CREDENTIALS.encode())

    def log_message(self, *given: Any) -> None:
        """Say nothing."""


CREDENTIALS = """<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>of-the-role</AccessKeyId><SecretAccessKey>made-up</SecretAccessKey>
<SessionToken>made-up</SessionToken><Expiration>2126-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler], certificate: Path | None = None
) -> Iterator[str]:
    """The URL of a server of the tests; https with a certificate, whose key is beside it."""
    with Server(("127.0.0.1", 0), handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def identities() -> Iterator[str]:
    with serving(Identities) as url:
        yield f"{url}/token?api-version=2.0"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The certificate of an authority; `server.pem` beside it is signed by it, for loopback."""
    new_key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for name, more in (
        ("authority", ["-subj", "/CN=tests"]),
        (
            "server",
            ["-subj", "/CN=localhost", "-CA", "authority.pem", "-CAkey", "authority.key",
             "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"],
        ),
    ):  # fmt: skip
        files = ["-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2"]
        subprocess.run([*new_key, *files, *more], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "authority.pem"


@pytest.fixture
def roles(authority: Path) -> Iterator[str]:
    """The client asks for credentials by https alone."""
    with serving(Roles, authority.with_name("server.pem")) as url:
        yield url


@pytest.fixture
def runner(
    tmp_path: Path,
    forge: Forge,
    interpreter: Path,
    moto: BucketServer,
    identities: str,
    roles: str,
    authority: Path,
) -> Iterator[Runner]:
    """A runner that has moto in place of Amazon's S3."""
    moto.ask("PUT", "/acme-synapse-state")
    with EmbeddedServer(tmp_path / "backend", token=BACKEND, tenant="acme") as server:
        checkout = copied(EXAMPLE, tmp_path)
        host = server.url.removeprefix("http://")
        for path in checkout.rglob("*"):
            if path.suffix in {".yml", ".yaml"}:
                text = path.read_text().replace("https://api.synapse.example", server.url)
                path.write_text(text.replace("api.synapse.example", host))
        git(checkout, "init", "-q", "-b", "main")
        for name, text in {"user.name": "t", "user.email": "t@example.org"}.items():
            git(checkout, "config", name, text)
        git(checkout, "add", "-A")
        git(checkout, "commit", "-qm", "first")
        git(checkout, "update-ref", "refs/remotes/origin/main", "HEAD")
        given = {
            "GITHUB_API_URL": forge.url,
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "AWS_ENDPOINT_URL": moto.endpoint,
            "AWS_ENDPOINT_URL_STS": roles,
            "AWS_CA_BUNDLE": str(authority),
            "ACTIONS_ID_TOKEN_REQUEST_URL": identities,
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
        }
        # A person with keys makes the state.
        person = {**SECRETS, **moto.environ, "AWS_ENDPOINT_URL": moto.endpoint}
        run("state init -t prod", checkout, person)
        event = {
            "repository": PROJECT,
            "sha": read_head(checkout),
            "base_ref": "chosen-by-its-author",
            "event": {
                "pull_request": {"number": 7, "head": {"repo": {"full_name": PROJECT}}},
                "repository": {"default_branch": "main"},
            },
        }
        yield Runner(
            checkout, tmp_path / "temp", tmp_path / "artifacts", event, SECRETS, given, TOKEN,
            python=interpreter,
        )  # fmt: skip
        moto.ask("POST", "/moto-api/reset")  # the next test begins with an empty bucket
        moto.ask("PUT", "/states")


def test_runners_that_keep_nothing_plan_and_apply(runner: Runner, forge: Forge) -> None:
    """Each takes its role by the token of its job; what one applied the next one knows."""
    base, checkout = runner.event["sha"], runner.checkout
    planned = runner.job("pull-request.yml", "plan")
    assert planned.ok, planned.log
    assert "Plan: 2 to add" in planned.log
    git(checkout, "commit", "-q", "--allow-empty", "-m", "merged")
    sha = read_head(checkout)
    forge.add_commits(base, sha)
    forge.pulls[sha] = [make_pull(7, base, sha)]
    forge.runs.append(make_run(1, base))
    forge.keep_artifact(
        1, 100, "prod-plan-7", read_artifact(runner.temp.parent, "1", "prod-plan-7")
    )

    runner.run_id, runner.event = "2", {**runner.event, "sha": sha, "event": {"before": base}}
    for number, told in enumerate(("Resources: 2 added", "No changes."), start=2):
        shutil.rmtree(checkout / ".synapse-apply", ignore_errors=True)
        runner.run_id = str(number)
        applied = runner.job("deploy.yml", "apply")
        assert applied.ok, applied.log
        assert told in applied.log
    assert not list(checkout.glob(".synapse-apply/state/*.db"))


def test_a_job_without_a_token_is_told_what_is_missing(runner: Runner) -> None:
    """GitHub gives none: the job's permissions lack `id-token: write`."""
    runner.given["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "of-another"
    done = runner.job("pull-request.yml", "plan")
    assert not done.ok
    assert "403" in done.log


def test_the_workflows_fit_their_schema_and_hold_no_text_of_others() -> None:
    """As those of the other examples: tests/test_pipelines.py."""
    for schema in ("vendor.github-workflows", "custom.github-workflows-require-timeout"):
        check_published_schema(schema, WORKFLOWS)
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {}
        for name, job in workflow["jobs"].items():
            assert ("id-token" in job["permissions"]) == (name != "check")
            assert ("secrets." in yaml.safe_dump(job)) == (name != "check")
            for step in job["steps"]:
                assert "${{" not in step.get("run", "")
                assert re.fullmatch(
                    r"(actions/checkout|acme/synapse-apply)@[0-9a-f]{40}",
                    step.get("uses", "actions/checkout@" + 40 * "0"),
                )


def test_the_roles_may_do_what_a_state_needs() -> None:
    """No condition on the right to list: S3 would say 403 for what is absent."""
    for name, rights in (
        ("read", ["s3:GetObject"]),
        ("write", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]),
    ):
        listing, objects = json.loads((EXAMPLE / "aws" / f"{name}-state.json").read_text())[
            "Statement"
        ]
        assert (listing["Action"], "Condition" in listing) == ("s3:ListBucket", False)
        actions = objects["Action"]
        assert ([actions] if isinstance(actions, str) else actions) == rights
        assert objects["Resource"].endswith("/prod/*")
