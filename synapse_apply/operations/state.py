"""What the `state` commands read and change in a state. None of it changes the backend."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import starmap

from synapse_apply.applying.runs import explain_other_job, jobs_of_last_runs, with_job
from synapse_apply.live.open_intents import (
    acting_call_warning,
    build_no_open_call_error,
    keep_acting_calls,
    require_no_journal,
    with_acting_calls,
)
from synapse_apply.manifests.export import explain_invalid_address
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.job import RUN_VERB
from synapse_apply.model.phrases import suggest_name
from synapse_apply.model.project import with_member_renames
from synapse_apply.model.state import (
    CREATE_VERB,
    BackendIdentity,
    Intent,
    IntentState,
    Record,
    State,
)
from synapse_apply.model.values import SecretRef
from synapse_apply.secrets.keys import key_variable_of
from synapse_apply.stores.bucket.bucket_url import is_bucket_url
from synapse_apply.stores.git.git_url import is_git_url
from synapse_apply.stores.snapshot import (
    build_inventory_sorted_by_address,
    copy_and_verify_state_under_source_lock,
)
from synapse_apply.stores.state_messages import build_open_call_error
from synapse_apply.stores.state_urls import is_local_or_empty_url
from synapse_apply.workspace.embedded import run_embedded_backend
from synapse_apply.workspace.environment import normalize_base_url
from synapse_apply.workspace.state_access import (
    build_state_identity,
    open_store_at_url,
    require_usable_bucket,
    resolve_state_url,
)
from synapse_apply.workspace.state_key import (
    find_or_make_shared_key,
    key_ids_of_digests,
    list_ci_key_commands,
)
from synapse_apply.workspace.target_session import TargetSession


def current_identity_of(session: TargetSession, *, is_read_only: bool = False) -> BackendIdentity:
    """The identity that a state of this target has now; sends nothing. InputError without a url.

    `is_read_only`: where the embedded backend has no data yet, none is made.
    """
    target = session.target
    if target.is_embedded:
        with run_embedded_backend(session.project.root, read_only=is_read_only) as embedded:
            return build_state_identity(embedded.url, target, embedded)
    if not target.url:
        raise InputError.from_summary(
            "The target has no url",
            f"A state belongs to one backend, and target {target.name} has no url: "
            f"{target.describe_setting_sources('url')}.",
            "Set targets.NAME.url in the project file, or SYNAPSE_HOST.",
            position=target.position,
        )
    return build_state_identity(normalize_base_url(target.url), target, None)


def require_record(session: TargetSession, address: Address) -> Record:
    """The record of an address; StateError that suggests similar ones when there is none."""
    record = session.store.find_record(address)
    if record is None:
        raise _unknown_address(session, address)
    return record


def remove_records_keeping_objects(session: TargetSession, addresses: list[Address]) -> None:
    """Remove records; the live objects stay. StateError for an address without a record."""
    with session.lock_state_of_own_project("state rm"):
        state = session.store.read_state()
        for address in addresses:
            if address not in state.records:
                raise _unknown_address(session, address)
        keep_acting_calls(session, state, addresses, {})
        session.store.remove_records(*addresses)
        _record_audit_entries(session, dict.fromkeys(addresses, "forget"))


def rename_address(session: TargetSession, old: Address, new: Address) -> dict[Address, Address]:
    """Rename a record, and those of its series' members, whose addresses contain its name.

    Returns old and new addresses of all renamed records; the live objects stay as they are.
    """
    if old.kind != new.kind:
        raise InputError.from_summary(
            "An address keeps its kind",
            f"{old} cannot become {new}: they are of different kinds.",
            "Give two addresses of one kind.",
        )
    if reason := explain_invalid_address(new):
        raise InputError.from_summary(
            "No manifest can have this address",
            f"{new}: {reason}.",
            "Give it the address that its manifest has.",
        )
    with session.lock_state_of_own_project("state mv"):
        state = session.store.read_state()
        renames = with_member_renames(state.records.values(), {old: new})
        for intent in state.open_intents:
            # What has no record yet would be recorded under the old name, or over the new one.
            is_made = intent.verb == CREATE_VERB and intent.address in renames.values()
            if intent.address not in state.records and (
                is_made or str(old) in {str(intent.address), intent.series}
            ):
                raise build_open_call_error(intent.address, intent.verb)
        session.store.rename_addresses(renames, session.signer.sign_moved_run)
        _record_audit_entries(
            session,
            {old_address: f"move to {new_address}" for old_address, new_address in renames.items()},
        )
    return renames


def _record_audit_entries(session: TargetSession, verb_by_address: Mapping[Address, str]) -> None:
    """Append one audit entry for each address, all with the id of one run."""
    moment, run_id, actor = session.clock.utc_now(), str(uuid.uuid4()), session.actor
    session.store.append_audit_entries(
        *(
            actor.build_state_audit_entry(address, verb, moment=moment, plan_id=run_id)
            for address, verb in verb_by_address.items()
        )
    )


def copy_state(session: TargetSession, url: str | SecretRef) -> State:
    """Copy the whole state to the store at a url, with a key to sign it where it must be signed.

    StateError when that has a state already, or is a bucket that cannot hold one; InputError where
    there is no key, and no terminal at which one may be made.
    """
    environ = session.invocation.environ
    require_usable_bucket(url, session.project, session.target, session.invocation.environ)
    _make_needed_key(session, url)
    with closing(
        open_store_at_url(url, session.project, session.target, environ, session.store_signer)
    ) as new_store:
        return copy_and_verify_state_under_source_lock(
            session.store, new_store, session.lock_wait_seconds
        )


def _make_needed_key(session: TargetSession, url: str | SecretRef) -> None:
    """Make a state key where there is none, for a store in which nothing unsigned is believed."""
    location = resolve_state_url(url, session.project, session.invocation.environ)
    if not (is_bucket_url(location) or is_git_url(location)):
        return
    if session.target.is_embedded:
        session.reload_state_keys(create=True)
        return
    variable = key_variable_of(session.target.name)
    hint = Text(
        "Get it from whoever has it. To make one: `openssl rand -base64 32`, put into "
        f"{variable}, and kept where all of them get it. At a terminal this command makes one."
    )
    find_or_make_shared_key(session, hint)


def list_steps_after_copy(session: TargetSession, url: str | SecretRef) -> list[str]:
    """Sentences on the key and the project of a state at a url; [] for one of this machine alone.

    InputError for a variable that is not set.
    """
    environ, target = session.invocation.environ, session.target
    if target.is_embedded or is_local_or_empty_url(
        resolve_state_url(url, session.project, environ)
    ):
        return []
    variable = key_variable_of(target.name)
    current_key = session.reload_state_keys().current_key
    key_sentence = (
        f"The state key is in {current_key.origin}. Every machine and job that "
        f"uses this state needs it, in {variable} or in the user's key file."
        if current_key is not None
        else "There is no state key here, so nothing in the copy is signed: put one into "
        f"{variable}, then {Command('state rekey', target=target.name)}."
    )
    rebind_command = Command("state rebind", target=target.name)
    user_key_path = session.key_sources.user_key_path
    transport_lines = (
        [f"  {line}" for line in list_ci_key_commands(user_key_path, target.name)]
        if user_key_path is not None
        and current_key is not None
        and current_key.origin == str(user_key_path)
        else []
    )
    steps = [
        key_sentence,
        *transport_lines,
        f"Then bind the state to this project: {rebind_command}.",
    ]
    used_key_ids = key_ids_of_digests(session.store.read_state())
    if current_key is not None and not used_key_ids <= {current_key.key_id}:
        steps.append(
            "Some secrets were digested with another key, and are not compared until "
            f"{Command('state rekey', target=target.name)}."
        )
    return steps


def inventory_rows_of(session: TargetSession) -> list[dict[str, object]]:
    """Address, id, version and digest of every record, as `import -f` reads them."""
    return [dict(row) for row in build_inventory_sorted_by_address(session.store.read_state())]


def close_as_not_done(
    session: TargetSession,
    address: Address,
    *,
    moment: str,
    warn: Callable[[Diagnostic], None] | None = None,
) -> Intent:
    """Close the open calls of an address as not done, because the user says so.

    `warn` is told of each beside the one that is returned, and of those that may still act.
    StateError when none is open, a recovery journal says that one was done, or no record could keep
    what may still change its object: an update, a delete, an upload of a debug release.
    """
    with session.lock_state_of_own_project("state settle"):
        state = session.store.read_state()
        intents = _require_open_intents(session, state, address)
        halves = [
            one
            for one in state.open_intents
            if one.address != address and any(_share_request(one, own) for own in intents)
        ]
        acting = list[tuple[float, Intent]]()
        for intent in (*intents, *halves):
            require_no_journal(session, state, intent)
            seconds = intent.seconds_left(session.target.settle_after, moment, session.uptime())
            if seconds > 0 and intent.address == address:
                _require_kept(session, state, intent, seconds)
                acting.append((seconds, replace(intent, state=IntentState.ABSENT)))
        for one in (*intents, *halves):
            closed = replace(one, state=IntentState.ABSENT)
            entry = session.actor.build_audit_entry(
                closed, f"settled by hand: {closed.state.outcome}", moment=moment
            )
            record = session.store.find_record(one.address)
            if record is not None and one.verb != RUN_VERB and record.is_object_of(one):
                record = record.with_given_up(closed, session.target.settle_after)
            session.store.close_ended_intent(closed, record, entry)
    warnings = [
        warning_finding(
            "Several calls were settled",
            f"{one.verb} of {address}, which was sent at {one.sent_at}, was settled as not done, "
            "too.",
            address=str(address),
        )
        for one in intents[1:]
    ]
    warnings += [
        warning_finding(
            "Two calls are one request",
            f"One request makes {address} and {half.address}: both were settled as not done.",
            address=str(half.address),
        )
        for half in halves
    ]
    warnings += starmap(acting_call_warning, acting)
    if warn is not None:
        for warning in warnings:
            warn(warning)
    return replace(intents[0], state=IntentState.ABSENT)


def _require_kept(session: TargetSession, state: State, call: Intent, seconds: float) -> None:
    """StateError where no record could keep a call that may still change its object."""
    address, record = call.address, state.records.get(call.address)
    kind = session.catalogue.get(address.kind)
    is_upload = call.digest is not None and kind is not None and kind.acts_again(call)
    changes_object = is_upload if call.verb == CREATE_VERB else call.verb != RUN_VERB
    if not changes_object or (record is not None and record.is_object_of(call)):
        return
    keep = Text(Command("import", address, call.remote_id), " keeps it in a new record.")
    later = f"Again in {math.ceil(seconds)} s, when it cannot act any more."
    whose = f"recorded as id {record.remote_id}" if record else "not recorded"
    error = StateError.from_summary(
        "Nothing would know of this call",
        f"{address} is {whose}, and what its {call.verb} may still do "
        f"{f'to id {call.remote_id} ' * bool(record)}would look like a change from outside.",
        later if record or is_upload else keep,
    )
    raise with_acting_calls(session, state, address, error)


def _share_request(one: Intent, other: Intent) -> bool:
    """Whether one request makes both objects, of which one is the first of the other's series."""
    return (
        one.verb == other.verb == CREATE_VERB
        and (one.plan_id, one.sent_at) == (other.plan_id, other.sent_at)
        and (one.series == str(other.address) or other.series == str(one.address))
    )


