"""Use case: what an apply looks at beside its plan, which proves the rest by its own reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.session.checks.agents import health, of_target
from synapse_apply.session.checks.clocks import clock_findings
from synapse_apply.session.context import Context, Planned


class Preflight:
    """One apply's checks, each made once, however often it is planned anew.

    The agents that the target names are asked for their health; the clock is judged by the
    answers that planning got anyway. A target without agents costs no request.
    """

    def __init__(self, context: Context) -> None:
        """Nothing is asked yet."""
        self._context = context

    def plan(self, make: Callable[[], Planned]) -> Planned:
        """A plan with what was found among its diagnostics: with an error it is not applied."""
        agents = self._agents
        made = make()
        beside = aimed_findings((*agents, *self._clock), self._context.aim)
        found = (*made.plan.diagnostics, *beside)
        return replace(made, plan=replace(made.plan, diagnostics=found))

    @cached_property
    def _agents(self) -> tuple[Diagnostic, ...]:
        context = self._context
        found = of_target(context.target.agents)
        if not found:
            return ()
        rows = health(found, context.secrets.resolve_setting, context.api.health_check_agent)
        return tuple(finding for row in rows for finding in row.findings)

    @cached_property
    def _clock(self) -> tuple[Diagnostic, ...]:
        return clock_findings(self._context.skew(), self._context.target)
