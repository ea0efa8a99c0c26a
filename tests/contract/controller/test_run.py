"""How a controller is put together: its configuration read again, its signals, its exit code."""

from __future__ import annotations

import io
import os
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from synapse_apply.controller.rows import (
    CallCounts,
    RevisionRow,
    RunCause,
    RunOutcome,
    RunRow,
    RunVerb,
    SourceRow,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.run import (
    ConfigurationReader,
    ControllerSetup,
    derive_exit_code_of_store,
    handle_signals_in_block,
)
from synapse_apply.controller.settings import Mode
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import Exit, InputError

TEXT = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources:
  acme:
    url: https://git.example/acme.git
    commit_status: {github: {repository: acme/synapse, token: {env: GITHUB_TOKEN}}}
    targets: {"*": {}}
notify: [{webhook: {url: {env: HOOK_URL}}, on: [failed]}]
hooks: {github: {secret: {file: hook}}}
"""
ACCESS = """
access:
  proxy: {user_header: X-User, secret_header: X-Proxy-Secret, secret: {env: PROXY}}
  tokens: {ops: {env: OPS_TOKEN}}
  may: [{who: ["proxy:ann"], do: [read], targets: ["*"]}]
"""
SECRETS = {"GITHUB_TOKEN": "S3CRET-github", "HOOK_URL": "https://hook.example/S3CRET"}


def build_reader(folder: Path, text: str = TEXT, **environ: str) -> ConfigurationReader:
    (folder / "controller.yaml").write_text(text, encoding="utf-8")
    (folder / "hook").write_text("S3CRET-hook\n", encoding="utf-8")
    setup = ControllerSetup(folder / "controller.yaml", folder / "data", environ, io.StringIO())
    assert "S3CRET" not in repr(setup)
    return ConfigurationReader(setup)


def test_secrets_are_read_at_the_start_and_shown_nowhere(tmp_path):
    """All that are missing are named at once."""
    reader = build_reader(tmp_path, **SECRETS)
    parts = reader.read()
    assert list(parts.status_senders) == ["acme"]
    assert list(parts.message_senders) == ["webhook 1"]
    secrets = reader.read_hook_secrets_by_forge(parts.settings)
    assert secrets["github"].reveal() == "S3CRET-hook"
    assert "S3CRET" not in repr((parts, secrets))
    with pytest.raises(InputError) as caught:
        build_reader(tmp_path).read()
    details = " ".join(finding.detail for finding in caught.value.diagnostics)
    assert "GITHUB_TOKEN" in details
    assert "HOOK_URL" in details


def test_what_needs_a_restart_stays_as_it_was(tmp_path):
    """And a warning says so; all else is taken over."""
    before = build_reader(tmp_path, **SECRETS).read().settings
    changed = TEXT.replace("name: main", "name: other").replace("sources:", "# moved\nsources:")
    changed += "defaults: {interval: 1m}\n"
    reader = build_reader(tmp_path, changed, **SECRETS)
    after = reader.read_again(before).settings
    assert after == replace(before, defaults=replace(before.defaults, interval=60.0))
    (finding,) = reader.findings
    assert finding.summary == "A setting needs a restart"
    assert finding.detail.startswith("name: ")


def test_the_secrets_of_access_are_read_with_the_file(tmp_path):
    """Each time, so that who lost a token has lost it; `access` itself goes at a restart alone.

    Else a page that listens to the network would be open until then.
    """
    environ = {**SECRETS, "OPS_TOKEN": "S3CRET-0123456789", "PROXY": "S3CRET-9876543210"}
    reader = build_reader(tmp_path, TEXT + ACCESS, **environ)
    parts = reader.read()
    assert parts.access_secrets.tokens["ops"].reveal() == "S3CRET-0123456789"
    assert "S3CRET" not in repr(parts)
    with pytest.raises(InputError) as caught:
        build_reader(tmp_path, TEXT + ACCESS, **{**environ, "OPS_TOKEN": "S3CRET"}).read()
    assert "S3CRET" not in repr(caught.value.diagnostics)
    without_token = build_reader(tmp_path, TEXT + ACCESS.replace("  tokens:", "  # "), **environ)
    assert without_token.read_again(parts.settings).access_secrets.tokens == {}
    without_access = build_reader(tmp_path, TEXT, **environ)
    after = without_access.read_again(parts.settings)
    assert (after.settings.access, after.access_secrets) == (
        parts.settings.access, parts.access_secrets,
    )  # fmt: skip
    assert (
        "access: the controller still uses the earlier value" in without_access.findings[0].detail
    )


def test_a_first_signal_asks_to_stop_and_a_second_one_does_what_it_did_before():
    """SIGHUP asks for the configuration, and afterwards all is as it was."""
    old_handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]
    asked: list[str] = []
    with handle_signals_in_block(lambda: asked.append("stop"), lambda: asked.append("reload")):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        assert asked == ["reload", "stop"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)] == old_handlers


def test_the_exit_code_is_that_of_the_worst(tmp_path):
    """A source or target that failed, then changes where they are asked for."""
    store = SqliteControllerStore(tmp_path)
    store.create_or_upgrade()

    def find_codes(**states: TargetCondition) -> tuple[int, int]:
        with store.write() as writer:
            for name in ("a", "b"):
                state = states.get(name, TargetCondition.IN_SYNC)
                writer.put(TargetRow(TargetName("acme", name), state=state))
        return (
            derive_exit_code_of_store(store, detailed=False),
            derive_exit_code_of_store(store, detailed=True),
        )

    with store.write() as writer:
        writer.put(SourceRow("acme"))
    assert find_codes() == (Exit.ERROR, Exit.ERROR)  # never fetched
    revision = RevisionRow("acme", 1, "c1", 0.0)
    with store.write() as writer:
        writer.accept_head("acme", 0, revision)
    assert find_codes() == (Exit.OK, Exit.OK)
    for state in TargetCondition:
        expected = {
            TargetCondition.IN_SYNC: (Exit.OK, Exit.OK),
            TargetCondition.FAILING: (Exit.ERROR, Exit.ERROR),
            TargetCondition.NOT_LOOKED_AT: (Exit.ERROR, Exit.ERROR),
            TargetCondition.UNKNOWN: (Exit.UNKNOWN, Exit.UNKNOWN),
        }.get(state, (Exit.OK, Exit.CHANGES))
        assert find_codes(a=state) == expected
    with store.write() as writer:
        writer.put(replace(revision, finding=error_finding("Broken")))
    assert find_codes() == (Exit.ERROR, Exit.ERROR)
    store.close()


@pytest.mark.parametrize(
    ("verb", "calls", "code"),
    [
        (RunVerb.LOOK, CallCounts(), Exit.ERROR),
        (RunVerb.APPLY, CallCounts(), Exit.ERROR),
        (RunVerb.APPLY, CallCounts(done=2, failed=1), Exit.INCOMPLETE),
        (RunVerb.APPLY, CallCounts(failed=1, unknown=1), Exit.UNKNOWN),
    ],
)
def test_the_exit_code_of_an_apply_is_that_of_the_command(tmp_path, verb, calls, code):
    """Also after a good look since; what is refused counts where something is applied."""
    name = TargetName("acme", "a")
    failed = RunOutcome.APPLY_FAILED if verb is RunVerb.APPLY else RunOutcome.PLAN_ERROR
    run = RunRow("r1", name, "c1", RunCause.PUSH, 1.0, 2.0, failed, verb=verb, calls=calls)
    refused = TargetRow(TargetName("acme", "b"), state=TargetCondition.REFUSED)
    with closing(SqliteControllerStore(tmp_path)) as store:
        store.create_or_upgrade()
        with store.write() as writer:
            writer.put(SourceRow("acme"))
            writer.accept_head("acme", 0, RevisionRow("acme", 1, "c1", 0.0))
            writer.put(TargetRow(name, state=TargetCondition.FAILING))
            writer.put(run)
            writer.put(replace(run, id="r2", verb=RunVerb.LOOK, outcome=RunOutcome.CHANGES))
            writer.put(refused)
        assert derive_exit_code_of_store(store, detailed=True) == code
        with store.write() as writer:
            writer.put(replace(refused, mode=Mode.AUTO))
        refused_code = Exit.REFUSED if code == Exit.ERROR else code
        assert derive_exit_code_of_store(store, detailed=False) == refused_code
