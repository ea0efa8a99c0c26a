"""The state: whether it is there, is this target's, and can be worked with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from synapse_apply.files.opening import FOLDER, IGNORE_FILE
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.compare import same
from synapse_apply.kinds.descriptor import Raw
from synapse_apply.kinds.search import probe
from synapse_apply.manifests.shapes import marks_with
from synapse_apply.model.checkup import Row
from synapse_apply.model.diagnostic import Path, warning
from synapse_apply.model.errors import InputError, SynapseApplyError
from synapse_apply.model.state import Record, State
from synapse_apply.model.values import Mac, dig
from synapse_apply.planning.whole import nested
from synapse_apply.secrets.keys import Keys
from synapse_apply.session import state_file
from synapse_apply.session.checks.patient import Patient, Unchecked
from synapse_apply.session.last_seen import last_seen
from synapse_apply.session.own_folder import is_kept_out_of_git
from synapse_apply.session.surroundings import base_url
from synapse_apply.session.twins import finding_of, listed_of, owners_recorded
from synapse_apply.session.twins import twins as find_twins
from synapse_apply.session.unrecorded import all_files
from synapse_apply.views.accepted import fields_line


def folder(patient: Patient) -> Iterator[Row]:
    """Whether what lies beside the project is ours, and no commit's."""
    root = patient.project.needed().root
    if not patient.own_folder.get():
        yield Row.ok("folder", "none yet")
    elif is_kept_out_of_git(root):
        yield Row.ok("folder", f"{root / FOLDER}: yours, no link, and ignored by Git")
    else:
        finding = warning(
            "Git does not ignore the folder of states and keys",
            f"{root / FOLDER / IGNORE_FILE} does not say that Git ignores all of it, so "
            "`git add -A` would take the state key.",
            f"The next command that writes there repairs it; or: `echo '*' > {FOLDER}/.gitignore`.",
        )
        yield Row.of("folder", finding)


def state(patient: Patient) -> Iterator[Row]:
    """Whether there is one that this version can read, and where it is kept."""
    store = patient.store.get()
    for risk in store.warnings():
        yield Row.of("state", risk)
    if store.exists():
        found = patient.state.get()
        records = f"{len(found.records)} record{'' if len(found.records) == 1 else 's'}"
        target = patient.target.needed()
        seen = last_seen(patient.project.needed(), target, patient.where.environ)
        older = seen.older(store, found.lineage, store.position(), target)
        yield from (Row.of("state", one) for one in older)
        if not older:
            yield Row.ok("state", f"{store.where}: {records}, serial {found.serial}")
        return
    target, embedded = patient.target.needed(), patient.embedded.needed()
    if embedded is None:
        raise state_file.missing(target)
    if not embedded.fresh:
        raise state_file.half(target, state_file.NO_STATE)
    yield Row.ok("state", "none yet: the first run of the embedded backend makes it")


def binding(patient: Patient) -> Iterator[Row]:
    """Whether it belongs to the target as it is now."""
    has, target = patient.state.needed().binding, patient.target.needed()
    embedded = patient.embedded.needed()
    if embedded is not None and has.data_set != embedded.data_set:
        raise state_file.half(target, state_file.OTHER_DATA)
    wanted = state_file.binding_of(base_url(patient.url.needed()), target, embedded)
    found = state_file.other_backend(has, target, wanted)
    yield from (Row.of("binding", one) for one in found)
    if not found:
        yield Row.ok("binding", f"made for {state_file.describe(has)}")


def lineage(patient: Patient) -> Iterator[Row]:
    """Whether it is the very state that the project file pins."""
    has, target = patient.state.needed().lineage, patient.target.needed()
    found = state_file.other_lineage(has, target)
    yield from (Row.of("lineage", one) for one in found)
    if not found:
        pinned = "as the project file pins it" if target.state.lineage else "not pinned"
        yield Row.ok("lineage", f"{has} ({pinned})")


def key(patient: Patient) -> Iterator[Row]:
    """Whether the key that compares secrets is there, and is the one they were digested with."""
    project, target = patient.project.needed(), patient.target.needed()
    patient.own_folder.needed()
    keys = state_file.keys(project, target, patient.where.environ)
    yield from (Row.of("key", one) for one in keys.warnings)
    used = set(_keys_used(patient))
    if keys.current is None:
        if _has_no_state(patient):
            yield Row.ok("key", "none here: one is made together with the state")
        elif used or _secrets_declared(patient):
            yield Row.of("key", state_file.keyless(project, target))
        else:
            yield Row.ok("key", "none, and no secret needs one yet")
        return
    strange = sorted(used - {one.key_id for one in keys.known})
    if strange:
        finding = warning(
            "Secrets were digested with another state key",
            f"The state names key {', '.join(strange)}; at hand is {keys.current.key_id} from "
            f"{keys.current.origin}. Those secrets are not compared.",
            "Restore that key, or digest anew what can be resolved: `synapse-apply state rekey`.",
        )
        yield Row.of("key", finding)
    else:
        yield Row.ok("key", f"{keys.current.key_id} from {keys.current.origin}")


