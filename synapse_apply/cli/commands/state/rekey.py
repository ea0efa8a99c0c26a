"""The command `state rekey`: how it prints what was digested again, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
    "rekey",
    examples=[
        ("synapse-apply state rekey -t prod", "After a new SYNAPSE_APPLY_STATE_KEY was set."),
    ],
    exits=[("0", "done; what kept its old key is told"), ("1", "error: nothing was changed")],
    environment=[("SYNAPSE_APPLY_STATE_KEY", "the new key; without it one is made in a file")],
)
@options.add_json_options
@options.add_target_options
@options.add_variable_options
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation) -> int:
    """Digest the recorded secrets under another state key.

    Each secret is resolved anew, so those that manifests name must be there; what cannot be
    resolved keeps its old digest and is not checked until it can. The results of runs are signed
    anew where the key that signed them is at hand, as .synapse-apply/state/TARGET.key.previous
    for example.
    """
    from synapse_apply.model.command import name_target
    from synapse_apply.operations.rekey import rekey_secrets
    from synapse_apply.workspace.target_session import open_context

    with open_context(invocation) as session:
        rekey_result = rekey_secrets(session)
    console.write_findings(rekey_result.warnings)
    if console.as_json:
        console.write_document(
            {
                "key_id": rekey_result.key_id,
                "done": rekey_result.rekeyed_count,
                "signed": rekey_result.signed_count,
                "kept": list(rekey_result.kept_reasons),
            }
        )
        return 0
    for kept_reason in name_target(rekey_result.kept_reasons, console.typed_target):
        console.write_stderr(f"Kept under its old key: {kept_reason}\n")
    noun = "secret" if rekey_result.rekeyed_count == 1 else "secrets"
    console.write_output(
        f"Digested {rekey_result.rekeyed_count} {noun} under key {rekey_result.key_id}.\n"
    )
    if rekey_result.signed_count:
        runs = "run" if rekey_result.signed_count == 1 else "runs"
        console.write_output(f"Signed the results of {rekey_result.signed_count} {runs} with it.\n")
    return 0
