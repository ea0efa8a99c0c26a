"""What was done and the state could not be told: kept in a file until it can (design section 7).

One line a call, as JSON: the intent as it ended, the record it leads to, and the line of history.
Like a state it holds digests in place of secrets.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from synapse_apply.files.opening import UntrustedFileError, open_file
from synapse_apply.model import codec
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import AuditEntry, Intent, IntentState, Record, State
from synapse_apply.session.own_folder import check_own_folder
from synapse_apply.stores.private_files import make_file, make_folder

FORMAT = 1
_PREFIX = "unrecorded"
_PLAN_ID = "[0-9a-f-]{36}"


@frozen
class Ended:
    """A call that has ended, and what the state is to say of it."""

    lineage: str
    intent: Intent
    record: Record | None
    entry: AuditEntry


class Aside:
    """The file of one run. It is made when the first call cannot be recorded; any thread writes."""

    def __init__(self, folders: Sequence[Path], target: str, lineage: str, plan_id: str) -> None:
        """`folders` are tried in their order: the disk of the state may be the full one."""
        self._folders = list(folders)
        self._name = f"{_PREFIX}-{target}-{plan_id}.jsonl"
        self._lineage = lineage
        self._turn = Lock()

    def keep(self, intent: Intent, record: Record | None, entry: AuditEntry) -> str:
        """Write a call down, durably; gives the file's path, "" where it could not be kept."""
        line = codec.canonical(
            {
                "format": FORMAT,
                "lineage": self._lineage,
                "intent": codec.intent_to_json(intent),
                "record": codec.record_to_json(record) if record else None,
                "entry": codec.audit_to_json(entry),
            }
        )
        with self._turn:
            for folder in self._folders:
                with suppress(OSError, UntrustedFileError):
                    return str(_append(folder / self._name, line))
        return ""


def _append(path: Path, line: str) -> Path:
    """A whole line or none, on the disk when this returns."""
    make_folder(path.parent)
    with suppress(FileExistsError):
        make_file(path)
    with os.fdopen(open_file(path, os.O_RDWR), "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        try:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise
    return path


def folders(project: Project) -> tuple[Path, Path]:
    """Beside the project, else where the system keeps temporary files."""
    return _home(project), Path(tempfile.gettempdir())


def _home(project: Project) -> Path:
    return project.root / ".synapse-apply"


def left_behind(project: Project, target: Target, lineage: str = "") -> tuple[Diagnostic, ...]:
    """A warning for each such file that nobody has given to the state yet.

    Where others put files, too, only what this user wrote for the state of this lineage counts.
    """
    return tuple(
        warning(
            "An earlier run could not record what it did",
            f"{path} tells which calls were done; the state does not know of them yet.",
            f"Before you apply: `{_recover(target, path)}`.",
            target=target.name,
        )
        for path in _files(project, target, lineage)
    )


@frozen
class Told:
    """A file that tells that an open call was done; `done` is the call as it ended."""

    path: Path
    done: Intent
    command: str

    @property
    def what(self) -> str:
        """What the file tells, as a part of a sentence."""
        at = f" (id {self.done.remote_id})" if self.done.remote_id else ""
        return f"{self.path} tells that the {self.done.verb} of {self.done.address} was done{at}"

    @property
    def way_out(self) -> str:
        return f"{self.what}: `{self.command}` records it"


def told_done(project: Project, target: Target, state: State) -> Mapping[str, Told]:
    """Which open calls were done, as files of this state tell: by the id of the intent.

    A file that cannot be read tells nothing here; `left_behind` warns of it.
    """
    found: dict[str, Told] = {}
    by_id = {intent.id: intent for intent in state.open_intents}
    # In a run that this state does not know of, the same object was made under another intent.
    creates = {
        intent.address: intent
        for intent in state.open_intents
        if intent.verb == "create" and intent.address not in state.records
    }
    for path in _files(project, target, state.lineage) if by_id else ():
        for ended in _done(path, state.lineage):
            done = ended.intent
            made = creates.get(done.address) if done.verb == "create" else None
            for intent in {one.id: one for one in (by_id.get(done.id), made) if one}:
                found[intent] = Told(path, done, _recover(target, path))
    return found


def check_untold(
    project: Project, target: Target, state: State, opened: Intent, remote_id: str = ""
) -> None:
    """StateError when a file tells that an open call was done which is to be closed by hand.

    `remote_id` is what it is closed with, nothing when as not done: what the file tells is right.
    """
    told = told_done(project, target, state).get(opened.id)
    if told is None or (remote_id and told.done.remote_id == remote_id):
        return
    closed = f"with id {remote_id}" if remote_id else "as not done"
    failure = StateError.of(
        "This call was done, and the state does not know of it yet",
        f"{told.what}. Were it settled {closed}, the next apply could do it again.",
        f"Record what the file tells: `{told.command}`.",
        address=str(opened.address),
    )
    raise StateError(*failure.diagnostics)


def _done(path: Path, lineage: str) -> list[Ended]:
    try:
        every = read(path)
    except InputError:
        return []
    done = [ended for ended in every if ended.intent.state is IntentState.DONE]
    return [ended for ended in done if ended.lineage == lineage]


def _recover(target: Target, path: Path) -> str:
    return f"synapse-apply state recover -t {target.name} {shlex.quote(str(path))}"


def _files(project: Project, target: Target, lineage: str) -> list[Path]:
    """Files that nobody has given to the state yet."""
    home, shared = folders(project)
    check_own_folder(project.root)
    found = _named(home, target.name)
    return found + [path for path in _named(shared, target.name) if _is_of(path, lineage)]


def _named(folder: Path, target: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}-*.jsonl") if _is_named(path, target))


def _is_named(path: Path, target: str) -> bool:
    """Whether a file is named after a run on this target, and not on prod-eu where it is prod."""
    return re.fullmatch(f"{_PREFIX}-{re.escape(target)}-{_PLAN_ID}\\.jsonl", path.name) is not None


def _is_of(path: Path, lineage: str) -> bool:
    """Whether a file is this user's, and is of this state."""
    try:
        if not lineage or path.is_symlink() or path.stat().st_uid != os.getuid():
            return False
        return any(ended.lineage == lineage for ended in read(path))
    except (OSError, InputError):
        return False


def read(path: Path, target: str = "") -> list[Ended]:
    """The calls in a file, in their order; InputError when it is none of ours.

    A file of a run on `target` may be empty: the disk was full before its first line was written.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise _unusable(path, "it is a folder, a link or a device, not a plain file")
        with os.fdopen(open_file(path, os.O_RDONLY), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except UntrustedFileError as refused:
        raise InputError(*refused.diagnostics) from None
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is not text"
        raise _unusable(path, why) from None
    if not lines and not (target and _is_named(path, target)):
        raise _unusable(path, "it is empty")
    return [_ended(path, number, line) for number, line in enumerate(lines, start=1)]


def _ended(path: Path, number: int, line: str) -> Ended:
    try:
        found: Any = json.loads(line)
        if found["format"] != FORMAT:
            raise _unusable(path, "another version wrote it")
        return Ended(
            str(found["lineage"]),
            codec.intent_from_json(found["intent"]),
            codec.record_from_json(found["record"]) if found["record"] else None,
            codec.audit_from_json(found["entry"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _unusable(path, f"line {number} is not what a run writes") from None


def _unusable(path: Path, why: str) -> InputError:
    failure = InputError.of(
        "This file does not tell what a run did",
        f"{path}: {why}.",
        "Give the file that the report of the run names.",
    )
    return InputError(*failure.diagnostics)
