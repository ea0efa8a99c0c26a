"""When an open intent counts as done, absent or undecided, judged by looking its object up.

A found object's fields that agree with the intent are ours. That a call had no effect is believed
only once it can no longer act (its request's deadline plus `settle_after`), of a create only if the
search is complete. Otherwise the intent stays open, and only its own resource is refused. Of a run
the job that belongs to it is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from datetime import datetime, timedelta
from typing import Any

from synapse_apply.applying.logs import read_job
from synapse_apply.applying.lookup import published_digest
from synapse_apply.applying.records import (
    is_as_sent,
    names_lacking,
    trace_origins,
    with_last_run,
    with_mac,
    with_package_replaced,
)
from synapse_apply.kinds.compare import is_made_of, is_same_value, is_server_form
from synapse_apply.kinds.descriptor import (
    Api,
    ApiBinding,
    Catalogue,
    FieldRule,
    ResourceType,
    VerificationSpec,
)
from synapse_apply.kinds.job_lists import JobOwners, parse_zoned_time_or_none
from synapse_apply.kinds.run_body import RUN_MARK_KEY
from synapse_apply.kinds.wire import list_by_natural_key, read_observed
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.job import RUN_VERB, Job, LastRun, RunStatus, parse_job
from synapse_apply.model.ports import Secrets, StateStore
from synapse_apply.model.resource import Capabilities, Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import (
    CREATE_VERB,
    FOUND,
    REPLACE_VERB,
    Intent,
    IntentState,
    Record,
    Uptime,
)
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    Mac,
    WithheldSecret,
    flatten,
    get_at_or_absent,
    of_two_keys,
    unflatten,
)

_PUBLISHED_OUTSIDE = "the live package differs: somebody published another package outside Git"
_SECRETS_UNTOLD = "it is unknown whether its secrets arrived, so the next apply sends them again"
_SECRETS_OF_TWO_KEYS = (
    "it is unknown whether its secrets arrived, so the next apply sends those whose declared "
    "value differs"
)


@frozen
class ResolvedIntent:
    """The result of looking up one open intent; `record` is the address's record from now on.

    `seconds_until_resolvable` says after how many seconds a look-up will be conclusive; None where
    waiting does not help.
    """

    intent: Intent
    record: Record | None = None
    reason: str = ""
    seconds_until_resolvable: float | None = None

    @property
    def is_open(self) -> bool:
        return self.intent.state is IntentState.OPEN

    @property
    def is_done(self) -> bool:
        return self.intent.state is IntentState.DONE

    @property
    def import_hint(self) -> str:
        """What records the object of an ended call again that was forgotten meanwhile; "" else."""
        intent = self.intent
        is_gone = intent.verb == "delete" if self.is_done else self.reason
        if self.is_open or self.record or is_gone or intent.verb in {CREATE_VERB, RUN_VERB}:
            return ""
        command = Command("import", intent.address, intent.remote_id)
        return Text("The state no longer has the object: ", command, " records the object again.")


@frozen
class IntentResolver:
    """Looks open intents up; nothing is written here.

    `now` is RFC 3339 UTC, `uptime` the same moment as the machine counts it. `known_jobs` are those
    of other runs, asked only where a run is open. `find_other_owner` gives the other address that
    an object is recorded under, None where there is none. `find_listed` gives the objects of a kind
    with a natural key from a list that was read after `now`, None where none was.
    `read_published_digest` gives the digest of an object's bytes ("": they cannot be read, None:
    the backend does not show them). `owners` are the target's.
    """

    api: Api
    catalogue: Catalogue
    secrets: Secrets
    marks: SecretMarks
    capabilities: Capabilities
    now: str
    settle_after: float
    uptime: Uptime = Uptime()
    known_jobs: Callable[[], Container[str]] = frozenset
    find_other_owner: Callable[[Observed, Address], Address | None] = lambda _live, _address: None
    find_listed: Callable[[str, ApiBinding, str], list[Observed] | None] = lambda *_what: None
    read_published_digest: Callable[[Intent], str | None] = lambda _call: ""
    owners: tuple[str, ...] = ()

    def resolve_intent(self, intent: Intent, record: Record | None) -> ResolvedIntent:
        """The intent closed where a look-up is conclusive, else open with the reason."""
        kind = self.catalogue.get(intent.address.kind)
        if kind is None or intent.api not in kind.bindings:
            return ResolvedIntent(intent, record, "this version of the tool does not know its kind")
        binding = kind.bindings[intent.api]
        try:
            if intent.verb == RUN_VERB:
                return self._run(intent, kind, record)
            if intent.verb == "create":
                return self._create(intent, kind, binding, record)
            own_record = record if record and record.is_object_of(intent) else None
            if own_record is None and (early := self._too_early(intent, record)):
                return early  # it was forgotten meanwhile, and nothing else keeps the call
            resolved = self._update_or_delete(intent, kind, binding, own_record)
            return resolved if own_record else replace(resolved, record=record)
        except RemoteError as failure:
            return ResolvedIntent(intent, record, f"looking it up failed: {failure}")

    def _create(
        self, intent: Intent, kind: ResourceType, binding: ApiBinding, record: Record | None
    ) -> ResolvedIntent:
        if intent.remote_id and record is None:
            reason = f"the record that led to it (id {intent.remote_id}) was forgotten"
            ended = replace(intent, state=IntentState.UNKNOWN)
            return self._too_early(intent, None) or ResolvedIntent(ended, None, reason)
        key, hits = intent.natural_key, list[Observed]()
        proof = binding.determine_search_proof(key, self.capabilities)
        if key and proof is not Lookup.NONE:
            # If possible from a list that is read once.
            listed = self.find_listed(intent.address.kind, binding, key)
            if listed is None:
                marks = self.marks.with_address(intent.address)
                listed = list_by_natural_key(self.api, binding, key, self.capabilities, marks)
            hits = listed
        # An object with this key was created by this call or by somebody else: if its fields agree
        # it makes no difference.
        if len(hits) == 1:
            found = f"the object with its name (id {hits[0].remote_id})"
            resolved, reason = self._done(intent, kind, hits[0], record), ""
            if owner := self.find_other_owner(hits[0], intent.address):
                reason = f"{found} is recorded as {owner}"
            elif resolved.record and not intent.fields.keys() <= resolved.record.applied.keys():
                reason = f"{found} has other values, so somebody else may have created it"
            elif kind.carries_package:
                resolved = self._judge_package(resolved, kind, published_digest(hits[0]))
                marked = hits[0].describe_other_owner(self.owners)
                if resolved.record is None or marked:
                    reason = f"{found} {marked}" if marked else _PUBLISHED_OUTSIDE
                    if not kind.acts_again(intent):  # a version is published once
                        return replace(_absent(intent, record), reason=reason)
            # It need not be what the call made, which may still make a second one.
            if reason:
                unknown = ResolvedIntent(replace(intent, state=IntentState.UNKNOWN), record, reason)
                return self._too_early(intent, record) or unknown
            if record and self._is_live(record, binding, hits[0]):
                reason = f"{found} is not recorded: {intent.address} is id {record.remote_id}"
                return ResolvedIntent(resolved.intent, record, reason)
            # Somebody else may have made it: then the call may still act.
            return self._kept(resolved) if kind.acts_again(intent) else resolved
        if hits:
            ids = ", ".join(hit.remote_id for hit in hits)
            return ResolvedIntent(intent, record, f"several objects have its name (ids {ids})")
        # A search that may miss objects cannot show that the call had no effect.
        if proof is not Lookup.COMPLETE:
            return ResolvedIntent(intent, record, "this API cannot show whether it was created")
        return self._too_early(intent, record) or _absent(intent, record)

    def _kept(self, resolved: ResolvedIntent) -> ResolvedIntent:
        """The same, and its record keeps that the call may still act."""
        record = resolved.record
        kept = record and record.with_given_up(resolved.intent, self.settle_after)
        return replace(resolved, record=kept)

    def _is_live(self, record: Record, binding: ApiBinding, made: Observed) -> bool:
        """Whether the recorded object is another one than was made, and still there."""
        if record.api != binding.api or record.remote_id == made.remote_id:
            return False
        try:
            marks = self.marks.with_address(record.address)
            read_observed(self.api, binding, record.remote_id, marks)
        except NotFound:
            return False
        return True

    def _judge_package(
        self, resolved: ResolvedIntent, kind: ResourceType, shown: str | None
    ) -> ResolvedIntent:
        """A create that was found, by the digest that is shown, else by that of the bytes.

        Without a record where somebody else published this version with another package.
        """
        call, record = resolved.intent, resolved.record
        if call.digest is None or record is None or shown == call.digest:
            return resolved
        read = self.read_published_digest(call) if not shown else ""
        if read == call.digest:
            proven = {"digest": read, "at": self.now}
            return replace(resolved, record=replace(record, proven=proven))
        if shown or read:
            return replace(resolved, record=None)
        record = replace(record, doubted=call.digest)
        reason = (
            f"a {kind.prefix} of this version exists, but the backend does not show its package"
        )
        return ResolvedIntent(replace(call, state=IntentState.UNKNOWN), record, reason)

    def _run(self, intent: Intent, kind: ResourceType, record: Record | None) -> ResolvedIntent:
        """A run's intent, done once its job is known; the next apply follows the job."""
        if kind.verification_spec is None:
            return ResolvedIntent(
                intent, record, "this version of the tool knows no run of its kind"
            )
        candidates = find_job(self.api, kind.verification_spec, intent, self.known_jobs())
        if candidates.job is not None:
            return ResolvedIntent(*with_job(intent, record, candidates.job.id, self.now))
        if early := self._too_early(intent, record):
            return early
        # Not shown to be another run's, so starting it again could run it twice.
        if candidates.possible:
            reason = "may belong to it, and this backend does not show which run started a job"
            return ResolvedIntent(intent, record, f"{candidates.names} {reason}")
        return _absent(replace(intent, remote_id=""), record)

    def _update_or_delete(
        self, intent: Intent, kind: ResourceType, binding: ApiBinding, record: Record | None
    ) -> ResolvedIntent:
        unknown = replace(intent, state=IntentState.UNKNOWN)
        try:
            live = read_observed(
                self.api, binding, intent.remote_id, self.marks.with_address(intent.address)
            )
        except NotFound:
            # Whoever deleted it: what the call was for is so.
            if intent.verb == "delete":
                return ResolvedIntent(replace(intent, state=IntentState.DONE), None)
            gone = ResolvedIntent(unknown, record, "its object is gone")
            # An upload is addressed by name: it may act on the next object that has it.
            return self._kept(gone) if intent.verb == REPLACE_VERB else gone
        if intent.verb == REPLACE_VERB:
            return self._replacement(intent, kind, live, record)
        state: IntentState = IntentState.ABSENT
        found: Fields = {}
        if intent.verb != "delete":
            state, found = self._compare_with_before(intent, kind, live, record)
        if state is IntentState.DONE:
            resolved = self._done(intent, kind, live, record)
            if binding.final_call and intent.verb == binding.final_call.verb:
                return resolved  # after it nothing changes any more
            # Somebody else may have set the same: then the call may still act.
            return self._kept(resolved)
        untold = record and record.with_given_up(replace(unknown, found=found), self.settle_after)
        if early := self._too_early(intent, record):
            # Where the same is sent again before, this stays known of the earlier call.
            return replace(early, record=untold)
        if state is IntentState.ABSENT:
            return self._kept(_absent(intent, record))
        # What it shows as it was sent is ours all the same.
        return ResolvedIntent(unknown, self._done(intent, kind, live, untold).record)

    def _replacement(
        self, intent: Intent, kind: ResourceType, live: Observed, record: Record | None
    ) -> ResolvedIntent:
        """A replacement's intent, by the digest of the bytes, else by the one that is shown."""
        shown = digest = read = published_digest(live)
        if digest != intent.digest:
            read = self.read_published_digest(intent)
            digest = read or digest
        is_other = digest != intent.digest
        # Where the backend shows neither, waiting does not help.
        is_told = digest is not None or read is not None
        if is_other and is_told and (early := self._too_early(intent, record)):
            return early
        if digest is None:
            return ResolvedIntent(intent, record, "this backend shows no digest of its package")
        if record is not None and digest == record.digest:
            return _absent(intent, record)
        # Another digest is of somebody else's package, which came before or after ours.
        resolved = (
            ResolvedIntent(replace(intent, state=IntentState.UNKNOWN), record, _PUBLISHED_OUTSIDE)
            if is_other
            else self._done(intent, kind, live, record)
        )
        if resolved.record is None:
            return resolved
        files = {} if is_other else intent.files
        if is_other and digest == shown:
            # The object shows it: as any change made outside it is no record of ours.
            digest, files = resolved.record.digest, resolved.record.files
        replaced = with_package_replaced(resolved.record, digest, files, self.now)
        return self._kept(replace(resolved, record=replaced))

    def _compare_with_before(
        self, intent: Intent, kind: ResourceType, live: Observed, record: Record | None
    ) -> tuple[IntentState, Fields]:
        """DONE where an object has what an update sent, ABSENT where it has what was there before.

        UNKNOWN for neither, with what is there, and where all that the update changes is hidden.
        """
        before = intent.before or _guess_fields_before(intent, kind, record)
        states = {IntentState.DONE, IntentState.ABSENT}
        found: dict[FieldPath, Any] = {}
        for path in {*intent.fields, *before}:
            rule = kind.require_rule_of_field(path)
            sent, was = intent.fields.get(path, ABSENT), before.get(path, ABSENT)
            is_now = with_mac(get_at_or_absent(live.spec, path), intent.salt, path, self.secrets)
            if (
                _has_as_sent(rule, path, sent, was)
                # What the server made of the same value before, it makes of it again.
                or (record and is_made_of(sent, was, path, record.applied, record.seen))
                or isinstance(is_now, WithheldSecret)
                or (is_now is ABSENT and isinstance(sent, Mac))
                or of_two_keys(sent, is_now)
                or (of_two_keys(was, is_now) and not _has_as_sent(rule, path, sent, is_now))
                or rule.write_only
                or rule.packaged
                or path[0] in live.missing_fields
                or (path[0] in live.partial_fields and is_now is ABSENT)
            ):
                continue
            found[path] = is_now
            if not _has_as_sent(rule, path, sent, is_now):
                states.discard(IntentState.DONE)
            if not is_same_value(was, is_now, rule.compare):
                states.discard(IntentState.ABSENT)
        if found and len(states) == 1:
            return states.pop(), {}
        found = {path: value for path, value in found.items() if value is not ABSENT}
        return IntentState.UNKNOWN, found

    def _done(
        self, intent: Intent, kind: ResourceType, live: Observed, record: Record | None
    ) -> ResolvedIntent:
        """The intent as done, and a record in which only fields as they were sent are ours."""
        is_create = intent.verb == "create"
        base = _new_record(intent, live, self.now)
        if record is not None:
            base = (
                replace(base, created_at=record.created_at, given_up=record.calls_by_name)
                if is_create
                else record
            )
        applied = dict(base.applied if is_create else base.doubt_secrets(intent))
        last_seen, unlike_names = dict(base.seen), set[str]()
        shown = set[FieldPath]()  # secrets that the manifest's can be compared with
        for path, sent in intent.fields.items():
            value = get_at_or_absent(live.spec, path)
            if isinstance(sent, Mapping) and isinstance(value, Mapping):
                value = {}  # of an empty declared map only the map is ours, not its keys
            # With the intent's salt, so that MACs of live secrets can be compared with those sent.
            value = with_mac(value, intent.salt, path, self.secrets)
            rule = kind.require_rule_of_field(path)
            is_not_shown = path[0] in live.missing_fields.difference(kind.identity_fields) or (
                path[0] in live.partial_fields and value is ABSENT
            )
            is_foreign = of_two_keys(sent, value)
            if is_foreign:
                shown.add(path)
            is_hidden = isinstance(value, WithheldSecret) or (
                value is ABSENT and isinstance(sent, Mac)
            )
            if (is_not_shown and (is_create or path[0] in base.unkept)) or (
                # An update of a hidden secret may not have been done, so it is planned again.
                is_create
                if is_hidden or is_foreign or rule.packaged
                else _has_as_sent(rule, path, sent, value)
            ):
                applied[path] = replace(sent, digest=Mac.UNSEEN) if is_foreign else sent
                last_seen[path] = value
                is_unlike = not (is_not_shown or is_hidden or _has_as_sent(rule, path, sent, value))
                if is_create and is_unlike and not is_foreign:
                    unlike_names.add(str(path[0]))
            elif is_create:
                last_seen[path] = value
            elif isinstance(sent, Mac) and path not in applied:
                # Recorded as ours, so that it is sent again, or dropped when no longer declared.
                applied[path] = replace(sent, digest=Mac.UNSEEN)
        found = f"{FOUND}{intent.id}"
        changed = [path for path in intent.fields if last_seen.get(path) != base.seen.get(path)]
        for name in kind.identity_fields:
            if (value := get_at_or_absent(live.spec, (name,))) is not ABSENT:
                last_seen[(name,)] = value
                # A companion's create could not send its owner's id, which did not exist yet.
                if is_create and kind.rules[name].references:
                    applied.setdefault((name,), value)
        last_seen = {path: value for path, value in last_seen.items() if value is not ABSENT}
        unlike = {path: "" for path in last_seen if str(path[0]) in unlike_names}
        untold = {
            path
            for path in intent.fields
            for value in [applied.get(path)]
            if not is_create and isinstance(value, Mac) and value.digest == Mac.UNSEEN
        }
        reason = (_SECRETS_OF_TWO_KEYS if untold <= shown else _SECRETS_UNTOLD) if untold else ""
        if unlike_names:
            # Nothing can change them any more.
            reason = (
                f"not as sent: {', '.join(sorted(unlike_names))}, which may come from the package"
            )
        return ResolvedIntent(
            replace(intent, state=IntentState.DONE, remote_id=live.remote_id),
            replace(
                base,
                remote_id=live.remote_id,
                applied=applied,
                seen=last_seen,
                origins={(): found} | unlike
                if is_create
                else trace_origins(base, last_seen, applied, dict.fromkeys(changed, found)),
                natural_key=intent.natural_key or base.natural_key,
                updated_at=self.now,
                unkept=names_lacking(kind, applied, live),
            ),
            reason,
        )

    def _too_early(self, intent: Intent, record: Record | None) -> ResolvedIntent | None:
        """The intent kept open with its waiting time; None once absence may be believed."""
        remaining = intent.seconds_left(self.settle_after, self.now, self.uptime)
        if remaining <= 0:
            return None
        return ResolvedIntent(intent, record, "it is too early to know", remaining)


