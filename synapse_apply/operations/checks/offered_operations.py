"""Which operations a backend offers, in doctor's rows, for commands that work without it too."""

from __future__ import annotations

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.checkup import CheckResult, CheckStatus
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.operations.checks import backend
from synapse_apply.operations.checks.target_checkup import (
    CHECK_RETRIES,
    LazyTargetParts,
    UncheckedError,
)
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession

_EMPTY = "An empty state knows no object."
_RISK_ON_ANY_BACKEND = (
    f"{_EMPTY} `plan` asks this backend for what exists: storages and "
    "releases, and plugins where it lists them, are found by name and adopted. Where it does not "
    "list them, import what `plan` would create and exists, or apply creates it a second time."
)


@frozen
class BackendOffer:
    """`rows` as in `doctor`; none where the backend could not be asked, and `unasked` says why.

    `listed` and `unlisted` are the kinds that only some backends can list.
    """

    rows: tuple[CheckResult, ...] = ()
    unasked: str = ""
    listed: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def empty_state_risk(self) -> str:
        """What an empty state cannot protect from here; on any backend if it was not asked."""
        lists, lacks = (
            " and ".join(f"{kind}s" for kind in kinds) for kinds in (self.listed, self.unlisted)
        )
        if lacks:
            return (
                f"{_EMPTY} This backend does not list {lacks}: import those that `plan` would "
                "create and that exist, or apply creates them a second time. All else is found by "
                "name and adopted."
            )
        if lists:
            return (
                f"{_EMPTY} This backend lists {lists}, so `plan` finds what exists, by code or "
                "name, and it is adopted."
            )
        return _RISK_ON_ANY_BACKEND


def read_backend_offer_or_unasked_reason(where: Invocation) -> BackendOffer:
    """Ask the target's backend, by reads alone; a failure is in the result and never raised."""
    with TargetSession(where, read_only=True, retries=CHECK_RETRIES) as session:
        checkup = LazyTargetParts(session, reads_manifests=False)
        try:
            checkup.answer_seconds.get_or_raise()
            rows = (
                *backend.report_api_versions_of_kinds(checkup),
                *backend.check_list_capabilities(checkup),
            )
        except RemoteError as failure:
            return BackendOffer(
                unasked=_join_summaries_with_request_ids(
                    CheckResult.from_finding(
                        "backend", backend.build_cheap_read_failure_finding(failure, checkup)
                    )
                )
            )
        except SynapseApplyError as problem:
            return BackendOffer(
                unasked=_join_summaries_with_request_ids(
                    *(CheckResult.from_finding("", finding) for finding in problem.diagnostics[:1])
                )
            )
        except UncheckedError as missing:
            return BackendOffer(unasked=f"{missing}")
        broken = [row for row in rows if row.status is not CheckStatus.OK]
        if broken:
            return BackendOffer(unasked=_join_summaries_with_request_ids(*broken[:1]))
        lists = {row.subject for row in rows if row.summary == backend.HAS_LIST}
        listed: list[str] = []
        unlisted: list[str] = []
        for kind in CATALOGUE.values():
            if any(binding.list_capability for binding in kind.bindings.values()):
                needs = kind.select_newest_binding(
                    checkup.target.get_or_raise_unchecked_error().api
                ).list_capability
                (listed if not needs or needs in lists else unlisted).append(kind.prefix)
        return BackendOffer(rows, listed=tuple(listed), unlisted=tuple(unlisted))


def _join_summaries_with_request_ids(*rows: CheckResult) -> str:
    """The rows' summaries in one line, without the server's own words."""
    return " ".join(
        row.summary
        + (
            f" (request id {row.first_request_id_or_empty})"
            if row.first_request_id_or_empty
            else ""
        )
        for row in rows
    )
