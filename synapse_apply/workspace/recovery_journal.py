"""How calls that a state could not record are kept in a signed file (design section 7)."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from synapse_apply.files.opening import (
    UntrustedFileError,
    create_empty_own_file_exclusively,
    create_missing_private_folders_with_gitignore,
    open_own_file_with_flags,
)
from synapse_apply.model.coding import codec
from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import AuditEntry, Intent, IntentState, Record, State
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.secrets.signatures import (
    SignatureStatus,
    parse_unverified_key_id_of_signature,
    sign_document_or_empty_without_key,
    verify_signature,
)
from synapse_apply.workspace.own_folder import has_own_folder_or_raise_if_untrusted

FILE_FORMAT = 1
_FILE_PREFIX = "unrecorded"
_PLAN_ID_PATTERN = "[0-9a-f-]{36}"
_SIGNED_PURPOSE = "line of what a run did"
_SIGNATURE_KEY = "signature"
_MAX_BYTES = 256 * 1024**2


@frozen
class EndedCall:
    """A call that has ended, and what the state has to record of it.

    `target` and `plan_id` are those of the run that wrote it; "" in files of earlier versions.
    """

    lineage: str
    intent: Intent
    record: Record | None
    audit_entry: AuditEntry
    target: str = ""
    plan_id: str = ""


@frozen
class JournalContent:
    """The calls in a file, in order, and the status of their signatures.

    `reason` says why a file is not genuine, as the end of a sentence.
    """

    calls: tuple[EndedCall, ...]
    signature_status: SignatureStatus = SignatureStatus.GENUINE
    reason: str = ""

    @property
    def is_genuine(self) -> bool:
        """Whether all of it was signed with the state key in use."""
        return self.signature_status is SignatureStatus.GENUINE


class RecoveryJournal:
    """The file of one run, created when the first call cannot be recorded. Thread-safe."""

    def __init__(
        self,
        folders: Sequence[Path],
        target: str,
        lineage: str,
        plan_id: str,
        keys: StateKeys | None = None,
    ) -> None:
        """`folders` are tried in order: the disk of the state may be the full one."""
        self._folders = list(folders)
        self._name = f"{_FILE_PREFIX}-{target}-{plan_id}.jsonl"
        self._run_identity = {"lineage": lineage, "target": target, "plan": plan_id}
        self._keys = keys or StateKeys()
        self._lock = Lock()

    def append_call_durably_and_return_path_or_empty(
        self, intent: Intent, record: Record | None, entry: AuditEntry
    ) -> str:
        """Append a call durably; returns the file's path, "" where no folder could take it."""
        line = {
            "format": FILE_FORMAT,
            **self._run_identity,
            "intent": codec.intent_to_json(intent),
            "record": codec.record_to_json(record) if record else None,
            "entry": codec.audit_entry_to_json(entry),
        }
        with self._lock:
            for folder in self._folders:
                with suppress(OSError, UntrustedFileError):
                    path = folder / self._name
                    signed_line = {
                        **line,
                        **self._build_signature_entry_or_empty(path, line),
                    }
                    return str(_append_line_durably(path, format_canonical_json(signed_line)))
        return ""

    def _build_signature_entry_or_empty(self, path: Path, line: JsonObject) -> JsonObject:
        """The signature entry for the next line of a file; {} where the file is unsigned.

        A reviewed plan can be applied again under its id, so a file may grow: it stays signed, or
        unsigned, as it began. OSError where that is impossible.
        """
        line_count, last_signature = _read_line_count_and_last_signature_or_zero(path)
        if line_count and not last_signature:
            return {}
        signature = sign_document_or_empty_without_key(
            self._keys,
            _SIGNED_PURPOSE,
            _build_signed_document(line_count + 1, last_signature, line),
        )
        if line_count and not signature:
            raise OSError(errno.EEXIST, "what is there is signed, and there is no key")
        return {_SIGNATURE_KEY: signature} if signature else {}


# Each signature covers the one before, so that no line can be changed, dropped or moved. The end
# cannot be sealed, because a run may be killed; a call that a cut hides is still open in the state.
def _build_signed_document(
    number: int, previous_signature: str, line: Mapping[str, Any]
) -> JsonObject:
    """What a line's signature covers, the previous line's signature included."""
    return {"number": number, "before": previous_signature, "line": dict(line)}