def _has_as_sent(rule: FieldRule, path: FieldPath, sent: Any, value: Any) -> bool:
    """Whether a field has what a call sent; ABSENT is a removal, for which a reset will do."""
    if sent is ABSENT and is_same_value(rule.reset_value, value, rule.compare):
        return True
    return is_as_sent(rule, sent, value) or is_server_form(sent, value, path)


def _guess_fields_before(intent: Intent, kind: ResourceType, record: Record | None) -> Fields:
    """The fields before an update that an earlier version announced, as the record tells them."""
    if record is None:
        return {}
    seen, before = unflatten(record.seen), dict(intent.fields)
    names = {path[0] for path in intent.fields}  # a PATCH has left the others alone
    for path in {*intent.fields, *(path for path in record.applied if path[0] in names)}:
        sent = intent.fields.get(path, ABSENT)
        rule = kind.require_rule_of_field(path)
        if not _has_as_sent(rule, path, sent, record.applied.get(path, ABSENT)):
            # Of a truth that was never seen: no server rewrites one.
            unseen = not sent if isinstance(sent, bool) else ABSENT
            before[path] = get_at_or_absent(seen, path)
            if before[path] is ABSENT:
                before[path] = unseen
    return before


def _absent(intent: Intent, record: Record | None) -> ResolvedIntent:
    return ResolvedIntent(replace(intent, state=IntentState.ABSENT), record)


