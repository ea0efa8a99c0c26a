"""Use case: keep a plan in a file, and carry out only what it says (design section 7).

The file is a zip with plan.json in it: the plan, the options it was made with, and a signature
over both. It is bound by content: what it was made from, and what each object it touches looked
like. It holds no secret; url, token and allow-lists come from the checkout, never from it. It may
carry packages, each under its digest, which the plan names, so that the signature covers them.

Several reviewed plans are one apply: each is checked as if it were alone, and one plan that unites
them stands for all. That nothing is done which none of them shows is decided where the plan of now
is cut down to it (`planning/narrow.py`), as for one plan.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_values import Json
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import StateStore
from synapse_apply.model.values import Mac, Sensitive
from synapse_apply.planning.narrow import narrowed
from synapse_apply.planning.situation import Choices
from synapse_apply.planning.unite import unite_plans
from synapse_apply.session import plan_file
from synapse_apply.session.carried import openings
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.sources import Carrier, held_from_json, held_to_json
from synapse_apply.session.state_file import describe

FORMAT, FORMAT_WITH_PACKAGES = 1, 2
# What changes the rows of a plan, as it is typed: plans of one apply agree on each.
_OPTIONS_OF_ROWS: dict[str, Callable[[Choices], str]] = {
    "--prune": lambda choices: _yes_or_no(choices.prune),
    "--adopt": lambda choices: _yes_or_no(choices.adopt),
    "--recreate": lambda choices: _yes_or_no(choices.recreate),
    "--resend-secrets": lambda choices: _yes_or_no(choices.resend_secrets),
    "--no-verify": lambda choices: _yes_or_no(not choices.verify),
    "--revert-drift": lambda choices: _yes_or_no(choices.revert_drift),
    "--allow-locked": lambda choices: _yes_or_no(choices.allow_locked),
    "--override-guard": lambda choices: ", ".join(sorted(choices.overridden)) or "none",
}
_SIGNED_AS = ("plan",)
_SIGNED = ("plan", "choices", "sources")


@frozen
class Saved:
    """A plan as its file has it.

    `choices` are the options it was made with; the rules of the project file are not among them.
    `signed` is the text that `mac`, its signature under a state key if it has one, is over.
    `carrier` is its file where that carries packages.
    """

    file: Path
    plan: Plan
    choices: Choices
    signed: str
    mac: Mac | None
    carrier: Carrier | None = None

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


@frozen
class Kept:
    """How a plan was saved: signed or not, and the bytes of each package by its digest."""

    signed: bool
    packages: Mapping[str, int]


def save(
    context: Context, plan: Plan, choices: Choices, path: Path, *, with_packages: bool = False
) -> Kept:
    """Write a plan to a new file (0600), whole or not at all.

    `with_packages` puts the packages it uploads in, and what apply needs to know of any source.
    InputError when the file is there already, cannot be written, a package changed meanwhile, or
    the plan has errors.
    """
    if plan.errored:
        raise InputError(*(finding for finding in plan.diagnostics if finding.is_error))
    body: Json = {"plan": codec.plan_to_json(plan), "choices": _choices_to(choices)}
    if with_packages:
        body["sources"] = [held_to_json(one) for one in context.held]
    mac = _signature(context, codec.canonical(body))
    signature = {"key_id": mac.key_id, "mac": mac.digest} if mac else None
    number = FORMAT_WITH_PACKAGES if with_packages else FORMAT
    text = json.dumps({"format": number, **body, "signature": signature}, sort_keys=True)
    sizes = plan_file.write(path, text, openings(context, plan) if with_packages else ())
    return Kept(mac is not None, sizes)


def read(path: Path) -> Saved:
    """The plan in a file; InputError when it is none, is damaged or of a newer version."""
    contents = plan_file.read(path)
    try:
        return _saved(path, contents)
    except plan_file.DAMAGED:
        raise plan_file.damaged(path) from None


def _saved(path: Path, contents: plan_file.Contents) -> Saved:
    document = contents.document
    number = document["format"]
    if number not in (FORMAT, FORMAT_WITH_PACKAGES):
        why = "another version wrote it"
        raise plan_file.unusable(path, why, "Make the plan again with this version.")
    if number == FORMAT and contents.sizes:
        why = "it carries packages, and its plan was made without them"
        raise plan_file.unusable(path, why, "`synapse-apply plan --out FILE` makes one.")
    carrier, signature = None, document["signature"]
    if number == FORMAT_WITH_PACKAGES:
        held = tuple(map(held_from_json, document["sources"]))
        carrier = Carrier(path, held, contents.sizes)
    return Saved(
        path,
        codec.plan_from_json(document["plan"]),
        _choices_from(document["choices"]),
        codec.canonical({name: document[name] for name in _SIGNED if name in document}),
        Mac(str(signature["key_id"]), str(signature["mac"])) if signature else None,
        carrier,
    )


def unite_reviewed(plans: Sequence[Saved]) -> Saved:
    """A plan that stands for all of them; one alone is given back as it is.

    What only some of the addresses were planned for is planned for all of these. Stale where no
    single apply could be what was reviewed, with all that is in the way.
    """
    if len(plans) == 1:
        return plans[0]
    problems = (*_repetitions(plans), *_states(plans), *_other_options(plans))
    if problems:
        raise Stale(*problems)
    newest = plans[-1]
    selections = [each.choices.selected for each in plans]
    chosen = [selection for selection in selections if selection is not None]
    everything = len(chosen) < len(selections)
    return replace(
        newest,
        plan=unite_plans([each.plan for each in plans]),
        choices=replace(
            newest.choices, selected=None if everything else frozenset().union(*chosen)
        ),
        carrier=None,
    )


def check_each(
    context: Context, plans: Sequence[Saved], *, reviewed: bool, allow_unsigned: bool
) -> tuple[Diagnostic, ...]:
    """The warnings of all plans; Stale with what is wrong with any of them."""
    warnings: list[Diagnostic] = []
    problems: list[Diagnostic] = []
    for each in plans:
        try:
            warnings += check(context, each, reviewed=reviewed, allow_unsigned=allow_unsigned)
        except Stale as stale:
            problems += [finding for finding in stale.diagnostics if finding not in problems]
    if problems:
        raise Stale(*problems)
    return tuple(warnings)


def check(
    context: Context, saved: Saved, *, reviewed: bool, allow_unsigned: bool
) -> tuple[Diagnostic, ...]:
    """Stale (exit 4) unless this plan is genuine, for this target, and was not applied yet.

    A reviewed plan may be applied again. Gives the warnings of a plan that is let pass unsigned.
    """
    found = doubts(context.store, saved, context.target.name)
    # First whose plan it is: with another target's key nothing can be said of its signature.
    if any(finding.summary == _ELSEWHERE for finding in found):
        raise Stale(*found)
    warnings = _check_signature(context, saved, allow_unsigned=allow_unsigned)
    if found and not reviewed:
        raise Stale(*found)
    return warnings


_APPLIED = "This plan was applied already"
_ELSEWHERE = "This plan is for another target"


def doubts(store: StateStore, saved: Saved, target: str) -> tuple[Diagnostic, ...]:
    """Why the state of a target would not take this plan; nothing when it would."""
    base, now = saved.plan.base, store.binding()
    if base.binding != now or base.lineage != store.lineage():
        is_now = f"target {target} is {describe(now)}"
        if base.binding == now:
            is_now = "the state is another one now"
        return (
            error(
                _ELSEWHERE,
                f"It was made for {describe(base.binding)} ({base.target}); {is_now}.",
                _for_its_target(saved, target),
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


def _for_its_target(saved: Saved, target: str) -> str:
    """What to do with a plan that another state is asked to take."""
    its = saved.plan.base.target
    if its == target:
        return "Apply it where that is the state or the backend of this target, or plan again."
    return f"Apply it with -t {shlex.quote(its)}, the target it was made for, or plan again."


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
    rows that the reviewed plan does not have are refused. Stale, too, when a record would be
    renamed that the saved plan does not rename.
    """
    if not reviewed:
        _same_manifests(saved, planned)
    _same_moves(saved, planned)
    return replace(planned, plan=narrowed(saved.plan, planned.plan, reviewed=reviewed))


