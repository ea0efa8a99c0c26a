"""How a shell's request for completions is answered, without disturbing the prompt."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import click
from click.shell_completion import get_completion_class, shell_complete

COMPLETION_VARIABLE = "_SYNAPSE_APPLY_COMPLETE"
NAME = "synapse-apply"
SHELLS = ("bash", "zsh", "fish")


def complete_or_print_script(root: click.Command, instruction: str) -> int:
    """Answer a shell's completion request, or print its script; a failure prints nothing."""
    try:
        with redirect_stderr(io.StringIO()):
            return shell_complete(root, {}, NAME, COMPLETION_VARIABLE, instruction)
    except Exception:  # noqa: BLE001 - somebody is typing: no answer is better than a traceback
        return 1


def build_completion_script(root: click.Command, shell: str) -> str:
    """The script that a shell sources; LookupError for an unknown shell."""
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise LookupError(shell)
    return completion_class(root, {}, NAME, COMPLETION_VARIABLE).source()
