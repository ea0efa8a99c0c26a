"""How Git is run for a state: in a bare repository of this run, by plumbing with fixed arguments.

It lies in the temporary folder of the system and is removed at the end. It has no work tree, no
hooks and no configuration but its own, so that nothing of a checkout or a user steers it. Whether a
command did its work is told by its exit code alone, and is never read out of what it says.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from synapse_apply.files.bare_repository import (
    ask_git_version_if_too_old_or_empty,
    format_safe_directory_section,
    make_bare_repository_in_new_folder,
    overwrite_bare_repository_configuration,
)
from synapse_apply.files.programs import (
    PipedProgram,
    ProgramResult,
    require_executable_outside_checkouts,
    run_program_in_root_folder,
)
from synapse_apply.stores.git import git_messages
from synapse_apply.stores.git.object_reader import ObjectReader, UnreadableObjectError
from synapse_apply.stores.git.remote_access import REMOTE_NAME, RemoteAccess

_TIP_REF = "refs/tip"
_FOLDER_PREFIX = "synapse-apply-git-"
# Far longer than a run: a folder that is in use must never be removed.
_LEFTOVER_AGE_SECONDS = 24 * 3600
# In hexadecimal digits: repositories with SHA-256 have ids of 64.
_SHA256_LENGTH = 64
# unpackLimit 1: objects are written as a pack, not as thousands of files. No signature and no
# negotiation: neither is needed, and either may ask somebody or cost a request.
_SETTINGS = """[fastimport]
\tunpackLimit = 1
[push]
\tgpgSign = false
\tnegotiate = false
"""


class PrivateRepository:
    """A bare repository of this run, and the remote that it fetches from and pushes to.

    Nothing is made before the first use. Every method raises StateError if Git cannot be used.
    """

    def __init__(self, access: RemoteAccess, location: str, deadline_seconds: float) -> None:
        """`location` is for messages. A command that takes longer than the deadline is killed."""
        self._access = access
        self._location = location
        self._deadline_seconds = deadline_seconds
        self._folder: Path | None = None
        self._environment: dict[str, str] = {}
        self._reader: ObjectReader | None = None

    def ask_remote_for_commit_of_ref_or_empty(self, ref: str) -> str:
        """The commit that a ref of the remote names, "" for none; RemoteUnreachable."""
        # HEAD as well: the length of its id tells which digest a repository without a state uses.
        result = self.run_git_within_deadline("ls-remote", "--quiet", REMOTE_NAME, "HEAD", ref)
        if result.exit_code:
            raise git_messages.build_unreachable_error(self._location, result.error_text)
        # A line each: id, tab, ref. Refs that end with this one are listed, too.
        ids_by_ref = {
            line_ref: commit_id
            for commit_id, _, line_ref in (
                os.fsdecode(line).partition("\t") for line in result.output.splitlines()
            )
        }
        if any(len(commit_id) == _SHA256_LENGTH for commit_id in ids_by_ref.values()):
            self._switch_to_sha256_if_repository_is_made()
        return ids_by_ref.get(ref, "")

    def fetch_ref_and_return_commit_id(self, ref: str, depth: int = 1) -> str:
        """Fetch the newest commits of a ref of the remote; returns the id of the last one.

        StateError where that is none of ours: it is larger than any.
        """
        # Nothing but the one ref: tags and submodules of a repository of code may be large.
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        result = self.run_git_within_deadline(
            "fetch", *options, f"--depth={depth}", REMOTE_NAME, f"+{ref}:{_TIP_REF}"
        )
        if result.exit_code:
            raise git_messages.build_unreachable_error(self._location, result.error_text)
        try:
            return self.reader.read_object_id(_TIP_REF)
        except UnreadableObjectError as problem:
            self.discard_reader()
            raise git_messages.build_foreign_ref_error(
                self._location, f"its last commit: {problem}"
            ) from None

    def push_once(self, ref: str, old_id: str, new_id: str, *other_refspecs: str) -> ProgramResult:
        """Ask once to move a ref of the remote from `old_id` ("": no ref) to `new_id`.

        Exit code 0: it names the new commit. Any other decides nothing.
        """
        options = ("--quiet", "--no-verify", "--no-signed", "--no-recurse-submodules")
        # The host compares and moves in one step: of two pushes behind one commit, one is refused.
        lease = f"--force-with-lease={ref}:{old_id}"
        return self.run_git_within_deadline(
            "push", *options, lease, REMOTE_NAME, f"{new_id}:{ref}", *other_refspecs
        )

    @property
    def reader(self) -> ObjectReader:
        """The process that reads objects, started at its first use."""
        if self._reader is None:
            command = (
                *self._make_repository_if_needed_and_build_command_head(),
                "cat-file",
                "--batch",
            )
            self._reader = ObjectReader(self._start_piped_program(command))
        return self._reader

    def start_import(self) -> PipedProgram:
        """Start `git fast-import`, which writes objects only; `commit_writer.py` speaks to it."""
        # `done`: without the command at the end nothing counts, so that a broken pipe writes no
        # half.
        options = ("--quiet", "--force", "--done")
        return self._start_piped_program(
            (*self._make_repository_if_needed_and_build_command_head(), "fast-import", *options)
        )

    def list_commit_and_ancestors_or_empty(self, commit_id: str, max_count: int) -> list[str]:
        """The ids of a commit and its fetched ancestors, newest first; [] if there is none."""
        result = self.run_git_within_deadline(
            "rev-list", "--first-parent", f"--max-count={max_count}", commit_id
        )
        return result.output.decode("ascii").split() if result.exit_code == 0 else []

    def run_git_within_deadline(self, *arguments: str) -> ProgramResult:
        """Run one Git command; the text of its standard error holds no credential."""
        try:
            result = run_program_in_root_folder(
                (*self._make_repository_if_needed_and_build_command_head(), *arguments),
                self._environment,
                timeout=self._deadline_seconds,
            )
        except OSError as problem:
            raise git_messages.build_no_git_error(str(problem.strerror)) from None
        return result._replace(error_text=self._access.mask_credentials(result.error_text))

    def close(self) -> None:
        """End the processes and remove the repository."""
        if self._reader is not None:
            self._reader.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._reader, self._folder = None, None

    def discard_reader(self) -> None:
        """End the process that reads objects, after an answer that was not read to its end."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _start_piped_program(self, command: Sequence[str]) -> PipedProgram:
        try:
            return PipedProgram(command, self._environment)
        except OSError as problem:
            raise git_messages.build_no_git_error(str(problem.strerror)) from None

    def _make_repository_if_needed_and_build_command_head(self) -> tuple[str, ...]:
        """The program, after the repository is made; StateError for a Git that is too old."""
        try:
            program = require_executable_outside_checkouts("git", self._access.checkouts)
        except FileNotFoundError as problem:
            raise git_messages.build_no_git_error(str(problem.strerror)) from None
        if self._folder is None:
            self._make_repository()
            _require_new_enough_git(program)
        # A pager could wait for a key to be pressed.
        return (program, "--no-pager")

    def _make_repository(self) -> None:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
            _remove_leftovers_of_killed_runs(self._folder.parent)
            # Also where nobody closes this.
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            git_dir = self._folder / "state.git"
            make_bare_repository_in_new_folder(git_dir, settings=_SETTINGS)
            global_config = self._folder / "gitconfig"
            global_config.write_text(format_safe_directory_section(self._access.safe_directories))
            self._environment = self._access.build_environment(git_dir, global_config)
        except OSError as problem:
            raise git_messages.build_no_folder_error(str(problem.strerror)) from None

    def _switch_to_sha256_if_repository_is_made(self) -> None:
        if self._folder is not None:
            # Possible because it is empty until then: a repository keeps the digest of its first
            # object.
            overwrite_bare_repository_configuration(self._folder / "state.git", "sha256", _SETTINGS)


def _remove_leftovers_of_killed_runs(parent: Path) -> None:
    """Remove old repositories of this user, as far as that is possible; never through a link.

    Others can write to the system's temporary folder, so a name alone says nothing.
    """
    newest_removed = time.time() - _LEFTOVER_AGE_SECONDS
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(_FOLDER_PREFIX):
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                is_own_folder = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
                if is_own_folder and status.st_mtime < newest_removed:
                    # It removes no link's target, and fails for a link in the folder's place.
                    shutil.rmtree(entry.path, ignore_errors=True)


def _require_new_enough_git(program: str) -> None:
    if version_text := ask_git_version_if_too_old_or_empty(program):
        raise git_messages.build_old_git_error(version_text)
