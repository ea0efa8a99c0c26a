"""`plan --preflight`: the checks of `doctor` before anything else."""

from __future__ import annotations

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError
from synapse_apply.session.doctor import doctor
from synapse_apply.session.where import Where


def examine(where: Where) -> tuple[Diagnostic, ...]:
    """The warnings of all checks; InputError with every finding where one is a problem."""
    checkup = doctor(where)
    if not checkup.is_well:
        raise InputError(*checkup.findings)
    return checkup.findings
