"""`plan --preflight`: the checks of `doctor` before anything else."""

from __future__ import annotations

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError
from synapse_apply.operations.doctor import run_all_checks
from synapse_apply.workspace.invocation import Invocation


def run_preflight_checks(invocation: Invocation) -> tuple[Diagnostic, ...]:
    """The warnings of all checks; InputError with every finding where one is a problem."""
    checkup = run_all_checks(invocation)
    if not checkup.is_healthy:
        raise InputError(*checkup.findings)
    return checkup.findings
