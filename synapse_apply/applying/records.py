"""What is recorded of a live object after a call: what we sent beside what the server answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.applying.acceptance import still_accepted
from synapse_apply.applying.runs import unverified
from synapse_apply.applying.task import Task, Tools
from synapse_apply.kinds.compare import same
from synapse_apply.kinds.descriptor import FieldRule, ResourceType
from synapse_apply.model.diagnostic import Diagnostic, Path, lies_in, warning
from synapse_apply.model.observed import Observed
from synapse_apply.model.ports import Secrets
from synapse_apply.model.state import Intent, Record
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    Mac,
    SecretRef,
    Sensitive,
    Withheld,
    dig,
    is_map,
    leaves,
)


def bare(value: Any) -> Any:
    """A live value with the secrets inside it revealed, for a keyed digest only."""
    if isinstance(value, Sensitive):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: bare(inner) for key, inner in value.items()}
    return value


def has_secret(value: Any) -> bool:
    """Whether a live value is a secret or a map that holds one."""
    if isinstance(value, Mapping):
        return any(has_secret(inner) for inner in value.values())
    return isinstance(value, Sensitive | Withheld)


def comparable(value: Any, salt: str, path: Path, secrets: Secrets) -> Any:
    """A live value as the comparator and the state see it: a secret as its keyed digest."""
    if isinstance(value, Withheld):
        return value
    if has_secret(value):
        mac = None if _hidden(value) else secrets.mac(salt, path, Sensitive(bare(value)))
        return mac if mac is not None else Withheld("omitted")
    return value


def _hidden(value: Any) -> bool:
    """Whether a map lacks a secret that the server does not show, so that it has no digest."""
    if isinstance(value, Mapping):
        return any(_hidden(inner) for inner in value.values())
    return isinstance(value, Withheld)


def met(rule: FieldRule, sent: Any, has: Any) -> bool:
    """Whether a field is as it was sent; an empty map asks only that there is a map."""
    if isinstance(sent, Mapping) and not sent and isinstance(has, Mapping):
        return True
    return same(sent, has, rule.compare)


def live_fields(observed: Observed, ours: Fields, salt: str, secrets: Secrets) -> dict[Path, Any]:
    """The live fields, flat. Where one of ours is a secret, a live map there is one secret too."""
    fields = leaves(observed.spec, lambda at: at in ours and not is_map(ours[at]))
    others = [(path, value) for path, value in fields.items() if type(value) is not str]
    for path, value in others:
        holds_map = isinstance(value, Mapping) and not has_secret(value)
        if holds_map and value:
            del fields[path]
            fields.update(leaves(value, at=path))
        else:
            fields[path] = comparable(value, salt, path, secrets)
    return fields


def seen_fields(task: Task, observed: Observed, ours: Fields, secrets: Secrets) -> Fields:
    """What is remembered of an answer: our fields, the identity fields, and owned subtrees.

    Where the server answered a map to a value of ours that is none, all of that map.
    """
    own = task.desired.lifecycle.own if task.desired else ()
    keep = {*ours, *((name,) for name in task.type.identity)}
    live = live_fields(observed, ours, task.salt, secrets)
    # A map is all that an empty map of ours asks for; the keys in it are not ours.
    maps: dict[Path, Any] = {
        path: {}
        for path, value in ours.items()
        if isinstance(value, Mapping) and isinstance(dig(observed.spec, path), Mapping)
    }
    return maps | {
        path: value
        for path, value in live.items()
        if path in keep or lies_in(path, own) or _is_below(path, ours)
    }


def _is_below(path: Path, ours: Fields) -> bool:
    """Whether it lies in a field of ours that is declared as something else than a map."""
    above = (path[:end] for end in range(1, len(path)))
    return any(at in ours and not is_map(ours[at]) for at in above)


def record_of(task: Task, intent: Intent, observed: Observed, tools: Tools, sent: Fields) -> Record:
    """The record after a create or an update that the server acknowledged."""
    before = task.record
    applied = dict(intent.fields)
    # What was applied to an object that is gone says nothing of the one made in its place.
    same_object = before if intent.verb != "create" else None
    earlier = same_object.applied if same_object else {}
    for path, value in earlier.items():
        # A dropped field stays ours until the answer shows it gone (design section 6).
        if path not in applied and _still_ours(task, observed, path, value):
            applied[path] = _what_was_sent(task, path, value)
    seen = dict(seen_fields(task, observed, {**sent, **applied}, tools.secrets))
    _hold(task, before, applied, seen)
    now = tools.clock.now()
    return Record(
        address=task.address,
        remote_id=observed.remote_id,
        api=task.binding.api,
        natural_key=intent.natural_key,
        applied=applied,
        seen=seen,
        salt=task.salt,
        digest=intent.digest or (before.digest if before else None),
        files=intent.files if intent.digest else (before.files if before else {}),
        protected=intent.protected,
        verification=same_object.verification if same_object else None,
        depends_on=intent.depends_on,
        series=intent.series,
        version=intent.version,
        created_at=before.created_at if before and before.created_at else now,
        updated_at=now,
        accepted=still_accepted(same_object, applied, seen),
        unkept=unkept_fields(task.type, {*sent, *applied}, observed),
    )


def adopted(task: Task, observed: Observed, tools: Tools) -> Record:
    """The record of an object that is ours from now on, with nothing applied by us yet.

    What was known of the same object on another API version is known still.
    """
    series, version = task.type.place_in_series(task.desired.spec) if task.desired else ("", "")
    now = tools.clock.now()
    declared = leaves(task.desired.spec) if task.desired else {}
    record = Record(
        address=task.address,
        remote_id=observed.remote_id,
        api=task.binding.api,
        natural_key=task.natural_key,
        seen=seen_fields(task, observed, declared, tools.secrets),
        salt=task.salt,
        digest=observed.extra.get("digest"),
        protected=bool(task.desired and task.desired.lifecycle.prevent_destroy),
        depends_on=task.change.depends_on,
        series=series,
        version=version,
        created_at=now,
        updated_at=now,
        unkept=unkept_fields(task.type, declared, observed),
    )
    before = task.record
    if before is None or not before.is_same_on(record.api, record.natural_key):
        return unverified(record, task.type, task.desired, now)
    return replace(
        record,
        digest=before.digest or record.digest,
        files=before.files,
        verification=before.verification,
        created_at=before.created_at,
    )


def agreed(task: Task, record: Record, observed: Observed, secrets: Secrets, now: str) -> Record:
    """The record where desired counts as applied and live as seen, whatever differs.

    Declared fields that cannot be compared now (ignored, or a secret without a value at hand)
    stay as they were recorded.
    """
    series, version = task.type.place_in_series(task.desired.spec) if task.desired else ("", "")
    declared = set(leaves(task.desired.spec)) if task.desired else set()
    unknown = {path: v for path, v in record.applied.items() if path in declared - set(task.want)}
    return replace(
        record,
        api=task.binding.api,
        applied={**unknown, **task.want},
        seen=seen_fields(task, observed, {**task.want, **unknown}, secrets),
        natural_key=task.natural_key or record.natural_key,
        protected=bool(task.desired and task.desired.lifecycle.prevent_destroy),
        depends_on=task.change.depends_on,
        series=series,
        version=version,
        updated_at=now,
        unkept=tuple(
            name
            for name in unkept_fields(task.type, declared, observed)
            # What no update of ours has sent yet may appear with one, unless it is taken over.
            if not record.applied or name in record.unkept or task.type.is_fixed(task.binding, name)
        ),
    )


def unkept_fields(kind: ResourceType, paths: Iterable[Path], observed: Observed) -> tuple[str, ...]:
    """Of these fields those that an answer does not have, but for what tells which object it is."""
    names = {str(path[0]) for path in paths} & observed.lacks
    return tuple(sorted(names.difference(kind.identity)))


def rebased(task: Task, record: Record, tools: Tools) -> Record:
    """The record where desired and live agree already.

    What differs, or was digested under another key, stays as it was recorded: agreeing to it
    here would hide a change.
    """
    if task.observed is None:
        return record
    made = agreed(task, record, task.observed, tools.secrets, tools.clock.now())
    applied, seen = dict(made.applied), dict(made.seen)
    for path in {change.path for change in task.change.fields} | _other_key(record, task.want):
        _keep(applied, record.applied, path)
        _keep(seen, record.seen, path)
    _hold(task, record, applied, seen)
    accepted = still_accepted(record, applied, seen)
    return replace(made, applied=applied, seen=seen, accepted=accepted)


def _other_key(record: Record, want: Fields) -> set[Path]:
    return {
        path
        for path, value in record.applied.items()
        if isinstance(value, Mac)
        and isinstance(now := want.get(path), Mac)
        and now.key_id != value.key_id
    }


def not_taken(task: Task, sent: Mapping[Path, Any], observed: Observed) -> tuple[Diagnostic, ...]:
    """A warning for each field whose answer differs from what was sent (recorded as seen)."""
    findings = [
        warning(
            "The server kept a field that was dropped",
            f"{_dotted(path)} of {task.address} is no longer declared, and it is still there.",
            "It stays recorded as ours until the server shows it gone.",
            address=str(task.address),
            path=path,
        )
        for path in (change.path for change in task.fields)
        if path not in sent and still_there(task, observed, path)
    ]
    known = {*task.unkept, *(task.record.unkept if task.record is not None else ())}
    unkept = unkept_fields(task.type, sent, observed)
    findings += [_keeps_none(task, name) for name in unkept if name not in known]
    packaged_names: set[str] = set()
    for path, value in sent.items():
        rule = task.type.rule(path)
        if (
            path[0] in observed.lacks
            or isinstance(value, SecretRef | Mac)
            or rule.write_only
            or rule.references
        ):
            continue
        answered = dig(observed.spec, path)
        if not met(rule, value, answered) and not _known(task, path, value, answered):
            if rule.packaged:
                packaged_names.add(str(path[0]))
                continue
            findings.append(
                warning(
                    "The server did not take a field as it was sent",
                    f"{_dotted(path)} of {task.address} was sent as "
                    f"{_short(value)}, the server has {_short(answered)}.",
                    "It is recorded as the server has it and compared from there on.",
                    address=str(task.address),
                    path=path,
                )
            )
    findings += [_keeps_that_of_the_package(task, name) for name in sorted(packaged_names)]
    return tuple(findings)


def _keeps_none(task: Task, name: str) -> Diagnostic:
    return warning(
        "The backend keeps no such field",
        f"This backend keeps no `{name}` of a {task.type.prefix}.",
        "Remove it, or leave it: it is not compared until the backend shows it.",
        address=str(task.address),
        path=(name,),
        of_backend=True,
    )


def _keeps_that_of_the_package(task: Task, name: str) -> Diagnostic:
    return warning(
        "The backend keeps no such field",
        f"This backend keeps no `{name}` of a {task.type.prefix} as it is sent: it has another in "
        "its place, which may be that of the package.",
        "Remove it, or leave it: what the backend has in its place is no difference.",
        address=str(task.address),
        path=(name,),
        of_backend=True,
    )


def _known(task: Task, path: Path, sent: Any, answered: Any) -> bool:
    """Whether that very value was answered so before: it was said then, and neither has moved."""
    record = task.record
    if record is None or record.applied.get(path, ABSENT) != sent:
        return False
    if isinstance(answered, Mapping) and answered:
        inside = leaves(answered, at=path)
        return all(record.seen.get(at, ABSENT) == value for at, value in inside.items())
    return bool(record.seen.get(path, ABSENT) == answered)


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _short(value: Any, most: int = 60) -> str:
    text = "nothing" if value is ABSENT else repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def _what_was_sent(task: Task, path: Path, before: Any) -> Any:
    """Where a reset was sent for a dropped field that is what we applied last."""
    rule = task.type.rule(path)
    return before if len(path) > 1 or rule.reset is ABSENT else rule.reset


def _still_ours(task: Task, observed: Observed, path: Path, applied: Any) -> bool:
    """Whether a dropped field is still live; of an empty map only the map itself was ours."""
    answered = dig(observed.spec, path)
    only_held = applied == {} and isinstance(answered, Mapping) and answered != {}
    return not only_held and still_there(task, observed, path)


def still_there(task: Task, observed: Observed, path: Path) -> bool:
    """Whether a dropped field is still live, its reset value counting as gone."""
    answered = dig(observed.spec, path)
    if answered is ABSENT:
        return False
    rule = task.type.rule(path)
    return not (len(path) == 1 and same(rule.reset, answered, rule.compare))


def _hold(
    task: Task, record: Record | None, applied: dict[Path, Any], seen: dict[Path, Any]
) -> None:
    """Drift that is kept stays as it was recorded, or the next plan would not see it any more."""
    if record is None:
        return
    for held in task.change.held:
        _keep(applied, record.applied, held.path)
        _keep(seen, record.seen, held.path)


def _keep(fields: dict[Path, Any], before: Fields, path: Path) -> None:
    """What was refused or is still to be sent is not agreed on: the record stays as it was."""
    if path in before:
        fields[path] = before[path]
    else:
        fields.pop(path, None)
