"""`controller run --once`, `run`, `check`, `status` and `backup`, on a repository and a backend."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from contract.controller.upstream import Upstream, storage
from controllers.forked_workers import ForkedController, fork_workers
from forges.loopback_server import wait_until
from git_repositories import git
from in_process import run
from installed import BIN, environment

from synapse_apply import EmbeddedServer

SECRETS = {"ACME_TOKEN": "token-of-acme-1234567890", "ACME_KEY": "key-of-acme-1234567890"}
TOKENS = {
    f"TOKEN_OF_{name.upper()}": f"token-of-{name}-1234567890"
    for name in ("ann", "bob", "eve", "job")
}
ACCESS = """\
access:
  tokens: {ann: {env: TOKEN_OF_ANN}, bob: {env: TOKEN_OF_BOB}, eve: {env: TOKEN_OF_EVE}, job: {env: TOKEN_OF_JOB, person: ann@acme.example}}
  may:
    - {who: ["token:ann", "token:bob", "token:job"], do: [reconcile, pause, approve], targets: ["*"]}
    - {who: ["token:eve"], do: [read], targets: ["acme/*"]}
"""
CONFIGURATION = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources:
  acme:
    url: ./upstream.git
    may_read: {env: ["ACME_*"], files: [states/]}
    hosts: [127.0.0.1]
    poll: 1s
    targets: {"*": {mode: observe}}
listen: 127.0.0.1:0
"""


class Site:
    """A folder with controller.yaml, a repository, and a state of its one target `prod`."""

    def __init__(self, folder: Path, backend: EmbeddedServer) -> None:
        self.folder, self.backend = folder, backend
        self.upstream = Upstream(folder)
        project = f"""
apiVersion: synapse-apply/v1
kind: Project
targets:
  prod: {{url: "{backend.url}", token: {{env: ACME_TOKEN}}, state: {{url: {folder}/states/prod.db}}}}
"""
        files = {"synapse-apply.yaml": project, "manifests/a.yaml": storage("a")}
        self.upstream.commit(files)
        (folder / "controller.yaml").write_text(CONFIGURATION, encoding="utf-8")
        git(folder, "clone", "-q", str(self.upstream.path), str(folder / "checkout"))

    def type(self, arguments: str, code: int = 0) -> str:
        """What a command prints to stdout and stderr."""
        done = run(arguments, self.folder, SECRETS, code)
        return done.stdout + done.stderr

    def make_state(self) -> None:
        run("state init -t prod", self.folder / "checkout", SECRETS)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # Of commands in this process; the worker of the installed command is an interpreter.
    fork_workers(monkeypatch)
    with EmbeddedServer(tmp_path / "backend", token=SECRETS["ACME_TOKEN"]) as backend:
        yield Site(tmp_path, backend)


def test_check_says_all_that_is_wrong_and_where(site):
    """As `validate` does: 0 with warnings, 1 with errors, --strict, --json."""
    assert site.type("controller check") == "controller.yaml is valid.\n"
    text = CONFIGURATION.replace("mode: observe", "mode: auto").replace("poll: 1s", "prune: 1")
    (site.folder / "odd.yaml").write_text(f"{text}rollouts: {{}}\n", encoding="utf-8")
    said = site.type("controller check odd.yaml", 1)
    assert "prune" in said
    assert "odd.yaml:9:5" in said
    text = CONFIGURATION.replace("mode: observe", "mode: approve")
    (site.folder / "later.yaml").write_text(text, encoding="utf-8")
    said = site.type("controller check later.yaml")
    assert "one person has to approve the rows of `acme/*`, but `access` is missing" in said
    assert "later.yaml is valid." in said
    site.type("controller check later.yaml --strict", 1)
    document = json.loads(site.type("controller check odd.yaml --json", 1))
    assert document["diagnostics"][0]["range"]["filename"] == "odd.yaml"
    missing = site.type("controller check missing.yaml", 1)
    assert "missing.yaml: No such file" in missing
    assert "synapse-apply controller run --demo" in missing