def _repetitions(plans: Sequence[Saved]) -> Iterator[Diagnostic]:
    for plan_id, files in _group_files((each.plan.id, each) for each in plans).items():
        if len(files) > 1:
            yield error(
                "A reviewed plan is given more than once",
                f"{', '.join(files)}: plan {plan_id}.",
                "Give each plan once, in the order in which they were merged.",
            )


def _states(plans: Sequence[Saved]) -> Iterator[Diagnostic]:
    groups = _group_files((_describe_base(each), each) for each in plans)
    if len(groups) > 1:
        yield error(
            "These plans were made for different targets",
            f"{_list_groups(groups)}. One apply works on one target and its state.",
            "Apply each on the target it was made for, with an `apply --reviewed` of its own.",
        )


def _describe_base(plan: Saved) -> str:
    base = plan.plan.base
    return f"{describe(base.binding)} ({base.target}), state {base.lineage},"


def _other_options(plans: Sequence[Saved]) -> Iterator[Diagnostic]:
    for option, describe_choice in _OPTIONS_OF_ROWS.items():
        groups = _group_files((describe_choice(each.choices), each) for each in plans)
        if len(groups) > 1:
            yield error(
                "These plans were made with different options",
                f"{option} is {_list_groups(groups)}. One apply has one choice, so that rows of it "
                "would not be what was reviewed.",
                "Apply each with an `apply --reviewed` of its own, older first, or plan again with "
                "the same options.",
            )


def _group_files(plans: Iterable[tuple[str, Saved]]) -> dict[str, list[str]]:
    """The names of the plans' files by what is said of each."""
    groups: dict[str, list[str]] = {}
    for text, plan in plans:
        groups.setdefault(text, []).append(str(plan.file))
    return groups


def _list_groups(groups: dict[str, list[str]]) -> str:
    return "; ".join(f"{text} in {', '.join(files)}" for text, files in groups.items())


def _yes_or_no(choice: bool) -> str:
    return "on" if choice else "off"


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
            "Plan again. If only variables or files were left out, give the same --var, "
            "--var-file, --file and --ref as for the plan. What is still the same can go: "
            f"`synapse-apply apply --reviewed {saved.file}`.",
        )
    )


def _same_moves(saved: Saved, planned: Planned) -> None:
    known = {(move.old, move.new) for move in saved.plan.moved}
    more = [move for move in planned.plan.moved if (move.old, move.new) not in known]
    if more:
        told = ", ".join(f"{move.old} to {move.new}" for move in more[:10])
        raise Stale(
            error(
                "Addresses would be moved that this plan does not move",
                f"{told}{', ...' if len(more) > 10 else ''}.",
                "Plan again: `moved:` of the project file changed since.",
                position=more[0].position,
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
        "revert_drift": choices.revert_drift,
        "allow_locked": choices.allow_locked,
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
        revert_drift=data.get("revert_drift", False) is True,
        allow_locked=data.get("allow_locked", False) is True,
        overridden=frozenset(map(str, data["overridden"])),
        selected=None if selected is None else frozenset(map(Address.parse, selected)),
    )


def _signature(context: Context, signed: str) -> Mac | None:
    return context.secrets.mac("", _SIGNED_AS, Sensitive(signed))
