"""How an old copy of a state is recognised: by the greatest serial and fence seen here.

A state that went back (an old copy, a CI cache, a restored disk) has forgotten objects, and an
apply from it creates them a second time. Serial and fence only grow, so the greatest ones are
kept in two small files: beside the project, and in the user's cache, which survives the
checkout. Of a shared state another such file tells what was last at its place: its lineage and
where its log ended, so that a state that was deleted is not taken for one that never was, nor a
history that was written anew for the one that was seen. A file that cannot be written is skipped;
serial and fence never go back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from synapse_apply.files.opening import (
    OWN_FOLDER,
    UntrustedFileError,
    create_missing_private_folders_with_gitignore,
    open_own_file_with_flags,
    read_start_of_own_file,
    remove_own_file_or_link_if_present,
    replace_own_file_by_sibling,
)
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import StateStore
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import NO_PROGRESS, StateHeader, StateProgress
from synapse_apply.workspace.environment import find_xdg_or_home_folder_or_none

FILE_FORMAT = 1
_SEEN_FOLDER = "seen"
# A file has one line; whatever is larger is none.
_MAX_BYTES = 4096
_MAX_TEXT = 400
_MAX_COUNT = 2**63 - 1


# Serial and fence of a lineage only grow, so that an old copy of a state is recognised. `state
# restore`, `state init` with a pinned lineage and `state migrate` continue above what was seen, so
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

    def read_farthest_progress_or_zero(self, lineage: str) -> SeenProgress:
        """The greatest progress of a lineage in any of the folders."""
        return _find_farthest_or_zero(self._read_progress_by_folder(lineage))

    def remember_progress_if_greater(self, lineage: str, progress: StateProgress) -> None:
        """Write the progress of a lineage to each folder that has a smaller one."""
        _write_progress_where_smaller(lineage, progress, self._read_progress_by_folder(lineage))

    def _read_progress_by_folder(self, lineage: str) -> dict[Path, SeenProgress]:
        """What each folder has of a lineage; zero where it has nothing that can be used."""
        return {
            folder: _read_progress_or_zero_if_unusable(
                _build_progress_file_path(folder, lineage), lineage
            )
            for folder in self.folders
        }

    def find_newest_seen_place(self, place_id: str) -> SeenPlace | None:
        """What was seen last at a place (`build_place_id`); None for one that was never seen."""
        paths = [_build_place_file_path(folder, place_id) for folder in self.folders]
        seen_places = [
            seen_place for path in paths if (seen_place := _read_place_file_or_none(path))
        ]
        return max(seen_places, key=lambda seen_place: seen_place.seen_at, default=None)

    def remember_place_if_changed(
        self, place_id: str, lineage: str, bookmark: str, key_id: str = ""
    ) -> None:
        """Write what was seen at a place to each folder that has something else."""
        for folder in self.folders:
            path = _build_place_file_path(folder, place_id)
            seen_place = _read_place_file_or_none(path)
            contents = seen_place and (seen_place.lineage, seen_place.bookmark, seen_place.key_id)
            if contents != (lineage, bookmark, key_id):
                with suppress(OSError, UntrustedFileError):
                    create_missing_private_folders_with_gitignore(folder, own_top=folder.parent)
                    document = {"format": FILE_FORMAT, "lineage": lineage, "bookmark": bookmark}
                    _replace_file_with_stamped_json(path, {**document, "key": key_id})

    def forget_progress_of_lineage(self, lineage: str) -> None:
        """Remove what is remembered of a lineage, whose state is removed on purpose."""
        for folder in self.folders:
            with suppress(OSError, UntrustedFileError):
                remove_own_file_or_link_if_present(_build_progress_file_path(folder, lineage))

    def build_findings_if_state_is_older(
        self, store: StateStore, target: Target
    ) -> tuple[Diagnostic, ...]:
        """An error where a state has less progress than was seen of its lineage."""
        header, seen_by_folder = self._read_header_and_progress_by_folder(store)
        farthest = _find_farthest_or_zero(seen_by_folder)
        return (
            ()
            if header.progress.has_reached(farthest.progress)
            else (_build_older_state_finding(store, header, farthest, target),)
        )

    def _read_header_and_progress_by_folder(
        self, store: StateStore
    ) -> tuple[StateHeader, dict[Path, SeenProgress]]:
        """The header of a state, and what each folder has of its lineage.

        Another run may write to the state, and remember that, between the two. So a state that
        seems older is read once more from where it is kept.
        """
        header = store.read_header()
        seen_by_folder = self._read_progress_by_folder(header.lineage)
        if not header.progress.has_reached(_find_farthest_or_zero(seen_by_folder).progress):
            first_lineage, header = header.lineage, store.read_header(requires_newest=True)
            if header.lineage != first_lineage:  # another state was put in its place
                seen_by_folder = self._read_progress_by_folder(header.lineage)
        return header, seen_by_folder

    def require_state_not_older_and_remember_it(
        self, store: StateStore, target: Target, place_id: str = "", *, read_only: bool = False
    ) -> None:
        """StateError where a state is older than the last one seen; else remember its progress.

        `place_id` is that of a shared state. With `read_only` nothing is written in the project.
        """
        header, seen_by_folder = self._read_header_and_progress_by_folder(store)
        farthest = _find_farthest_or_zero(seen_by_folder)
        if not header.progress.has_reached(farthest.progress):
            raise StateError(_build_older_state_finding(store, header, farthest, target))
        folders = self.outside_folders if read_only else self.folders
        _write_progress_where_smaller(
            header.lineage, header.progress, {folder: seen_by_folder[folder] for folder in folders}
        )
        if place_id:
            key_id = store.read_project_and_key_ids().key_id
            replace(self, folders=folders).remember_place_if_changed(
                place_id, header.lineage, store.bookmark, key_id
            )


def _build_older_state_finding(
    store: StateStore, header: StateHeader, farthest: SeenProgress, target: Target
) -> Diagnostic:
    last_change = next((entry.at for entry in store.list_audit_entries_newest_first(1)), "")
    change_text = f", last changed {last_change}" if last_change else ""
    restore_command = Command("state restore FILE", target=target.name)
    return error_finding(
        "This state is older than the last one seen here",
        f"It has {_format_progress(header.progress)}{change_text}; one of the same lineage "
        f"({header.lineage}) with "
        f"{_format_progress(farthest.progress)} was seen here on {farthest.seen_at}. What was "
        f"done in between is "
        "not in it, and would be done a second time.",
        Text(
            "Restore the newest backup: ",
            restore_command,
            ". If this state is the right one (a database that came back from a dump, say), "
            "put it in its own place on purpose: ",
            Command("state backup FILE", target=target.name),
            ", then ",
            restore_command,
            ".",
        ),
        position=target.position,
    )


def build_last_seen_files(
    project: Project, target: Target, environ: Mapping[str, str]
) -> LastSeenFiles:
    """The files in which a target's progress is remembered.

    Beside the project only where the tool's folder exists: a CI job whose state is in a database
    leaves no file in its workspace. For the embedded backend only there, beside its objects.
    """
    own_folder = project.root / OWN_FOLDER
    cache_folder = (
        None
        if target.is_embedded
        else find_xdg_or_home_folder_or_none(environ, "XDG_CACHE_HOME", ".cache")
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


def _build_place_file_path(folder: Path, place_id: str) -> Path:
    return folder / f"place-{place_id}.json"


def _read_place_file_or_none(path: Path) -> SeenPlace | None:
    """What a file says was seen at a place; None where it is not this user's, or says nothing."""
    document = _read_own_json_or_empty(path)
    texts = [document.get(name, "") for name in ("lineage", "bookmark", "key", "at")]
    if not texts[0] or not all(isinstance(text, str) for text in texts):
        return None
    return SeenPlace(*(str(text)[:_MAX_TEXT] for text in texts))


