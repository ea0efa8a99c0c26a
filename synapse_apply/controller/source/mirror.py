"""The mirror of one source: what is fetched when, and what is told of its commits."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from synapse_apply.controller.ports import Head, LabelledTarget, NewCommits, SourceUnavailable
from synapse_apply.controller.settings import SecretName, Source
from synapse_apply.controller.source.access import (
    FOLLOWED_FOLDER,
    FOLLOWED_FOLDERS,
    HEAD_REF,
    KEPT_FOLDER,
    TAGS_PATTERN,
    build_own_refspecs,
    build_pin_revision_or_empty,
    build_source_access,
    build_tag_refspecs,
    is_commit_id,
    refs_meant_by,
    source_folders,
)
from synapse_apply.controller.source.committed_project import read_committed_targets
from synapse_apply.controller.source.mirror_git import MirrorGit, MirrorLimits
from synapse_apply.controller.source.signatures import CommitSignatures
from synapse_apply.files.programs import STOPPED_EXIT_CODE, TIMEOUT_EXIT_CODE, ProgramResult
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive
from synapse_apply.views.sanitize import sanitize

_SHA256_LENGTH = 64
# Commits whose project is kept in memory: the wanted one, and one that is about to be.
_KEPT_PROJECTS = 4
_MOST_MOVED_TAGS = 1000
_UNVERIFIED_PIN = "refs/synapse-apply/unverified-pin"
_CHECK = ("fsck", "--connectivity-only", "--no-progress")
# How fresh the head is before an apply, and how long a repository that did not answer is not asked.
_FRESH_SECONDS, _SILENT_SECONDS = 1.0, 30.0


# Called with a source, `data`, a commit, and the one whose settings count.
ReadTargets = Callable[[Source, Path, str, str], tuple[LabelledTarget, ...]]


class GitMirror:
    """The bare copy of one source's repository; for many threads.

    Methods raise SourceUnavailable for a failure.
    """

    def __init__(
        self,
        source: Source,
        data: Path,
        read_secret: Callable[[SecretName], Sensitive],
        limits: MirrorLimits | None = None,
        read_targets: ReadTargets = read_committed_targets,
    ) -> None:
        """`data` is the controller's folder. `read_secret` is called at each fetch.

        `read_targets` may read a project file in another process.
        Makes and starts nothing yet. InputError for a source that cannot be followed.
        """
        self._source = source
        self._folders = source_folders(data, source)
        self._head_names = refs_meant_by(source, source.ref)
        self._pin = build_pin_revision_or_empty(source)
        is_pinned_by_ref = self._pin and not is_commit_id(self._pin)
        self._pin_names = refs_meant_by(source, source.project_from) if is_pinned_by_ref else ()
        limits = limits or MirrorLimits()
        self._seconds_before_apply = limits.list_before_apply_seconds
        access = build_source_access(source)
        self._git = MirrorGit(access, self._folders, read_secret, limits)
        signed = source.signed
        self._signatures = CommitSignatures(source, signed, self._git) if signed else None
        self._lock = threading.Lock()
        self._fetched_refs, self._moved_tags = "", list[str]()
        self._followed: tuple[str, ...] = ()
        self._fetched_at = self._silent_until = float("-inf")
        self._data, self._read_targets = data, read_targets
        self._projects: dict[tuple[str, str], tuple[LabelledTarget, ...]] = {}
        self._projects_lock = threading.Lock()
        self._failures: dict[tuple[str, str], tuple[SourceUnavailable, float]] = {}

    def fetch_head(self, followed: tuple[str, ...] = ()) -> Head:
        """Fetch the source's ref and its tags; returns what it names now.

        `followed` are refs that were followed before, here or on another machine: a name that one
        of them has means no other.

        Nothing is fetched where no ref has moved. A mirror that is damaged, or gone, is made anew.
        """
        with self._lock:
            self._followed = followed
            self._fetch_moved()
            commit = self._git.commit_id(HEAD_REF)
            arguments = ("cat-file", "commit", commit)
            content = self._git.run_local_git(*arguments, max_output=MAX_COMMIT_BYTES)
            head = parse_commit_head(commit, content.output)
            names = (*self._head_names, *self._pin_names)
            return head._replace(
                moved_tags=tuple(self._moved_tags),
                followed=tuple(name for name in names if self._git.commit_id(_name_memory(name))),
                pin=self.read_pin(),
            )

    def read_pin(self) -> str:
        """The commit of the pin's settings, as it was fetched last; "" without one."""
        return self._git.commit_id(self._pin) if self._pin else ""

    def fetch_commit(self, commit: str, followed: tuple[str, ...] = ()) -> bool:
        """Fetch as `fetch_head` does where the commit is not here yet; whether it fetched.

        Where the project file of another ref counts, also where that was not looked at for an
        interval. SourceUnavailable where the commit is not here afterwards.
        """
        with self._lock:
            self._followed = followed
            # The pin may have moved without a new head.
            is_old = time.monotonic() - self._fetched_at >= self._source.poll
            is_here = (self._folders.mirror / "HEAD").is_file() and bool(
                self._git.commit_id(commit)
            )
            if is_here and not (self._pin_names and is_old):
                return False
            self._fetch_moved()
        if not self._git.commit_id(commit):
            raise self._build_unreadable_error(commit)
        return True

    def find_newer_head(self, commit: str) -> str | None:
        """The commit that the source's ref names by now, if `commit` is before it.

        The repository is asked once a second at most, for all who call this; while it does not
        answer, what was fetched last counts. This waits for it for seconds, then not at all.
        """
        with suppress(SourceUnavailable):
            self._fetch_if_due()
        with suppress(SourceUnavailable):
            head = self._git.commit_id(HEAD_REF)
            if head != commit and self.is_same_or_descendant(head, commit):
                return head
        return None

    def _fetch_if_due(self) -> None:
        if self._is_fresh_or_silent():
            return
        is_ours = self._lock.acquire(timeout=self._seconds_before_apply)
        try:
            if is_ours and not self._is_fresh_or_silent():
                self._fetch_moved(self._seconds_before_apply)
        finally:
            if not self._is_fresh_or_silent():
                self._silent_until = time.monotonic() + _SILENT_SECONDS
            if is_ours:
                self._lock.release()

    def _is_fresh_or_silent(self) -> bool:
        return time.monotonic() < max(self._fetched_at + _FRESH_SECONDS, self._silent_until)

    def is_same_or_descendant(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is reached from `commit`; True for the same commit.

        False where the mirror does not have `ancestor` any more.
        """
        if commit == ancestor:
            return True
        result = self._git.run_local_git("merge-base", "--is-ancestor", ancestor, commit)
        if result.exit_code in (0, 1):
            return result.exit_code == 0
        if self._git.commit_id(commit) and not self._git.commit_id(ancestor):
            return False
        raise self._build_unreadable_error(commit)

    def require_signed(self, commit: str, live: frozenset[str] | None) -> None:
        """InputError where a new head lacks the signatures that its source needs.

        `live` are the commits of its targets, None for a source that has none yet.
        """
        if self._signatures is not None:
            self._signatures.require(commit, live)

    def list_author_names_and_emails(self, commit: str, since_commit: str) -> tuple[str, ...]:
        """Names and email addresses of the authors of the commits that `since_commit` lacks.

        And of who signed them, where commits are to be signed. Sorted, each once; of all commits
        for "", and where the mirror does not have that one.
        """
        is_known = is_commit_id(since_commit) and self._git.commit_id(since_commit)
        excluded = [f"^{since_commit}"] * bool(is_known)
        result = self._git.run_local_git("log", "--format=%an%x00%ae", commit, *excluded)
        if result.exit_code:
            raise self._build_unreadable_error(commit)
        lines = result.output.decode("utf-8", "replace").splitlines()
        people = {text for line in lines for text in line.split("\0")}
        if self._signatures is not None:
            people |= self._signatures.signers(commit, *excluded)
        if sum(map(len, people)) > _MAX_PEOPLE:
            raise SourceUnavailable.from_summary(
                "The source's author names are too long",
                f"{self._source.name}: up to {commit[:12]} they have more than {_MAX_PEOPLE:,} "
                "characters, and the controller keeps no more.",
                "Check who wrote the newest commits.",
                position=self._source.position,
            )
        return tuple(sorted(people - {""}))

    def list_new_commits(self, commit: str, since_commit: str) -> NewCommits:
        """The commits that `since_commit` lacks, the newest first; `commit` alone without one."""
        is_known = is_commit_id(since_commit) and self._git.commit_id(since_commit)
        excluded = [f"^{since_commit}"] if is_known else ["--max-count=1"]
        shown = f"--max-count={_SHOWN_COMMITS if is_known else 1}"
        log = self._git.run_local_git(
            "log", "-z", "--format=%H%n%an <%ae>%n%s", shown, commit, *excluded
        )
        count = self._git.run_local_git("rev-list", "--count", commit, *excluded)
        if log.exit_code or count.exit_code:
            raise self._build_unreadable_error(commit)
        heads = [
            Head(
                commit_id,
                _sanitize_and_shorten(author, _MAX_AUTHOR),
                _sanitize_and_shorten(subject, _MAX_SUBJECT),
            )
            for entry in log.output.decode("utf-8", "replace").split("\0")
            if entry
            for commit_id, author, subject in [entry.split("\n", 2)]
        ]
        signers = (
            self._signatures.signers(shown, commit, *excluded) if self._signatures else set[str]()
        )
        return NewCommits(tuple(heads), int(count.output), tuple(sorted(signers - {""})))

    def protect_commits(self, commits: Sequence[str]) -> None:
        """Protect these commits from pruning, and no others; skips those that are not here."""
        commit_by_ref = {
            f"{KEPT_FOLDER}/{commit}": commit for commit in commits if is_commit_id(commit)
        }
        old_refs = self._git.list_refs(KEPT_FOLDER).keys()
        lines = [f"delete {ref}" for ref in sorted(old_refs - commit_by_ref.keys())]
        lines += [
            f"create {ref} {commit}"
            for ref, commit in commit_by_ref.items()
            if ref not in old_refs and self._git.commit_id(commit)
        ]
        if not self._git.update_refs(lines):
            raise self._build_unreadable_error(next(iter(commits), ""))

    def list_targets(self, commit: str, pin: str = "") -> tuple[LabelledTarget, ...]:
        """The targets that the project file at a commit declares, by name.

        `pin` is the commit of the pin's settings, by default as it was fetched last. All of the
        project's folder counts for a digest, but for manifest folders of other targets alone.
        InputError with every finding where the project file cannot be used.
        """
        if not is_commit_id(commit):
            raise InputError.from_summary("Invalid commit", f"{commit!r} is not a full commit id.")
        pin = pin or self.read_pin()
        if self._pin and not pin:
            raise self._build_unreadable_error(self._source.project_from)
        key = (commit, pin)
        with self._projects_lock:
            if key not in self._projects:
                targets = self._targets_at(key)
                while len(self._projects) >= _KEPT_PROJECTS:
                    del self._projects[next(iter(self._projects))]
                self._projects[key] = targets
            return self._projects[key]

    def _targets_at(self, key: tuple[str, str]) -> tuple[LabelledTarget, ...]:
        begun = time.monotonic()
        failure, until = self._failures.get(key, (None, begun))
        if failure is not None and begun < until:
            raise failure.with_traceback(None)
        try:
            return self._read_targets(self._source, self._data, *key)
        except SourceUnavailable as problem:
            # What took a minute is tried again after ten, whoever asks meanwhile.
            self._failures = {key: (problem, begun + 11 * (time.monotonic() - begun))}
            raise

    def _fetch_moved(self, list_seconds: float | None = None) -> None:
        """Fetch what has moved since the last fetch; for who has the lock."""
        try:
            config = self._folders.mirror / "config"
            is_sha256 = config.is_file() and "objectFormat = sha256" in config.read_text()
            self._git.make_mirror("sha256" if is_sha256 else "sha1")
            remote_ids = self._git.list_remote_ids_by_ref(
                *self._head_names, *self._pin_names, TAGS_PATTERN, seconds=list_seconds
            )
            refs = hashlib.sha256(repr(sorted(remote_ids.items())).encode()).hexdigest()
            if refs != self._fetched_refs or not self._git.commit_id(HEAD_REF):
                self._fetch_refs(remote_ids)
        except OSError as problem:
            raise SourceUnavailable.from_summary(
                "The source's mirror cannot be written",
                f"{self._source.name}: {problem.strerror}.",
                "Check the free space and the permissions of the data folder.",
            ) from None
        except InputError as problem:
            # A pin without a signature, or credentials that cannot be used.
            raise SourceUnavailable(*problem.diagnostics) from None
        self._fetched_refs, self._fetched_at = refs, time.monotonic()

    def _fetch_refs(self, remote_ids: Mapping[str, str]) -> None:
        head_name, pin_name = self._existing_ref(self._head_names, remote_ids, self._source.ref), ""
        if self._pin_names:
            pin_name = self._existing_ref(self._pin_names, remote_ids, self._source.project_from)
        object_format = "sha256" if len(remote_ids[head_name]) == _SHA256_LENGTH else "sha1"
        self._git.make_mirror(object_format)
        own = build_own_refspecs(self._source, head_name, pin_name)
        if pin_name and self._signatures is not None:
            # Workers read the pin by its name, which names a commit only once that is verified.
            own[-1] = f"+{pin_name}:{_UNVERIFIED_PIN}"
        moved = self._list_moved_tags(remote_ids)
        followed = {head_name, pin_name}
        self._moved_tags = [tag for tag in moved if tag not in followed]
        # What is left out is left out of the whole fetch, and a followed tag is needed as the head.
        fetches = [own, build_tag_refspecs(moved)]
        if followed.isdisjoint(moved):
            fetches = [own + build_tag_refspecs(moved)]
        # Those of a branch or a pin that is followed no more may be in the way.
        fetched_refs = {self._pin, *(refspec.partition(":")[2] for refspec in own)}
        others = self._git.list_refs(*FOLLOWED_FOLDERS).keys() - fetched_refs
        self._git.update_refs(f"delete {ref}" for ref in sorted(others))
        result = self._fetch(fetches)
        if result.exit_code in (STOPPED_EXIT_CODE, TIMEOUT_EXIT_CODE):
            # Parts of a pack, of which nothing can be used.
            for file in (self._folders.mirror / "objects" / "pack").glob("tmp_*"):
                file.unlink(missing_ok=True)
        elif result.exit_code and self._git.run_local_git(*_CHECK).exit_code:
            # It lacks objects that its refs need, or cannot be read.
            self._git.replace_by_empty_mirror(object_format)
            result = self._fetch(fetches)
        if result.exit_code:
            self._git.raise_source_unavailable(result)
        if not self._git.commit_id(HEAD_REF):
            raise self._build_unreadable_error(remote_ids[head_name])
        if pin_name and self._signatures is not None:
            pin, before = self._git.commit_id(_UNVERIFIED_PIN), self._git.commit_id(self._pin)
            self.require_signed(pin, frozenset({before}) if before else None)
            self._git.update_refs([f"update {self._pin} {pin}"])
        for name in filter(None, (head_name, pin_name)):
            self._git.run_local_git("update-ref", _name_memory(name), HEAD_REF)
        self._git.compact_if_many_packs()

    def _fetch(self, fetches: Sequence[list[str]]) -> ProgramResult:
        for refspecs in fetches:
            result = self._git.fetch_limited(refspecs)
            if result.exit_code:
                break
        return result

    def _list_moved_tags(self, remote_ids: Mapping[str, str]) -> list[str]:
        """The tags that named something else when they were fetched.

        So are those that cannot stand beside one of them: Git has no `a` beside `a/b`.
        """
        kept = self._git.list_refs(TAGS_PATTERN.rstrip("*"))
        above = {str(folder) for name in kept for folder in PurePosixPath(name).parents}
        moved = [
            name
            for name, object_id in remote_ids.items()
            if name.startswith(TAGS_PATTERN.rstrip("*"))
            if kept.get(name, object_id) != object_id
            or name in above
            or not kept.keys().isdisjoint(map(str, PurePosixPath(name).parents))
        ]
        if len(moved) > _MOST_MOVED_TAGS:
            raise SourceUnavailable.from_summary(
                "Too many of the source's tags have moved",
                f"{self._source.name}: {len(moved):,} tags have moved, and the controller keeps "
                f"at most {_MOST_MOVED_TAGS:,}.",
                f"To accept the tags' current commits, remove {self._shown_mirror}.",
                position=self._source.position,
            )
        return moved

    def _existing_ref(self, names: Sequence[str], remote_ids: Mapping[str, str], ref: str) -> str:
        # Who may push a branch must not answer for the tag of that name, nor the other way round.
        known = [name for name in names if name in self._followed]
        known = known or [name for name in names if self._git.commit_id(_name_memory(name))]
        there = [name for name in known or names if name in remote_ids]
        if len(there) > 1:
            raise SourceUnavailable.from_summary(
                "The source's ref is ambiguous",
                f"{self._source.name}: there are {' and '.join(there)}, and the controller does "
                "not know which of them it followed until now.",
                "Write the full name of the intended ref.",
                position=self._source.position,
            )
        if there:
            return there[0]
        raise SourceUnavailable.from_summary(
            "The source's repository has no such ref",
            f"{self._source.name}: {known[0]}, which the controller followed until now, does not "
            "exist."
            if known
            else f"{self._source.name}: no branch or tag is called {ref}.",
            "Check whether it was renamed or deleted. The controller keeps the last head.",
            position=self._source.position,
        )

    def _build_unreadable_error(self, revision: str) -> SourceUnavailable:
        return SourceUnavailable.from_summary(
            "The source's commit cannot be read",
            f"{self._source.name}: {revision[:12]} is not in the mirror.",
            "The controller fetches it again automatically. If it stays missing, remove "
            f"{self._shown_mirror}.",
            position=self._source.position,
        )

    @property
    def _shown_mirror(self) -> str:
        """The mirror's place for all readers of the page: its full path is the machine's."""
        return f"the mirror mirrors/{self._folders.mirror.name} in the controller's data folder"


def _name_memory(ref: str) -> str:
    """The ref of ours that says that a ref of the repository was followed."""
    return f"{FOLLOWED_FOLDER}/{ref.removeprefix('refs/')}"


MAX_COMMIT_BYTES = 64 * 1024
_SHOWN_COMMITS = 20
_MAX_AUTHOR, _MAX_SUBJECT = 200, 300
# All names and addresses of authors together: some 20,000 people.
_MAX_PEOPLE = 1024 * 1024
_DATE = re.compile(r" -?[0-9]+ [+-][0-9]{4}$")


def parse_commit_head(commit_id: str, content: bytes) -> Head:
    """The head of a commit's object, of which only the beginning is needed (git-cat-file(1))."""
    header, _, message = content.partition(b"\n\n")
    authors = (line for line in header.split(b"\n") if line.startswith(b"author "))
    author = next(authors, b"").removeprefix(b"author ")
    author_text = _DATE.sub("", author.decode(errors="replace"))
    subject = message.lstrip(b"\n").partition(b"\n")[0].decode(errors="replace")
    return Head(
        commit_id,
        _sanitize_and_shorten(author_text, _MAX_AUTHOR),
        _sanitize_and_shorten(subject.strip(), _MAX_SUBJECT),
    )


def _sanitize_and_shorten(text: str, max_length: int) -> str:
    text = sanitize(text[: max_length + 1])
    return text if len(text) <= max_length else text[: max_length - 3] + "..."
