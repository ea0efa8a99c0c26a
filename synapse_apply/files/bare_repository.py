"""How a bare repository of our own is made, and which configuration Git has in it: ours alone.

It is made by hand, since `git init` would copy templates, which may have hooks. It has no work
tree, and nothing of a checkout or a user steers Git in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from synapse_apply.files.programs import run_program_in_root_folder

# The oldest Git that reads its global configuration from a file that is named to it.
MINIMUM_GIT = (2, 32)
# Nothing of these may start a program or rewrite objects beside us: no hook, no monitor of files,
# no collection of garbage in the background. What is fetched is checked, since a server sent it.
_CONFIG = """[core]
\trepositoryFormatVersion = 1
\tbare = true
\thooksPath = /dev/null
\tfsmonitor = false
[extensions]
\tobjectFormat = {object_format}
[gc]
\tauto = 0
[maintenance]
\tauto = false
[fetch]
\tfsckObjects = true
\twriteCommitGraph = false
"""


def make_bare_repository_in_new_folder(
    git_dir: Path, object_format: str = "sha1", settings: str = ""
) -> None:
    """Make an empty repository in a folder that is not there yet; OSError, also for one that is.

    `settings` are further sections of its configuration.
    """
    for folder in (git_dir / "objects", git_dir / "refs"):
        folder.mkdir(parents=True)
    # Git takes a folder for a repository only with a HEAD; the branch is never made.
    (git_dir / "HEAD").write_text("ref: refs/heads/none\n")
    overwrite_bare_repository_configuration(git_dir, object_format, settings)


def overwrite_bare_repository_configuration(
    git_dir: Path, object_format: str, settings: str = ""
) -> None:
    """Write its configuration in place of any; `object_format` is sha1 or sha256."""
    (git_dir / "config").write_text(_CONFIG.format(object_format=object_format) + settings)


def format_safe_directory_section(directories: Sequence[str]) -> str:
    """The section that has Git use repositories in these directories, whoever owns them."""
    lines = ["[safe]"]
    for directory in directories:
        # Quoted as git-config(1) has it; the name of a folder could otherwise begin a section.
        quoted = directory.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'\tdirectory = "{quoted}"')
    return "\n".join(lines) + "\n"


@cache
def ask_git_version_if_too_old_or_empty(program: str) -> str:
    """What a Git older than MINIMUM_GIT says its version is; "" for any other, or an unclear one.

    Runs `git version`, once for each program; OSError if it cannot be started.
    """
    result = run_program_in_root_folder((program, "version"), {"LC_ALL": "C"}, timeout=10)
    # `git version 2.39.5 (Apple Git-154)`, `git version 2.47.0.windows.2`
    version_text = result.output.decode("ascii", "replace").removeprefix("git version ").strip()
    numbers = tuple(
        int(part) for part in version_text.split(" ")[0].split(".")[:2] if part.isdecimal()
    )
    return version_text if len(numbers) == 2 and numbers < MINIMUM_GIT else ""