def close_with_job(session: TargetSession, address: Address, job_id: str, *, moment: str) -> Intent:
    """Close an open run with the id of the job that it started, which the next apply follows.

    StateError when no run of the address is open, a recovery journal has another job for it, or the
    job cannot be that of the run: a passed run may let a release into other targets.
    """
    with session.lock_state_of_own_project("state settle"):
        state = session.store.read_state()
        intents = _require_open_intents(session, state, address)
        runs = [one for one in intents if one.verb == RUN_VERB]
        if not runs:
            raise StateError.from_summary(
                "The open call is no run",
                f"An earlier {intents[0].verb} of {address} is open, which has no job.",
                Text(Command("state settle", address), " looks it up, or says how to settle it."),
            )
        other_address = jobs_of_last_runs(state.records).get(job_id)
        if other_address is not None:
            owner_text = "an earlier run of it" if other_address == address else str(other_address)
            raise _other_job_error(address, job_id, f"is recorded as the run of {owner_text}")
        # Of several runs the newest that may have started it.
        runs.sort(key=lambda one: one.sent_at)
        while reason := explain_other_job(
            session.api, job_id, runs[-1], partial(_find_earliest_arrival, session, runs[-1])
        ):
            if len(runs) == 1:
                raise _other_job_error(address, job_id, reason)
            runs.pop()
        intent = runs[-1]
        require_no_journal(session, state, intent, job_id)
        closed_intent, record = with_job(intent, state.records.get(address), job_id, moment)
        entry = session.actor.build_audit_entry(
            closed_intent, f"settled by hand: job {job_id}", moment=moment
        )
        session.store.close_ended_intent(closed_intent, record, entry)
    return closed_intent


