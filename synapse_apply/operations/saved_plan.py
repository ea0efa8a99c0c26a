"""What a saved plan contains, and when it is stale as a whole (design section 7)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.coding import codec
from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import StateStore
from synapse_apply.model.values import Mac, Sensitive
from synapse_apply.operations import saved_plan_file
from synapse_apply.planning.narrow import narrow_plan, unite_plans
from synapse_apply.planning.plan_input import PlanOptions
from synapse_apply.workspace.state_access import describe_identity
from synapse_apply.workspace.target_session import PlanResult, TargetSession

FORMAT = 1
_FORMAT_WITH_PACKAGES = 2  # of `plan --with-packages`, which went before the first version
# The options without a value that change the rows of a plan; runs are on where a file lacks them.
_FLAGS = (
    *("prune", "adopt", "recreate", "resend_secrets", "verify"),
    *("revert_drift", "allow_locked", "allow_replace"),
)
_SIGNATURE_PATH = ("plan",)
_SIGNED_KEYS = ("plan", "choices")


@frozen
class SavedPlan:
    """A plan as read from its file.

    `options` are those it was made with, without the project file's rules. `mac` is the signature
    of `signed_text` under a state key, None without one.
    """

    file: Path
    plan: Plan
    options: PlanOptions
    signed_text: str
    mac: Mac | None

    def with_current_rules(self, current_options: PlanOptions) -> PlanOptions:
        """The options to plan again with: the saved plan's, under the project file's current rules.

        Guards may be overridden when the plan is made and when it is applied.
        """
        return replace(
            self.options,
            recreate=self.options.recreate or current_options.recreate,
            overridden=self.options.overridden | current_options.overridden,
            guards=current_options.guards,
            policy=current_options.policy,
            on_drift=current_options.on_drift,
        )


@frozen
class SaveResult:
    """Whether the plan was signed."""

    is_signed: bool


def save_plan_to_new_file(
    session: TargetSession, plan: Plan, options: PlanOptions, path: Path
) -> SaveResult:
    """Write a plan to a new file (0600), completely or not at all.

    InputError when the file exists, cannot be written, or the plan has errors.
    """
    # A file is an approval, and a plan with errors cannot be applied.
    if plan.has_errors:
        raise InputError(*(finding for finding in plan.diagnostics if finding.is_error))
    body: JsonObject = {"plan": codec.plan_to_json(plan), "choices": _options_to_json(options)}
    mac = _sign_text(session, format_canonical_json(body))
    signature = {"key_id": mac.key_id, "mac": mac.digest} if mac else None
    text = json.dumps({"format": FORMAT, **body, "signature": signature}, sort_keys=True)
    saved_plan_file.write_new_plan_file(path, text)
    return SaveResult(mac is not None)


def read_saved_plan_without_verifying_signature(path: Path) -> SavedPlan:
    """The plan in a file, its signature unchecked; InputError for none, a damaged or newer one."""
    document = saved_plan_file.read_plan_document(path)
    try:
        format_number = document["format"]
        if format_number == _FORMAT_WITH_PACKAGES:
            raise saved_plan_file.build_packages_error(path)
        if format_number != FORMAT:
            reason = "another version wrote it"
            raise saved_plan_file.build_unusable_error(
                path, reason, "Make the plan again with this version."
            )
        signature = document["signature"]
        return SavedPlan(
            path,
            codec.plan_from_json(document["plan"]),
            _options_from_json(document["choices"]),
            format_canonical_json(
                {name: document[name] for name in _SIGNED_KEYS if name in document}
            ),
            Mac(str(signature["key_id"]), str(signature["mac"])) if signature else None,
        )
    except saved_plan_file.DAMAGED_FILE_ERRORS:
        raise saved_plan_file.build_damaged_error(path) from None


def unite_saved_plans(plans: Sequence[SavedPlan]) -> SavedPlan:
    """One plan for all of them; a single plan is returned as it is.

    Selections are united. Stale, with every finding, where the plans differ in target or options
    or are given twice, so that no single apply could be what was reviewed.
    """
    if len(plans) == 1:
        return plans[0]
    problems = (
        *_iter_repeated_plans(plans),
        *_iter_other_states(plans),
        *_iter_other_options(plans),
    )
    if problems:
        raise Stale(*problems)
    newest = plans[-1]
    selections = [each.options.selected for each in plans]
    chosen = [selection for selection in selections if selection is not None]
    everything = len(chosen) < len(selections)
    return replace(
        newest,
        plan=unite_plans([each.plan for each in plans]),
        options=replace(
            newest.options, selected=None if everything else frozenset().union(*chosen)
        ),
    )


def require_usable_plans(
    context: TargetSession, plans: Sequence[SavedPlan], *, reviewed: bool, allow_unsigned: bool
) -> tuple[Diagnostic, ...]:
    """Stale, with all findings, unless every plan is usable; returns the warnings of all."""
    warnings: list[Diagnostic] = []
    problems: list[Diagnostic] = []
    for each in plans:
        try:
            warnings += require_usable_plan(
                context, each, reviewed=reviewed, allow_unsigned=allow_unsigned
            )
        except Stale as stale:
            problems += [finding for finding in stale.diagnostics if finding not in problems]
    if problems:
        raise Stale(*problems)
    return tuple(warnings)


def require_usable_plan(
    session: TargetSession, saved_plan: SavedPlan, *, reviewed: bool, allow_unsigned: bool
) -> tuple[Diagnostic, ...]:
    """Stale (exit 4) unless the plan is genuine, for this target, and not applied yet.

    A reviewed plan may be applied again. Returns the warnings about an unsigned plan that is
    allowed.
    """
    findings = list_state_errors(session.store, saved_plan, session.target.name)
    # First whose plan it is: with another target's key nothing can be said of its signature.
    if any(finding.summary == _OTHER_TARGET_SUMMARY for finding in findings):
        raise Stale(*findings)
    warnings = _require_signature(session, saved_plan, allow_unsigned=allow_unsigned)
    if findings and not reviewed:
        raise Stale(*findings)
    return warnings


_APPLIED_SUMMARY = "This plan was applied already"
_OTHER_TARGET_SUMMARY = "This plan is for another target"


def list_state_errors(
    store: StateStore, saved_plan: SavedPlan, target: str
) -> tuple[Diagnostic, ...]:
    """Errors where a state is not the one the plan was made for, or has applied it."""
    base, current_identity = saved_plan.plan.base, store.read_backend_identity()
    if base.binding != current_identity or base.lineage != store.read_lineage():
        current_text = f"target {target} is {describe_identity(current_identity)}"
        if base.binding == current_identity:
            current_text = "the state is another one now"
        return (
            error_finding(
                _OTHER_TARGET_SUMMARY,
                f"It was made for {describe_identity(base.binding)} ({base.target}); "
                f"{current_text}.",
                _build_other_target_hint(saved_plan, target),
            ),
        )
    if store.was_plan_applied(saved_plan.plan.id):
        return (
            error_finding(
                _APPLIED_SUMMARY,
                f"Plan {saved_plan.plan.id} was started before; a plan is used once.",
                Text(
                    "Plan again: what is left to do is in the new plan. ",
                    Command("state history show", saved_plan.plan.id),
                    " tells what it did.",
                ),
            ),
        )
    return ()


def _build_other_target_hint(saved_plan: SavedPlan, target: str) -> str:
    """What to do with a plan that was made for another state."""
    own_target = saved_plan.plan.base.target
    if own_target == target:
        return "Apply it where that is the state or the backend of this target, or plan again."
    return f"Apply it with -t {shlex.quote(own_target)}, the target it was made for, or plan again."


def _require_signature(
    session: TargetSession, saved_plan: SavedPlan, *, allow_unsigned: bool
) -> tuple[Diagnostic, ...]:
    """Stale for a wrong signature; for one that is missing or unknown, Stale or a warning."""
    expected_mac = _sign_text(session, saved_plan.signed_text)
    if saved_plan.mac is None:
        summary, reason = "This plan is not signed", f"{saved_plan.file} has no signature."
    elif expected_mac is None or expected_mac.key_id != saved_plan.mac.key_id:
        summary = "The signature of this plan cannot be checked"
        reason = (
            f"{saved_plan.file} was signed with state key {saved_plan.mac.key_id}, which is "
            f"not here."
        )
    elif expected_mac != saved_plan.mac:
        reason = f"{saved_plan.file} is not what was signed: it was changed."
        raise Stale.from_summary("The signature of this plan is wrong", reason, "Plan again.")
    else:
        return ()
    if allow_unsigned:
        return (warning_finding(summary, f"{reason} What it says is done as it is shown."),)
    hint = "Plan again where the state key is available, or pass --allow-unsigned."
    raise Stale.from_summary(summary, reason, hint)


def narrow_to_saved(
    saved_plan: SavedPlan, plan_result: PlanResult, *, reviewed: bool
) -> PlanResult:
    """The new plan without rows that the saved plan does not have, or has differently.

    Stale when the manifests differ from the planned ones; with `reviewed` they may differ, and
    rows that the reviewed plan does not have are refused. Stale, too, when a record would be
    renamed that the saved plan does not rename.
    """
    if not reviewed:
        _require_same_manifests(saved_plan, plan_result)
    saved_moves = {(move.old, move.new) for move in saved_plan.plan.moved}
    new_moves = [move for move in plan_result.plan.moved if (move.old, move.new) not in saved_moves]
    if new_moves:
        moves_text = ", ".join(f"{move.old} to {move.new}" for move in new_moves[:10])
        raise Stale.from_summary(
            "Addresses would be moved that this plan does not move",
            f"{moves_text}{', ...' if len(new_moves) > 10 else ''}.",
            "Plan again: `moved:` of the project file changed since.",
            position=new_moves[0].position,
        )
    return replace(
        plan_result, plan=narrow_plan(saved_plan.plan, plan_result.plan, reviewed=reviewed)
    )


def _iter_repeated_plans(plans: Sequence[SavedPlan]) -> Iterator[Diagnostic]:
    for plan_id, files in _group_file_names_by_text((each.plan.id, each) for each in plans).items():
        if len(files) > 1:
            yield error_finding(
                "A reviewed plan is given more than once",
                f"{', '.join(files)}: plan {plan_id}.",
                "Give each plan once, in the order in which they were merged.",
            )


def _iter_other_states(plans: Sequence[SavedPlan]) -> Iterator[Diagnostic]:
    groups = _group_file_names_by_text((_describe_base(each), each) for each in plans)
    if len(groups) > 1:
        yield error_finding(
            "These plans were made for different targets",
            f"{_join_with_files(groups)}. One apply works on one target and its state.",
            "Apply each on the target it was made for, with an `apply --reviewed` of its own.",
        )


def _describe_base(plan: SavedPlan) -> str:
    base = plan.plan.base
    return f"{describe_identity(base.binding)} ({base.target}), state {base.lineage},"


def _iter_other_options(plans: Sequence[SavedPlan]) -> Iterator[Diagnostic]:
    for option in _describe_choices(plans[0].options):
        groups = _group_file_names_by_text(
            (_describe_choices(each.options)[option], each) for each in plans
        )
        if len(groups) > 1:
            yield error_finding(
                "These plans were made with different options",
                f"{option} is {_join_with_files(groups)}. One apply has one choice, so "
                "that rows of it would not be what was reviewed.",
                "Apply each with an `apply --reviewed` of its own, older first, or plan again with "
                "the same options.",
            )


def _group_file_names_by_text(plans: Iterable[tuple[str, SavedPlan]]) -> dict[str, list[str]]:
    """The plans' file names, grouped by the text that stands before each plan."""
    groups: dict[str, list[str]] = {}
    for text, plan in plans:
        groups.setdefault(text, []).append(str(plan.file))
    return groups


