"""When a package differs from the published one: a note, or a reason to replace what may be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, warning_finding
from synapse_apply.model.json_types import JsonObject
from synapse_apply.model.packages import KEPT_KEY, find_next_free_patch
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import UNTOLD_PACKAGE_SUMMARY, Action, Change
from synapse_apply.model.state import IntentState, Record
from synapse_apply.planning.decision import Decision
from synapse_apply.planning.diff import UNTOLD
from synapse_apply.planning.open_call_refusals import acting_call
from synapse_apply.planning.plan_input import PlanOptions, ResourceState
from synapse_apply.planning.policy import forbids_replaceable
from synapse_apply.planning.refusals import refusal
from synapse_apply.planning.series import Series


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
                UNTOLD_PACKAGE_SUMMARY,
                f"{address}: this version was found after an upload without an answer, and "
                "neither the digest nor the bytes of the published package could be read.",
                Text(
                    Command("verify", address, "--bytes"),
                    " compares the bytes if the backend offers a URL for them. If the package "
                    "is yours, ",
                    Command("state accept", address),
                    " records that. If it is not yours, publish a new version.",
                ),
                address=str(address),
            )


def package_extras(resource: ResourceState) -> JsonObject:
    """The data of an upload: {"package": {digest, files (a count), size (bytes), source}}."""
    package = resource.package
    if package is None:
        return {}
    data = {"digest": package.digest, "files": len(package.files), "size": package.size}
    return {"package": {**data, "source": str(package.source)}}


def uploaded_digest(change: Change) -> str:
    """The digest of the package that a change uploads; "" where it uploads none."""
    package = change.extras.get("package")
    digest = package.get("digest") if isinstance(package, Mapping) else None
    return digest if isinstance(digest, str) else ""


def known_digest(resource: ResourceState) -> str | None:
    """The digest of the published package, from the record or the object; None if unknown.

    Of a package that may be replaced, what the object shows counts first.
    """
    shown = resource.observed.extra.get("digest") if resource.observed else None
    recorded = resource.record.digest if resource.record is not None else None
    is_shown = isinstance(shown, str) and is_replaceable(resource)
    return shown if is_shown or not recorded else recorded


def find_foreign_digest(resource: ResourceState) -> str | None:
    """The digest of the live package, where the object shows another one than is recorded."""
    record, shown = resource.record, known_digest(resource)
    return shown if record is not None and record.digest not in {None, "", shown} else None


def is_of_git(resource: ResourceState) -> bool:
    """Whether the declared package is another one than was recorded, whatever is live."""
    package, record = resource.package, resource.record
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


def judge_package(
    resource: ResourceState, decision: Decision, options: PlanOptions, series: Series
) -> Decision:
    """The decision with a note on a changed package, refused by policy, or with its upload."""
    package, published, record = resource.package, known_digest(resource), resource.record
    # Without a known digest no change can be claimed.
    if package is None or published is None or package.digest == published:
        return decision
    details = []
    if record is not None and record.files and record.digest == published:
        old, new = record.files, package.files
        count = sum(old.get(path) != new.get(path) for path in old.keys() | new.keys())
        details.append(format_count_and_noun(count, "file"))
    key, version = resource.member
    if next_version := key.series and find_next_free_patch(version, series.of(resource).versions):
        details.append(f"next version {next_version}")
    text = "unreleased changes" + (f" ({'; '.join(details)})" if details else "")
    paths: list[FieldPath] = [(resource.type.version_field,)]
    foreign = find_foreign_digest(resource)
    if record is not None and foreign is not None:
        sender = describe_sender(record, foreign)
        whose = f"its package {sender or 'was published outside'}"
        if options.holds_drift and is_kept_drift(resource, foreign):
            undo = Command("apply --only", resource.address, "--revert-drift", "--allow-replace")
            note = Text(
                whose, ", and apply keeps it (on_drift: hold):\n", undo, " replaces the package"
            )
            return decision.noted(note, extras={**decision.change.extras, KEPT_KEY: sender})
        decision = decision.noted(whose)
    path = (resource.type.replaceable_if,)
    if (
        decision.change.action is Action.NO_OP
        and not decision.is_blocked
        # An upload replaces a package of ours alone: declared, recorded and live as such. An
        # imported record has no `applied`, and one of another API may lack the field.
        and record is not None
        and record.digest
        and resource.declared_fields.get(path) is True
        and resource.recorded.get(path, record.api != resource.binding.api) is True
        and resource.live_fields.get(path, True) is True
        and not forbids_replaceable(resource, options.policy)
    ):
        decision = decision.changed(
            action=Action.UPDATE,
            reason="apply replaces its published package; the id stays",
            rebase=False,
            extras={**package_extras(resource), "published_digest": published},
        ).refused(*acting_call(resource, [], package.digest))
        if options.allow_replace:
            return decision
        allow = Command("apply --allow-replace", *options.typed)
        case = "replace" if foreign is None or is_of_git(resource) else "replace: outside"
        return decision.refused(refusal(case, resource, paths, change=text, allow=allow))
    if options.policy.unreleased_source == "refuse":
        return decision.refused(refusal("unreleased-source", resource, paths, change=text))
    return decision.noted(f"{resource.address} has {text}")


def is_replaceable(resource: ResourceState) -> bool:
    """Whether the platform allows published packages to be replaced, so that no digest is proof."""
    # Live or declared: one is true now, the other after this apply.
    specs = [resource.observed.spec] if resource.observed is not None else []
    return any(spec.get(resource.type.replaceable_if) is True for spec in [*specs, resource.spec])
