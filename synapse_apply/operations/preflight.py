"""What an apply checks beside its plan: the health of agents, and this machine's clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.plan import Plan
from synapse_apply.operations.checks.agents import (
    build_agents,
    check_token_and_health_of_each_agent,
)
from synapse_apply.operations.checks.clocks import build_findings_if_clock_is_off
from synapse_apply.workspace.target_session import PlanResult, TargetSession


class ApplyPreflight:
    """One apply's checks, each made once, however often it is planned again.

    The agents that the target names are asked for their health; the clock is judged by the
    answers that planning got anyway. A target without agents costs no request.
    """

    def __init__(self, session: TargetSession) -> None:
        """Sends nothing yet."""
        self._session = session

    def plan_and_add_findings(self, make_plan: Callable[[], PlanResult]) -> PlanResult:
        """Call `make_plan`, and add the findings to its diagnostics: an error stops the apply."""
        _ = self._agent_findings  # asked first: what they answer tells of the server's clock, too
        plan_result = make_plan()
        return replace(plan_result, plan=self.with_preflight_findings(plan_result.plan))

    def with_preflight_findings(self, plan: Plan) -> Plan:
        """The same for a plan that was made before."""
        check_findings = name_target_in_commands(
            (*self._agent_findings, *self._clock_findings), self._session.typed_target
        )
        return replace(plan, diagnostics=(*plan.diagnostics, *check_findings))

    @cached_property
    def _agent_findings(self) -> tuple[Diagnostic, ...]:
        session = self._session
        target_agents = build_agents(session.target.agents)
        if not target_agents:
            return ()
        results = check_token_and_health_of_each_agent(
            target_agents, session.secrets.resolve_setting, session.api.health_check_agent
        )
        return tuple(finding for result in results for finding in result.findings)

    @cached_property
    def _clock_findings(self) -> tuple[Diagnostic, ...]:
        return build_findings_if_clock_is_off(
            self._session.backend.server_clock.skew, self._session.target
        )