def _join_with_files(groups: dict[str, list[str]]) -> str:
    return "; ".join(f"{text} in {', '.join(files)}" for text, files in groups.items())


def _describe_choices(options: PlanOptions) -> dict[str, str]:
    """What changes the rows of a plan, as it is typed: plans of one apply agree on each."""
    flags = {f"--{name.replace('_', '-')}": getattr(options, name) for name in _FLAGS}
    flags["--no-verify"] = not flags.pop("--verify")
    texts = {option: "on" if choice else "off" for option, choice in flags.items()}
    names = {"--override-guard": options.overridden, "--no-package-check": options.no_package_check}
    return texts | {option: ", ".join(sorted(given)) or "none" for option, given in names.items()}


def _require_same_manifests(saved_plan: SavedPlan, plan_result: PlanResult) -> None:
    if saved_plan.plan.base.manifests_digest == plan_result.plan.base.manifests_digest:
        return
    saved_changes = {change.address: change for change in saved_plan.plan.changes}
    new_changes = {change.address: change for change in plan_result.plan.changes}
    differing_addresses = [
        str(address)
        for address in sorted({*saved_changes, *new_changes})
        if _has_other_planned_values(address, saved_changes, new_changes)
    ]
    differing_text = ", ".join(differing_addresses[:10]) + (
        ", ..." if len(differing_addresses) > 10 else ""
    )
    raise Stale.from_summary(
        "The manifests changed since this plan was made",
        f"What is declared is not what was "
        f"planned{f': see {differing_text}' if differing_text else ''}.",
        Text(
            "Plan again. If only variables or files were left out, give the same --var, "
            "--var-file, --file and --ref as for the plan. What is still the same can go: ",
            Command("apply --reviewed", saved_plan.file),
            ".",
        ),
    )


