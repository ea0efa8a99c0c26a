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
from synapse_apply.secrets.keys import Keys, create_key, is_given
from synapse_apply.secrets.signatures import RunSigner, Standing
from synapse_apply.secrets.store import SecretStore
from synapse_apply.session import state_file
from synapse_apply.session.context import Context


@frozen
class Rekeyed:
    """How many secrets are under the new key now, and which kept the old one and why.

    `signed` are the runs that were signed anew.
    """

    key_id: str
    done: int
    kept: tuple[str, ...]
    signed: int = 0
    warnings: tuple[Diagnostic, ...] = ()


def rekey(context: Context, environ: Mapping[str, str]) -> Rekeyed:
    """Digest every recorded secret anew; what cannot be resolved keeps its old key id.

    The results of runs are signed anew where a key at hand signed them. With
    SYNAPSE_APPLY_STATE_KEY (or that of the target) set that is the new key; else a new one is made
    in the key file, the old one beside it as `.previous`, so that a run that is cut short can be
    repeated.
    """
    with context.lock("state rekey"):
        old = state_file.keys(context.project, context.target, environ)
        if not is_given(environ, context.target.name):
            _renew(state_file.key_path(context.project, context.target))
        new = state_file.keys(context.project, context.target, environ)
        both = Keys(tuple(dict.fromkeys((*new.known, *old.known))))
        secrets, signer = context.secrets_under(both), RunSigner(both, context.store.lineage())
        records, done, kept, signed = [], 0, [], 0
        for record in context.store.read().records.values():
            changed, count, left = _record(context, secrets, record)
            shown = signer.standing(record)
            if shown is Standing.EARLIER:
                changed = signer.signed(changed)
                signed += 1
            elif shown in {Standing.FORGED, Standing.STRANGE}:
                left.append(_not_signed(record, shown))
            done += count
            kept += left
            if changed != record:
                records.append(changed)
        if records:
            context.store.put(*records)
    told = tuple(dict.fromkeys(kept))
    return Rekeyed(secrets.key_id, done, told, signed, old.warnings)


def _not_signed(record: Record, shown: Standing) -> str:
    """Why the result of a run is not signed anew: that would vouch for what nobody can check."""
    why = "is of something else" if shown is Standing.FORGED else "is of a key that is not here"
    again = f"`synapse-apply verify {record.address}`"
    return f"{record.address}: the signature of its run {why}; {again} runs it again"


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
