"""What was done and the state could not be told: kept in a file until it can (design section 7).

One line a call, as JSON: the intent as it ended, the record it leads to, and the line of history.
Like a state it holds digests in place of secrets.

Each line ends in a signature under the state key, over the line, its number and the signature
before it: no line can be changed, left out before another, put elsewhere or taken from another
file. A last line that is missing shows as an open call. Whoever can write to the checkout could
write such a file, so one that the key in use did not sign is nothing that a plan speaks of.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from synapse_apply.files.opening import UntrustedFileError, open_file
from synapse_apply.model import codec
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_values import Json
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import AuditEntry, Intent, IntentState, Record, State
from synapse_apply.secrets.keys import Keys
from synapse_apply.secrets.signatures import Standing, key_id_of, sign, standing
from synapse_apply.session.own_folder import check_own_folder
from synapse_apply.stores.private_files import make_file, make_folder

FORMAT = 1
_PREFIX = "unrecorded"
_PLAN_ID = "[0-9a-f-]{36}"
_LINE = "line of what a run did"
_SIGNATURE = "signature"
_MOST_BYTES = 256 * 1024**2


@frozen
class Ended:
    """A call that has ended, and what the state is to say of it.

    `target` and `plan_id` are those of the run that wrote it; "" in files of earlier versions.
    """

    lineage: str
    intent: Intent
    record: Record | None
    entry: AuditEntry
    target: str = ""
    plan_id: str = ""


@frozen
class Contents:
    """The calls in a file, in their order, and what their signatures show.

    `why` says of a file that the key in use did not sign what is wrong, as the end of a sentence.
    """

    ended: tuple[Ended, ...]
    shows: Standing = Standing.GENUINE
    why: str = ""

    @property
    def is_genuine(self) -> bool:
        """Whether a run that had the state key wrote all of it."""
        return self.shows is Standing.GENUINE


class Aside:
    """The file of one run. It is made when the first call cannot be recorded; any thread writes."""

    def __init__(
        self,
        folders: Sequence[Path],
        target: str,
        lineage: str,
        plan_id: str,
        keys: Keys | None = None,
    ) -> None:
        """`folders` are tried in their order: the disk of the state may be the full one."""
        self._folders = list(folders)
        self._name = f"{_PREFIX}-{target}-{plan_id}.jsonl"
        self._whose = {"lineage": lineage, "target": target, "plan": plan_id}
        self._keys = keys or Keys()
        self._turn = Lock()

    def keep(self, intent: Intent, record: Record | None, entry: AuditEntry) -> str:
        """Write a call down, durably; gives the file's path, "" where it could not be kept."""
        line = {
            "format": FORMAT,
            **self._whose,
            "intent": codec.intent_to_json(intent),
            "record": codec.record_to_json(record) if record else None,
            "entry": codec.audit_to_json(entry),
        }
        with self._turn:
            for folder in self._folders:
                with suppress(OSError, UntrustedFileError):
                    path = folder / self._name
                    signed = {**line, **self._signature(path, line)}
                    return str(_append(path, codec.canonical(signed)))
        return ""

    def _signature(self, path: Path, line: Json) -> Json:
        """The signature of the next line of a file, by its key; nothing where it bears none.

        A reviewed plan is applied again under its id: its file goes on as it began. OSError for
        one that cannot go on.
        """
        number, before = _end_of(path)
        if number and not before:
            return {}
        made = sign(self._keys, _LINE, _build_signed_document(number + 1, before, line))
        if number and not made:
            raise OSError(errno.EEXIST, "what is there is signed, and there is no key")
        return {_SIGNATURE: made} if made else {}


def _build_signed_document(number: int, before: str, line: Mapping[str, Any]) -> Json:
    """What the signature of a line is over; `before` is that of the line before it."""
    return {"number": number, "before": before, "line": dict(line)}


