"""Several reviewed plans for one apply: what they approve together, and when they cannot.

They are given in the order in which they were merged, older first. Each is checked as if it were
alone. That nothing is done which none of them shows is decided where the plan of now is cut down
to them (`planning/narrow.py`), as for one plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import Stale
from synapse_apply.planning.situation import Choices
from synapse_apply.planning.unite import unite_plans
from synapse_apply.session.context import Context
from synapse_apply.session.saved import Saved, check
from synapse_apply.session.state_file import describe

# What changes the rows of a plan, as it is typed: plans of one apply agree on each.
_OPTIONS: dict[str, Callable[[Choices], str]] = {
    "--prune": lambda choices: _yes_or_no(choices.prune),
    "--adopt": lambda choices: _yes_or_no(choices.adopt),
    "--recreate": lambda choices: _yes_or_no(choices.recreate),
    "--resend-secrets": lambda choices: _yes_or_no(choices.resend_secrets),
    "--no-verify": lambda choices: _yes_or_no(not choices.verify),
    "--revert-drift": lambda choices: _yes_or_no(choices.revert_drift),
    "--allow-locked": lambda choices: _yes_or_no(choices.allow_locked),
    "--override-guard": lambda choices: ", ".join(sorted(choices.overridden)) or "none",
}


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
    for option, describe_choice in _OPTIONS.items():
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
