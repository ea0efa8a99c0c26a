"""Which live versions of a series a policy rule compares a new member with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from synapse_apply.live.live_reader import LiveReader
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.observed import Observed
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.policy import PolicyRule
from synapse_apply.model.resource import Desired
from synapse_apply.model.runtime.parallel_reads import open_thread_pool
from synapse_apply.model.state import Record
from synapse_apply.model.values import Reference
from synapse_apply.planning.plan_input import PublishedVersions, SeriesKey
from synapse_apply.planning.policy.resource_rules import series_rules
from synapse_apply.workspace.target_session import TargetSession

VersionWarnings = tuple[Diagnostic, ...]


# `version-grows` must know releases that nobody recorded. They are listed only for a new member
# under such a rule, once per plugin; on v2 the list that had no release with its key has them all.
# Where a backend has no such list, the plan says so.
def read_compared_versions(
    session: TargetSession,
    live_reader: LiveReader,
    records: Mapping[Address, Record],
    selected: frozenset[Address] | None,
) -> tuple[PublishedVersions, VersionWarnings]:
    """Live versions by (prefix, series); and a warning where a backend cannot list them.

    Only series with a new member under such a rule are read, each once.
    """
    rules = series_rules(session.target.policy.rules)
    if not rules:
        return {}, ()
    resources_by_series: dict[SeriesKey, list[Desired]] = {}
    for address, resource in session.desired.items():
        if address not in records and (selected is None or address in selected):
            for series_key in _joined_series(session, live_reader, resource, rules):
                resources_by_series.setdefault(series_key, []).append(resource)
    with open_thread_pool(session.parallelism) as pool:
        members_by_series = dict(
            zip(
                resources_by_series,
                pool.map(
                    live_reader.list_series_members,
                    (resources[0] for resources in resources_by_series.values()),
                ),
                strict=True,
            )
        )
    unknown_addresses = [
        resource.address
        for series_key, series_resources in resources_by_series.items()
        if members_by_series[series_key] is None
        for resource in series_resources
    ]
    return (
        {
            series_key: _list_member_versions(session, series_key, members)
            for series_key, members in members_by_series.items()
            if members
        },
        _unknown_versions(sorted(unknown_addresses), rules),
    )


def _joined_series(
    session: TargetSession, live_reader: LiveReader, resource: Desired, rules: Iterable[PolicyRule]
) -> Iterator[SeriesKey]:
    """The series that a new resource will join, where a rule applies to it; at most one."""
    kind, lookup_result = (
        session.catalogue[resource.address.kind],
        live_reader.lookup_results[resource.address],
    )
    is_new = lookup_result.observed is None and lookup_result.problem is None
    # An id in the place of the owner's name does not say to which rules it leads.
    is_named = isinstance(resource.spec.get(kind.series_field), Reference)
    if (
        kind.series_field
        and is_new
        and any(not is_named or rule.applies_to(resource.address) for rule in rules)
    ):
        yield SeriesKey(kind.prefix, kind.locate_in_series(resource.spec)[0])


def _list_member_versions(
    session: TargetSession, series_key: SeriesKey, members: Iterable[Observed]
) -> list[str]:
    version_field = session.catalogue[series_key.kind].version_field
    return [str(member.spec[version_field]) for member in members if version_field in member.spec]


def _unknown_versions(
    unknown_addresses: list[Address], rules: Iterable[PolicyRule]
) -> VersionWarnings:
    if not unknown_addresses:
        return ()
    return (
        warning_finding(
            "A policy rule sees only recorded releases",
            f"{format_short_list(unknown_addresses)}: this backend does not tell which others of "
            f"the series are live, "
            "so that a higher version would not be noticed unless it is recorded (policy: "
            f"{format_short_list(rule.name for rule in rules)}).",
            Text(Command("import ADDRESS ID"), " records one that is there."),
        ),
    )
