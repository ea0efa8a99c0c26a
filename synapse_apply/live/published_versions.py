"""Which live versions of a series a policy rule compares a new member with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from synapse_apply.live.live_reader import LiveReader
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.resource import Desired
from synapse_apply.model.runtime.parallel_reads import open_thread_pool
from synapse_apply.model.state import Record
from synapse_apply.model.values import Reference
from synapse_apply.planning.plan_input import PublishedVersions, SeriesKey
from synapse_apply.planning.policy.resource_rules import series_rules
from synapse_apply.workspace.target_session import TargetSession


# `version-grows` must know releases that nobody recorded. They are listed only for a new member
# under such a rule, once per plugin; on v2 the list that had no release with its key has them all.
# Where a backend has no such list, the plan says so.
def read_compared_versions(
    session: TargetSession,
    live_reader: LiveReader,
    records: Mapping[Address, Record],
    selected: frozenset[Address] | None,
) -> tuple[PublishedVersions, tuple[Diagnostic, ...]]:
    """Live versions by (prefix, series); and a warning where a backend cannot list them.

    Only series with a new member under such a rule are read, each once.
    """
    rules = series_rules(session.target.policy.rules)
    if not rules:
        return {}, ()
    by_series: dict[SeriesKey, list[Desired]] = defaultdict(list)
    for address, resource in session.desired.items():
        kind, result = session.catalogue[address.kind], live_reader.lookup_results[address]
        is_new = address not in records and result.observed is None and result.problem is None
        if (
            not kind.series_field
            or not is_new
            or (selected is not None and address not in selected)
        ):
            continue
        # An id in the place of the owner's name does not say to which rules it leads.
        is_named = isinstance(resource.spec.get(kind.series_field), Reference)
        if not is_named or any(rule.applies_to(address) for rule in rules):
            series = kind.locate_in_series(resource.spec).series
            by_series[SeriesKey(kind.prefix, series)].append(resource)
    versions: dict[SeriesKey, list[str]] = {}
    unknown: list[Address] = []
    with open_thread_pool(session.parallelism) as pool:
        firsts = [resources[0] for resources in by_series.values()]
        for key, members in zip(
            by_series, pool.map(live_reader.list_series_members, firsts), strict=True
        ):
            if members is None:
                unknown += (resource.address for resource in by_series[key])
            elif members:
                name = session.catalogue[key.kind].version_field
                versions[key] = [str(each.spec[name]) for each in members if name in each.spec]
    if not unknown:
        return versions, ()
    warning = warning_finding(
        "A policy rule sees only recorded releases",
        f"{format_short_list(sorted(unknown))}: this backend does not tell which others of "
        f"the series are live, "
        "so that a higher version would not be noticed unless it is recorded (policy: "
        f"{format_short_list(rule.name for rule in rules)}).",
        Text(Command("import ADDRESS ID"), " records one that is there."),
    )
    return versions, (warning,)