def test_once_is_enough_for_cron(site):
    """One round, a table, the worst code; what is not due is not asked again."""
    assert "controller's store does not exist" in site.type("controller status", 1)
    said = site.type("controller run --once", 1)
    assert re.search(r"^failing +acme/prod +- +[0-9a-f]{7} ", said, re.MULTILINE)
    assert 'summary="There is no state for this target"' in said
    shown = r"^failing .* (There is no state for this target) \([0-9a-f]{7}:synapse-apply.yaml:5\): Target prod has no "
    why = re.search(shown, said, re.MULTILINE)
    assert why, said
    (target,) = json.loads(site.type("controller status --json"))["items"]
    assert target["finding"]["summary"] == why[1]
    site.make_state()
    site.upstream.commit({"manifests/b.yaml": storage("b")})
    said = site.type("controller run --once --detailed-exitcode", 2)
    assert re.search(r"^pending +acme/prod +- +[0-9a-f]{7} +2 to add ", said, re.MULTILINE)
    assert " look target=acme/prod " in said
    assert " look " not in site.type("controller run --once")
    (target,) = json.loads(site.type("controller status --json"))["items"]
    assert (target["name"], target["state"], target["counts"]["add"]) == ("acme/prod", "pending", 2)
    assert "--once" in site.type("controller run --detailed-exitcode", 64)
    assert site.type("controller backup copy.db") == "Wrote copy.db.\n"
    assert "already exists" in site.type("controller backup copy.db", 1)
    (site.folder / "restored").mkdir()
    (site.folder / "copy.db").rename(site.folder / "restored" / "controller.db")
    assert "acme/prod" in site.type("controller status --data restored")
    stored = (site.folder / ".synapse-apply" / "controller" / "controller.db").read_bytes()
    for secret in SECRETS.values():
        assert secret.encode() not in stored
        assert secret not in said


PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: p}
spec: {name: P, code: p, category: export, description: of Git}
"""


@pytest.mark.parametrize(
    ("rule", "project", "reason"),
    [
        ("mode: observe", "", "mode observe applies nothing by itself"),
        ("mode: auto, auto: {causes: [git]}", "", "1 row awaits approval"),
        ("mode: auto", ", on_drift: hold", "`on_drift: hold` keeps drift"),
    ],
)
def test_a_target_that_drifted_says_why_it_is_left(site, rule, project, reason):
    """In the table of `status`, which has its plan and no page."""
    text = CONFIGURATION.replace("mode: observe", rule)
    (site.folder / "controller.yaml").write_text(text, encoding="utf-8")
    checkout = site.folder / "checkout"
    declared = (checkout / "synapse-apply.yaml").read_text(encoding="utf-8")
    files = {"synapse-apply.yaml": declared.replace("prod.db}}", f"prod.db}}{project}}}")}
    site.upstream.commit({**files, "manifests/a.yaml": PLUGIN})
    git(checkout, "pull", "-q")
    site.make_state()
    run("apply -t prod --auto-approve", checkout, SECRETS)
    headers = {"Authorization": f"Token {SECRETS['ACME_TOKEN']}"}
    objects = f"{site.backend.url}/_emulator/objects/plugin/"
    [plugin] = requests.get(objects, headers=headers, timeout=60).json()["results"]
    edit = {"description": "by hand"}
    requests.patch(f"{objects}{plugin['id']}/", json=edit, headers=headers, timeout=60)
    site.type("controller run --once")
    (line,) = re.findall("^drifted .*", site.type("controller status"), re.MULTILINE)
    assert line.endswith(f"  {reason}")


@contextmanager
def run_controller(
    site: Site, process_type: type[subprocess.Popen[Any]] = ForkedController
) -> Iterator[tuple[subprocess.Popen[Any], Path]]:
    """The installed command in the background, and the file of its stderr."""
    log = site.folder / "log"
    with log.open("wb") as stream:
        process = process_type(
            [str(BIN / "synapse-apply"), "controller", "run"],
            cwd=site.folder,
            env=environment({**SECRETS, **TOKENS}),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()


def find(log: Path, pattern: str) -> str:
    """What its group matches, once the log has it."""
    found = wait_until(lambda: re.search(pattern, log.read_text(encoding="utf-8")), 60, pattern)
    return str(found[1])


def test_a_running_controller_follows_and_answers(site):
    """A push is seen; a broken file is not taken, and the page says so; one stops by SIGTERM."""
    site.make_state()
    with run_controller(site, subprocess.Popen) as (process, log):
        wait_for = partial(find, log)
        url = wait_for(r"started url=(http://127\.0\.0\.1:\d+)")
        wait_for(r"(look) target=acme/prod .* cause=\w+ .* outcome=changes")
        assert "pending    acme/prod" in site.type(f"controller status --url {url}")
        said = site.type("controller run --once", 6)
        assert f"process {process.pid}" in said
        commit = site.upstream.commit({"manifests/b.yaml": storage("b")})
        wait_for(rf"(look) target=acme/prod .* cause=push commit={commit} outcome=changes")
        (site.folder / "controller.yaml").write_text("kind: Controller\n", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        wait_for("(configuration not taken)")
        with urllib.request.urlopen(url) as answer:
            assert "Missing" in answer.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        wait_for("info (stopped)")
    said = site.type("controller status --url http://127.0.0.1:1", 1)
    assert "The controller cannot be reached" in said
    assert "does not come from a controller" in site.type(
        f"controller status --url {site.backend.url}", 1
    )


def test_two_people_approve_and_a_third_only_reads(site):
    """Held until both have, live then; who has no right is refused; all of it is in the audit."""
    site.make_state()
    text = CONFIGURATION.replace("mode: observe", "mode: approve, approvals: 2") + ACCESS
    (site.folder / "controller.yaml").write_text(text, encoding="utf-8")
    with run_controller(site) as (_process, log):
        wait_for = partial(find, log)
        url = wait_for(r"started url=(http://127\.0\.0\.1:\d+)")

        def ask(name: str, arguments: str, code: int = 0) -> str:
            token = TOKENS[f"TOKEN_OF_{name.upper()}"]
            variables = {
                "SYNAPSE_APPLY_CONTROLLER_TOKEN": token,
                "SYNAPSE_APPLY_CONTROLLER_URL": url,
            }
            done = run(f"controller {arguments}", site.folder, variables, code)
            assert token not in done.stdout + done.stderr
            return done.stdout + done.stderr

        wait_for(r"(look) target=acme/prod .* state=held")
        shown = ask("ann", "approve acme/prod", 1)
        assert ' name: "a"' in shown
        rows = re.findall(r"^ +(row1:[0-9a-f]{64})$", shown, re.MULTILINE)
        assert len(rows) == 1
        approve = f"approve acme/prod --row {rows[0]}"
        assert "1 more approval needed" in ask("ann", f"{approve} --reason tested")
        assert "reason of token:ann: tested\n" in ask("bob", "approve acme/prod", 1)
        # A second token of the same person.
        assert "1 more approval needed" in ask("job", f"approve acme/prod --row {rows[0]}")
        assert (
            "does not have the `approve` right"
            in ask("eve", f"approve acme/prod --row {rows[0]}", 1).lower()
        )
        assert "awaiting approval " in ask("eve", "status")
        ask("bob", f"approve acme/prod --row {rows[0]}")
        wait_until(lambda: "in sync " in ask("eve", "status"), 30, "in sync", pause=0.2)
        assert ask("bob", f"approve acme/prod --row {rows[0]}", 4)
        shown = ask("ann", "audit acme/prod")
        assert re.findall(r"token:(\w+) +approve", shown) == ["bob", "job", "ann"]
        assert re.search(r"token:ann +approve .*\); tested$", shown, re.MULTILINE), shown
        assert "The chain is intact" in shown
