"""Which Git repository a folder belongs to, whether it is trusted, and how Git is run on it.

Git's own search also finds a bare repository inside of a checkout, where a pull request can commit
one. So the search is done here: the nearest folder above with a `.git`, which no commit can
contain, owned by a trusted user. Git gets its path and does not search.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import MappingProxyType

from synapse_apply.files.programs import (
    STOPPED_EXIT_CODE,
    TIMEOUT_EXIT_CODE,
    Folders,
    PipedProgram,
    ProgramResult,
    build_child_environment,
    require_executable,
    run_program,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen

NO_REPOSITORY_TEXT = "not a git repository (or any of the parent directories)"
_REFUSED_SUMMARY = "Git repository not used"
# Settings on the command line take precedence over the repository's configuration. A version of
# Git ignores those it does not know; no protection depends on a single one.
_SAFE_OPTIONS = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat"),
    *("-c", "safe.bareRepository=explicit"),
    *("-c", "protocol.allow=never", "-c", "protocol.ext.allow=never"),
    *("--no-pager", "--no-replace-objects"),
)
# A few small trees that hold one another many times are a listing without end.
MAX_LISTING_BYTES, _LIST_SECONDS, _MAX_ENTRIES = 64 * 1024**2, 60.0, 200_000
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
_SAFE_ENVIRONMENT = {
    # Takes precedence over any `protocol.NAME.allow` of the repository. No protocol has this name,
    # so that no version of Git fetches a missing object.
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


@frozen
class Repository:
    """A repository on this disk; all paths are real ones.

    `top` is the folder that contains `.git`; `git_dir` is that folder, or the one that the file
    `.git` names; `common_dir` is shared by all worktrees of the repository.
    """

    top: Path
    git_dir: Path
    common_dir: Path

    @property
    def own_and_outer_checkouts(self) -> Folders:
        """The top of its work tree, and the tops of outer repositories (of a submodule)."""
        outer_tops = (folder.parent for folder in self.git_dir.parents if folder.name == ".git")
        return (self.top, *outer_tops)

    @property
    def is_shallow(self) -> bool:
        """Whether the clone lacks older commits."""
        return (self.common_dir / "shallow").exists()

    def git(self, *arguments: str, input_bytes: bytes = b"") -> ProgramResult:
        """Run one Git command in the top folder, as `run_git` does."""
        return run_git(self.top, self, *arguments, input_bytes=input_bytes)

    def relative_path_of(self, folder: Path) -> str:
        """The path of a folder relative to the top, with forward slashes; "" for the top."""
        relative_path = Path(os.path.realpath(folder)).relative_to(self.top).as_posix()
        return "" if relative_path == "." else relative_path


def find_trusted_repository(folder: Path) -> Repository | None:
    """The repository that contains a folder, None outside of any.

    As Git finds it, except bare ones, and not across file systems. InputError for a repository
    that cannot be trusted.
    """
    # As text: nearly all folders have no `.git`, and commands ask for several folders each.
    candidate = os.path.realpath(folder)
    device = None
    while True:
        with suppress(FileNotFoundError, NotADirectoryError):
            candidate_device = os.stat(candidate).st_dev  # noqa: PTH116 - a text
            # As Git does without GIT_DISCOVERY_ACROSS_FILESYSTEM.
            if device not in {None, candidate_device}:
                return None
            device = candidate_device
        if _may_exist(f"{candidate}/.git") and (found := _trusted_in_folder(Path(candidate))):
            return found
        if candidate == os.sep:
            return None
        candidate = candidate.rpartition(os.sep)[0] or os.sep


def find_outer_checkout(repository: Repository) -> Path | None:
    """The top of the checkout that has this repository as a submodule, None for none."""
    inner = repository
    # No commit makes a repository that we own below one that cannot be trusted.
    with suppress(InputError):
        while (outer := find_trusted_repository(inner.top.parent)) and outer != inner:
            # Where Git keeps it; a linked worktree has the same folder.
            if outer.common_dir in inner.common_dir.parents:
                return outer.top
            inner = outer
    return None


def _may_exist(path: str) -> bool:
    """Whether there is an entry, or reading it will say why that cannot be told."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def run_git(
    folder: Path,
    repository: Repository | None,
    *arguments: str,
    input_bytes: bytes = b"",
    timeout: float | None = None,
    variables: Mapping[str, str] = NO_VARIABLES,
    is_listing: bool = False,
) -> ProgramResult:
    """Run one Git command in a folder of a repository, with `input_bytes` as standard input.

    Without a repository Git has only the system's and the user's configuration. `variables` are
    added to its environment. Exit code 124 if it takes longer than `timeout` seconds (as
    timeout(1)). InputError if Git cannot be started. A listing is ended where it is too long.
    """
    command, environment = _git_command(folder, repository, *arguments)
    environment = {**variables, **environment}
    try:
        if is_listing:
            timeout, max_output = _LIST_SECONDS, MAX_LISTING_BYTES
            return run_program(command, environment, timeout=timeout, max_output=max_output)
        return run_program(command, environment, input_bytes=input_bytes, timeout=timeout)
    except OSError as problem:
        raise _git_not_started(problem) from None


