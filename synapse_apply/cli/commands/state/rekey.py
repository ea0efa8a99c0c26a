"""The command `state rekey`: how it prints what was digested again, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.errors import NotApproved

if TYPE_CHECKING:
    from synapse_apply import Invocation

_SHUT_OUT_TEXT = (
    "Every other machine and job is refused until it has the new key in place of the former one."
)


@manual_command(
    "rekey",
    examples=[
        ("synapse-apply state rekey -t prod", "After a new SYNAPSE_APPLY_STATE_KEY was set."),
    ],
    exits=[
        ("0", "done; what kept its old key is told"),
        ("1", "error, or the answer was not `yes`: nothing was changed"),
    ],
    environment=[
        ("SYNAPSE_APPLY_STATE_KEY", "the new key; without it one is made where the old one is"),
    ],
)
@options.add_json_options
@options.add_target_options
@options.add_variable_options
@click.option("--yes", is_flag=True, help="Do not ask before others are shut out.")
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation, yes: bool) -> int:
    """Digest the recorded secrets under another state key.

    Each secret is resolved anew, so those that manifests name must be there; what cannot be
    resolved keeps its old digest and is not checked until it can. The results of runs are signed
    anew where the key that signed them is at hand, as .synapse-apply/state/TARGET.key.previous
    for example.

    A state that several machines share takes no other key from then on: who has the former one is
    shut out until they have the new one. So it asks, off a terminal for --yes.
    """
    from synapse_apply.cli.flows.approval import ask_approval, require_approval_or_person_to_ask
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.model.command import name_target_in_commands

    with open_command_target(invocation) as target:

        def confirm_new_key() -> bool:
            require_approval_or_person_to_ask(
                console, is_approved=yes, verb="state rekey", flag="--yes"
            )
            question = f"Give the shared state of target {target.name} another key?"
            return yes or ask_approval(console, question, _SHUT_OUT_TEXT)

        try:
            rekey_result = target.state.rekey(confirm=confirm_new_key)
        except NotApproved:
            console.write_stderr("Nothing was changed.\n")
            return 1
    console.write_findings(rekey_result.warnings)
    if console.as_json:
        console.write_or_keep_document(
            {
                "key_id": rekey_result.key_id,
                "done": rekey_result.rekeyed_count,
                "signed": rekey_result.signed_count,
                "kept": list(rekey_result.kept_reasons),
                "key_file": str(rekey_result.key_file) if rekey_result.key_file else None,
            }
        )
        return 0
    for kept_reason in name_target_in_commands(rekey_result.kept_reasons, console.typed_target):
        console.write_stderr(f"Kept under its old key: {kept_reason}\n")
    noun = "secret" if rekey_result.rekeyed_count == 1 else "secrets"
    console.write_output(
        f"Digested {rekey_result.rekeyed_count} {noun} under key {rekey_result.key_id}.\n"
    )
    if rekey_result.signed_count:
        runs = "run" if rekey_result.signed_count == 1 else "runs"
        console.write_output(f"Signed the results of {rekey_result.signed_count} {runs} with it.\n")
    if rekey_result.shuts_out_others:
        console.write_output(f"{_SHUT_OUT_TEXT}\n")
        for line in rekey_result.new_key_lines:
            console.write_output(f"{line}\n")
    return 0
