"""How a commit is written: by one `git fast-import` (git-fast-import(1)), without any checkout.

The tree of the commit before is taken over and changed; then its id is asked for, since the message
of the commit holds a signature over it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from synapse_apply.files.programs import PipedProgram
from synapse_apply.stores.git.state_files import StateFile

_COMMITTER = "synapse-apply <synapse-apply@localhost>"


class WrittenCommit(NamedTuple):
    """The ids of a commit and its tree."""

    commit_id: str
    tree_id: str


class CommitNotWrittenError(Exception):
    """Git has ended before it had written the commit, as where the disk is full."""


def write_commit_and_end_program(
    program: PipedProgram,
    base_tree_id: str,
    parent_id: str,
    files: Iterable[StateFile],
    build_message: Callable[[str], str],
) -> WrittenCommit:
    """Write the files of a commit, the commit itself, and end the program.

    `base_tree_id` is the tree that is changed ("": an empty one), `parent_id` the parent
    ("": none).
    `build_message` gets the id of the new tree. CommitNotWrittenError.
    """
    try:
        write = program.input.write
        signature_line = f"committer {_COMMITTER} {int(time.time())} +0000\n".encode("ascii")
        write(b"commit refs/tree\n" + signature_line + b"data 0\n")
        if base_tree_id:
            write(f"M 040000 {base_tree_id} \n".encode("ascii"))
        for file in files:
            if file.content is None:
                write(f"D {file.path}\n".encode("ascii"))
            else:
                size = len(file.content)
                write(f"M 100644 inline {file.path}\ndata {size}\n".encode("ascii"))
                write(file.content + b"\n")
        write(b'ls ""\n')
        tree_id = _read_answer_line(program).split()[2]
        message = build_message(tree_id).encode()
        write(b"\ncommit refs/batch\nmark :1\n" + signature_line)
        write(f"data {len(message)}\n".encode("ascii") + message)
        if parent_id:
            write(f"from {parent_id}\n".encode("ascii"))
        write(f"M 040000 {tree_id} \n\nget-mark :1\ndone\n".encode("ascii"))
        commit_id = _read_answer_line(program)
    except (BrokenPipeError, IndexError):
        raise CommitNotWrittenError from None
    finally:
        exit_code = program.close_input_and_wait_for_exit_code()
    if exit_code:
        raise CommitNotWrittenError
    return WrittenCommit(commit_id, tree_id)


def _read_answer_line(program: PipedProgram) -> str:
    program.input.flush()
    return program.output.readline().decode("ascii").strip()