def require_listing_size(exit_code: int, output: bytes, place: str) -> None:
    """InputError where `git ls-tree -z` has listed too much, or was ended because of that."""
    is_ended = exit_code in (STOPPED_EXIT_CODE, TIMEOUT_EXIT_CODE)
    if is_ended or output.count(b"\0") > _MAX_ENTRIES:
        raise InputError.from_summary(
            "A commit has too many files",
            f"{place} has more than {_MAX_ENTRIES:,} files and folders, or their names are longer "
            f"than {MAX_LISTING_BYTES // 1024**2} MiB.",
            "The same folder may occur many times. `git ls-tree -r -t --name-only` lists all "
            "files.",
        )


def find_size_reason(git_dir: Path, max_bytes: int) -> str:
    """Why a fetch has to end: its objects have grown above a limit; "" while they have not."""
    size = 0
    for parent, _, names in os.walk(git_dir / "objects"):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - of many
    return f"the repository is larger than {max_bytes // 1024**2} MiB" if size > max_bytes else ""


def start_git(repository: Repository, *arguments: str) -> PipedProgram:
    """Start a Git command in the top folder, with pipes; InputError if it cannot be started."""
    try:
        return PipedProgram(*_git_command(repository.top, repository, *arguments))
    except OSError as problem:
        raise _git_not_started(problem) from None


