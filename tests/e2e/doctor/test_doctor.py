"""`doctor`: each thing that can be wrong, alone and together."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
from e2e.doctor.conftest import TOKEN, Site
from e2e.scenarios.open_calls import announce_create
from e2e.scenarios.workplace import Server, Workplace, held
from forking import run_to_end
from in_process import run
from installed import ROOT
from jsonschema import Draft202012Validator

PLAN = "5f1c0000-0000-4000-8000-000000000000"
VALIDATOR = Draft202012Validator(
    json.loads((ROOT / "schemas" / "v1" / "doctor.schema.json").read_text(encoding="utf-8"))
)


def test_a_target_that_is_well(applied: Site) -> None:
    """Everything is looked at, nothing is wrong, and each agent is asked once."""
    document = json.loads(applied.run("doctor --json", installed=True).stdout)
    VALIDATOR.validate(document)
    assert (document["target"], document["healthy"]) == ("prod", True)
    assert {check["status"] for check in document["checks"]} == {"ok"}
    assert applied.requests() == {
        "GET /jobs/": 1,
        "GET /storages/": 1,
        "GET /plugins/": 1,
        "POST /agents/{token}/connect/": 2,
    }
    applied.server.backend.switches.update({"plugin_list": "list"})
    assert "plugin.list: yes" in applied.run("doctor").stdout
    applied.server.backend.switches.update({"plugin_list": "none"})
    text = applied.run("doctor").stdout
    assert "plugin.list: no: import each plugin" in text
    assert "from PROD_TOKEN (token of the target)" in text
    assert text.endswith("No problems found.\n")


def test_it_changes_nothing(applied: Site) -> None:
    """Not the state, not the backend, not the folder."""

    def files() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in applied.root.rglob("*") if p.is_file()}

    def objects() -> dict[str, int]:
        counts: dict[str, int] = Server(applied.server.url, TOKEN).call("GET", "_emulator/state/")[
            "counts"
        ]
        return counts

    before = files(), objects()
    applied.run("doctor")
    assert (files(), objects()) == before


def test_a_wrong_token(applied: Site) -> None:
    """The backend refuses it; what needs the answer is not checked, the clock and the state are."""
    applied.environ["PROD_TOKEN"] = "a-token-that-is-wrong"
    found = applied.look(code=1)
    assert found.wrong == ["backend"]
    assert "does not accept the token" in found.text("backend")
    assert "PROD_TOKEN" in found.text("backend")
    assert found.status("tenant") == found.status("api") == ["not_checked"]
    assert found.status("agent") == ["not_checked"] * 2
    assert found.status("clock") == found.status("binding") == ["ok"]


@pytest.mark.parametrize("token", ["", "two words of a token", "token-of-zürich"])
def test_a_token_that_cannot_be_sent(applied: Site, token: str) -> None:
    """Empty, or with characters no header takes: nothing is sent."""
    applied.environ["PROD_TOKEN"] = token
    found = applied.look(code=1)
    assert found.wrong == (["backend"] if token else ["token"])
    assert applied.requests() == {}


def test_no_token_at_all(applied: Site) -> None:
    """The variable's name is told, and that an agent cannot be asked."""
    del applied.environ["PROD_TOKEN"]
    found = applied.look(code=1)
    assert found.wrong == ["token"]
    assert "PROD_TOKEN is not set" in found.text("token")
    assert found.status("backend") == found.status("clock") == ["not_checked"]


def test_which_credentials_win(applied: Site) -> None:
    """The project file is final; what the environment says in vain is told."""
    applied.environ.update(SYNAPSE_ACCESS_TOKEN="another-token", SYNAPSE_TENANT="other",
                           SYNAPSE_HOST="https://api.example.org")  # fmt: skip
    found = applied.look()
    assert "PROD_TOKEN (token of the target; SYNAPSE_ACCESS_TOKEN is also set" in found.text(
        "token"
    )
    assert "SYNAPSE_TENANT has another value and is not used" in found.text("tenant")
    assert "SYNAPSE_HOST has another value and is not used" in found.text("url")
    applied.write_project(token=None)
    (applied.root / "synapse-apply.yaml").write_text(
        (applied.root / "synapse-apply.yaml").read_text().replace('"token": null, ', "")
    )
    applied.environ["SYNAPSE_ACCESS_TOKEN"] = applied.environ["PROD_TOKEN"]
    kept = "SYNAPSE_ACCESS_TOKEN is not used: it belongs to SYNAPSE_HOST, which is another host"
    assert kept in applied.look(code=1).text("token")
    del applied.environ["SYNAPSE_HOST"]
    assert applied.look().text("token").startswith("from SYNAPSE_ACCESS_TOKEN ")


def test_a_backend_that_is_not_there(applied: Site) -> None:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    applied.write_project(url=f"http://127.0.0.1:{port}")
    found = applied.look(code=1)
    assert found.wrong == ["backend", "binding"]
    assert "cannot be reached" in found.text("backend")
    assert found.status("agent") == found.status("clock") * 2 == ["not_checked"] * 2


