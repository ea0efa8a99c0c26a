"""Use case: keep a plan in a file, and carry out only what it says (design section 7).

The file is a zip with plan.json in it. It is bound by content: what it was made from, and what
each object it touches looked like. It holds no secret; url, token
and allow-lists come from the checkout, never from it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.values import Mac, Sensitive
from synapse_apply.planning import stale
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.state_file import describe

FORMAT = 1
_PLAN = "plan.json"
_SIGNED_AS = ("plan",)
_LARGEST_PLAN = 1024**3
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Saved:
    """A plan as its file has it; `mac` is its signature under a state key, if it has one."""

    file: Path
    plan: Plan
    mac: Mac | None


def save(context: Context, plan: Plan, path: Path) -> bool:
    """Write a plan to a new file (0600), whole or not at all; True when it is signed.

    InputError when it is there already, cannot be written, or the plan has errors.
    """
    if plan.errored:
        raise InputError(*(finding for finding in plan.diagnostics if finding.is_error))
    body = codec.plan_to_json(plan)
    mac = _signature(context, body)
    signature = {"key_id": mac.key_id, "mac": mac.digest} if mac else None
    document = {"format": FORMAT, "plan": body, "signature": signature}
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:
            aside.chmod(0o600)
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                text = json.dumps(document, indent=1, sort_keys=True)
                archive.writestr(zipfile.ZipInfo(_PLAN, _FIXED_TIME), text)
        path.hardlink_to(aside)  # unlike a rename, this never replaces a file
    except FileExistsError:
        raise _unusable(path, "it exists already", "Give another name, or remove it.") from None
    except OSError as problem:
        why = problem.strerror or "it cannot be written"
        raise _unusable(path, why, "Choose another place for --out.") from None
    finally:
        aside.unlink(missing_ok=True)
    return mac is not None


def read(path: Path) -> Saved:
    """The plan in a file; InputError when it is none, is damaged or of a newer version."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_PLAN).file_size > _LARGEST_PLAN:
                raise _unusable(path, "its plan is too large", "Make the plan again.")
            document: Any = json.loads(archive.read(_PLAN))
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise _unusable(path, "another version wrote it", "Make the plan again with this one.")
        signature = document.get("signature")
        mac = Mac(str(signature["key_id"]), str(signature["mac"])) if signature else None
        return Saved(path, codec.plan_from_json(document["plan"]), mac)
    except OSError as problem:
        raise _unusable(path, problem.strerror or "it cannot be read", "Check the path.") from None
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, NotImplementedError):
        raise _unusable(
            path, "it is not a plan", "`synapse-apply plan --out FILE` makes one."
        ) from None


def is_plan(path: Path) -> bool:
    """Whether a file looks like a saved plan."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _PLAN in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def check(context: Context, saved: Saved, *, allow_unsigned: bool) -> None:
    """Stale (exit 4) unless this plan is genuine, for this target, and was not applied yet."""
    base, now = saved.plan.base, context.store.binding()
    if base.binding != now or base.lineage != context.store.lineage():
        raise Stale(
            error(
                "This plan is for another target",
                f"It was made for {describe(base.binding)} ({base.target}); target "
                f"{context.target.name} is {describe(now)}.",
                "Apply it with the target it was made for, or plan again.",
            )
        )
    _check_signature(context, saved, allow_unsigned=allow_unsigned)
    if context.store.was_applied(saved.plan.id):
        raise Stale(
            error(
                "This plan was applied already",
                f"Plan {saved.plan.id} was started before; a plan is used once.",
                "Plan again: what is left to do is in the new plan.",
            )
        )


def _check_signature(context: Context, saved: Saved, *, allow_unsigned: bool) -> None:
    hint = "Plan again where the state key is at hand, or pass --allow-unsigned."
    if saved.mac is None:
        if not allow_unsigned:
            raise Stale(error("This plan is not signed", f"{saved.file} has no signature.", hint))
        return
    made = _signature(context, codec.plan_to_json(saved.plan))
    if made is None or made.key_id != saved.mac.key_id:
        if not allow_unsigned:
            why = f"{saved.file} was signed with state key {saved.mac.key_id}, which is not here."
            raise Stale(error("The signature of this plan cannot be checked", why, hint))
        return
    if made != saved.mac:
        why = f"{saved.file} is not what was signed: it was changed."
        raise Stale(error("The signature of this plan is wrong", why, "Plan again."))


def same_manifests(saved: Saved, planned: Planned) -> None:
    """Stale when the manifests are no longer those that were planned."""
    if saved.plan.base.manifests_digest == planned.plan.base.manifests_digest:
        return
    before = {change.address: change for change in saved.plan.changes}
    now = {change.address: change for change in planned.plan.changes}
    differ = sorted(
        str(address)
        for address in {*before, *now}
        if address not in before
        or address not in now
        or before[address].after != now[address].after
    )
    where = ", ".join(differ[:10]) + (", ..." if len(differ) > 10 else "")
    raise Stale(
        error(
            "The manifests changed since this plan was made",
            f"What is declared differs now{f': {where}' if where else ''}.",
            "Plan again; or apply what is still the same: `synapse-apply apply --reviewed "
            f"{saved.file}`.",
        )
    )


def narrow(saved: Saved, planned: Planned, *, reviewed: bool) -> Planned:
    """The fresh plan with only the saved rows that are still true; the others are refused alone.

    With `reviewed`, rows that the saved plan does not have are refused, too; without, they are
    left out: the plan did not touch them.
    """
    before = {change.address: change for change in saved.plan.changes}
    fresh = planned.plan
    stopped: set[Address] = set()
    kept: list[Change] = []
    for change in fresh.changes:
        row = _row(before.pop(change.address, None), change, reviewed=reviewed)
        if row is None:
            continue
        if row.changes_server and (needs := stopped & set(row.depends_on)):
            row = replace(row, refusals=(stale.dependency(needs),))
        if row.refused:
            stopped.add(row.address)
        kept.append(row)
    gone = [stale.gone(change) for change in before.values() if _acts(change)]
    plan = replace(fresh, id=fresh.id if reviewed else saved.plan.id, changes=(*kept, *gone))
    return replace(planned, plan=plan)


def _row(before: Change | None, now: Change, *, reviewed: bool) -> Change | None:
    if not _acts(now):
        return now
    if before is None or not _acts(before):
        return stale.unreviewed(now) if reviewed else None
    return now if stale.same(before, now) else stale.refused(before, now)


def _acts(change: Change) -> bool:
    return not change.superseded and (change.action is not Action.NO_OP or change.refused)


def _signature(context: Context, body: Any) -> Mac | None:
    return context.secrets.mac("", _SIGNED_AS, Sensitive(codec.canonical(body)))


def _unusable(path: Path, why: str, hint: str) -> InputError:
    return InputError(error("This plan file cannot be used", f"{path}: {why}.", hint))