def lock(patient: Patient) -> Iterator[Row]:
    """Whether a run would have to wait."""
    patient.state.needed()
    held = patient.store.needed().in_the_way()
    yield from (Row.of("lock", warning(one.summary, one.detail, one.hint)) for one in held)
    if not held:
        yield Row.ok("lock", "free")


def accepted(patient: Patient) -> Iterator[Row]:
    """Differences between manifest and live object that `state accept` took for settled."""
    fields = [
        f"{address}: {'.'.join(map(str, path))}"
        for address, record in sorted(patient.state.needed().records.items())
        for path in _accepted_of(record)
    ]
    undo = "`synapse-apply state accept ADDRESS --undo` shows them in plans again"
    yield Row.ok("accepted", f"{fields_line(fields)} {undo}" if fields else "no difference")


def _accepted_of(record: Record) -> Iterator[Path]:
    """Accepted fields that differ as far as the record tells."""
    kind = CATALOGUE.get(record.address.kind)
    if record.accepted is None or kind is None:
        return
    applied, seen = nested(record.applied), nested(record.seen)
    for path in record.accepted.paths:
        rule = kind.rules.get(str(path[0]))
        sides = dig(applied, path), dig(seen, path)
        hidden = isinstance(sides[0], Mac) and not isinstance(sides[1], Mac)
        if not hidden and not same(*sides, *((rule.compare,) if rule else ())):
            yield path


def open_calls(patient: Patient) -> Iterator[Row]:
    """Calls whose outcome nobody knows yet, and those that only a file knows of."""
    patient.own_folder.needed()
    project, target = patient.project.needed(), patient.target.needed()
    try:
        keys = state_file.keys(project, target, patient.where.environ)
    except InputError:  # told by the check of the key
        keys = Keys()
    kept = all_files(project, target, keys, _lineage(patient))
    yield from (Row.of("calls", one) for one in kept)
    intents = patient.state.needed().open_intents
    if not intents:
        if not kept:
            yield Row.ok("calls", "none of unknown outcome")
        return
    calls = ", ".join(f"{one.verb} of {one.address} (sent {one.sent_at})" for one in intents)
    finding = warning(
        "The outcome of earlier calls is unknown",
        f"{calls}.",
        "The next apply looks them up first; `synapse-apply plan` tells what it would do.",
    )
    yield Row.of("calls", finding)


def twins(patient: Patient) -> Iterator[Row]:
    """Whether another live object has the natural key of a recorded one."""
    records = patient.state.needed().records
    patient.answer.needed()
    marks = marks_with(patient.project.needed().providers)
    api, versions = patient.backend.needed().api, patient.target.needed().api
    count = 0
    for prefix, kind in CATALOGUE.items():
        some = {at: record for at, record in records.items() if at.kind == prefix}
        binding = kind.binding(versions)
        listed: Sequence[Raw] = (probe(api, binding) or ()) if some else ()
        if some and binding.list is None and binding.members is not None:
            parent = CATALOGUE[kind.rules[kind.series].references].binding(versions)
            listed = listed_of(api, binding, owners_recorded(api, kind, parent, some, marks))
        for address, others in find_twins(kind, binding, some, listed, marks):
            count += 1
            yield Row.of("twins", finding_of(address, records[address], others))
    if not count:
        yield Row.ok("twins", "no second live object of a recorded name, as far as lists tell")


def _lineage(patient: Patient) -> str:
    """That of the state; "" where it cannot be read."""
    try:
        return patient.state.needed().lineage
    except Unchecked:
        return ""


def _has_no_state(patient: Patient) -> bool:
    """Whether there is none for sure; one that cannot be opened may be there."""
    try:
        return not patient.store.needed().exists()
    except (Unchecked, SynapseApplyError):
        return False


def _keys_used(patient: Patient) -> Iterator[str]:
    """Ids of the keys that the state's digests were made with."""
    try:
        found: State = patient.state.needed()
    except Unchecked:
        return
    for record in found.records.values():
        yield from _macs((*record.applied.values(), *record.seen.values()))


def _macs(values: Iterable[object]) -> Iterator[str]:
    return (value.key_id for value in values if isinstance(value, Mac))


def _secrets_declared(patient: Patient) -> bool:
    try:
        return state_file.needs_key(patient.declared.needed().desired)
    except Unchecked:
        return False
