"""When the `.synapse-apply` folder, the files in it and a state elsewhere are trusted.

A checkout is somebody else's: a pull request can commit a state, a key or a link beside the
project. What is ours is therefore used only when

- neither it nor a folder on the way to it is a link, a pipe or a repository of its own, and all of
  it belongs to us (`files/opening.py`, which also opens it), and
- Git tracks nothing of it, in whatever case it is spelled (here). The repository is the one that
  `files/repository.py` finds, so no other folder of the checkout can answer. It is asked
  once as long as its index stays the same.

A state that the project file puts elsewhere is looked at in the same way. Folders outside of the
checkout may be links: those are the machine's, not a commit's. A link is followed only when we or
root made it, since in a shared folder others can make some, too.

An old copy of a state (a CI cache, a restored disk) has forgotten objects, and an apply from it
creates them a second time. It is recognised by the greatest serial and fence seen here, which only
grow: they are kept in two small files, beside the project and in the user's cache, which survives
the checkout. Of a shared state another such file tells what was last at its place: its lineage and
where its log ended, so that a state that was deleted is not taken for one that never was, nor a
history that was written anew for the one that was seen. A file that cannot be written is skipped;
serial and fence never go back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, NamedTuple

from synapse_apply.files import opening
from synapse_apply.files.tree import escape_misleading_path
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError, StateError, SynapseApplyError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import NO_PROGRESS, StateHeader, StateProgress
from synapse_apply.workspace.environment import user_folder_of

if TYPE_CHECKING:
    from synapse_apply.files.repository import Repository
    from synapse_apply.stores.sql import SqlStore


# What SQLite and this tool keep beside a state, under its name.
_COMPANION_SUFFIXES = ("", "-journal", "-wal", "-shm", ".lock")
_MAX_LINKS = 40
_tracked_by_index: dict[tuple[object, ...], tuple[str, ...]] = {}


def has_own_folder(root: Path) -> bool:
    """Whether the project in `root` has a `.synapse-apply` folder; StateError if untrusted."""
    folder = root / opening.OWN_FOLDER
    with telling_os_errors(folder):
        if not opening.own_folder_exists(folder):
            return False
        _require_untracked(folder, (folder,))
    return True


@contextmanager
def telling_os_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError in the block into a StateError about the folder."""
    try:
        yield
    except OSError as problem:
        raise StateError.from_summary(
            "The folder for states and keys cannot be read",
            f"{problem.filename or folder}: {problem.strerror or problem}.",
            "Check the owner of the folder (`ls -la`): a run as another user, or with sudo, may "
            "have created it.",
        ) from None


def resolve_state_path(path: Path, root: Path) -> Path:
    """The path of a state file, with links resolved; StateError where it is not trusted.

    `root` is the project's folder, to which a relative path belongs.
    """
    root = root.absolute()
    path = root / path
    if Path(os.path.normpath(path)).is_relative_to(root / opening.OWN_FOLDER):
        has_own_folder(root)
        return path
    with telling_os_errors(path.parent):
        path = _resolve_links(path, root)
        if path.is_dir():
            raise StateError.from_summary(
                "The state's path is a folder",
                f"state.url names {path}.",
                "Set the target's state.url to a file in the folder, such as NAME.db.",
            )
        if opening.OWN_FOLDER in path.parts:
            opening.own_folder_exists(path.parent)
        companion_paths = tuple(
            path.with_name(f"{path.name}{ending}") for ending in _COMPANION_SUFFIXES
        )
        if any(os.path.lexists(companion) for companion in companion_paths):
            _require_untracked(path, companion_paths)
        return path


def is_own_folder_ignored(root: Path) -> bool:
    """Whether Git ignores the `.synapse-apply` folder in `root`; True without a folder."""
    folder = root / opening.OWN_FOLDER
    return not opening.own_folder_exists(folder) or opening.has_own_gitignore(folder)


class GitExposure(NamedTuple):
    """A file that Git has, or would take, and why: the end of a sentence that begins with it."""

    path: Path
    reason: str
    is_tracked: bool


