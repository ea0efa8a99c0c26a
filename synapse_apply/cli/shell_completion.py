"""What a shell runs while somebody types: click's script, and answers that disturb no prompt."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import click
from click.shell_completion import get_completion_class, shell_complete

COMPLETION_VARIABLE = "_SYNAPSE_APPLY_COMPLETE"
NAME = "synapse-apply"
SHELLS = ("bash", "zsh", "fish")


def answer_completion_request(root: click.Command, instruction: str) -> int:
    """Answer a shell, or print its script; whatever goes wrong, nothing is said."""
    try:
        with redirect_stderr(io.StringIO()):
            return shell_complete(root, {}, NAME, COMPLETION_VARIABLE, instruction)
    except Exception:  # noqa: BLE001 - somebody is typing: no answer is better than a traceback
        return 1


def build_completion_script(root: click.Command, shell: str) -> str:
    """What the shell must read to complete our commands; LookupError for an unknown shell."""
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise LookupError(shell)
    return completion_class(root, {}, NAME, COMPLETION_VARIABLE).source()