def _new_record(intent: Intent, live: Observed, now: str) -> Record:
    """The record of what an intent made, without its fields."""
    live_digest = published_digest(live)
    # An object with another digest was published by somebody else: its package is not ours.
    is_own_package = live_digest is None or live_digest == intent.digest
    return Record(
        address=intent.address,
        remote_id=live.remote_id,
        api=intent.api,
        salt=intent.salt,
        digest=intent.digest if is_own_package else live_digest,
        files=intent.files if is_own_package else {},
        protected=intent.protected,
        depends_on=intent.depends_on,
        series=intent.series,
        version=intent.version,
        created_at=now,
    )


def records_after(
    records: Mapping[Address, Record], resolved_intents: list[ResolvedIntent]
) -> dict[Address, Record]:
    """The records with the changes of these resolved intents."""
    current = dict(records)
    for resolved in resolved_intents:
        if resolved.record is not None:
            current[resolved.intent.address] = resolved.record
        elif resolved.is_done:
            current.pop(resolved.intent.address, None)
    return current


# Which job belongs to an announced run.
_MAX_NAMED = 5
# Results in audit entries of runs that have a job: started, looked up, or named by the user.
_HAS_JOB = ("done", "settled: done", "settled by hand: job ")
# Margins for a server's time filter, whose time zone is not known, and for wrong clocks.
_ZONES, _SKEW = timedelta(days=1), timedelta(minutes=15)


