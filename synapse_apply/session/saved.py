"""Use case: keep a plan in a file, and carry out only what it says (design section 7).

The file is a zip with plan.json in it: the plan, the options it was made with, and a signature
over both. It is bound by content: what it was made from, and what each object it touches looked
like. It holds no secret; url, token and allow-lists come from the checkout, never from it.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.model.json_values import Json
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import StateStore
from synapse_apply.model.values import Mac, Sensitive
from synapse_apply.planning.narrow import narrowed
from synapse_apply.planning.situation import Choices
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.state_file import describe

FORMAT = 1
_PLAN = "plan.json"
_SIGNED_AS = ("plan",)
_LARGEST_PLAN = 1024**3
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
# Among the RuntimeErrors are those of unknown zip features and of JSON nested too deeply.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Saved:
    """A plan as its file has it.

    `choices` are the options it was made with; the rules of the project file are not among them.
    `signed` is the text that `mac`, its signature under a state key if it has one, is over.
    """

    file: Path
    plan: Plan
    choices: Choices
    signed: str
    mac: Mac | None

    def choices_for(self, now: Choices) -> Choices:
        """What to plan anew with: as it was planned, under the rules of now.

        Guards may be overridden when it is applied, too.
        """
        return replace(
            self.choices,
            recreate=self.choices.recreate or now.recreate,
            overridden=self.choices.overridden | now.overridden,
            guards=now.guards,
            policy=now.policy,
            on_drift=now.on_drift,
        )


def check_free(path: Path) -> None:
    """InputError when there is something at this path: a plan never replaces a file."""
    if path.exists() or path.is_symlink():
        raise _exists(path)


def save(context: Context, plan: Plan, choices: Choices, path: Path) -> bool:
    """Write a plan to a new file (0600), whole or not at all; True when it is signed.

    InputError when it is there already, cannot be written, or the plan has errors.
    """
    if plan.errored:
        raise InputError(*(finding for finding in plan.diagnostics if finding.is_error))
    body = {"plan": codec.plan_to_json(plan), "choices": _choices_to(choices)}
    mac = _signature(context, codec.canonical(body))
    signature = {"key_id": mac.key_id, "mac": mac.digest} if mac else None
    text = json.dumps({"format": FORMAT, **body, "signature": signature}, sort_keys=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _private(aside) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(_PLAN, _FIXED_TIME), text, zipfile.ZIP_DEFLATED)
        _publish(aside, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as problem:
        why = problem.strerror or "it cannot be written"
        raise _unusable(path, why, "Choose another place for --out.") from None
    finally:
        _discard(aside)
    return mac is not None


def read(path: Path) -> Saved:
    """The plan in a file; InputError when it is none, is damaged or of a newer version."""
    again = "Make the plan again with this version."
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_PLAN).file_size > _LARGEST_PLAN:
                raise _unusable(path, "its plan is too large", again)
            document: Any = json.loads(archive.read(_PLAN))
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise _unusable(path, "another version wrote it", again)
        return _saved(path, document)
    except OSError as problem:
        raise _unusable(path, problem.strerror or "it cannot be read", "Check the path.") from None
    except (*_DAMAGED, KeyError, TypeError, ValueError, AttributeError):
        way = "`synapse-apply plan --out FILE` makes one."
        raise _unusable(path, "it is not a plan, or it is damaged", way) from None


def _saved(path: Path, document: Mapping[str, Any]) -> Saved:
    signature = document.get("signature")
    return Saved(
        path,
        codec.plan_from_json(document["plan"]),
        _choices_from(document["choices"]),
        codec.canonical({"plan": document["plan"], "choices": document["choices"]}),
        Mac(str(signature["key_id"]), str(signature["mac"])) if signature else None,
    )


def is_plan(path: Path) -> bool:
    """Whether a file looks like a saved plan."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _PLAN in archive.namelist()
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError):
        return False


def check(
    context: Context, saved: Saved, *, reviewed: bool, allow_unsigned: bool
) -> tuple[Diagnostic, ...]:
    """Stale (exit 4) unless this plan is genuine, for this target, and was not applied yet.

    A reviewed plan may be applied again. Gives the warnings of a plan that is let pass unsigned.
    """
    warnings = _check_signature(context, saved, allow_unsigned=allow_unsigned)
    problems = [
        finding
        for finding in doubts(context.store, saved, context.target.name)
        if finding.is_error and not (reviewed and finding.summary == _APPLIED)
    ]
    if problems:
        raise Stale(*problems)
    return warnings


_APPLIED = "This plan was applied already"