def _other_job_error(address: Address, job_id: str, reason: str) -> StateError:
    return StateError.from_summary(
        "This job is another run's",
        f"Job {job_id} {reason}.",
        Text(
            Command("jobs list"),
            f" shows which there are. If none is that of {address}: ",
            Command("state settle", address, "--absent"),
            ".",
        ),
    )


def _find_earliest_arrival(session: TargetSession, call: Intent) -> datetime:
    """The earliest time, by the server's clock, at which a call can have reached the server.

    `settle_after` is allowed for the clocks, unless this machine sent the call since it started.
    """
    skew, uptime = session.backend.server_clock.skew, session.uptime()
    if skew is None or not uptime.boot or uptime.boot != call.sent_up.boot:
        sent = datetime.fromisoformat(call.sent_at)
        return sent - timedelta(seconds=session.target.settle_after)
    age = uptime.seconds - call.sent_up.seconds
    # A server may cut the times that it tells to whole seconds.
    earlier = timedelta(seconds=age + 1 - skew.low)
    return datetime.fromisoformat(session.clock.utc_now()) - earlier


def _require_open_intents(
    session: TargetSession, state: State, address: Address
) -> tuple[Intent, ...]:
    """The open intents of an address; StateError, with the open ones, where there is none."""
    intents = tuple(one for one in state.open_intents if one.address == address)
    if not intents:
        raise build_no_open_call_error(session, address, state)
    return intents


def _unknown_address(session: TargetSession, address: Address) -> StateError:
    state = session.store.read_state()
    hint = suggest_name(
        str(address), map(str, state.records), Text(Command("state list"), " shows what is there.")
    )
    error = StateError.from_summary("The state does not know this address", f"{address}.", hint)
    return with_acting_calls(session, state, address, error)
