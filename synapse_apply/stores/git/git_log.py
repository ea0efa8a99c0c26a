"""How a log of batches is kept as a ref of a Git repository: a commit is a batch.

The tree of the ref's last commit is the whole state, so that a reader fetches that commit alone;
the history is for people. A batch is appended by a push that names the commit it expects
(`--force-with-lease`), so that of two writers one is refused. What a push says decides nothing
unless it is success: the ref is read, and where it names our commit the push was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from synapse_apply.files.programs import PipedProgram
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import mutable, replace
from synapse_apply.stores.database import (
    NOTHING_READ,
    AppendedBatch,
    Batch,
    BatchLog,
    BatchNotSent,
    DamagedLog,
    LeaseTiming,
    LogReading,
    Row,
    Signer,
    UnsignedStateSigner,
    WritePace,
)
from synapse_apply.stores.git.git_url import (
    GitBookmark,
    GitStateLocation,
    RemoteUnreachable,
    parse_bookmark_or_none,
)
from synapse_apply.stores.git.private_repository import (
    PrivateRepository,
    quote_git,
    resolve_remote_access,
)
from synapse_apply.stores.git.state_files import (
    LOCK_FILE,
    NO_CONTENT,
    DamagedTreeError,
    StateCommit,
    StateFile,
    iter_state_files,
    list_audit_paths,
    parse_state_commit,
    read_files,
    read_tree,
)
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.replica.replica_database import ReplicaDatabase
from synapse_apply.stores.sql import SqlStore, utc_now
from synapse_apply.stores.state_messages import damage, fault, require_signed, signature_warnings

GIT_TIMING = LeaseTiming(
    lease_seconds=300.0,
    heartbeat_seconds=60.0,
    seconds_to_start=60.0,
    shortest_pause=1.0,
    longest_pause=10.0,
)
BATCHES_PER_ROOT = 500
_PUSHES_BEFORE_THE_PACE = 6
_LONGEST_DEFERRAL = 2.0
_MAX_ATTEMPTS = 2
_MAX_COMMIT_BYTES = 64 * 1024
# So many commits are fetched at once to find the one that was seen last; a few kilobytes each.
_DEPTH_TO_BOOKMARK = 20
# Of the audit a reader gets the newest file, which has the last number; the rest is asked for.
_AUDIT_FILES = 1
# A number beyond is no count of batches: a commit may be forged.
_MAX_TRUSTED_NUMBER = 2**40


def make_unstarted_git_store(
    location: GitStateLocation,
    folder: Path,
    *,
    signer: Signer | None = None,
    tool_version: str = "",
    now: Callable[[], str] = utc_now,
    runner: LockRunner | None = None,
    fresh_seconds: float = 0.0,
) -> SqlStore:
    """The store whose state is a ref of a repository; Git is not started yet.

    `folder` is any folder of the checkout whose remote and credentials are used. `fresh_seconds` is
    as for ReplicaDatabase.
    """
    runner = runner or LockRunner()
    log = GitLog(location, folder, signer, runner.timing or GIT_TIMING)
    return SqlStore(ReplicaDatabase(log, fresh_seconds), tool_version, now, runner)


class GitLog(BatchLog):
    """A BatchLog (stores/database.py, which documents its methods) in a ref of a repository.

    A position is the id of a commit.
    """

    def __init__(
        self,
        location: GitStateLocation,
        folder: Path,
        signer: Signer | None = None,
        timing: LeaseTiming = GIT_TIMING,
        batches_per_root: int = BATCHES_PER_ROOT,
    ) -> None:
        """`folder` is any folder of the checkout whose remote and credentials are used."""
        self.location = location.display_url
        interval = location.pace_seconds
        burst = _PUSHES_BEFORE_THE_PACE if interval else 0
        self.write_pace = WritePace(_LONGEST_DEFERRAL, burst, interval)
        self._location = location
        self._folder = folder
        self._signer = signer or UnsignedStateSigner()
        self._timing = timing
        self._batches_per_root = batches_per_root
        self._opened_repository: PrivateRepository | None = None
        # The newest commit that was read or appended; its number is never gone below.
        self._tip: StateCommit | None = None
        self._owner_lease_seconds: float | None = None
        self._content = NO_CONTENT
        self._attempt: PushAttempt | None = None
        # Whether the newest commit is signed with the state key; None if nobody can tell here.
        self._is_genuine: bool | None = True
        # What an earlier process has read, until the ref was seen to go on from there.
        self._bookmark: GitBookmark | None = None

    @property
    def bookmark(self) -> str:
        tip = self._tip
        if tip is None or not self._is_genuine:
            return ""
        return str(GitBookmark(tip.number, tip.commit_id))

    def require_continuation_in_reads(self, bookmark: str) -> None:
        self._bookmark = parse_bookmark_or_none(bookmark)

    def exists(self) -> bool:
        return self._tip is not None or bool(self._read_tip())

    def read_since_position_or_anew(self, position: str) -> LogReading:
        remote_tip = self._read_tip()
        if not remote_tip:
            last_seen = self._newest_bookmark()
            if last_seen is not None:
                raise self._set_back(last_seen, "the ref is gone")
            return LogReading(None, (), "")
        # One `ls-remote` tells that nothing is new, without a fetch.
        if self._tip is not None and remote_tip == self._tip.commit_id == position:
            return LogReading(None, (), position, self._owner_lease_seconds)
        tip = self._fetch_and_adopt_tip(remote_tip)
        tables = self._content.collect_tables()
        return LogReading(tables, (), tip.commit_id, self._owner_lease_seconds)

    def append_or_none_if_overtaken(self, batch: Batch, position: str) -> AppendedBatch | None:
        # Who has the key may replace all of what it did not sign.
        if not batch.replaces_all or not self._signer.sign_or_empty_without_key(""):
            require_signed(
                self.location, self._signer, self._tip_label, is_genuine=self._is_genuine
            )
        attempt = self._attempt
        if attempt is None or (attempt.batch.batch_id, attempt.old_id) != (
            batch.batch_id,
            position,
        ):
            if position != (self._tip.commit_id if self._tip is not None else ""):
                return None
            number = self._tip.number + 1 if self._tip is not None else 1
            # From time to time without a parent, or every clone of the ref would have all states
            # ever.
            begins_history = number % self._batches_per_root == 0
            attempt = self._begin_push(batch, position, number, begins_history=begins_history)
            self._attempt = attempt
        return self._push(attempt)

    def restart_after_damage_unless_overtaken(self, batch: Batch) -> AppendedBatch | None:
        old_id = self._read_tip()
        numbers = [self._tip.number] if self._tip is not None else []
        numbers += [self._bookmark.number] if self._bookmark is not None else []
        if old_id:
            self._repository.fetch_ref(self._location.ref)
            # The new number must be above all that anybody has seen, or they take it for an old
            # state.
            claimed_number = self._read_commit(old_id).number  # which may be forged
            numbers += [claimed_number] if claimed_number <= _MAX_TRUSTED_NUMBER else []
        self._content = NO_CONTENT
        next_number = max(numbers, default=0) + 1
        attempt = self._begin_push(batch, old_id, next_number, begins_history=True)
        appended = self._push(attempt)
        self._attempt, self._bookmark = None, None
        return appended

    def read_audit_rows_not_read_yet(self) -> Sequence[Row]:
        object_ids = self._content.object_ids
        paths = [path for path in list_audit_paths(object_ids) if path not in self._content.rows]
        try:
            rows_by_path = read_files(self._repository.reader, paths, object_ids)
        except DamagedTreeError as problem:
            raise self._damage_error(self._tip.commit_id if self._tip else "", problem) from None
        return [row for file_rows in rows_by_path.values() for row in file_rows.rows]

    def list_warnings(self) -> tuple[Diagnostic, ...]:
        return signature_warnings(self.location, self._tip_label, is_genuine=self._is_genuine)

    def close(self) -> None:
        if self._attempt is not None:
            # Its commit is still needed; the repository goes with this object.
            return
        if self._opened_repository is not None:
            self._opened_repository.close()
        self._opened_repository = None
        self._content = NO_CONTENT

    @property
    def _repository(self) -> PrivateRepository:
        """The repository of this run, made at its first use; StateError without Git."""
        if self._opened_repository is None:
            access = resolve_remote_access(self._folder, self._location)
            # Who waits for the lock sees a third of a lease pass at most without a sign of life.
            deadline_seconds = self._timing.lease_seconds / 3
            self._opened_repository = PrivateRepository(access, self.location, deadline_seconds)
        return self._opened_repository

    def _read_tip(self) -> str:
        """The commit that the ref names now, "" without one; RemoteUnreachable."""
        return self._repository.ask_remote_for_commit_of_ref_or_empty(self._location.ref)

    def _fetch_and_adopt_tip(self, expected_id: str) -> StateCommit:
        """Fetch the newest commit and read its tree; StateError for one that is not the state's.

        `expected_id` is what the ref named a moment ago.
        """
        last_seen = self._newest_bookmark()
        is_other = self._bookmark is not None and self._bookmark.commit_id != expected_id
        depth = _DEPTH_TO_BOOKMARK if is_other else 1
        commit = self._read_commit(self._repository.fetch_ref(self._location.ref, depth))
        is_wound_back = last_seen is not None and (
            commit.number < last_seen.number
            or (commit.number == last_seen.number and commit.commit_id != last_seen.commit_id)
            or not self._is_continuation(commit, depth)
        )
        try:
            self._content = read_tree(
                self._repository.reader, commit.tree_id, self._content, _AUDIT_FILES
            )
        except DamagedTreeError as problem:
            raise self._damage_error(commit.commit_id, problem) from None
        if last_seen is not None and is_wound_back:
            present = f"it ends at {commit.number}"
            if commit.number >= last_seen.number:
                present += ", which does not descend from that commit"
            tables = self._content.collect_tables()
            raise self._set_back(last_seen, present, LogReading(tables, (), commit.commit_id))
        self._bookmark = None
        lock_file = self._content.rows.get(LOCK_FILE)
        self._owner_lease_seconds = lock_file.lease_seconds if lock_file is not None else None
        self._tip, self._is_genuine = commit, commit.check_signature(self._signer)
        return commit

    def _set_back(
        self, last_seen: GitBookmark, present: str, reading: LogReading = NOTHING_READ
    ) -> DamagedLog:
        """The error for a ref that does not go on from what was read before."""
        return damage(
            "ref set back",
            self.location,
            reading,
            number=last_seen.number,
            commit=last_seen.commit_id,
            present=present,
        )

    def _newest_bookmark(self) -> GitBookmark | None:
        """The newest commit that this process, or an earlier one, has read; None for neither."""
        if self._tip is not None:
            return GitBookmark(self._tip.number, self._tip.commit_id)
        return self._bookmark

    def _is_continuation(self, commit: StateCommit, depth: int) -> bool:
        """Whether the bookmark is among the ancestors of a commit, `depth` of which are here.

        Also where a new history began since: a squash, or a restore, has left the old one behind.
        """
        if self._bookmark is None:
            return True
        # Numbers count commits, and so tell how many of them to fetch.
        needed_depth = commit.number - self._bookmark.number + 1
        # Behind so many there is a squash.
        if needed_depth > self._batches_per_root:
            return True
        if needed_depth > depth:
            self._repository.fetch_ref(self._location.ref, needed_depth)
        ancestors = self._repository.list_ancestors(commit.commit_id, needed_depth)
        return len(ancestors) < needed_depth or ancestors[-1] == self._bookmark.commit_id

    @property
    def _tip_label(self) -> str:
        """The newest commit as messages name it."""
        return f"commit {self._tip.commit_id[:12]}" if self._tip is not None else "its last commit"

    def _read_commit(self, commit_id: str) -> StateCommit:
        """A commit whose signature is not checked; StateError if it is none of a state."""
        commit = self._repository.read_commit(commit_id, _MAX_COMMIT_BYTES)
        return parse_state_commit(commit, self._location.ref, self.location)

    def _damage_error(self, commit_id: str, problem: DamagedTreeError) -> DamagedLog:
        # Answers may be left in the pipe of the reader.
        self._repository.discard_reader()
        reading = NOTHING_READ
        if problem.content is not None:
            reading = LogReading(problem.content.collect_tables(), (), "")
        reason = f"{problem.path} of commit {commit_id[:12]}: {problem}"
        return damage("damaged", self.location, reading, reason=reason)

    def _begin_push(
        self, batch: Batch, old_id: str, number: int, *, begins_history: bool
    ) -> PushAttempt:
        tip = self._write_commit(batch, old_id, number, is_root=begins_history)
        return PushAttempt(batch, old_id, [tip], begins_history)

    def _write_commit(
        self, batch: Batch, old_id: str, number: int, *, is_root: bool
    ) -> StateCommit:
        """Write the commit of a batch; `is_root`: without a parent, which ends the history."""
        # Only what a batch changes is written: all other files stay as they are in the old tree.
        base_tree_id = ""
        if self._tip is not None and not batch.replaces_all:
            base_tree_id = self._tip.tree_id
        try:
            return write_commit(
                self._repository.start_import(),
                StateCommit(self._location.ref, number, batch.batch_id, old_id, base_tree_id),
                "" if is_root else old_id,
                iter_state_files(batch.changes, self._timing.lease_seconds),
                self._signer,
            )
        except CommitNotWrittenError:
            raise BatchNotSent.from_summary(
                "The state cannot be written",
                f"Git ended before it created the commit for {self.location}. Nothing was pushed.",
                "The system's temporary folder may be full. Set TMPDIR to another folder.",
            ) from None

    def _push(self, attempt: PushAttempt) -> AppendedBatch | None:
        """Push the commit of a batch until it is part of the log, or another one is.

        StateError if the repository does not take it, or cannot be asked what became of it.
        """
        error_text = ""
        for attempt_number in range(_MAX_ATTEMPTS):
            if attempt_number:
                # A host may still be working on the push before.
                self._timing.sleep_for(attempt_number * self._timing.shortest_pause)
            tip = attempt.tips[-1]
            # Where a new history begins, the old one gets a ref of its own. Otherwise the host may
            # collect the commits that no ref names, and nobody could look back.
            replaces_root = attempt.begins_history and attempt.old_id and len(attempt.tips) == 1
            result = self._repository.push_once(
                self._location.ref,
                attempt.old_id,
                tip.commit_id,
                *([f"+{attempt.old_id}:{self._location.previous_ref}"] if replaces_root else []),
            )
            if result.exit_code == 0:
                return self._adopt_tip(attempt, tip)
            error_text = result.error_text
            # A push that failed may have been carried out: only the ref itself tells.
            try:
                remote_tip = self._read_tip()
            except RemoteUnreachable:
                raise fault("push unsettled", self.location, git=quote_git(error_text)) from None
            own_tip = attempt.find_own_tip([remote_tip])
            if own_tip is not None:
                return self._adopt_tip(attempt, own_tip)
            # Somebody else's commit is there, or one of theirs on top of ours.
            if remote_tip != attempt.old_id:
                return self._adopt_below_tip(attempt)
            # Make another commit where the one without a parent was refused, as some hosts do.
            if replaces_root:
                number = tip.number
                attempt.tips.append(
                    self._write_commit(attempt.batch, attempt.old_id, number, is_root=False)
                )
        raise StateError.from_summary(
            "The Git repository rejected the state",
            f"A push to {self.location} was refused. {quote_git(error_text)}",
            "You need permission to push: `permissions: contents: write` on GitHub; on GitLab "
            "the project's setting that allows job tokens to push. A pull request from a fork "
            f"has no such permission. If the host rejects {self._location.ref} itself, use a "
            "branch "
            "without protection rules: ?ref=refs/heads/synapse-apply-state.",
        )

    def _adopt_tip(self, attempt: PushAttempt, tip: StateCommit) -> AppendedBatch:
        """Take note that the commit is the last one of the log."""
        batch = attempt.batch
        if batch.replaces_all:
            self._content = NO_CONTENT
        if not batch.lock_id:
            self._owner_lease_seconds = None
        elif batch.takes_lock:
            self._owner_lease_seconds = self._timing.lease_seconds
        self._tip, self._is_genuine = tip, True
        self._attempt = None
        return AppendedBatch(tip.commit_id)

    def _adopt_below_tip(self, attempt: PushAttempt) -> AppendedBatch | None:
        """Find out whether another commit stands behind ours, or in its place (None)."""
        try:
            remote_tip = self._repository.fetch_ref(self._location.ref)
            own_tip = attempt.find_own_tip(self._history_to(remote_tip, attempt))
        except RemoteUnreachable as problem:
            raise fault("push unsettled", self.location, git=quote_git(str(problem))) from None
        self._attempt = None
        if own_tip is None:
            return None
        self._adopt_tip(attempt, own_tip)
        return AppendedBatch(own_tip.commit_id, is_last=False)

    def _history_to(self, commit_id: str, attempt: PushAttempt) -> list[str]:
        """The commits from one of the ref back to the number of the attempt, and one before."""
        try:
            commit = self._read_commit(commit_id)
        except StateError:
            # Not a commit of the state: the next read says so.
            return []
        depth = commit.number - attempt.tips[0].number + 1
        if not 1 < depth <= self._batches_per_root:
            return []
        self._repository.fetch_ref(self._location.ref, depth)
        ancestors = self._repository.list_ancestors(commit_id, depth)
        return [*ancestors, self._read_commit(ancestors[-1]).previous_id] if ancestors else []


@mutable
class PushAttempt:
    """A batch that is to follow `old_id`, and the commits that were made for it.

    There are two of them where a host refused the one without a parent. The ref can be moved from
    `old_id` once, so that at most one of them becomes part of the log. `begins_history`: the first
    commit has no parent.
    """

    batch: Batch
    old_id: str
    tips: list[StateCommit]
    begins_history: bool

    def find_own_tip(self, commit_ids: Sequence[str]) -> StateCommit | None:
        """The commit of this batch among those, None if there is none."""
        return next((tip for tip in self.tips if tip.commit_id in commit_ids), None)


# The tree of the commit before is taken over and changed; then its id is asked for, since the
# message of the commit holds a signature over it.
_COMMITTER = "synapse-apply <synapse-apply@localhost>"


class CommitNotWrittenError(Exception):
    """Git has ended before it had written the commit, as where the disk is full."""


def write_commit(
    program: PipedProgram,
    commit: StateCommit,
    parent_id: str,
    files: Iterable[StateFile],
    signer: Signer,
) -> StateCommit:
    """Write the files of a commit, the commit itself, and end the program.

    `commit` has the tree that is changed ("": an empty one), and gets the new one. `parent_id` is
    the parent ("": none). CommitNotWrittenError.
    """
    try:
        write = program.input.write
        signature_line = f"committer {_COMMITTER} {int(time.time())} +0000\n".encode("ascii")
        write(b"commit refs/tree\n" + signature_line + b"data 0\n")
        if commit.tree_id:
            write(f"M 040000 {commit.tree_id} \n".encode("ascii"))
        for file in files:
            if file.content is None:
                write(f"D {file.path}\n".encode("ascii"))
            else:
                size = len(file.content)
                write(f"M 100644 inline {file.path}\ndata {size}\n".encode("ascii"))
                write(file.content + b"\n")
        write(b'ls ""\n')
        commit = replace(commit, tree_id=_read_answer_line(program).split()[2])
        message = commit.format_signed_message(signer).encode()
        write(b"\ncommit refs/batch\nmark :1\n" + signature_line)
        write(f"data {len(message)}\n".encode("ascii") + message)
        if parent_id:
            write(f"from {parent_id}\n".encode("ascii"))
        write(f"M 040000 {commit.tree_id} \n\nget-mark :1\ndone\n".encode("ascii"))
        commit_id = _read_answer_line(program)
    except (BrokenPipeError, IndexError):
        raise CommitNotWrittenError from None
    finally:
        exit_code = program.wait_for_exit()
    if exit_code:
        raise CommitNotWrittenError
    return replace(commit, commit_id=commit_id)


def _read_answer_line(program: PipedProgram) -> str:
    program.input.flush()
    return program.output.readline().decode("ascii").strip()
