"""How calls that a state could not record are kept in a signed file (design section 7)."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from synapse_apply.files import opening
from synapse_apply.model import codec
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.job import RUN_VERB, LastRun
from synapse_apply.model.json_types import JsonObject
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import CREATE_VERB, AuditEntry, Intent, IntentState, Record, State
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.secrets.signatures import (
    SignatureStatus,
    parse_key_id,
    sign_document_or_empty_without_key,
    verify_signature,
)
from synapse_apply.workspace.own_folder import has_own_folder

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

    def is_known(self, state: State) -> bool:
        """Whether a state has the outcome of the call, too: the file says nothing new of it."""
        open_ids = {one.id for one in state.open_intents}
        if self.lineage != state.lineage or self.intent.id in open_ids:
            return False
        if self.intent.state is IntentState.OPEN:
            return False  # no run writes that
        if (settled := self.settle_given_up(state, 0.0)) is None:
            return self.is_told_by_records(state)
        both = (settled, state.records[settled.address])
        told, own = ([(one.id, one.state) for one in record.given_up] for record in both)
        return told == own and both[0].doubted == both[1].doubted

    def is_told_by_records(self, state: State) -> bool:
        """Whether a state needs nothing of the call, which is neither open nor given up in it."""
        intent, record = self.intent, state.records.get(self.intent.address)
        if intent.state is not IntentState.DONE or self.record is None:
            return True
        if intent.verb == RUN_VERB:
            return record is None or _last_run_time(record) >= _last_run_time(self.record)
        # The next plan sees what an update left.
        return intent.verb != CREATE_VERB or bool(
            record and record.remote_id == self.record.remote_id
        )

    def settle_given_up(self, state: State, settle_after: float) -> Record | None:
        """The record that has this call as given up, with its answer: it cannot act any more.

        Or the one that it made, whose package is its own then. None where there is none, and for
        a call that got no answer: it was looked up, or sent twice.
        """
        ended = self.intent
        if self.record and ended.id in {call.id for call in self.record.given_up}:
            return None
        for record in state.records.values():
            if ended.verb == CREATE_VERB and ended.remote_id not in {"", record.remote_id}:
                continue  # what it made is another object than the recorded one
            calls = tuple(
                replace(call, state=ended.state, deadline=-settle_after)
                if call.id == ended.id
                else call
                for call in record.given_up
                if call.id != ended.id or ended.state is IntentState.DONE
            )
            is_proof = (
                ended.verb == CREATE_VERB
                and ended.state is IntentState.DONE
                and (record.address, record.remote_id) == (ended.address, ended.remote_id)
            )
            doubted = "" if is_proof and ended.digest == record.doubted else record.doubted
            if (calls, doubted) != (record.given_up, record.doubted):
                return replace(record, given_up=calls, doubted=doubted)
        return None


def _last_run_time(record: Record) -> str:
    last_run = LastRun.from_json_or_none(record.verification)
    return last_run.at if last_run is not None else ""


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

    def ends_open_calls(self, state: State) -> bool:
        """Whether it is genuine, and has nothing but calls that the state has as open or knows."""
        open_ids = {one.id for one in state.open_intents}
        opened = [call.intent.id in open_ids for call in self.calls]
        return (
            self.is_genuine
            and any(opened)
            and all(
                call.lineage == state.lineage and (is_open or call.is_known(state))
                for call, is_open in zip(self.calls, opened, strict=True)
            )
        )


_UNUSABLE = JournalContent((), SignatureStatus.STRANGE, "it is not what a run writes")


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
        self._unrecorded_calls = 0
        self._new_path: Path | None = None

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
                with suppress(OSError, opening.UntrustedFileError):
                    path = folder / self._name
                    is_new = not os.path.lexists(path)
                    signature = self._sign(path, line)
                    signed_line = {**line, _SIGNATURE_KEY: signature} if signature else line
                    _append_line_durably(path, format_canonical_json(signed_line))
                    self._unrecorded_calls += 1
                    self._new_path = path if is_new else self._new_path
                    return str(path)
        return ""

    def withdraw_call(self) -> None:
        """Take note that the state has one of these calls now: a file of such calls alone goes."""
        with self._lock:
            self._unrecorded_calls -= 1
            if not self._unrecorded_calls and self._new_path is not None:
                with suppress(OSError):
                    self._new_path.unlink()
                self._new_path = None

    def _sign(self, path: Path, line: JsonObject) -> str:
        """The signature of the next line of a file; "" where the file is unsigned.

        A reviewed plan can be applied again under its id, so a file may grow: it stays signed, or
        unsigned, as it began. OSError where that is impossible, and for a file that is no journal.
        """
        lines: list[str] = []
        last_signature = ""
        try:
            with suppress(FileNotFoundError):
                lines = _read_trusted_lines(path)
            if lines:
                last_signature = str(json.loads(lines[-1]).get(_SIGNATURE_KEY, ""))
        except (ValueError, AttributeError, RecursionError):
            raise OSError(errno.EEXIST, "something else is there") from None
        if lines and not last_signature:
            return ""
        document = _build_signed_document(len(lines) + 1, last_signature, line)
        signature = sign_document_or_empty_without_key(self._keys, _SIGNED_PURPOSE, document)
        if lines and not signature:
            raise OSError(errno.EEXIST, "the file is signed, and there is no state key")
        return signature


# Each signature covers the one before, so that no line can be changed, dropped or moved. The end
# cannot be sealed, because a run may be killed; a call that a cut hides is still open in the state.
def _build_signed_document(
    number: int, previous_signature: str, line: Mapping[str, Any]
) -> JsonObject:
    """What a line's signature covers, the previous line's signature included."""
    return {"number": number, "before": previous_signature, "line": dict(line)}


def _read_trusted_lines(path: Path) -> list[str]:
    """The lines of a file; UntrustedFileError for a link or another user's file."""
    with os.fdopen(opening.open_own_file_with_flags(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read().splitlines()


def _append_line_durably(path: Path, line: str) -> None:
    """Append a complete line or nothing; it is on disk when this returns."""
    opening.make_own_folders(path.parent)
    with suppress(FileExistsError):
        opening.create_own_file(path)
    with os.fdopen(opening.open_own_file_with_flags(path, os.O_RDWR), "r+b") as file:
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


def journal_folders(project: Project) -> tuple[Path, Path]:
    """The folder beside the project, then the system's folder of temporary files."""
    return project.root / ".synapse-apply", Path(tempfile.gettempdir())


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
            f"{self.path} says that the {self.ended_intent.verb} of {self.ended_intent.address} "
            f"was done{id_text}"
        )

    @property
    def recovery_hint(self) -> str:
        return Text(f"{self.description}: ", self.recover_command, " records it")


@frozen
class Journals:
    """The journals of a target that were not recorded in its state yet, as they lie in its folders.

    In a folder where other users can write, only this user's files for this lineage count.
    """

    project: Project
    target: Target
    keys: StateKeys
    lineage: str

    def unrecorded(self, state: State) -> tuple[tuple[Path, JournalContent], ...]:
        """The files that an apply records: signed with the state key, of calls that are open.

        One with another call is a person's to judge: its object may be forgotten on purpose.
        """
        return tuple(file for file in self._read_all() if file[1].ends_open_calls(state))

    def warn(
        self, read_state: Callable[[], State], *, only_genuine: bool = False
    ) -> tuple[Diagnostic, ...]:
        """A warning for each file that knows more than the state.

        With `only_genuine` none is made of files that the state key did not sign.
        """
        warnings = []
        for path, content in sorted(self._read_all(), key=lambda file: not file[1].is_genuine):
            command = self._recover_command(path)
            if content.is_genuine and not content.calls:
                told = (
                    "An earlier run left an empty file",
                    f"{path} lists no call. The next apply looks up the calls that are open.",
                    Text(command, " removes the file."),
                )
            elif content.is_genuine:
                state = read_state() if self.lineage else None
                if state is not None and all(call.is_known(state) for call in content.calls):
                    continue
                hint = Text("Before you apply: ", command, ".")
                if state is not None and content.ends_open_calls(state):
                    hint = Text(
                        "The next ",
                        Command("apply"),
                        " without a saved plan records them, or ",
                        command,
                        ".",
                    )
                told = (
                    "An earlier run could not record what it did",
                    f"{path} lists calls that were done and that the state does not have yet.",
                    hint,
                )
            elif only_genuine:
                break
            elif content is _UNUSABLE:
                told = (
                    "A file is not a list of a run's calls",
                    f"{path}: {content.reason}. The file is not used.",
                    Text(
                        "Find out who created the file, and remove it: without it, the next ",
                        Command("apply"),
                        " looks up open calls.",
                    ),
                )
            else:
                told = (
                    "A file lists calls, but is not signed with the state key",
                    f"{path}: {content.reason}. The file is not used.",
                    Text(
                        "If the report of one of your runs named the file: ",
                        command,
                        " shows its content and asks. Otherwise find out who created the file, "
                        "and remove it.",
                    ),
                )
            warnings.append(warning_finding(*told, target=self.target.name))
        return tuple(warnings)

    def done_calls(
        self, state: State, *, only_genuine: bool = True
    ) -> dict[str, JournaledDoneCall]:
        """Open calls of the state that a journal says were done, by the intent's id.

        Else files count, too, that are not signed, or with another key: `is_genuine` tells them.
        """
        found: dict[str, JournaledDoneCall] = {}
        open_by_id = {intent.id: intent for intent in state.open_intents}
        # In a run that this state does not know of, the same object was made under another intent.
        open_creates = {
            intent.address: intent
            for intent in state.open_intents
            if intent.verb == "create" and intent.address not in state.records
        }
        for path, content in self._read_all() if open_by_id else ():
            for call in content.calls if content.is_genuine or not only_genuine else ():
                ended = call.intent
                if ended.state is not IntentState.DONE or call.lineage != state.lineage:
                    continue
                own = open_by_id.get(ended.id)
                create = open_creates.get(ended.address) if ended.verb == "create" else None
                for intent_id in {intent.id: intent for intent in (own, create) if intent}:
                    if content.is_genuine or intent_id not in found:
                        found[intent_id] = JournaledDoneCall(
                            path, ended, self._recover_command(path), content.is_genuine
                        )
        return found

    def answered_ids(self) -> frozenset[str]:
        """The ids of calls that genuine files tell the answer of: none of them can act any more."""
        files = [content.calls for _, content in self._read_all() if content.is_genuine]
        done = [each for calls in files for each in calls if each.intent.state is IntentState.DONE]
        # Of one that was sent twice, the first try may.
        tried = {one.id for each in done if each.record for one in each.record.given_up}
        return frozenset(each.intent.id for each in done) - tried

    def _recover_command(self, path: Path) -> Command:
        return Command("state record", path, target=self.target.name)

    def _read_all(self) -> Iterator[tuple[Path, JournalContent]]:
        """Each file with its content: no call for one that cannot be used."""
        own_folder, shared_folder = journal_folders(self.project)
        has_own_folder(self.project.root)
        for folder in (own_folder, shared_folder):
            # By name alone: the folder for temporary files may hold thousands of other files.
            try:
                names = os.listdir(folder)  # noqa: PTH208 - texts
            except OSError:
                continue
            is_name = _name_pattern(self.target.name).fullmatch
            for path in [folder / name for name in sorted(filter(is_name, names))]:
                if folder is shared_folder and not self._is_own(path):
                    continue
                content = _UNUSABLE
                with suppress(InputError):
                    content = read_valid_journal(path, self.target.name, self.keys)
                yield path, content

    def _is_own(self, path: Path) -> bool:
        """Whether the file belongs to this user and to a state of this lineage."""
        try:
            if not self.lineage or path.is_symlink() or path.stat().st_uid != os.getuid():
                return False
            return any(call.lineage == self.lineage for call in read_valid_journal(path).calls)
        except (OSError, InputError):
            return False


def _name_pattern(target: str) -> re.Pattern[str]:
    """Matches names of journals of this target, and not of prod-eu where the target is prod."""
    return re.compile(f"{_FILE_PREFIX}-{re.escape(target)}-{_PLAN_ID_PATTERN}\\.jsonl")


def read_valid_journal(
    path: Path, target: str = "", keys: StateKeys | None = None
) -> JournalContent:
    """Read a journal; InputError for any other file, and for a line with a wrong signature."""
    try:
        file_status = path.lstat()
        if not stat.S_ISREG(file_status.st_mode):
            raise _unusable(path, "it is a folder, a link or a device, not a regular file")
        if file_status.st_size > _MAX_BYTES:
            raise _unusable(path, "it is larger than any file that a run writes")
        lines = _read_trusted_lines(path)
    except opening.UntrustedFileError as failure:
        raise InputError(*failure.diagnostics) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise _unusable(path, getattr(problem, "strerror", None) or "it is not text") from None
    if not lines and not (target and _name_pattern(target).fullmatch(path.name)):
        raise _unusable(path, "it is empty")
    documents: list[JsonObject] = []
    for number, line in enumerate(lines, start=1):
        document: Any = None
        with suppress(ValueError, RecursionError):
            document = json.loads(line)
        if not isinstance(document, dict):
            raise _bad_line(path, number)
        documents.append(document)
    calls: list[EndedCall] = []
    for number, document in enumerate(documents, start=1):
        try:
            if document["format"] != FILE_FORMAT:
                raise _unusable(path, "another version wrote it")
            call = EndedCall(
                str(document["lineage"]),
                codec.intent_from_json(document["intent"]),
                codec.record_from_json(document["record"]) if document["record"] else None,
                codec.audit_entry_from_json(document["entry"]),
                str(document.get("target", "")),
                str(document.get("plan", "")),
            )
        except (KeyError, TypeError, ValueError, RecursionError):
            raise _bad_line(path, number) from None
        if call.record is not None and call.record.address != call.intent.address:
            raise _bad_line(path, number)
        calls.append(call)
    runs = [(call.lineage, call.target, call.plan_id) for call in calls]
    for number, run in enumerate(runs, start=1):
        if run != runs[0]:
            raise _unusable(path, f"line {number} belongs to a different run than line 1")
    status, reason = _check_signatures(path, documents, keys or StateKeys())
    is_genuine = status is SignatureStatus.GENUINE
    if is_genuine and target and any(call.target != target for call in calls):
        raise _unusable(path, f"a run on target {calls[0].target} wrote it")
    return JournalContent(tuple(calls), status, reason)


def _check_signatures(
    path: Path, documents: Sequence[JsonObject], keys: StateKeys
) -> tuple[SignatureStatus, str]:
    """The status of all signatures, and why it is not genuine; InputError for a wrong one."""
    status, previous, reason = SignatureStatus.GENUINE, "", ""
    for number, document in enumerate(documents, start=1):
        line_of = {name: value for name, value in document.items() if name != _SIGNATURE_KEY}
        signature = str(document.get(_SIGNATURE_KEY, ""))
        signed = _build_signed_document(number, previous, line_of)
        try:
            found = verify_signature(keys, _SIGNED_PURPOSE, signed, signature)
        except (ValueError, RecursionError):
            raise _bad_line(path, number) from None
        forged = ""
        if found is SignatureStatus.FORGED:
            forged = "has a signature that does not match it"
        elif number > 1 and found is not status and SignatureStatus.UNSIGNED in {found, status}:
            forged = "is signed, but the lines before it are not"
            if found is SignatureStatus.UNSIGNED:
                forged = "is not signed, but the lines before it are"
        elif number > 1 and parse_key_id(signature) != parse_key_id(previous):
            forged = "is signed with a different key than the lines before it"
        if forged:
            raise InputError.from_summary(
                "This file was changed after a run wrote it",
                f"{path}: line {number} {forged}. Nothing of the file is recorded.",
                "Compare the file with the backend. Find out who can write there, then remove "
                "the file: without it, the next apply looks up open calls.",
            )
        status, previous = found, signature
    if status is SignatureStatus.UNSIGNED:
        reason = "it is not signed: an earlier version wrote it, or a run without the state key"
    elif status is not SignatureStatus.GENUINE:
        reason = (
            f"it is signed with state key {parse_key_id(previous)}, which is not the key in use"
        )
    return status, reason


def _unusable(path: Path, reason: str) -> InputError:
    return InputError.from_summary(
        "This file does not contain the calls of a run",
        f"{path}: {reason}.",
        "Specify the file that the run's report names.",
    )


def _bad_line(path: Path, number: int) -> InputError:
    return _unusable(path, f"line {number} is not what a run writes")
