"""What `state init` and `state rekey` say of a new key of a shared state; never the key."""

from __future__ import annotations

from pathlib import Path

from synapse_apply.secrets.keys import key_variable_name
from synapse_apply.workspace.sharing.new_shared_key import list_key_transport_lines


def list_new_key_lines(
    key_id: str, key_file: Path, target_name: str, *, is_found: bool = True
) -> list[str]:
    """Where a new key is, and the commands that carry it to the secrets of a pipeline.

    `is_found`: commands on this machine look there by themselves.
    """
    lines = [f"Made state key {key_id} in {key_file}."]
    if not is_found:
        lines.append(
            f"No command looks there by itself: put it into {key_variable_name(target_name)}, or "
            f"name it in the project file: targets.{target_name}.state.key: {{file: PATH}}."
        )
    lines.append(
        "Every machine and job that uses this state needs this key. Keep a copy: without it nobody "
        "can check what was signed. To a secret of a pipeline:"
    )
    return [*lines, *(f"  {line}" for line in list_key_transport_lines(key_file, target_name))]