def find_git_exposure(*files: Path) -> GitExposure | None:
    """The first file that a commit could contain, there or not yet; None if Git ignores them all.

    A link counts as well as what it leads to. StateError where Git cannot tell.
    """
    # A link itself is looked at, too. Git is asked once for those of one folder.
    absolute = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100
    by_folder: dict[Path, list[Path]] = {}
    for path in dict.fromkeys((*absolute, *(Path(os.path.realpath(one)) for one in absolute))):
        by_folder.setdefault(path.parent, []).append(path)
    for folder, paths in by_folder.items():
        tracked = _tracked_paths(paths[0], tuple(paths))
        real_folder = Path(os.path.realpath(folder))
        if (repository := _find_repository(real_folder / paths[0].name)) is None:
            continue
        names = [(real_folder / one.name).relative_to(repository.top).as_posix() for one in paths]
        if tracked:
            # A folder may be in the file's place, or its name in other letters.
            first = f"{tracked[0]}/".lower()
            pairs = zip(paths, names, strict=True)
            path = next(
                (one for one, name in pairs if first.startswith(f"{name}/".lower())), folder
            )
            return GitExposure(path, "is tracked by Git", is_tracked=True)
        asked = b"\0".join(map(os.fsencode, names))
        words = ("check-ignore", "-z", "--stdin")
        _, out = _ask_git(paths[0], repository, *words, names=asked, codes=(0, 1))
        ignored = out.split(b"\0")
        for path, name in zip(paths, names, strict=True):
            if os.fsencode(name) not in ignored:
                reason = "is in a checkout, and Git does not ignore it"
                return GitExposure(path, reason, is_tracked=False)
    return None


def is_from_commit(path: Path) -> bool:
    """Whether Git tracks a file, so that a commit may have written it, or cannot tell."""
    if not os.path.lexists(path):
        return False
    try:
        exposure = find_git_exposure(path)
    except opening.UntrustedFileError:
        return True
    return exposure is not None and exposure.is_tracked


def _resolve_links(path: Path, root: Path) -> Path:
    """The path with all links followed; StateError for an untrusted link or a circle."""
    resolved, remaining_parts = Path(path.anchor), list(reversed(path.parts[1:]))
    if path.is_relative_to(root):  # the way to the project is that of whoever runs us
        resolved, remaining_parts = (
            Path(os.path.realpath(root)),
            list(reversed(path.relative_to(root).parts)),
        )
    root = Path(os.path.realpath(root))
    for _ in range(_MAX_LINKS):
        while remaining_parts:
            name = remaining_parts.pop()
            if name == "..":
                resolved = resolved.parent
                continue
            candidate = resolved / name
            if candidate.is_symlink():
                break
            resolved = candidate
        else:
            return resolved
        # A `state.url` may lead through a link that we or root made outside of a checkout; inside
        # one, a
        # commit may have made it.
        if candidate.is_relative_to(root) or _find_repository(candidate) is not None:
            raise opening.build_untrusted_error(
                candidate,
                "is a link in a checkout",
                "A commit may have created the link. Set the target's state.url to the file "
                "itself.",
            )
        owner = candidate.lstat().st_uid
        if owner not in (os.geteuid(), 0):
            raise opening.build_untrusted_error(
                candidate, f"is a link of another user (uid {owner})"
            )
        target = candidate.readlink()
        resolved = Path("/") if target.is_absolute() else resolved
        remaining_parts += [part for part in reversed(target.parts) if part != "/"]
    raise opening.build_untrusted_error(path, "is behind links that lead in a circle")


# What Git cannot answer is refused, also where Git is missing. Git is asked once per index, and
# only where the folder exists.
def _require_untracked(own_path: Path, paths: tuple[Path, ...]) -> None:
    """StateError when Git tracks one of these paths, or a file below it."""
    # Our own `.gitignore` in the folder, with the content that we write, may be tracked.
    ignore_path = f"{opening.OWN_FOLDER}/{opening.IGNORE_FILE}"
    tracked_paths = [
        path
        for path in _tracked_paths(own_path, paths)
        if own_path.name != opening.OWN_FOLDER
        or not f"/{path}".endswith(f"/{ignore_path}")
        or not opening.has_own_gitignore(own_path)
    ]
    if not tracked_paths:
        return
    tracked_text = escape_misleading_path(tracked_paths[0]) + (
        f" and {len(tracked_paths) - 1} more" if len(tracked_paths) > 1 else ""
    )
    name = (
        opening.OWN_FOLDER
        if own_path.name == opening.OWN_FOLDER
        else escape_misleading_path(Path(tracked_paths[0]).name)
    )
    raise opening.build_untrusted_error(
        own_path,
        f"is in Git's index ({tracked_text})",
        "No commit may contain these files. If this is not an attack, remove the files from Git "
        f"and keep them on disk: `git rm -r --cached {shlex.quote(name)}` in {own_path.parent}, "
        "then commit. Otherwise remove the files.",
    )


