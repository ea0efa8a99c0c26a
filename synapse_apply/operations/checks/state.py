"""What `doctor` checks of a state: access, identity, lineage, key, lock, open calls, duplicates."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from synapse_apply.files.opening import IGNORE_FILE, OWN_FOLDER
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.search import list_objects_or_none_if_unsupported
from synapse_apply.live.duplicates import (
    build_duplicate_warning,
    iter_addresses_with_other_ids_of_same_key,
    iter_live_owners_of_records_skipping_absent,
    list_raw_members_skipping_unlistable_owners,
)
from synapse_apply.live.open_intents import build_acting_call_warning, list_acting_calls
from synapse_apply.manifests.schema.schemas import build_marks_with_project_providers
from synapse_apply.model.checkup import CheckResult
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, warning_finding
from synapse_apply.model.errors import InputError, StateError, SynapseApplyError
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.state import IntentState, ProjectAndKeyIds, Record
from synapse_apply.model.values import Mac, get_at_or_absent
from synapse_apply.operations.checks.target_checkup import LazyTargetParts, UncheckedError
from synapse_apply.planning.diff.change_sides import unflatten
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.views.text.accepted import name_accepted_fields_or_empty
from synapse_apply.workspace import state_access
from synapse_apply.workspace.environment import normalize_base_url
from synapse_apply.workspace.own_folder import is_own_folder_absent_or_ignored
from synapse_apply.workspace.recovery_journal import Journals
from synapse_apply.workspace.sharing.key_findings import (
    build_findings_unless_shared_key_fits,
    build_no_key_warning,
    collect_key_ids_of_digests,
    declares_any_secret,
)
from synapse_apply.workspace.sharing.project_binding import build_project_binding_findings


def check_own_folder_is_trusted_and_writable(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether the tool's folder beside the project is its own, and was not committed."""
    root = checkup.project.get_or_raise_unchecked_error().root
    folder = root / OWN_FOLDER if checkup.own_folder.get_or_raise() else root
    # Asked of the system: a read-only mount shows in no mode of the folder.
    if not os.access(folder, os.W_OK | os.X_OK):
        finding = _build_read_only_finding(
            folder, is_state_kept_there=_is_state_local_or_target_unknown(checkup)
        )
        yield CheckResult.from_finding("folder", finding)
    elif folder == root:
        yield CheckResult.build_ok("folder", "none yet")
    elif is_own_folder_absent_or_ignored(root):
        yield CheckResult.build_ok(
            "folder", f"{root / OWN_FOLDER}: yours, no link, and ignored by Git"
        )
    else:
        finding = warning_finding(
            "Git does not ignore the folder of states and keys",
            f"{root / OWN_FOLDER / IGNORE_FILE} does not say that Git ignores all of it, so "
            "`git add -A` would take the state key.",
            f"The next command that writes there repairs it; or: `echo '*' > "
            f"{OWN_FOLDER}/.gitignore`.",
        )
        yield CheckResult.from_finding("folder", finding)


def _build_read_only_finding(folder: Path, *, is_state_kept_there: bool) -> Diagnostic:
    """That nothing can be written in a folder: an error where the state is kept there."""
    if is_state_kept_there:
        return error_finding(
            "The state cannot be written",
            f"You may not write in {folder}: apply keeps the state and its key in {OWN_FOLDER} "
            "there, and the record of calls that the state could not take.",
            "Make the folder writable, or work in a copy of it; or keep the state elsewhere: "
            "`state.url` of the target.",
        )
    return warning_finding(
        "Nothing can be written beside the project",
        f"You may not write in {folder}: calls that the state could not take would be written to "
        "the system's folder of temporary files instead, and how far the state was is not "
        "remembered there.",
        "Make the folder writable, or work in a copy of it.",
    )


def _is_state_local_or_target_unknown(checkup: LazyTargetParts) -> bool:
    """Whether the target's state is kept beside the project; True where no target is known."""
    try:
        return not checkup.target.get_or_raise_unchecked_error().state.url
    except UncheckedError:
        return True


