"""What a shell runs while somebody types: its script, and answers that never disturb a prompt."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr

import click
from click.shell_completion import (
    BashComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

COMPLETION_VARIABLE = "_SYNAPSE_APPLY_COMPLETE"
NAME = "synapse-apply"
SHELLS = ("bash", "zsh", "fish")
# readline cuts words at `@`, `=` and `:`, which addresses and options hold. So the line is sent as
# it stands, and of each answer only what takes the place of readline's word, $2, is given back.
_BASH_TEMPLATE = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" kind value word head
    word="${line##*[[:space:]]}"
    head="${word%%"$2"}"
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("${value#"$head"}") ;;
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
        esac
    done < <(COMP_WORDS="$line" %(complete_var)s=bash_complete "${1/#~\\//$HOME/}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


# readline cuts words at `@`, `=` and `:`. So the script sends the line as it stands and returns
# what takes the place of readline's own word.
class WholeLineBashComplete(BashComplete):
    """bash, which sends its line up to the cursor."""

    source_template = _BASH_TEMPLATE

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is being typed, and that one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        partial_word = words.pop() if words and not line[-1:].isspace() else ""
        return words[1:], partial_word


def answer_completion_request(root: click.Command, instruction: str) -> int:
    """Answer a shell, or print its script; whatever goes wrong, nothing is said."""
    add_completion_class(WholeLineBashComplete)
    try:
        with redirect_stderr(io.StringIO()):
            return shell_complete(root, {}, NAME, COMPLETION_VARIABLE, instruction)
    except Exception:  # noqa: BLE001 - somebody is typing: no answer is better than a traceback
        return 1


def build_completion_script(root: click.Command, shell: str) -> str:
    """What the shell must read to complete our commands."""
    from click.shell_completion import get_completion_class

    add_completion_class(WholeLineBashComplete)
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise LookupError(shell)
    return completion_class(root, {}, NAME, COMPLETION_VARIABLE).source()