def _tracked_paths(own_path: Path, paths: tuple[Path, ...]) -> tuple[str, ...]:
    """The paths that Git tracks, relative to the top of the repository; cached per Git index."""
    real_folder = Path(os.path.realpath(own_path.parent))
    if (repository := _find_repository(real_folder / own_path.name)) is None:
        return ()
    names = tuple(
        (real_folder / path.name).relative_to(repository.top).as_posix() for path in paths
    )
    # `git ls-files` costs a process: several checks of one command share its answer.
    fingerprint: tuple[int, ...] = ()
    with suppress(FileNotFoundError):
        index = (repository.git_dir / "index").stat()
        fingerprint = (
            *(index.st_dev, index.st_ino, index.st_size),
            *(index.st_mtime_ns, index.st_ctime_ns),
        )
    cache_key = (repository, names, fingerprint)
    if cache_key not in _tracked_by_index:
        # Where file systems take A for a, `.Synapse-Apply` of a commit is our folder.
        specs = (f":(top,icase,literal){name}" for name in names)
        _, out = _ask_git(repository.top / names[0], repository, "ls-files", "-z", "--", *specs)
        _tracked_by_index[cache_key] = tuple(os.fsdecode(name) for name in out.split(b"\0") if name)
    return _tracked_by_index[cache_key]


def _find_repository(path: Path) -> Repository | None:
    """The repository that contains a path, None without one; StateError for an untrusted one."""
    # Here, not above: many commands find no folder of ours, and need no Git.
    from synapse_apply.files.repository import find_trusted_repository

    try:
        return find_trusted_repository(path.parent)
    except InputError as problem:
        raise _git_failure(path, _describe(problem)) from None


def _git_failure(path: Path, reason: str) -> opening.UntrustedFileError:
    return opening.build_untrusted_error(
        path,
        f"may come from a commit: Git cannot tell ({reason})",
        "Install git, and check that `git status` works here. If the repository belongs to "
        "another user on purpose: `git config --global --add safe.directory FOLDER`.",
    )


def _describe(problem: SynapseApplyError) -> str:
    return "; ".join(finding.detail.rstrip(".") for finding in problem.diagnostics)


def _ask_git(
    path: Path,
    repository: Repository,
    *words: str,
    names: bytes = b"",
    codes: tuple[int, ...] = (0,),
) -> tuple[int, bytes]:
    """The exit code, one of `codes`, and the output of a Git command; StateError about a path."""
    from synapse_apply.files.repository import run_git

    try:
        code, out, error_text = run_git(repository.top, repository, *words, input_bytes=names)
    except InputError as problem:
        raise _git_failure(path, _describe(problem)) from None
    if code not in codes:
        raise _git_failure(path, error_text.strip().removeprefix("fatal: ").rstrip("."))
    return code, out


FILE_FORMAT = 1
_SEEN_FOLDER = "seen"
# A file has one line; whatever is larger is none.
_MAX_BYTES = 4096
_MAX_TEXT = 400
# A store adds to it, and has no number above 2**62.
_MAX_COUNT = 2**62 - 2**32


# Serial and fence of a lineage only grow, so that an old copy of a state is recognised. `state
# restore`, `state init` with a pinned lineage and `state backup` continue above what was seen, so
# that nobody ever has to reset anything, here or where a colleague saw the state. Beside the
# project it is noted only where our folder exists: a job on a runner leaves no file behind.
@frozen
class SeenProgress:
    """The greatest progress seen of a lineage, and when (RFC 3339 UTC; "" for never)."""

    progress: StateProgress = NO_PROGRESS
    seen_at: str = ""


@frozen
class SeenPlace:
    """Which state was last seen at a place, and where its log ended; `seen_at` as above.

    `key_id` is that of the state key which it was bound to, "" for none.
    """

    lineage: str
    bookmark: str
    key_id: str
    seen_at: str