def check_state_exists_and_is_not_older(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether a state exists that this version can read, and where it is stored."""
    store = checkup.store.get_or_raise()
    # Before the warnings: what was read may be one of them.
    has_state = store.exists()
    if has_state:
        with suppress(StateError):
            store.read_header()
    for risk in store.list_warnings():
        yield CheckResult.from_finding("state", risk)
    if has_state:
        state_snapshot = checkup.state.get_or_raise()
        records = (
            f"{len(state_snapshot.records)} record{'' if len(state_snapshot.records) == 1 else 's'}"
        )
        older_findings = checkup.session.last_seen_files.build_findings_if_state_is_older(
            store,
            checkup.target.get_or_raise_unchecked_error(),
        )
        yield from (CheckResult.from_finding("state", finding) for finding in older_findings)
        if not older_findings:
            yield CheckResult.build_ok(
                "state", f"{store.where}: {records}, serial {state_snapshot.serial}"
            )
        return
    target, embedded = (
        checkup.target.get_or_raise_unchecked_error(),
        checkup.embedded_backend.get_or_raise_unchecked_error(),
    )
    if embedded is None:
        raise state_access.build_missing_state_error(target, checkup.session.seen_place)
    if not embedded.is_new:
        raise state_access.build_embedded_mismatch_error(target, state_access.NO_STATE_TEXT)
    yield CheckResult.build_ok("state", "none yet: the first run of the embedded backend makes it")


def check_state_identity(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether the state belongs to the target's current url and tenant."""
    recorded_identity, target = (
        checkup.state.get_or_raise_unchecked_error().binding,
        checkup.target.get_or_raise_unchecked_error(),
    )
    embedded = checkup.embedded_backend.get_or_raise_unchecked_error()
    if embedded is not None and recorded_identity.data_set != embedded.data_set:
        raise state_access.build_embedded_mismatch_error(target, state_access.OTHER_DATA_TEXT)
    expected_identity = state_access.build_state_identity(
        normalize_base_url(checkup.url.get_or_raise_unchecked_error()), target, embedded
    )
    findings = state_access.build_findings_if_backend_differs(
        recorded_identity, target, expected_identity
    )
    yield from (CheckResult.from_finding("binding", finding) for finding in findings)
    if not findings:
        yield CheckResult.build_ok(
            "binding", f"made for {state_access.describe_state_identity(recorded_identity)}"
        )


def check_state_is_bound_to_project(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether a shared state is bound to this project; no row for any other state."""
    shared_ids, project = (
        _read_project_and_key_ids_or_none_if_unshared(checkup),
        checkup.project.get_or_raise_unchecked_error(),
    )
    if shared_ids is None:
        return
    findings = build_project_binding_findings(
        shared_ids, project, checkup.target.get_or_raise_unchecked_error()
    )
    yield from (CheckResult.from_finding("sharing", finding) for finding in findings)
    if not findings:
        yield CheckResult.build_ok("sharing", f"bound to this project, {project.id}")


def check_pinned_lineage(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether the state has the lineage that the project file pins."""
    recorded_lineage, target = (
        checkup.state.get_or_raise_unchecked_error().lineage,
        checkup.target.get_or_raise_unchecked_error(),
    )
    findings = state_access.build_findings_if_pinned_lineage_differs(recorded_lineage, target)
    yield from (CheckResult.from_finding("lineage", finding) for finding in findings)
    if not findings:
        pin_text = "as the project file pins it" if target.state.lineage else "not pinned"
        yield CheckResult.build_ok("lineage", f"{recorded_lineage} ({pin_text})")


def check_state_key(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether the state key exists, and is the one that recorded secrets were digested with."""
    project, target = (
        checkup.project.get_or_raise_unchecked_error(),
        checkup.target.get_or_raise_unchecked_error(),
    )
    checkup.own_folder.get_or_raise_unchecked_error()
    keys = checkup.session.state_keys
    yield from (CheckResult.from_finding("key", entry) for entry in keys.warnings)
    used_key_ids = _collect_key_ids_of_digests_or_empty(checkup)
    if (shared_key_id := _read_shared_key_id_or_empty(checkup)) and (
        shared_findings := build_findings_unless_shared_key_fits(
            keys, checkup.session.key_sources, shared_key_id
        )
    ):
        yield from (CheckResult.from_finding("key", finding) for finding in shared_findings)
        return
    if keys.current_key is None:
        if _certainly_has_no_state(checkup):
            yield CheckResult.build_ok("key", "none here: one is made together with the state")
        elif used_key_ids or _declares_secrets_or_false_if_unreadable(checkup):
            yield CheckResult.from_finding("key", build_no_key_warning(project, target))
        else:
            yield CheckResult.build_ok("key", "none, and no secret needs one yet")
        return
    unknown_key_ids = sorted(used_key_ids - {entry.key_id for entry in keys.all_keys})
    if unknown_key_ids:
        finding = warning_finding(
            "Secrets were digested with another state key",
            f"The state names key {', '.join(unknown_key_ids)}; at hand is "
            f"{keys.current_key.key_id} from "
            f"{keys.current_key.origin}. Those secrets are not compared.",
            Text(
                "Restore that key, or digest anew what can be resolved: ",
                Command("state rekey"),
                ".",
            ),
        )
        yield CheckResult.from_finding("key", finding)
    else:
        yield CheckResult.build_ok(
            "key", f"{keys.current_key.key_id} from {keys.current_key.origin}"
        )


def check_lock_is_free(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether a run would have to wait."""
    checkup.state.get_or_raise_unchecked_error()
    owner_notes = (
        checkup.store.get_or_raise_unchecked_error().list_lock_held_findings_unless_owner_ended()
    )
    yield from (
        CheckResult.from_finding("lock", warning_finding(note.summary, note.detail, note.hint))
        for note in owner_notes
    )
    if not owner_notes:
        yield CheckResult.build_ok("lock", "free")


def report_accepted_fields_still_differing(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Differences between manifest and live object that `state accept` recorded as accepted."""
    field_names = [
        f"{address}: {format_field_path(path)}"
        for address, record in sorted(checkup.state.get_or_raise_unchecked_error().records.items())
        for path in _iter_accepted_paths_still_differing(record)
    ]
    undo_hint = Text(Command("state accept ADDRESS --undo"), " shows them in plans again")
    yield CheckResult.build_ok(
        "accepted",
        Text(f"{name_accepted_fields_or_empty(field_names)} ", undo_hint)
        if field_names
        else "no difference",
    )


def _iter_accepted_paths_still_differing(record: Record) -> Iterator[FieldPath]:
    """Accepted fields that still differ, as far as the record shows."""
    kind = CATALOGUE.get(record.address.kind)
    if record.accepted is None or kind is None:
        return
    applied_tree, seen_tree = unflatten(record.applied), unflatten(record.seen)
    for path in record.accepted.paths:
        rule = kind.rules.get(str(path[0]))
        values = get_at_or_absent(applied_tree, path), get_at_or_absent(seen_tree, path)
        # The server does not show the secret, so that nothing tells whether it still differs.
        is_hidden = isinstance(values[0], Mac) and not isinstance(values[1], Mac)
        if not is_hidden and not is_same_value(*values, *((rule.compare,) if rule else ())):
            yield path


def check_open_and_journaled_calls(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Calls with unknown outcome, and calls that only a recovery journal has."""
    checkup.own_folder.get_or_raise_unchecked_error()
    project, target = (
        checkup.project.get_or_raise_unchecked_error(),
        checkup.target.get_or_raise_unchecked_error(),
    )
    try:
        keys = checkup.session.state_keys
    except InputError:  # told by the check of the key
        keys = StateKeys()
    journals = Journals(project, target, keys, _read_lineage_or_empty(checkup))
    unrecorded_findings = journals.warn()
    yield from (CheckResult.from_finding("calls", entry) for entry in unrecorded_findings)
    state = checkup.state.get_or_raise_unchecked_error()
    acting = [
        build_acting_call_warning(seconds, call)
        for seconds, call in list_acting_calls(checkup.session, state)
        if call.state is IntentState.UNKNOWN
    ]
    yield from (CheckResult.from_finding("calls", entry) for entry in acting)
    if not state.open_intents:
        if not (unrecorded_findings or acting):
            yield CheckResult.build_ok("calls", "none of unknown outcome")
        return
    calls = ", ".join(
        f"{entry.verb} of {entry.address} (sent {entry.sent_at})" for entry in state.open_intents
    )
    finding = warning_finding(
        "The outcome of earlier calls is unknown",
        f"{calls}.",
        "The run that is under way may have sent them, and may yet get their answers."
        if checkup.store.get_or_raise_unchecked_error().list_lock_held_findings_unless_owner_ended()
        else Text(
            "The next apply looks them up first; ", Command("plan"), " tells what it would do."
        ),
    )
    yield CheckResult.from_finding("calls", finding)


def check_live_duplicates_of_records(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether a second live object has the natural key of a recorded one."""
    records = checkup.state.get_or_raise_unchecked_error().records
    checkup.answer_seconds.get_or_raise_unchecked_error()
    marks = build_marks_with_project_providers(
        checkup.project.get_or_raise_unchecked_error().providers
    )
    api, versions = (
        checkup.backend.get_or_raise_unchecked_error().api,
        checkup.target.get_or_raise_unchecked_error().api,
    )
    count = 0
    for prefix, kind in CATALOGUE.items():
        kind_records = {
            record_address: record
            for record_address, record in records.items()
            if record_address.kind == prefix
        }
        binding = kind.select_newest_binding(versions)
        raw_objects: Sequence[ServerObject] = (
            (list_objects_or_none_if_unsupported(api, binding) or ()) if kind_records else ()
        )
        if (
            kind_records
            and binding.list_objects is None
            and binding.list_members_or_none is not None
        ):
            parent = CATALOGUE[kind.rules[kind.series_field].references].select_newest_binding(
                versions
            )
            raw_objects = list_raw_members_skipping_unlistable_owners(
                api,
                binding,
                iter_live_owners_of_records_skipping_absent(api, kind, parent, kind_records, marks),
            )
        for address, duplicates in iter_addresses_with_other_ids_of_same_key(
            kind, binding, kind_records, raw_objects, marks
        ):
            count += 1
            yield CheckResult.from_finding(
                "twins", build_duplicate_warning(address, records[address], duplicates)
            )
    if not count:
        yield CheckResult.build_ok(
            "twins", "no second live object of a recorded name, as far as lists show"
        )


def _read_lineage_or_empty(checkup: LazyTargetParts) -> str:
    """The state's lineage; "" where it cannot be read."""
    try:
        return checkup.state.get_or_raise_unchecked_error().lineage
    except UncheckedError:
        return ""


def _certainly_has_no_state(checkup: LazyTargetParts) -> bool:
    """Whether there is certainly no state; one that cannot be opened may exist."""
    try:
        return not checkup.store.get_or_raise_unchecked_error().exists()
    except (UncheckedError, SynapseApplyError):
        return False


def _collect_key_ids_of_digests_or_empty(checkup: LazyTargetParts) -> set[str]:
    """Ids of the keys that the state's digests were made with; empty if it cannot be read."""
    try:
        return collect_key_ids_of_digests(checkup.state.get_or_raise_unchecked_error())
    except UncheckedError:
        return set()


def _read_shared_key_id_or_empty(checkup: LazyTargetParts) -> str:
    """The id of the key that a shared state is bound to; "" for another, or an unreadable one."""
    try:
        shared_ids = _read_project_and_key_ids_or_none_if_unshared(checkup)
    except UncheckedError:
        return ""
    return shared_ids.key_id if shared_ids is not None else ""


def _read_project_and_key_ids_or_none_if_unshared(
    checkup: LazyTargetParts,
) -> ProjectAndKeyIds | None:
    """What all who use the state must have in common; None for a state that is not shared."""
    checkup.store.get_or_raise_unchecked_error()
    if not checkup.session.is_state_shared:
        return None
    checkup.state.get_or_raise_unchecked_error()
    return checkup.session.read_project_and_key_ids_or_none_if_unshared()


def _declares_secrets_or_false_if_unreadable(checkup: LazyTargetParts) -> bool:
    """Whether manifests that can be read declare a secret; none is resolved."""
    try:
        return declares_any_secret(checkup.declared_target.get_or_raise_unchecked_error().desired)
    except UncheckedError:
        return False