@frozen
class RunCandidates:
    """The job of a run, which has its mark, else the jobs that may be it."""

    job: Job | None = None
    possible: tuple[Job, ...] = ()

    @property
    def names(self) -> str:
        """The possible jobs as text, such as `job 12 or job 13`."""
        hidden_count = len(self.possible) - _MAX_NAMED
        names = [f"job {job.id}" for job in self.possible[:_MAX_NAMED]]
        return " or ".join([*names, *([f"one of {hidden_count} more"] if hidden_count > 0 else [])])


def jobs_of_last_runs(records: Mapping[Address, Record]) -> dict[str, Address]:
    """The address of each recorded last run, by its job's id."""
    return {
        run.job: address
        for address, record in records.items()
        if (run := LastRun.from_json_or_none(record.verification)) is not None and run.job
    }


def known_jobs(store: StateStore) -> frozenset[str]:
    """Ids of jobs that the state knows to be of a run, ended or not: none is an open run's."""
    settled_jobs = {
        entry.remote_id
        for entry in store.list_audit_entries_newest_first()
        if entry.verb == RUN_VERB and entry.remote_id and entry.result.startswith(_HAS_JOB)
    }
    return frozenset(settled_jobs) | set(jobs_of_last_runs(store.read_state().records))


def find_job(
    api: Api, proof: VerificationSpec, intent: Intent, of_others: Container[str]
) -> RunCandidates:
    """The job with the mark of an announced run, else the jobs that may be it.

    `of_others` are ids of jobs that belong to other runs. Raises RemoteError where the jobs cannot
    be listed.
    """
    owners, possible = JobOwners(api), []

    def is_candidate(job: Job) -> bool:
        if job.id in of_others or not _may_be_of_run(job, intent):
            return False
        full_job = owners.with_plugin_of_release(job)
        return not owners.runs_other_plugin(full_job, intent.remote_id) and _may_be_of_run(
            full_job, intent
        )

    since = datetime.fromisoformat(intent.sent_at) - _ZONES
    for raw in proof.list_jobs(api, intent.remote_id, since):
        try:
            job = parse_job(raw)
        except ValueError:
            raise RemoteError("the list of jobs has an item that is not a job") from None
        if "context" not in raw and is_candidate(job):
            # The context has the run's mark, so it is worth a request of its own.
            job = read_job(api, job.id)  # items of a list may lack fields
        if job.context.get(RUN_MARK_KEY) == intent.id:
            return RunCandidates(job)
        if is_candidate(job):
            possible.append(job)
    return RunCandidates(None, tuple(possible))