@frozen
class LastSeenFiles:
    """The files in which progress is remembered; `folders` may be missing or not writable.

    `outside_folders` are those of them outside of the project.
    """

    folders: tuple[Path, ...] = ()
    outside_folders: tuple[Path, ...] = ()

    def read_farthest(self, lineage: str) -> SeenProgress:
        """The greatest progress of a lineage in any of the folders."""
        return _farthest(self._read_progress_by_folder(lineage))

    def remember_progress_if_greater(self, lineage: str, progress: StateProgress) -> None:
        """Write the progress of a lineage to each folder that has a smaller one."""
        for folder, seen in self._read_progress_by_folder(lineage).items():
            if not seen.progress.has_reached(progress):
                _write_progress(folder, lineage, progress)

    def _read_progress_by_folder(self, lineage: str) -> dict[Path, SeenProgress]:
        """What each folder has of a lineage; zero where it has nothing that can be used."""
        return {
            folder: _read_progress(_progress_path(folder, lineage), lineage)
            for folder in self.folders
        }

    def find_place(self, place_id: str) -> SeenPlace | None:
        """What was seen last at a place (`build_place_id`); None for one that was never seen."""
        paths = [_place_path(folder, place_id) for folder in self.folders]
        seen_places = [seen_place for path in paths if (seen_place := _read_place(path))]
        return max(seen_places, key=lambda seen_place: seen_place.seen_at, default=None)

    def remember_place(self, place_id: str, lineage: str, bookmark: str, key_id: str = "") -> None:
        """Write what was seen at a place to each folder that has something else."""
        for folder in self.folders:
            path = _place_path(folder, place_id)
            seen_place = _read_place(path)
            contents = seen_place and (seen_place.lineage, seen_place.bookmark, seen_place.key_id)
            if contents != (lineage, bookmark, key_id):
                _rewrite(path, partial(dict, lineage=lineage, bookmark=bookmark, key=key_id))

    def forget(self, lineage: str) -> None:
        """Remove what is remembered of a lineage, whose state is removed on purpose."""
        for folder in self.folders:
            with suppress(OSError, opening.UntrustedFileError):
                opening.remove_own_file(_progress_path(folder, lineage))

    def build_findings_if_state_is_older(
        self, store: SqlStore, target: Target
    ) -> tuple[Diagnostic, ...]:
        """An error where a state has less progress than was seen of its lineage."""
        return self._compare(store, target)[2]

    def _compare(
        self, store: SqlStore, target: Target
    ) -> tuple[StateHeader, dict[Path, SeenProgress], tuple[Diagnostic, ...]]:
        """The header of a state, what each folder has of its lineage, an error where it is older.

        Another run may write to the state, and remember that, between the two. So a state that
        seems older is read once more from where it is kept.
        """
        header = store.read_header()
        seen_by_folder = self._read_progress_by_folder(header.lineage)
        if not header.progress.has_reached(_farthest(seen_by_folder).progress):
            first_lineage, header = header.lineage, store.read_header(requires_newest=True)
            if header.lineage != first_lineage:  # another state was put in its place
                seen_by_folder = self._read_progress_by_folder(header.lineage)
        farthest = _farthest(seen_by_folder)
        if header.progress.has_reached(farthest.progress):
            return header, seen_by_folder, ()
        last_change = next((entry.at for entry in store.list_audit_entries_newest_first(1)), "")
        change_text = f", last changed {last_change}" if last_change else ""
        restore_command = Command("state restore FILE", target=target.name)
        finding = error_finding(
            "This state is older than the last one seen here",
            f"It has {_format_progress(header.progress)}{change_text}; one of the same lineage ("
            f"{header.lineage}) with {_format_progress(farthest.progress)} was seen here on "
            f"{farthest.seen_at}. Changes in between are missing from this state, and an apply "
            "would repeat them.",
            Text(
                "Restore the newest backup: ",
                restore_command,
                ". If this state is the right one (for example, a database that you restored from "
                "a dump), back it up and restore that backup: ",
                Command("state backup FILE", target=target.name),
                ", then ",
                restore_command,
                ".",
            ),
            position=target.position,
        )
        return header, seen_by_folder, (finding,)

    def require_state_not_older_and_remember_it(
        self, store: SqlStore, target: Target, place_id: str = "", *, read_only: bool = False
    ) -> None:
        """StateError where a state is older than the last one seen; else remember its progress.

        `place_id` is that of a shared state. With `read_only` nothing is written in the project.
        """
        header, seen_by_folder, findings = self._compare(store, target)
        if findings:
            raise StateError(*findings)
        folders = self.outside_folders if read_only else self.folders
        for folder in folders:
            if not seen_by_folder[folder].progress.has_reached(header.progress):
                _write_progress(folder, header.lineage, header.progress)
        if place_id:
            key_id = store.read_project_and_key_ids().key_id  # first: the bookmark is of this read
            replace(self, folders=folders).remember_place(
                place_id, header.lineage, store.bookmark, key_id
            )


