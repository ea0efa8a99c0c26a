"""Use case: digest the recorded secrets under another state key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from synapse_apply.files.opening import check_file, replace_file
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.diagnostic import Path as FieldPath
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import Record
from synapse_apply.model.values import Mac, SecretRef, Sensitive, leaves
from synapse_apply.planning.refusals import changed_since
from synapse_apply.secrets.keys import KEY_VARIABLE, Keys, create_key
from synapse_apply.secrets.store import SecretStore
from synapse_apply.session import state_file
from synapse_apply.session.context import Context


@frozen
class Rekeyed:
    """How many secrets are under the new key now, and which kept the old one and why."""

    key_id: str
    done: int
    kept: tuple[str, ...]
    warnings: tuple[Diagnostic, ...] = ()


def rekey(context: Context, environ: Mapping[str, str]) -> Rekeyed:
    """Digest every recorded secret anew; what cannot be resolved keeps its old key id.

    With SYNAPSE_APPLY_STATE_KEY set that is the new key; else a new one is made in the key file,
    the old one beside it as `.previous`, so that a run that is cut short can be repeated.
    """
    with context.lock("state rekey"):
        old = state_file.keys(context.project, context.target, environ)
        if not environ.get(KEY_VARIABLE):
            _renew(state_file.key_path(context.project, context.target))
        new = state_file.keys(context.project, context.target, environ)
        secrets = context.secrets_under(Keys((*new.known, *old.known)))
        records, done, kept = [], 0, []
        for record in context.store.read().records.values():
            changed, count, left = _record(context, secrets, record)
            done += count
            kept += left
            if changed != record:
                records.append(changed)
        if records:
            context.store.put(*records)
    return Rekeyed(secrets.key_id, done, tuple(dict.fromkeys(kept)), old.warnings)


def _renew(path: Path) -> None:
    """A new key file; the old key stays readable until the next renewal."""
    if check_file(path) is not None:
        replace_file(state_file.previous_key_path(path), path.name)
    create_key(path)


def _record(
    context: Context, secrets: SecretStore, record: Record
) -> tuple[Record, int, list[str]]:
    desired = context.desired.get(record.address)
    refs = leaves(desired.spec) if desired else {}
    kept: list[str] = []
    done: set[FieldPath] = set()
    left: set[FieldPath] = set()

    def again(path: FieldPath, value: Any) -> Any:
        if not isinstance(value, Mac) or value.key_id == secrets.key_id:
            return value
        made = _again(context, secrets, record, path, value, refs.get(path), kept.append)
        (left if made is value else done).add(path)
        return made

    applied = {path: again(path, value) for path, value in record.applied.items()}
    seen = {path: again(path, value) for path, value in record.seen.items()}
    return replace(record, applied=applied, seen=seen), len(done - left), kept


def _again(
    context: Context,
    secrets: SecretStore,
    record: Record,
    path: FieldPath,
    value: Mac,
    ref: Any,
    keep: Callable[[str], None],
) -> Mac:
    where = f"{record.address} {'.'.join(map(str, path))}"
    if not isinstance(ref, SecretRef) or ref.source == "live":
        keep(f"{where}: no manifest says where its value comes from")
        return value
    try:
        found: Sensitive = secrets.resolve(ref)
    except SecretUnavailable as missing:
        keep(f"{where}: {missing.diagnostics[0].detail}")
        return value
    if secrets.matches(value, record.salt, path, found) is False:
        binding = context.catalogue[record.address.kind].binding(context.target.api)
        way = changed_since([(record.address, binding)])
        keep(f"{where}: its value has changed since; {way}")
        return value
    return secrets.mac(record.salt, path, found) or value