def _has_other_planned_values(
    address: Address, saved_changes: Mapping[Address, Any], new_changes: Mapping[Address, Any]
) -> bool:
    if address not in saved_changes or address not in new_changes:
        return True
    encoded_changes = [
        codec.change_to_json(changes[address]) for changes in (saved_changes, new_changes)
    ]
    return bool(encoded_changes[0]["after"] != encoded_changes[1]["after"])


def _options_to_json(options: PlanOptions) -> JsonObject:
    selected = options.selected
    return {
        **{name: getattr(options, name) for name in _FLAGS},
        "no_package_check": sorted(options.no_package_check),
        "overridden": sorted(options.overridden),
        "selected": None if selected is None else sorted(map(str, selected)),
    }


def _options_from_json(data: Mapping[str, Any]) -> PlanOptions:
    selected = data["selected"]
    flags: dict[str, Any] = {name: data.get(name, name == "verify") is True for name in _FLAGS}
    return PlanOptions(
        **flags,
        no_package_check=frozenset(map(str, data.get("no_package_check", ()))),
        overridden=frozenset(map(str, data["overridden"])),
        selected=None if selected is None else frozenset(map(Address.parse, selected)),
    )


def _sign_text(session: TargetSession, signed_text: str) -> Mac | None:
    return session.secrets.compute_mac("", _SIGNATURE_PATH, Sensitive(signed_text))