def _read_trusted_lines(path: Path) -> list[str]:
    """The lines of a file; UntrustedFileError for a link or another user's file."""
    with os.fdopen(open_own_file_with_flags(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read().splitlines()


def _read_line_count_and_last_signature_or_zero(path: Path) -> tuple[int, str]:
    """The number of lines, and the last signature; OSError for a file that is no journal."""
    try:
        lines = _read_trusted_lines(path)
        return len(lines), str(json.loads(lines[-1]).get(_SIGNATURE_KEY, "")) if lines else ""
    except FileNotFoundError:
        return 0, ""
    except (ValueError, AttributeError, RecursionError):
        raise OSError(errno.EEXIST, "something else is there") from None


def _append_line_durably(path: Path, line: str) -> Path:
    """Append a complete line or nothing; it is on disk when this returns."""
    create_missing_private_folders_with_gitignore(path.parent)
    with suppress(FileExistsError):
        create_empty_own_file_exclusively(path)
    with os.fdopen(open_own_file_with_flags(path, os.O_RDWR), "r+b") as file:
        end_offset = file.seek(0, os.SEEK_END)
        try:
            file.write(f"{line}\n".encode())
            file.flush()
            # The process may be killed next, and this file is then the only trace of the call.
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                # A full disk may have taken half of the line, which no reader would accept.
                file.truncate(end_offset)
            raise
    return path


def get_project_and_temporary_journal_folders(project: Project) -> tuple[Path, Path]:
    """The folder beside the project, then the system's folder of temporary files."""
    return project.root / ".synapse-apply", Path(tempfile.gettempdir())


def build_genuine_journal_warnings(
    project: Project, target: Target, keys: StateKeys, lineage: str = ""
) -> tuple[Diagnostic, ...]:
    """A warning for each genuine journal that was not yet recorded in the state.

    In a folder where other users can write, only this user's files for this lineage count.
    """
    return tuple(
        warning_finding(
            "An earlier run could not record what it did",
            f"{path} tells which calls were done; the state does not know of them yet.",
            Text("Before you apply: ", _build_recover_command(target, path), "."),
            target=target.name,
        )
        for path in _list_trusted_journal_paths(project, target, lineage)
        if (content := _read_journal_or_none(path, target, keys)) is not None and content.is_genuine
    )


def build_warnings_of_genuine_and_other_journals(
    project: Project, target: Target, keys: StateKeys, lineage: str = ""
) -> tuple[Diagnostic, ...]:
    """The same, and a warning for each file with such a name that is not genuine.

    For the commands that look after a state; plans do not mention files that are not genuine.
    """
    genuine_warnings = build_genuine_journal_warnings(project, target, keys, lineage)
    return genuine_warnings + tuple(
        warning_finding(
            "A file tells of calls, and the state key did not sign it",
            f"{path}: {content.reason if content else 'it is not what a run writes'}. "
            "Nothing is done with it.",
            Text(
                "If the report of a run of yours named it: ",
                _build_recover_command(target, path),
                " shows all that it says, and asks. If not, remove it; find out who put it there.",
            ),
            target=target.name,
        )
        for path in _list_trusted_journal_paths(project, target, lineage)
        if (content := _read_journal_or_none(path, target, keys)) is None or not content.is_genuine
    )


def _read_journal_or_none(path: Path, target: Target, keys: StateKeys) -> JournalContent | None:
    """The content of a journal; None where the file cannot be used."""
    try:
        return read_valid_journal(path, target.name, keys)
    except InputError:
        return None


@frozen
class JournaledDoneCall:
    """A journal that says an open call was done; `ended_intent` is the call as it ended.

    `is_genuine`: the state key signed it.
    """

    path: Path
    ended_intent: Intent
    recover_command: Command
    is_genuine: bool = True

    @property
    def description(self) -> str:
        """What the file says, as a part of a sentence."""
        id_text = f" (id {self.ended_intent.remote_id})" if self.ended_intent.remote_id else ""
        return (
            f"{self.path} tells that the {self.ended_intent.verb} of "
            f"{self.ended_intent.address} was done{id_text}"
        )

    @property
    def recovery_hint(self) -> str:
        return Text(f"{self.description}: ", self.recover_command, " records it")


def map_genuine_journaled_done_calls_by_intent_id(
    project: Project, target: Target, state: State, keys: StateKeys
) -> Mapping[str, JournaledDoneCall]:
    """Open calls that a genuine journal of this state says were done, by the intent's id."""
    files_by_intent = map_done_calls_of_any_valid_journal_by_intent_id(project, target, state, keys)
    return {
        intent_id: journal_file
        for intent_id, journal_file in files_by_intent.items()
        if journal_file.is_genuine
    }


def map_done_calls_of_any_valid_journal_by_intent_id(
    project: Project, target: Target, state: State, keys: StateKeys
) -> Mapping[str, JournaledDoneCall]:
    """The same, with files that are not signed, or with another key, too."""
    files_by_intent: dict[str, JournaledDoneCall] = {}
    open_by_id = {intent.id: intent for intent in state.open_intents}
    # In a run that this state does not know of, the same object was made under another intent.
    open_creates = {
        intent.address: intent
        for intent in state.open_intents
        if intent.verb == "create" and intent.address not in state.records
    }
    for path in _list_trusted_journal_paths(project, target, state.lineage) if open_by_id else ():
        content = _read_journal_or_none(path, target, keys)
        for ended_call in [
            ended_call
            for ended_call in (content.calls if content is not None else ())
            if ended_call.intent.state is IntentState.DONE and ended_call.lineage == state.lineage
        ]:
            ended_intent = ended_call.intent
            create_intent = (
                open_creates.get(ended_intent.address) if ended_intent.verb == "create" else None
            )
            own_intent = open_by_id.get(ended_intent.id)
            for intent in {entry.id: entry for entry in (own_intent, create_intent) if entry}:
                is_genuine = content is not None and content.is_genuine
                if is_genuine or intent not in files_by_intent:
                    files_by_intent[intent] = JournaledDoneCall(
                        path, ended_intent, _build_recover_command(target, path), is_genuine
                    )
    return files_by_intent


def _build_recover_command(target: Target, path: Path) -> Command:
    return Command("state record", path, target=target.name)


def _list_trusted_journal_paths(project: Project, target: Target, lineage: str) -> list[Path]:
    """Journals of this target; of those in the shared folder only own ones of this lineage."""
    own_folder, shared_folder = get_project_and_temporary_journal_folders(project)
    has_own_folder_or_raise_if_untrusted(project.root)
    own_paths = _list_journal_paths_or_empty_if_unreadable(own_folder, target.name)
    return own_paths + [
        path
        for path in _list_journal_paths_or_empty_if_unreadable(shared_folder, target.name)
        if _is_own_journal_of_lineage(path, lineage)
    ]


def _list_journal_paths_or_empty_if_unreadable(folder: Path, target: str) -> list[Path]:
    # By name alone: the folder for temporary files may hold thousands of other files.
    try:
        names = os.listdir(folder)  # noqa: PTH208 - texts
    except OSError:
        return []
    is_journal_name = _compile_journal_name_pattern(target).fullmatch
    return [folder / name for name in sorted(filter(is_journal_name, names))]


def _compile_journal_name_pattern(target: str) -> re.Pattern[str]:
    """Matches names of journals of this target, and not of prod-eu where the target is prod."""
    return re.compile(f"{_FILE_PREFIX}-{re.escape(target)}-{_PLAN_ID_PATTERN}\\.jsonl")


def _is_own_journal_of_lineage(path: Path, lineage: str) -> bool:
    """Whether the file belongs to this user and to a state of this lineage."""
    try:
        if not lineage or path.is_symlink() or path.stat().st_uid != os.getuid():
            return False
        return any(ended_call.lineage == lineage for ended_call in read_valid_journal(path).calls)
    except (OSError, InputError):
        return False


def read_valid_journal(
    path: Path, target: str = "", keys: StateKeys | None = None
) -> JournalContent:
    """Read a journal; InputError for any other file, and for a line with a wrong signature."""
    try:
        file_status = path.lstat()
        if not stat.S_ISREG(file_status.st_mode):
            raise _build_unusable_error(
                path, "it is a folder, a link or a device, not a regular file"
            )
        if file_status.st_size > _MAX_BYTES:
            raise _build_unusable_error(path, "it is larger than what any run does")
        lines = _read_trusted_lines(path)
    except UntrustedFileError as failure:
        raise InputError(*failure.diagnostics) from None
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not text"
        raise _build_unusable_error(path, reason) from None
    if not lines and not (target and _compile_journal_name_pattern(target).fullmatch(path.name)):
        raise _build_unusable_error(path, "it is empty")
    documents = [_parse_json_line(path, number, line) for number, line in enumerate(lines, start=1)]
    calls = tuple(
        _decode_valid_call(path, number, entry) for number, entry in enumerate(documents, start=1)
    )
    _require_calls_of_one_run(path, calls)
    signature_status, reason = _verify_line_signatures_or_raise_if_forged(
        path, documents, keys or StateKeys()
    )
    if signature_status is SignatureStatus.GENUINE and any(
        entry.target != target for entry in calls if target
    ):
        raise _build_unusable_error(path, f"a run on target {calls[0].target} wrote it")
    return JournalContent(calls, signature_status, reason)


def _parse_json_line(path: Path, number: int, line: str) -> JsonObject:
    try:
        document: Any = json.loads(line)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _build_bad_line_error(path, number)
    return document


def _decode_valid_call(path: Path, number: int, document: JsonObject) -> EndedCall:
    try:
        if document["format"] != FILE_FORMAT:
            raise _build_unusable_error(path, "another version wrote it")
        call = EndedCall(
            str(document["lineage"]),
            codec.intent_from_json(document["intent"]),
            codec.record_from_json(document["record"]) if document["record"] else None,
            codec.audit_entry_from_json(document["entry"]),
            str(document.get("target", "")),
            str(document.get("plan", "")),
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _build_bad_line_error(path, number) from None
    addresses = {call.intent.address, call.record.address if call.record else None}
    if len(addresses - {None}) != 1:
        raise _build_bad_line_error(path, number)
    return call


def _require_calls_of_one_run(path: Path, calls: Sequence[EndedCall]) -> None:
    """InputError unless all lines are of the same run."""
    runs = [(call.lineage, call.target, call.plan_id) for call in calls]
    for number, run in enumerate(runs, start=1):
        if run != runs[0]:
            raise _build_unusable_error(path, f"line {number} is of another run than line 1")


def _verify_line_signatures_or_raise_if_forged(
    path: Path, documents: Iterable[JsonObject], keys: StateKeys
) -> tuple[SignatureStatus, str]:
    """The status of all signatures, and why it is not genuine; InputError for a wrong signature."""
    signature_status: SignatureStatus | None = None
    previous_signature = ""
    for number, document in enumerate(documents, start=1):
        line = {name: value for name, value in document.items() if name != _SIGNATURE_KEY}
        signature = str(document.get(_SIGNATURE_KEY, ""))
        try:
            line_status = verify_signature(
                keys,
                _SIGNED_PURPOSE,
                _build_signed_document(number, previous_signature, line),
                signature,
            )
        except (ValueError, RecursionError):
            raise _build_bad_line_error(path, number) from None
        if line_status is SignatureStatus.FORGED:
            raise _build_forged_error(path, number, "bears a signature that is not its own")
        if signature_status is not None and line_status is not signature_status:
            raise _build_forged_error(path, number, "is not signed as the lines before it are")
        if number > 1 and parse_unverified_key_id_of_signature(
            signature
        ) != parse_unverified_key_id_of_signature(previous_signature):
            raise _build_forged_error(
                path, number, "is signed with another key than the lines before it"
            )
        signature_status, previous_signature = line_status, signature
    return signature_status or SignatureStatus.GENUINE, _explain_not_genuine_or_empty(
        signature_status, previous_signature
    )


def _explain_not_genuine_or_empty(status: SignatureStatus | None, signature: str) -> str:
    if status is SignatureStatus.UNSIGNED:
        return "it is not signed: an earlier version wrote it, or a run without the state key"
    if status in {SignatureStatus.STRANGE, SignatureStatus.EARLIER}:
        key_id = parse_unverified_key_id_of_signature(signature)
        return f"it is signed with state key {key_id}, which is not the one in use"
    return ""


def _build_bad_line_error(path: Path, number: int) -> InputError:
    return _build_unusable_error(path, f"line {number} is not what a run writes")


def _build_forged_error(path: Path, number: int, reason: str) -> InputError:
    return InputError.from_summary(
        "This file was changed after a run wrote it",
        f"{path}: line {number} {reason}. Nothing of it is recorded.",
        "Look at the backend for what it says. Without the file the next apply looks up what is "
        "open; find out who can write there, then remove it.",
    )


def _build_unusable_error(path: Path, reason: str) -> InputError:
    return InputError.from_summary(
        "This file does not tell what a run did",
        f"{path}: {reason}.",
        "Give the file that the report of the run names.",
    )