def _read_own_json_or_empty(path: Path) -> Mapping[str, object]:
    """The JSON object in a file; {} where it is not this user's, or of another format."""
    try:
        document = json.loads(read_start_of_own_file(path, _MAX_BYTES))
    except (OSError, ValueError, RecursionError, UntrustedFileError):
        return {}
    if not isinstance(document, dict) or document.get("format") != FILE_FORMAT:
        return {}
    return document


def _build_progress_file_path(folder: Path, lineage: str) -> Path:
    """The name is a digest, because a lineage may be any text."""
    return folder / f"{hashlib.sha256(lineage.encode()).hexdigest()[:32]}.json"


def _find_farthest_or_zero(seen_by_folder: Mapping[Path, SeenProgress]) -> SeenProgress:
    """The greater of each number, and the newest time."""
    farthest = SeenProgress()
    for seen in seen_by_folder.values():
        farthest = SeenProgress(
            farthest.progress.compute_maximum_of_each_number(seen.progress),
            max(farthest.seen_at, seen.seen_at),
        )
    return farthest


def _read_progress_or_zero_if_unusable(path: Path, lineage: str) -> SeenProgress:
    """The progress in a file; zero where it is not this user's, or not of this lineage."""
    document = _read_own_json_or_empty(path)
    serial, fence = (
        _get_valid_count_or_none(document.get("serial")),
        _get_valid_count_or_none(document.get("fence")),
    )
    if document.get("lineage") != lineage or serial is None or fence is None:
        return SeenProgress()
    return SeenProgress(StateProgress(serial, fence), str(document.get("at", ""))[:40])


def _get_valid_count_or_none(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def _write_progress_where_smaller(
    lineage: str, progress: StateProgress, seen_by_folder: Mapping[Path, SeenProgress]
) -> None:
    """Write the progress of a lineage to each folder that has less."""
    for folder, seen in seen_by_folder.items():
        if not seen.progress.has_reached(progress):
            with suppress(OSError, UntrustedFileError):
                _lock_and_write_greatest_progress(folder, lineage, progress)


def _lock_and_write_greatest_progress(folder: Path, lineage: str, progress: StateProgress) -> None:
    """Replace a file at once, with the greater of its progress and the new one."""
    # Below it is a folder of ours, the project's or the one in the user's cache.
    create_missing_private_folders_with_gitignore(folder, own_top=folder.parent)
    path = _build_progress_file_path(folder, lineage)
    with _lock_folder_if_supported(folder):
        seen = _read_progress_or_zero_if_unusable(path, lineage)
        progress = progress.compute_maximum_of_each_number(seen.progress)
        document = {
            "format": FILE_FORMAT,
            "lineage": lineage,
            "serial": progress.serial,
            "fence": progress.fence,
        }
        _replace_file_with_stamped_json(path, document)


def _replace_file_with_stamped_json(path: Path, document: Mapping[str, object]) -> None:
    """Replace a file at once by a document, to which the time is added."""
    moment = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    text = json.dumps({**document, "at": moment})
    # A random name: two runs may write at the same time where the folder cannot be locked.
    temporary_path = path.with_name(f".{path.name}.{token_hex(8)}")
    descriptor = open_own_file_with_flags(temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
        replace_own_file_by_sibling(path, temporary_path.name)
    except OSError:
        remove_own_file_or_link_if_present(temporary_path)
        raise


@contextmanager
def _lock_folder_if_supported(folder: Path) -> Iterator[None]:
    """Keep other runs out of the block; without effect on a file system that has no such locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _format_progress(progress: StateProgress) -> str:
    return f"serial {progress.serial} (lock number {progress.fence})"