# Told by GIT_DIR where the repository is, Git no longer checks whose it is, so we do, by its rules.
# `safe.bareRepository` and its like come on top: older Gits do not know them.
def _git_command(
    folder: Path, repository: Repository | None, *arguments: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command and its environment; InputError without Git."""
    checkouts = list_checkouts(folder, repository)
    try:
        # Found for each call, since the program must not come from this repository's checkout.
        program = require_executable("git", checkouts)
    except OSError as problem:
        raise _git_not_started(problem) from None
    git_variables = {"GIT_DIR": os.devnull}
    if repository is not None:
        git_variables = {"GIT_DIR": str(repository.git_dir), "GIT_WORK_TREE": str(repository.top)}
    environment = build_child_environment(checkouts, {**_SAFE_ENVIRONMENT, **git_variables})
    return (program, "-C", os.path.realpath(folder), *_SAFE_OPTIONS, *arguments), environment


def list_checkouts(folder: Path, repository: Repository | None) -> Folders:
    """The top of the work tree and those of outer repositories, all real paths.

    The folder itself outside of any repository.
    """
    return (
        (Path(os.path.realpath(folder)),)
        if repository is None
        else repository.own_and_outer_checkouts
    )


def list_checkouts_around(root: Path) -> Folders:
    """Those of a project's folder; the folder alone where its repository is not trusted."""
    # What a folder contains whose repository is not trusted is not started either.
    with suppress(InputError):
        return list_checkouts(root, find_trusted_repository(root))
    return list_checkouts(root, None)


def _git_not_started(problem: OSError) -> InputError:
    return InputError.from_summary(
        "Git cannot be started",
        f"git: {problem.strerror}",
        "Install git. The tool needs it to read commits, and a state at git:REMOTE.",
    )


def _trusted_in_folder(folder: Path) -> Repository | None:
    """The repository of the `.git` in this folder, None without one; InputError if untrusted."""
    try:
        repository = _in_folder(folder)
        if repository is not None:
            _require_git_folders(repository)
            _require_trusted(repository)
    except OSError as problem:
        raise InputError.from_summary(
            _REFUSED_SUMMARY, f"{folder / '.git'}: {problem.strerror}.", "Check its permissions."
        ) from None
    if repository is not None:
        _require_untracked(repository)
    return repository


def _in_folder(folder: Path) -> Repository | None:
    """The repository of the `.git` in this folder, None if there is none or no valid one.

    InputError for a `.git` file that names no Git folder.
    """
    entry = folder / ".git"
    if entry.is_file():
        git_dir = _read_git_file(entry)
    elif entry.is_dir():
        git_dir = Path(os.path.realpath(entry))
    else:
        return None
    common_dir = git_dir
    if (git_dir / "commondir").is_file():
        common_text = (git_dir / "commondir").read_text(errors="surrogateescape").rstrip("\r\n")
        common_dir = Path(os.path.realpath(git_dir / common_text))
    is_usable = os.path.lexists(git_dir / "HEAD") and all(
        (common_dir / name).is_dir() for name in ("objects", "refs")
    )
    if is_usable:
        return Repository(folder, git_dir, common_dir)
    if entry.is_file():
        raise InputError.from_summary(
            _REFUSED_SUMMARY,
            f"{entry} names {git_dir}, which is not a Git folder.",
            "Clone it again.",
        )
    return None


def _read_git_file(file: Path) -> Path:
    """The folder that a `.git` file names, as linked worktrees and submodules have one."""
    with file.open("rb") as stream:
        text = os.fsdecode(stream.read(1 << 16)).rstrip("\r\n")
    if not text.startswith("gitdir: ") or "\0" in text:
        raise InputError.from_summary(
            _REFUSED_SUMMARY, f"{file} does not name a Git folder.", "Clone it again."
        )
    return Path(os.path.realpath(file.parent / text.removeprefix("gitdir: ")))


def _require_git_folders(repository: Repository) -> None:
    """InputError for a Git folder inside the checkout, where a pull request may have put it."""
    own_git_folder = repository.top / ".git"
    for folder in (repository.git_dir, repository.common_dir):
        if folder.is_relative_to(repository.top) and not folder.is_relative_to(own_git_folder):
            raise InputError.from_summary(
                _REFUSED_SUMMARY,
                f"{own_git_folder} points to {folder}, which is in the checkout itself, where a "
                "commit could have put it.",
                "Clone the repository again; Git keeps its data in .git or outside the checkout.",
            )


def _require_trusted(repository: Repository) -> None:
    """InputError for a repository of another user, unless it is in safe.directory.

    Git omits this check of its own if GIT_DIR is set (git-config(1), safe.directory).
    """
    trusted_uids = {os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        trusted_uids.add(int(os.environ["SUDO_UID"]))
    top = repository.top
    for path in (top / ".git", top, repository.git_dir, repository.common_dir):
        owner = path.lstat().st_uid
        if owner not in trusted_uids and not _is_safe(top):
            raise InputError.from_summary(
                _REFUSED_SUMMARY,
                f"{path} belongs to another user (uid {owner}), who could control its content.",
                f"If you intend this: git config --global --add safe.directory {top}",
            )


def _is_safe(top: Path) -> bool:
    """Whether safe.directory of the system's or the user's Git configuration lists a folder.

    An empty value clears the list, `/*` at the end covers all folders below (git-config(1)).
    """
    arguments = ("config", "--null", "--type=path", "--get-all", "safe.directory")
    _, out, _ = run_git(top, None, *arguments)
    is_safe = False
    for text in os.fsdecode(out).split("\0")[:-1]:
        if not text:
            is_safe = False
        elif text == "*":
            is_safe = True
        elif text.endswith("/*"):
            is_safe = is_safe or top.is_relative_to(os.path.realpath(text[:-2]))
        else:
            is_safe = is_safe or (Path(text).is_absolute() and os.path.realpath(text) == str(top))
    return is_safe


def _require_untracked(repository: Repository) -> None:
    """InputError if the folder's files are tracked by a repository above it.

    Such a `.git` was not made by `git clone`, but came with a cache or an archive.
    """
    top = repository.top
    try:
        outer = find_trusted_repository(top.parent) if top != top.parent else None
    except InputError:
        return
    if outer is None:
        return
    relative_path = outer.relative_path_of(top)
    _, out, _ = outer.git("ls-files", "-z", "--", f":(literal){relative_path}")
    if any(name.startswith(f"{relative_path}/") for name in os.fsdecode(out).split("\0")):
        raise InputError.from_summary(
            _REFUSED_SUMMARY,
            f"{top} has its own .git, but the repository of {outer.top} tracks its files.",
            f"Remove {top / '.git'} if nobody created it on purpose.",
        )


# It is made by hand, since `git init` would copy templates, which may have hooks. It has no work
# tree, and nothing of a checkout or a user steers Git in it.

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


def make_bare_repository(git_dir: Path, object_format: str = "sha1", settings: str = "") -> None:
    """Make an empty repository in a folder that is not there yet; OSError, also for one that is.

    `settings` are further sections of its configuration.
    """
    for folder in (git_dir / "objects", git_dir / "refs"):
        folder.mkdir(parents=True)
    # Git takes a folder for a repository only with a HEAD; the branch is never made.
    (git_dir / "HEAD").write_text("ref: refs/heads/none\n")
    write_bare_configuration(git_dir, object_format, settings)


def write_bare_configuration(git_dir: Path, object_format: str, settings: str = "") -> None:
    """Write its configuration in place of any; `object_format` is sha1 or sha256."""
    (git_dir / "config").write_text(_CONFIG.format(object_format=object_format) + settings)


def safe_directory_section(directories: Sequence[str]) -> str:
    """The section that has Git use repositories in these directories, whoever owns them."""
    lines = ["[safe]"]
    for directory in directories:
        # Quoted as git-config(1) has it; the name of a folder could otherwise begin a section.
        quoted = directory.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'\tdirectory = "{quoted}"')
    return "\n".join(lines) + "\n"


@cache
def find_old_git_version(program: str) -> str:
    """What a Git older than MINIMUM_GIT says its version is; "" for any other, or an unclear one.

    Runs `git version`, once for each program; OSError if it cannot be started.
    """
    result = run_program((program, "version"), {"LC_ALL": "C"}, timeout=10)
    # `git version 2.39.5 (Apple Git-154)`, `git version 2.47.0.windows.2`
    version_text = result.output.decode("ascii", "replace").removeprefix("git version ").strip()
    numbers = tuple(
        int(part) for part in version_text.split(" ")[0].split(".")[:2] if part.isdecimal()
    )
    return version_text if len(numbers) == 2 and numbers < MINIMUM_GIT else ""