def _may_be_of_run(job: Job, intent: Intent) -> bool:
    """Whether nothing shows that a job without a mark belongs to another run.

    A server may return a job's context in part or not at all, so only a value that was not sent
    rules a job out.
    """
    if intent.version and job.version and job.version != intent.version:
        return False
    created = parse_zoned_time_or_none(job.created)
    if created is not None and created < datetime.fromisoformat(intent.sent_at) - _SKEW:
        return False
    return RUN_MARK_KEY not in job.context and all(
        path in intent.fields and is_same_value(intent.fields[path], value)
        for path, value in flatten(job.context).items()
    )


def explain_other_job(
    api: Api, job_id: str, intent: Intent, find_earliest: Callable[[], datetime]
) -> str:
    """Why a job cannot be that of an announced run, as part of a sentence; "" where it may be.

    `find_earliest` is asked after the job was read: before that time no server can have made it.
    Raises RemoteError where the job cannot be read.
    """
    owners = JobOwners(api)
    try:
        job = owners.with_plugin_of_release(read_job(api, job_id))
    except NotFound:
        return "does not exist, or is hidden"
    created = parse_zoned_time_or_none(job.created)
    if job.context.get(RUN_MARK_KEY) == intent.id:
        return ""
    if owners.runs_other_plugin(job, intent.remote_id):
        return f"runs plugin {job.plugin_code or job.plugin}"
    if created is not None and created < find_earliest():
        return f"was created at {job.created}, but the run was sent at {intent.sent_at}"
    if intent.version and job.version and job.version != intent.version:
        return f"runs version {job.version}"
    return "" if _may_be_of_run(job, intent) else "was started with other parameters"


def with_job(
    intent: Intent, record: Record | None, job: str, moment: str
) -> tuple[Intent, Record | None]:
    """The closed intent of a run that has a job, and its record with the run as running."""
    closed = replace(intent, state=IntentState.DONE, remote_id=job)
    if record is None:  # the object was forgotten meanwhile, so there is nothing to record
        return closed, None
    parameters = intent.digest or ""
    return closed, with_last_run(
        record, RunStatus.RUNNING, job=job, parameters=parameters, moment=moment
    )
