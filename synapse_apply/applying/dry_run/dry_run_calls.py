"""How each verb is sent as a dry run, and how to look up whether it was carried out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from synapse_apply.applying import lookup
from synapse_apply.applying.step import ApplyTools, LiveObjects, Step
from synapse_apply.applying.steps.request_body import (
    build_pending_objects,
    build_update_body_or_raise_stale_if_clearing_secret,
    find_address_of_package_to_upload,
)
from synapse_apply.kinds.search import list_by_natural_key_or_empty_if_unsearchable
from synapse_apply.model.errors import Effect, NotFound, RemoteError, Unconfirmed
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Lookup
from synapse_apply.model.values import get_at_or_absent

_GONE_MESSAGE = "the answer says nothing, and the object is gone"


@frozen
class DryRun:
    """How one verb is sent as a dry run, and how to look up whether it was carried out.

    `send_dry_run` raises RemoteError, and is None for a verb that cannot be tried. `has_acted`
    gives None where it cannot be told. `is_irreversible`: the call could not be undone.
    """

    verb: str
    send_dry_run: Callable[[Step, ApplyTools, LiveObjects], None] | None
    has_acted: Callable[[Step, ApplyTools, LiveObjects], bool | None]
    is_irreversible: bool = False


def _dry_run_create(step: Step, tools: ApplyTools, live: LiveObjects) -> None:
    body, package_address = (
        build_pending_objects(step, live, tools.secrets.resolve_secret)[0].body,
        find_address_of_package_to_upload(step),
    )
    with (
        tools.packages.open_package(package_address)
        if package_address
        else nullcontext() as package
    ):
        full_body = {**body, "file": package} if package_address else body
        step.binding.create_object(tools.api.dry_run, full_body, "")


def _is_created_object_found_or_none_if_unknown(
    step: Step, tools: ApplyTools, live: LiveObjects
) -> bool | None:
    binding, key = step.binding, lookup.resolve_natural_key_or_empty(step, live)
    try:
        matches = list_by_natural_key_or_empty_if_unsearchable(
            tools.api, binding, key, tools.capabilities, tools.marks.with_address(step.address)
        )
    except RemoteError:
        return None
    is_certain = binding.determine_search_proof(key, tools.capabilities) is Lookup.COMPLETE
    return bool(matches) if matches or is_certain else None


def _dry_run_update(step: Step, tools: ApplyTools, live: LiveObjects) -> None:
    """Send the update as a dry run; ValueError for a kind that has none."""
    call, observed = step.binding.update_object, step.observed
    if call is None or observed is None:
        raise ValueError(f"{step.address} cannot be updated, yet its plan says so")
    body, _managed_fields = build_update_body_or_raise_stale_if_clearing_secret(
        step, observed.spec, live, tools.secrets.resolve_secret
    )
    call(tools.api.dry_run, step.change.remote_id, body)


def _is_update_seen_live_or_none_if_unknown(
    step: Step, tools: ApplyTools, live: LiveObjects
) -> bool | None:
    try:
        observed = lookup.find_object_by_id(step, tools, step.change.remote_id)
    except RemoteError:
        return None
    if observed is None or step.observed is None:
        return None
    _body, managed_fields = build_update_body_or_raise_stale_if_clearing_secret(
        step, step.observed.spec, live, tools.secrets.resolve_secret
    )
    return lookup.shows_update_in_all_kept_fields(step, managed_fields, observed, tools.secrets)


def _dry_run_delete_or_raise_unconfirmed_if_gone(
    step: Step, tools: ApplyTools, live: LiveObjects
) -> None:
    """Send the delete as a dry run; ValueError for a kind that has none."""
    call = step.binding.delete_object
    if call is None:
        raise ValueError(f"{step.address} cannot be deleted, yet its plan says so")
    try:
        call(tools.api.dry_run, step.change.remote_id)
    except NotFound:
        return  # it is gone already, which is what was wanted
    # A delete has no body, so its answer cannot say that it was a dry run.
    if _is_deleted_object_gone_or_none_if_unknown(step, tools, live):
        raise Unconfirmed(_GONE_MESSAGE, effect=Effect.UNKNOWN)


def _is_deleted_object_gone_or_none_if_unknown(
    step: Step, tools: ApplyTools, _live: LiveObjects
) -> bool | None:
    try:
        return lookup.find_object_by_id(step, tools, step.change.remote_id) is None
    except RemoteError:
        return None


def _dry_run_seal(step: Step, tools: ApplyTools, _live: LiveObjects) -> None:
    """Send the final call as a dry run; ValueError for a kind that has none."""
    if step.binding.final_call is None:
        raise ValueError(f"{step.address} cannot be sealed, yet its plan says so")
    step.binding.final_call.send_call(tools.api.dry_run, step.change.remote_id)


def _is_seal_seen_live_or_none_if_unknown(
    step: Step, tools: ApplyTools, _live: LiveObjects
) -> bool | None:
    try:
        observed = lookup.find_object_by_id(step, tools, step.change.remote_id)
    except RemoteError:
        return None
    seal = step.binding.final_call
    return (
        None
        if observed is None or seal is None
        else get_at_or_absent(observed.spec, (seal.name,)) is True
    )


def _return_none_as_run_cannot_be_looked_up(
    _step: Step, _tools: ApplyTools, _live: LiveObjects
) -> None:
    """Always None: it cannot be told whether a run was started."""


CREATE = DryRun("create", _dry_run_create, _is_created_object_found_or_none_if_unknown)
UPDATE = DryRun("update", _dry_run_update, _is_update_seen_live_or_none_if_unknown)
DELETE = DryRun(
    "delete",
    _dry_run_delete_or_raise_unconfirmed_if_gone,
    _is_deleted_object_gone_or_none_if_unknown,
    is_irreversible=True,
)
SEAL = DryRun("seal", _dry_run_seal, _is_seal_seen_live_or_none_if_unknown, is_irreversible=True)
RUN = DryRun("run", None, _return_none_as_run_cannot_be_looked_up, is_irreversible=True)
