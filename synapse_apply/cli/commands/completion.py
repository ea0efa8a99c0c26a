"""The command `completion`: which shell scripts it prints."""

from __future__ import annotations

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.shell_completion import SHELLS, build_completion_script

_BASH_COMMAND = "synapse-apply completion bash"
_BASH_COMPLETION_FILE = "~/.local/share/bash-completion/completions/synapse-apply"


@manual_command(
    "completion",
    examples=[
        (
            f"{_BASH_COMMAND} > {_BASH_COMPLETION_FILE}",
            "bash with bash-completion: read when it is first needed.",
        ),
        ('eval "$(synapse-apply completion bash)"', "bash without it: a line of ~/.bashrc."),
        ("synapse-apply completion zsh > ~/.zfunc/_synapse-apply", "zsh: a folder of $fpath."),
        ("synapse-apply completion fish > ~/.config/fish/completions/synapse-apply.fish", "fish."),
    ],
)
@options.add_color_options
@click.argument("shell", type=click.Choice(SHELLS), metavar="bash|zsh|fish")
def command(*, console: Console, shell: str) -> int:
    """Print the script that makes a shell complete commands, options, targets and addresses.

    Names come from the project's files in the working folder (or in that of -C), never from the
    network. Where they cannot be read, nothing is offered and nothing is said.
    """
    from synapse_apply.cli.main import root

    console.write_output(build_completion_script(root, shell))
    return 0