def test_what_answers_is_another_program(applied: Site) -> None:
    """A page, or another API: the url is wrong."""
    applied.write_project(url=f"{applied.server.url}/nowhere")
    found = applied.look(code=1)
    assert found.wrong == ["backend", "binding"]
    assert "Check the url" in found.text("backend")


def test_a_wrong_tenant(applied: Site) -> None:
    """The backend refuses the token for it, and the state is another tenant's."""
    applied.write_project(tenant="rival")
    found = applied.look(code=1)
    assert found.wrong == ["backend", "binding"]
    assert "tenant (rival)" in found.text("backend")
    assert "(tenant acme); target prod is" in found.text("binding")


def test_a_host_that_is_not_allowed(applied: Site) -> None:
    """The token goes nowhere, and not even the agents are asked."""
    applied.environ["SYNAPSE_APPLY_HOSTS"] = "api.synapse.sh"
    found = applied.look(code=1)
    assert found.wrong == ["hosts"]
    assert found.status("backend") == ["not_checked"]
    assert applied.requests() == {}
    applied.environ["SYNAPSE_APPLY_HOSTS"] = "127.0.0.1"
    assert applied.look().status("hosts") == ["ok"]


def test_a_token_in_the_clear(site: Site) -> None:
    """http:// beyond this machine is a warning; nobody is there, so the read fails."""
    site.write_project(url="http://backend.invalid")
    found = site.look(code=1)
    assert found.odd == ["url"]
    assert "unencrypted" in found.text("url")
    assert "backend" in found.wrong


@pytest.mark.parametrize("switch", ["told", "refused"])
def test_an_agent_that_is_not_healthy(applied: Site, switch: str) -> None:
    """Its answer says so, or refuses; the other one is asked all the same."""
    backend = applied.server.backend
    backend.switches.update({"unhealthy_agent": switch})
    row = backend.store.find_by_key_of_any_tenant("agent", "agent-token-123")
    assert row is not None
    backend.store.replace("agent", row, {**row.body, "status": "disconnected"}, key=row.key)
    found = applied.look(code=1)
    assert found.wrong == ["agent gpu-1"]
    assert "An agent is not healthy" in found.text("agent", "gpu-1")
    assert found.status("agent", "gpu-2") == ["ok"]


def test_a_clock_that_is_off(applied: Site) -> None:
    """Seconds are nothing, more than five a warning, more than settle_after a problem."""
    clock = applied.server.backend.clock
    for ahead, status in ((2, "ok"), (-12, "warning"), (45, "problem")):
        clock.ahead = ahead
        found = applied.look(code=int(status == "problem"))
        assert found.status("clock") == [status], ahead
    assert "45 s behind the server's" in found.text("clock")
    applied.write_project(settle_after=60)
    assert applied.look().status("clock") == ["warning"]


def test_a_wrong_token_does_not_hide_a_wrong_clock(applied: Site) -> None:
    """Also an answer that refuses tells the time."""
    applied.environ["PROD_TOKEN"] = "a-token-that-is-wrong"
    applied.server.backend.clock.ahead = -3600
    assert applied.look(code=1).wrong == ["backend", "clock"]


def test_a_key_that_is_missing_or_another(applied: Site) -> None:
    """A warning, as secrets are then not compared; one that cannot be used is a problem."""
    key = applied.root / ".synapse-apply" / "state" / "prod.key"
    text = key.read_text()
    key.unlink()
    found = applied.look()
    assert found.odd == ["key"]
    assert "secrets are not compared" in found.text("key")
    key.write_text("QUJD" * 12)
    key.chmod(0o600)
    found = applied.look()
    assert "a different state key" in found.text("key")
    assert "state rekey" in found.text("key")
    key.write_text("no key")
    assert applied.look(code=1).wrong == ["key"]
    applied.environ["SYNAPSE_APPLY_STATE_KEY"] = text.strip()
    key.unlink()
    assert "from SYNAPSE_APPLY_STATE_KEY" in applied.look().text("key")


def test_a_target_without_a_state_needs_no_key_yet(site: Site) -> None:
    """Nothing was digested yet, so no key can be lost; the state brings its own."""
    state = site.root / ".synapse-apply" / "state"
    for name in ("prod.db", "prod.key"):
        (state / name).unlink()
    found = site.look(code=1)
    assert (found.wrong, found.odd) == (["state"], [])
    assert "none here: it is created with the state" in found.text("key")
    site.prepare("state", "init")
    assert f"from {state / 'prod.key'}" in site.look().text("key")


def test_no_state_and_a_state_that_is_none(site: Site) -> None:
    """What there is to do is told; what the state would tell is not checked."""
    state = site.root / ".synapse-apply" / "state" / "prod.db"
    state.write_bytes(b"not a database, but long enough to look like something")
    found = site.look(code=1)
    assert found.wrong == ["state"]
    state.unlink()
    found = site.look(code=1)
    assert found.wrong == ["state"]
    assert "state init" in found.text("state")
    assert found.status("lock") == found.status("calls") == ["not_checked"]


