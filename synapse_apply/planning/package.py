"""When a package differs from the published one: a note, or a reason to replace what may be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, warning_finding
from synapse_apply.model.json_types import JsonObject
from synapse_apply.model.packages import KEPT_KEY, find_next_free_patch
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.resource import Package
from synapse_apply.model.state import IntentState, Record
from synapse_apply.planning.decision import Decision
from synapse_apply.planning.diff import UNTOLD
from synapse_apply.planning.open_call_refusals import iter_acting_call_refusals
from synapse_apply.planning.plan_input import PlanOptions, ResourceState, SeriesKey
from synapse_apply.planning.policy import forbids_replaceable
from synapse_apply.planning.refusals import refusal
from synapse_apply.planning.series import SeriesMap

UNTOLD_PACKAGE = "Whose package is published cannot be told"


def iter_untold_packages(records: Collection[Record]) -> Iterator[Diagnostic]:
    """A warning of each newest package of a series that nothing shows to be ours."""
    for record in records:
        if record.is_package_untold and not any(
            (other.address.kind, other.series) == (record.address.kind, record.series)
            and other.created_at > record.created_at
            for other in records
        ):
            address = record.address
            yield warning_finding(
                UNTOLD_PACKAGE,
                f"{address}: this version was found after a create without an answer, and neither "
                "the digest nor the bytes of what is published could be read.",
                Text(
                    Command("verify", address, "--bytes"),
                    " compares the bytes where the backend has a URL of them. If the package is "
                    "ours, ",
                    Command("state accept", address),
                    " says so; if not, publish a new version.",
                ),
                address=str(address),
            )


def package_extras(resource: ResourceState) -> JsonObject:
    """The data of an upload: {"package": {digest, files (a count), size (bytes), source}}."""
    package = _declared_package(resource)
    if package is None:
        return {}
    return {
        "package": {
            "digest": package.digest,
            "files": len(package.files),
            "size": package.size,
            "source": str(package.source),
        }
    }


def uploaded_digest(change: Change) -> str:
    """The digest of the package that a change uploads; "" where it uploads none."""
    package = change.extras.get("package")
    digest = package.get("digest") if isinstance(package, Mapping) else None
    return digest if isinstance(digest, str) else ""


def known_digest(resource: ResourceState) -> str | None:
    """The digest of the published package, from the record or the object; None if unknown.

    Of a package that may be replaced, what the object shows counts first.
    """
    observed = resource.lookup_result.observed
    shown = observed.extra.get("digest") if observed else None
    recorded = resource.record.digest if resource.record is not None else None
    is_shown = isinstance(shown, str) and is_replaceable(resource)
    return shown if is_shown or not recorded else recorded


def find_foreign_digest(resource: ResourceState) -> str | None:
    """The digest of the live package, where the object shows another one than is recorded."""
    record, shown = resource.record, known_digest(resource)
    return shown if record is not None and record.digest not in {None, "", shown} else None


def is_of_git(resource: ResourceState) -> bool:
    """Whether the declared package is another one than was recorded, whatever is live."""
    package, record = _declared_package(resource), resource.record
    return package is not None and record is not None and package.digest != record.digest


def is_kept_drift(resource: ResourceState, foreign: str) -> bool:
    """Whether a foreign live package is kept where drift is: neither Git nor a call sent it."""
    calls = (acting.call for acting in resource.acting)
    is_ours = any(one.digest == foreign and one.state is IntentState.UNKNOWN for one in calls)
    return not (is_ours or is_of_git(resource))


def describe_sender(record: Record, digest: str) -> str:
    """Which call that was given up had sent a package; "" for none."""
    calls = (call for call in record.given_up if call.digest == digest)
    return next(
        (f"equals what call {call.id} of apply {call.plan_id} sent; {UNTOLD}" for call in calls), ""
    )


def _unreleased_changes(resource: ResourceState, series: SeriesMap) -> str:
    """Text such as `unreleased changes (3 files; next version 1.1.1)`; "" without known changes."""
    package = _declared_package(resource)
    published = known_digest(resource)
    # Without a known digest no change can be claimed.
    if package is None or published is None or package.digest == published:
        return ""
    details = []
    if (
        resource.record is not None
        and resource.record.files
        and resource.record.digest == published
    ):
        old, new = resource.record.files, package.files
        count = sum(old.get(path) != new.get(path) for path in old.keys() | new.keys())
        details.append(format_count_and_noun(count, "file"))
    if next_release := _next_version(resource, series):
        details.append(f"next version {next_release}")
    return "unreleased changes" + (f" ({'; '.join(details)})" if details else "")


def note_refuse_or_replace(
    resource: ResourceState, decision: Decision, options: PlanOptions, series: SeriesMap
) -> Decision:
    """The decision with a note on a changed package, refused by policy, or with its upload."""
    text = _unreleased_changes(resource, series)
    if not text:
        return decision
    version: list[FieldPath] = [(resource.type.version_field,)]
    record, foreign = resource.record, find_foreign_digest(resource)
    package = _declared_package(resource)
    if record is not None and foreign is not None:
        sender = describe_sender(record, foreign)
        note = whose = f"its package {sender or 'was published outside'}"
        is_held = options.holds_drift and is_kept_drift(resource, foreign)
        if is_held:
            undo = Command("apply --only", resource.address, "--revert-drift", "--allow-replace")
            note = Text(whose, ", and is kept (on_drift: hold):\n", undo, " replaces it")
        change = replace(decision.change, notes=(*decision.change.notes, note))
        if is_held:
            return replace(
                decision, change=replace(change, extras={**change.extras, KEPT_KEY: sender})
            )
        decision = replace(decision, change=change)
    if (
        decision.change.action is Action.NO_OP
        and not decision.is_blocked
        and _is_replaceable(resource)
        and not forbids_replaceable(resource, options.policy)
    ):
        change = replace(
            decision.change,
            action=Action.UPDATE,
            reason="its published package is replaced; the id stays",
            rebase=False,
            extras={**package_extras(resource), "published_digest": known_digest(resource)},
        )
        decision = replace(decision, change=change).refused(
            *iter_acting_call_refusals(resource, [], package.digest if package else "")
        )
        if options.allow_replace:
            return decision
        allow = Command("apply --allow-replace", *options.typed)
        case = "replace" if foreign is None or is_of_git(resource) else "replace: outside"
        return decision.refused(refusal(case, resource, version, change=text, allow=allow))
    if options.policy.unreleased_source == "refuse":
        return decision.refused(refusal("unreleased-source", resource, version, change=text))
    notes = (*decision.change.notes, f"{resource.address} has {text}")
    return replace(decision, change=replace(decision.change, notes=notes))


def is_replaceable(resource: ResourceState) -> bool:
    """Whether the platform allows published packages to be replaced, so that no digest is proof."""
    observed = resource.lookup_result.observed
    # Live or declared: one is true now, the other after this apply.
    specs = [observed.spec] if observed is not None else []
    specs += [resource.desired.spec] if resource.desired is not None else []
    return any(spec.get(resource.type.replaceable_if) is True for spec in specs)


def _is_replaceable(resource: ResourceState) -> bool:
    """Whether an upload may replace a package of ours: declared, recorded and live as such."""
    record, path = resource.record, (resource.type.replaceable_if,)
    return (
        record is not None
        and bool(record.digest)
        and resource.declared_fields.get(path) is True
        # An imported record has no `applied`, and one of another API may lack the field.
        and (record.applied or record.seen).get(path, record.api != resource.binding.api) is True
        and resource.live_fields.get(path, True) is True
    )


def is_package_unproven(resource: ResourceState) -> bool:
    """Whether an adopted object's package has an unknown digest, or may have been replaced."""
    if not resource.type.carries_package:
        return False
    return known_digest(resource) is None or is_replaceable(resource)


def _declared_package(resource: ResourceState) -> Package | None:
    carries = resource.type.carries_package and resource.desired is not None
    return resource.desired.package if carries and resource.desired is not None else None


def _next_version(resource: ResourceState, series: SeriesMap) -> str:
    if resource.desired is None or not resource.type.series_field:
        return ""
    name, version = resource.type.locate_in_series(resource.desired.spec)
    members = series.get(SeriesKey(resource.address.kind, name))
    return find_next_free_patch(version, members.declared_and_recorded_versions if members else ())