def last_seen_files_of(
    project: Project, target: Target, environ: Mapping[str, str]
) -> LastSeenFiles:
    """The files in which a target's progress is remembered.

    Beside the project only where the tool's folder exists: a CI job whose state is in a database
    leaves no file in its workspace. For the embedded backend only there, beside its objects.
    """
    own_folder = project.root / opening.OWN_FOLDER
    cache_folder = (
        None if target.is_embedded else user_folder_of(environ, "XDG_CACHE_HOME", ".cache")
    )
    outside_folders = (
        (cache_folder / "synapse-apply" / _SEEN_FOLDER,) if cache_folder is not None else ()
    )
    project_folders = (own_folder / _SEEN_FOLDER,) if own_folder.is_dir() else ()
    return LastSeenFiles((*project_folders, *outside_folders), outside_folders)


def build_place_id(project: Project, target: Target, location: str) -> str:
    """The name under which a place is remembered: a state of this project, at this location.

    The name of a Git remote may mean another repository in another checkout, such as a fork's.
    """
    from synapse_apply.stores.git.git_url import is_git_url

    is_remote_name = is_git_url(location) and "://" not in location
    project_name = str(project.root) if is_remote_name or not project.id else project.id
    parts = [project_name, target.name, location]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _place_path(folder: Path, place_id: str) -> Path:
    return folder / f"place-{place_id}.json"


def _read_place(path: Path) -> SeenPlace | None:
    """What a file says was seen at a place; None where it is not this user's, or says nothing."""
    document = _read_json(path)
    texts = [document.get(name, "") for name in ("lineage", "bookmark", "key", "at")]
    if not texts[0] or not all(isinstance(text, str) for text in texts):
        return None
    return SeenPlace(*(str(text)[:_MAX_TEXT] for text in texts))


def _read_json(path: Path) -> Mapping[str, object]:
    """The JSON object in a file; {} where it is not this user's, or of another format.

    And where a commit may have written it: the user's cache may lie in a checkout.
    """
    if opening.OWN_FOLDER not in path.parts and is_from_commit(path):
        return {}
    try:
        document = json.loads(opening.read_start_of_own_file(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError, opening.UntrustedFileError):
        return {}
    if not isinstance(document, dict) or document.get("format") != FILE_FORMAT:
        return {}
    return document


def _progress_path(folder: Path, lineage: str) -> Path:
    """The name is a digest, because a lineage may be any text."""
    return folder / f"{hashlib.sha256(lineage.encode()).hexdigest()[:32]}.json"


def _farthest(seen_by_folder: Mapping[Path, SeenProgress]) -> SeenProgress:
    """The greater of each number, and the newest time."""
    farthest = SeenProgress()
    for seen in seen_by_folder.values():
        farthest = SeenProgress(
            farthest.progress.join_maximum(seen.progress), max(farthest.seen_at, seen.seen_at)
        )
    return farthest


def _read_progress(path: Path, lineage: str) -> SeenProgress:
    """The progress in a file; zero where it is not this user's, or not of this lineage."""
    document = _read_json(path)
    counts = [document.get(name) for name in ("serial", "fence")]
    numbers = [count for count in counts if type(count) is int and 0 <= count <= _MAX_COUNT]
    if document.get("lineage") != lineage or len(numbers) != len(counts):
        return SeenProgress()
    return SeenProgress(StateProgress(*numbers), str(document.get("at", ""))[:40])


def _write_progress(folder: Path, lineage: str, progress: StateProgress) -> None:
    """Replace a file at once, with the greater of its progress and the new one."""
    path = _progress_path(folder, lineage)

    def join() -> dict[str, object]:
        greatest = progress.join_maximum(_read_progress(path, lineage).progress)
        return {"lineage": lineage, "serial": greatest.serial, "fence": greatest.fence}

    _rewrite(path, join)


def _rewrite(path: Path, make_document: Callable[[], Mapping[str, object]]) -> None:
    """Replace a file at once by a document, to which format and time are added.

    The document is made while other runs are kept out of the folder, as far as its file system has
    such locks. A file that cannot be written is left as it is.
    """
    with suppress(OSError, opening.UntrustedFileError):
        # Below it is a folder of ours, the project's or the one in the user's cache.
        opening.make_own_folders(path.parent, own_top=path.parent.parent)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(path.parent, flags)
        try:
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            moment = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            text = json.dumps({"format": FILE_FORMAT, **make_document(), "at": moment})
            # A random name: two runs may write at the same time where the folder has no lock.
            temporary_path = path.with_name(f".{path.name}.{token_hex(8)}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = opening.open_own_file_with_flags(temporary_path, flags)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(f"{text}\n")
                opening.replace_own_file(path, temporary_path.name)
            except OSError:
                opening.remove_own_file(temporary_path)
                raise
        finally:
            os.close(folder)


def _format_progress(progress: StateProgress) -> str:
    return f"serial {progress.serial} (lock number {progress.fence})"
