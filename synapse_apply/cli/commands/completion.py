"""`synapse-apply completion`."""

from __future__ import annotations

import click

from synapse_apply.cli import options
from synapse_apply.cli.completing import SHELLS, script
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

_BASH = "synapse-apply completion bash"
_SEEN_BY_BASH = "~/.local/share/bash-completion/completions/synapse-apply"


@manual(
    "completion",
    examples=[
        (f"{_BASH} > {_SEEN_BY_BASH}", "bash with bash-completion: read when it is first needed."),
        ('eval "$(synapse-apply completion bash)"', "bash without it: a line of ~/.bashrc."),
        ("synapse-apply completion zsh > ~/.zfunc/_synapse-apply", "zsh: a folder of $fpath."),
        (
            "synapse-apply completion fish > ~/.config/fish/completions/synapse-apply.fish",
            "fish.",
        ),
    ],
)
@options.text_output
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
def command(*, face: Face, shell: str) -> int:
    """Print the script that makes a shell complete commands, options, targets and addresses.

    Names come from the project's files in the working folder (or in that of -C), never from the
    network. Where they cannot be read, nothing is offered and nothing is said.
    """
    from synapse_apply.cli.main import root

    face.out(script(root, shell))
    return 0
