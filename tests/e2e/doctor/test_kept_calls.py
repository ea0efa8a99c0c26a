"""What `doctor` says of calls that an earlier run could keep only beside its state."""

from __future__ import annotations

from pathlib import Path

from e2e.doctor.conftest import Site

from synapse_apply import Invocation, open_state
from synapse_apply.model.address import Address
from synapse_apply.model.state import Intent
from synapse_apply.workspace.recovery_journal import RecoveryJournal

PLAN = "5f1c0000-0000-4000-8000-000000000000"


def test_calls_kept_where_temporary_files_are(applied: Site, tmp_path: Path) -> None:
    """Where the project's own disk was full: those of this state alone, there and at a plan."""
    shared = tmp_path / "shared"
    shared.mkdir()
    applied.environ["TMPDIR"] = str(shared)
    intent = Intent("1", PLAN, Address("storage", "more"), "create", "v1", "name=More")
    with open_state(Invocation(applied.root, environ=applied.environ)) as context:
        ended = (
            intent,
            None,
            context.actor.build_audit_entry(intent, "done", moment="2026-01-02T03:04:05Z"),
        )
        whose = ("prod", context.store.read_lineage(), PLAN)
        ours = RecoveryJournal(
            [shared], *whose, context.state_keys
        ).append_call_durably_and_return_path_or_empty(*ended)
    RecoveryJournal(
        [shared], "prod", "of-another-project", PLAN.replace("5f1c", "77aa")
    ).append_call_durably_and_return_path_or_empty(*ended)
    found = applied.look()
    assert found.odd == ["calls"]
    assert f"`synapse-apply state record {ours} -t prod`" in found.text("calls")
    assert "state record" in applied.run("plan", 0).stdout

    Path(ours).unlink()
    RecoveryJournal([shared], *whose).append_call_durably_and_return_path_or_empty(*ended)
    assert "is not signed with the state key" in applied.look().text("calls")
    assert "state record" not in applied.run("plan", 0).stdout