def _read_lines(path: Path) -> list[str]:
    """UntrustedFileError for a link or another user's file."""
    with os.fdopen(open_file(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read().splitlines()


def _end_of(path: Path) -> tuple[int, str]:
    """How many lines a file has, and the signature of the last; OSError for what is none."""
    try:
        lines = _read_lines(path)
        return len(lines), str(json.loads(lines[-1]).get(_SIGNATURE, "")) if lines else ""
    except FileNotFoundError:
        return 0, ""
    except (ValueError, AttributeError, RecursionError):
        raise OSError(errno.EEXIST, "something else is there") from None


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


def left_behind(
    project: Project, target: Target, keys: Keys, lineage: str = ""
) -> tuple[Diagnostic, ...]:
    """A warning for each such file that nobody has given to the state yet.

    Only what the key in use signed counts; where others put files, too, only what this user wrote
    for the state of this lineage.
    """
    return tuple(
        warning(
            "An earlier run could not record what it did",
            f"{path} tells which calls were done; the state does not know of them yet.",
            f"Before you apply: `{_recover(target, path)}`.",
            target=target.name,
        )
        for path in _files(project, target, lineage)
        if (found := _contents_of(path, target, keys)) is not None and found.is_genuine
    )


def all_files(
    project: Project, target: Target, keys: Keys, lineage: str = ""
) -> tuple[Diagnostic, ...]:
    """The same, and a warning for each file of such a name that the key in use did not sign.

    For commands that look after a state; no plan speaks of the latter.
    """
    genuine = left_behind(project, target, keys, lineage)
    return genuine + tuple(
        warning(
            "A file tells of calls, and the state key did not sign it",
            f"{path}: {found.why if found else 'it is not what a run writes'}. Nothing is done "
            "with it.",
            f"If the report of a run of yours named it: `{_recover(target, path)}` shows all that "
            "it says, and asks. If not, remove it, and find out who put it there.",
            target=target.name,
        )
        for path in _files(project, target, lineage)
        if (found := _contents_of(path, target, keys)) is None or not found.is_genuine
    )


def _contents_of(path: Path, target: Target, keys: Keys) -> Contents | None:
    """None where it cannot be used."""
    try:
        return read(path, target.name, keys)
    except InputError:
        return None


@frozen
class Told:
    """A file that tells that an open call was done; `done` is the call as it ended.

    `is_genuine`: the state key signed it.
    """

    path: Path
    done: Intent
    command: str
    is_genuine: bool = True

    @property
    def what(self) -> str:
        """What the file tells, as a part of a sentence."""
        at = f" (id {self.done.remote_id})" if self.done.remote_id else ""
        return f"{self.path} tells that the {self.done.verb} of {self.done.address} was done{at}"

    @property
    def way_out(self) -> str:
        return f"{self.what}: `{self.command}` records it"


def told_done(project: Project, target: Target, state: State, keys: Keys) -> Mapping[str, Told]:
    """Which open calls were done, as files of this state tell: by the id of the intent.

    A file that cannot be read, or that the key in use did not sign, tells nothing here.
    """
    found = _told(project, target, state, keys)
    return {intent: told for intent, told in found.items() if told.is_genuine}


def _told(project: Project, target: Target, state: State, keys: Keys) -> Mapping[str, Told]:
    """The same, of files that nobody signed, too."""
    found: dict[str, Told] = {}
    by_id = {intent.id: intent for intent in state.open_intents}
    # In a run that this state does not know of, the same object was made under another intent.
    creates = {
        intent.address: intent
        for intent in state.open_intents
        if intent.verb == "create" and intent.address not in state.records
    }
    for path in _files(project, target, state.lineage) if by_id else ():
        contents = _contents_of(path, target, keys)
        for ended in _done(contents, state.lineage):
            done = ended.intent
            made = creates.get(done.address) if done.verb == "create" else None
            for intent in {one.id: one for one in (by_id.get(done.id), made) if one}:
                genuine = contents is not None and contents.is_genuine
                if genuine or intent not in found:
                    found[intent] = Told(path, done, _recover(target, path), genuine)
    return found


def check_untold(
    project: Project,
    target: Target,
    state: State,
    opened: Intent,
    remote_id: str = "",
    *,
    keys: Keys,
) -> None:
    """StateError when a file tells that an open call was done which is to be closed by hand.

    `remote_id` is what it is closed with, nothing when as not done: what the file tells is right.
    Also a file that nobody signed counts: it may be true, and somebody should look first.
    """
    told = _told(project, target, state, keys).get(opened.id)
    if told is None or (remote_id and told.done.remote_id == remote_id):
        return
    closed = f"with id {remote_id}" if remote_id else "as not done"
    if not told.is_genuine:
        failure = StateError.of(
            "A file says that this call was done",
            f"{told.what}; the state key did not sign it. Were it settled {closed} and the file "
            "were right, the next apply could do it again.",
            f"Look at the backend. If the file is of a run of yours: `{told.command}` shows all "
            "that it says, and asks. If it is not: remove it.",
            address=str(opened.address),
        )
        raise StateError(*failure.diagnostics)
    failure = StateError.of(
        "This call was done, and the state does not know of it yet",
        f"{told.what}. Were it settled {closed}, the next apply could do it again.",
        f"Record what the file tells: `{told.command}`.",
        address=str(opened.address),
    )
    raise StateError(*failure.diagnostics)


def _done(contents: Contents | None, lineage: str) -> list[Ended]:
    every = contents.ended if contents is not None else ()
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
        return any(ended.lineage == lineage for ended in read(path).ended)
    except (OSError, InputError):
        return False


def read(path: Path, target: str = "", keys: Keys | None = None) -> Contents:
    """What is in a file; InputError when it is none of ours, or a line has not its own signature.

    A file of a run on `target` may be empty: the disk was full before its first line was written.
    """
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            raise _unusable(path, "it is a folder, a link or a device, not a plain file")
        if about.st_size > _MOST_BYTES:
            raise _unusable(path, "it is larger than what any run does")
        lines = _read_lines(path)
    except UntrustedFileError as refused:
        raise InputError(*refused.diagnostics) from None
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "it is not text"
        raise _unusable(path, why) from None
    if not lines and not (target and _is_named(path, target)):
        raise _unusable(path, "it is empty")
    documents = [_parse_line(path, number, line) for number, line in enumerate(lines, start=1)]
    ended = tuple(_ended(path, number, one) for number, one in enumerate(documents, start=1))
    _check_run(path, ended)
    shows, why = _check_signatures(path, documents, keys or Keys())
    if shows is Standing.GENUINE and any(one.target != target for one in ended if target):
        raise _unusable(path, f"a run on target {ended[0].target} wrote it")
    return Contents(ended, shows, why)


def _parse_line(path: Path, number: int, line: str) -> Json:
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _no_line(path, number)
    return found


def _ended(path: Path, number: int, found: Json) -> Ended:
    try:
        if found["format"] != FORMAT:
            raise _unusable(path, "another version wrote it")
        ended = Ended(
            str(found["lineage"]),
            codec.intent_from_json(found["intent"]),
            codec.record_from_json(found["record"]) if found["record"] else None,
            codec.audit_from_json(found["entry"]),
            str(found.get("target", "")),
            str(found.get("plan", "")),
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _no_line(path, number) from None
    addresses = {ended.intent.address, ended.record.address if ended.record else None}
    if len(addresses - {None}) != 1:
        raise _no_line(path, number)
    return ended


def _check_run(path: Path, ended: Sequence[Ended]) -> None:
    """A file is that of one run."""
    for number, one in enumerate(ended, start=1):
        first = ended[0]
        if (one.lineage, one.target, one.plan_id) != (first.lineage, first.target, first.plan_id):
            raise _unusable(path, f"line {number} is of another run than line 1")


def _check_signatures(path: Path, documents: Iterable[Json], keys: Keys) -> tuple[Standing, str]:
    """What the signatures of all lines show; InputError where one is not that of its line."""
    shows: Standing | None = None
    before = ""
    for number, document in enumerate(documents, start=1):
        line = {name: value for name, value in document.items() if name != _SIGNATURE}
        signature = str(document.get(_SIGNATURE, ""))
        try:
            here = standing(keys, _LINE, _build_signed_document(number, before, line), signature)
        except (ValueError, RecursionError):
            raise _no_line(path, number) from None
        if here is Standing.FORGED:
            raise _build_forged_error(path, number, "bears a signature that is not its own")
        if shows is not None and here is not shows:
            raise _build_forged_error(path, number, "is not signed as the lines before it are")
        if number > 1 and key_id_of(signature) != key_id_of(before):
            raise _build_forged_error(
                path, number, "is signed with another key than the lines before it"
            )
        shows, before = here, signature
    return shows or Standing.GENUINE, _why_not(shows, before)


def _why_not(shows: Standing | None, signature: str) -> str:
    if shows is Standing.UNSIGNED:
        return "it is not signed: an earlier version wrote it, or a run without the state key"
    if shows in {Standing.STRANGE, Standing.EARLIER}:
        return f"it is signed with state key {key_id_of(signature)}, which is not the one in use"
    return ""


def _no_line(path: Path, number: int) -> InputError:
    return _unusable(path, f"line {number} is not what a run writes")


def _build_forged_error(path: Path, number: int, what: str) -> InputError:
    failure = InputError.of(
        "This file was changed after a run wrote it",
        f"{path}: line {number} {what}. Nothing of it is recorded.",
        "Look at the backend for what it says. Without the file the next apply looks up what is "
        "open; find out who can write there, then remove it.",
    )
    return InputError(*failure.diagnostics)


def _unusable(path: Path, why: str) -> InputError:
    failure = InputError.of(
        "This file does not tell what a run did",
        f"{path}: {why}.",
        "Give the file that the report of the run names.",
    )
    return InputError(*failure.diagnostics)