def test_the_state_of_another_lineage(site: Site) -> None:
    """A pin that does not fit is a problem of its own."""
    site.write_project(state={"lineage": "00000000-0000-4000-8000-000000000000"})
    found = site.look(code=1)
    assert found.wrong == ["lineage"]
    assert found.status("binding") == ["ok"]


def test_a_state_that_another_run_holds(applied: Site) -> None:
    """A warning that names the run and the way out; it can be looked at all the same."""
    with held(Workplace(applied.root)):
        found = applied.look()
    assert found.odd == ["lock"]
    assert "running apply since" in found.text("lock")
    assert "synapse-apply state unlock" in found.text("lock")
    assert applied.look().status("lock") == ["ok"]


def test_a_call_of_unknown_outcome(applied: Site) -> None:
    """It is a warning that names the call and when it was sent."""
    with held(Workplace(applied.root, applied.environ)) as store:
        announce_create(store, "storage/more", sent_at="2026-01-02T03:04:05Z")
    found = applied.look()
    assert found.odd == ["calls"]
    assert "create of storage/more (sent 2026-01-02T03:04:05Z)" in found.text("calls")


def test_calls_that_only_a_file_knows(applied: Site) -> None:
    """What an earlier run kept aside is named, with the command that records it."""
    file = applied.root / ".synapse-apply" / f"unrecorded-prod-{PLAN}.jsonl"
    file.touch()
    found = applied.look()
    assert found.odd == ["calls"]
    assert f"`synapse-apply state record {file} -t prod`" in found.text("calls")
    file.rename(file.with_name(f"unrecorded-prod-eu-{PLAN}.jsonl"))
    assert applied.look().odd == []


def test_bad_manifests_hide_nothing(applied: Site) -> None:
    """One line of them, and the wrong token, tenant, agent, clock and binding beside it."""
    (applied.root / "manifests" / "bad.yaml").write_text("kind: [\n")
    (applied.root / "manifests" / "odd.yaml").write_text("kind: Nonsense\n")
    applied.environ.update(PROD_TOKEN="a-token-that-is-wrong", GPU2_TOKEN="")
    applied.write_project(tenant="rival")
    applied.server.backend.clock.ahead = 900
    found = applied.look(code=1)
    assert found.wrong == ["manifests", "backend", "agent gpu-2", "clock", "binding"]
    assert "`synapse-apply validate -t prod`" in found.text("manifests")
    text = applied.run("doctor", 1).stdout
    assert text.endswith("5 problems, 5 not checked.\n")


def test_a_broken_project_file(site: Site) -> None:
    """Each of its errors is shown; what hangs on it is said to be unchecked, not passed over."""
    site.write_project(agents={"gpu-1": "a-plain-token"}, tenent="acme")
    done = site.run("doctor", 1)
    assert "did you mean `tenant`?" in done.stdout
    assert "write {env: NAME}" in done.stdout
    assert "a-plain-token" not in done.stdout + done.stderr
    found = site.look(code=1)
    assert found.wrong == ["project", "project"]
    assert found.status("backend") == found.status("state") == ["not_checked"]
    assert site.look("-t nowhere --project missing.yaml", 1).wrong == ["project"]


def test_without_a_project_file(tmp_path: Path) -> None:
    """The embedded backend is looked at, and nothing is made: the first plan starts afresh."""
    first = run("doctor -t embedded", tmp_path, {})
    assert "none yet: the first run of the embedded backend creates it" in first.stdout
    assert list(tmp_path.iterdir()) == []
    run("init", tmp_path, {})
    assert run("doctor -t embedded", tmp_path, {}).stdout.endswith("(6 not checked).\n")
    assert "1 to add" in run("plan -t embedded", tmp_path, {}).stdout
    run("apply -t embedded --auto-approve", tmp_path, {})
    assert run("doctor -t embedded", tmp_path, {}).stdout.endswith("No problems found.\n")
    (tmp_path / ".synapse-apply" / "state" / "embedded.db").unlink()
    lost = run("doctor -t embedded", tmp_path, {}, 1)
    assert "emulator --reset" in lost.stdout


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Before there is anything of ours, and after: apply could not write its state there."""
    program = (
        "import sys; from fault.disks import obey_modes; from synapse_apply.cli.main import run;"
        "obey_modes(); sys.exit(run(['doctor', '-t', 'embedded']))"
    )
    for folder in (tmp_path, tmp_path / ".synapse-apply"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o500)
        done = run_to_end([sys.executable, "-c", program], tmp_path, os.environ)
        folder.chmod(0o700)
        assert done.returncode == 1
        assert (
            f"You cannot write to {folder}. In .synapse-apply there, apply keeps the state"
            in " ".join(done.stdout.split())
        )