def doubts(store: StateStore, saved: Saved, target: str) -> tuple[Diagnostic, ...]:
    """Why the state of a target would not take this plan; nothing when it would."""
    base, now = saved.plan.base, store.binding()
    if base.binding != now or base.lineage != store.lineage():
        is_now = f"target {target} is {describe(now)}"
        if base.binding == now:
            is_now = "the state is another one now"
        return (
            error(
                "This plan is for another target",
                f"It was made for {describe(base.binding)} ({base.target}); {is_now}.",
                "Apply it with the target it was made for, or plan again.",
            ),
        )
    if store.was_applied(saved.plan.id):
        return (
            error(
                _APPLIED,
                f"Plan {saved.plan.id} was started before; a plan is used once.",
                "Plan again: what is left to do is in the new plan. "
                f"`synapse-apply history show {saved.plan.id}` tells what it did.",
            ),
        )
    return ()


def _check_signature(
    context: Context, saved: Saved, *, allow_unsigned: bool
) -> tuple[Diagnostic, ...]:
    made = _signature(context, saved.signed)
    if saved.mac is None:
        summary, why = "This plan is not signed", f"{saved.file} has no signature."
    elif made is None or made.key_id != saved.mac.key_id:
        summary = "The signature of this plan cannot be checked"
        why = f"{saved.file} was signed with state key {saved.mac.key_id}, which is not here."
    elif made != saved.mac:
        why = f"{saved.file} is not what was signed: it was changed."
        raise Stale(error("The signature of this plan is wrong", why, "Plan again."))
    else:
        return ()
    if allow_unsigned:
        return (warning(summary, f"{why} What it says is done as it is shown."),)
    hint = "Plan again where the state key is at hand, or pass --allow-unsigned."
    raise Stale(error(summary, why, hint))


def fit(saved: Saved, planned: Planned, *, reviewed: bool) -> Planned:
    """A fresh plan cut down to the saved rows that are still true.

    Stale when the manifests are not those that were planned; with `reviewed` they may differ, and
    rows that the reviewed plan does not have are refused.
    """
    if not reviewed:
        _same_manifests(saved, planned)
    return replace(planned, plan=narrowed(saved.plan, planned.plan, reviewed=reviewed))


def _same_manifests(saved: Saved, planned: Planned) -> None:
    if saved.plan.base.manifests_digest == planned.plan.base.manifests_digest:
        return
    before = {change.address: change for change in saved.plan.changes}
    now = {change.address: change for change in planned.plan.changes}
    differ = [str(at) for at in sorted({*before, *now}) if _differs(at, before, now)]
    where = ", ".join(differ[:10]) + (", ..." if len(differ) > 10 else "")
    raise Stale(
        error(
            "The manifests changed since this plan was made",
            f"What is declared is not what was planned{f': see {where}' if where else ''}.",
            "Plan again. If only variables or files were left out, give the same --var, --var-file "
            "and --file as for the plan. What is still the same can go: `synapse-apply apply "
            f"--reviewed {saved.file}`.",
        )
    )


def _differs(address: Address, before: Mapping[Address, Any], now: Mapping[Address, Any]) -> bool:
    if address not in before or address not in now:
        return True
    sides = [codec.change_to_json(rows[address]) for rows in (before, now)]
    return bool(sides[0]["after"] != sides[1]["after"])


def _choices_to(choices: Choices) -> Json:
    selected = choices.selected
    return {
        "prune": choices.prune,
        "adopt": choices.adopt,
        "recreate": choices.recreate,
        "resend_secrets": choices.resend_secrets,
        "verify": choices.verify,
        "overridden": sorted(choices.overridden),
        "selected": None if selected is None else sorted(map(str, selected)),
    }


def _choices_from(data: Mapping[str, Any]) -> Choices:
    selected = data["selected"]
    return Choices(
        prune=data["prune"] is True,
        adopt=data["adopt"] is True,
        recreate=data["recreate"] is True,
        resend_secrets=data["resend_secrets"] is True,
        verify=data.get("verify", True) is True,
        overridden=frozenset(map(str, data["overridden"])),
        selected=None if selected is None else frozenset(map(Address.parse, selected)),
    )


def _signature(context: Context, signed: str) -> Mac | None:
    return context.secrets.mac("", _SIGNED_AS, Sensitive(signed))


def _private(path: Path) -> BinaryIO:
    """A new file that nobody else may read; FileExistsError when it is there."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _publish(aside: Path, path: Path) -> None:
    """Give a finished file its name; unlike a rename, this never replaces a file."""
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with _private(path) as file:
            file.write(aside.read_bytes())


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the file that was asked for is there, or its own error is being told


def _exists(path: Path) -> InputError:
    return _unusable(path, "it exists already", "Give another name, or remove it.")


def _unusable(path: Path, why: str, hint: str) -> InputError:
    return InputError(error("This plan file cannot be used", f"{path}: {why}.", hint))
