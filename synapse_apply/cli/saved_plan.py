"""One apply of a saved plan or of reviewed ones: the file is the approval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from synapse_apply.cli.applying import Run
from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import Exit, ManifestError, Stale, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.session import carried
from synapse_apply.session.context import Context, open_context
from synapse_apply.session.saved import Saved, check_each, fit, read, unite_reviewed
from synapse_apply.session.where import Where

# What changes the rows of a plan is said when it is made: the file tells the rest.
_OF_THE_PLAN = {
    "prune": "--prune",
    "allow_locked": "--allow-locked",
    "resend_secrets": "--resend-secrets",
    "adopt": "--adopt",
    "no_verify": "--no-verify",
    "revert_drift": "--revert-drift",
    "only": "--only",
    "exclude": "--exclude",
}


@frozen
class ApprovedPlans:
    """What was approved: the plans as their files have them, older first, and one that unites them.

    `reviewed`: rows of it go although the manifests moved on.
    """

    files: tuple[Saved, ...]
    union: Saved
    reviewed: bool


def read_given(
    where: Where, plan: Path | None, reviewed: Sequence[Path], asked: Mapping[str, Any]
) -> ApprovedPlans | None:
    """The plans that were given, if any were; a usage error for what does not go with them.

    Stale where several reviewed plans cannot be one apply.
    """
    paths = [plan] if plan else list(reviewed)
    if not paths:
        return None
    if plan and reviewed:
        raise click.UsageError("Give a saved plan, or one with --reviewed, not both.")
    for name, option in _OF_THE_PLAN.items():
        if asked.get(name):
            raise click.UsageError(f"{option} is said when a plan is made: `plan {option} --out`.")
    files = tuple(read(where.directory / path) for path in paths)
    return ApprovedPlans(files, unite_reviewed(files), reviewed=not plan)


def of_its_target(where: Where, given: ApprovedPlans) -> Where:
    """Where to apply a plan: on the target that was typed, else on the one it was made for.

    Nothing is believed of that name: the state that it leads to must be the plan's.
    """
    return replace(where, target=where.target or given.union.plan.base.target)


@contextmanager
def _naming_target(target: str) -> Iterator[None]:
    """Commands that errors print name the plan's target, though nobody typed it."""
    try:
        yield
    except SynapseApplyError as problem:
        problem.diagnostics = aimed_findings(problem.diagnostics, target)
        raise


@contextmanager
def context_of(where: Where, given: ApprovedPlans | None) -> Iterator[Context]:
    """What to apply in. A saved plan was made from what could be used: what cannot is Stale.

    A reviewed plan is not bound to the manifests, so that its packages are not used either.
    """
    if given is None:
        with open_context(where) as context:
            yield context
        return
    with ExitStack() as stack, _naming_target(where.target or ""):
        if given.reviewed:
            yield stack.enter_context(open_context(where))
            return
        try:
            context = stack.enter_context(open_context(where, given.union.carrier))
        except ManifestError as problem:
            raise Stale(_not_here(given.union), *problem.diagnostics) from None
        yield context


def _not_here(given: Saved) -> Diagnostic:
    hint = (
        "Bring it back, or give the same --var, --var-file, --file and --ref as for the plan; "
        "otherwise plan again."
    )
    if given.carrier is None:
        hint += " A plan made with --with-packages needs no package sources."
    return error(
        "What was planned is not here any more",
        f"{given.file} was made from manifests and packages without an error. Nothing was sent.",
        hint,
    )


@frozen
class SavedRun:
    """An apply of approved plans; `run` gives its exit code."""

    of: Run
    approved: ApprovedPlans
    allow_unsigned: bool

    def run(self) -> int:
        """Check, plan anew, cut down, apply. Raises what stops it before its first call."""
        run, context = self.of, self.of.context
        saved, reviewed = self.approved.union, self.approved.reviewed
        with context.lock("apply"):
            warnings = check_each(
                context,
                self.approved.files,
                reviewed=reviewed,
                allow_unsigned=self.allow_unsigned,
            )
            if saved.carrier is not None and not reviewed:
                carried.check(saved.carrier, saved.plan, context.project.max_package_size)
            fresh = run.make_plan()
            if not fresh.plan.errored:
                fresh = fit(saved, fresh, reviewed=reviewed)
            run.show(fresh.plan)
            run.face.warn(warnings)
            if not run.may_go(fresh.plan):
                return Exit.ERROR
            return run.carry_out(fresh, once=not reviewed)
