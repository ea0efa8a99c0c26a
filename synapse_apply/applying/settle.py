"""Settles intents that a crash or a lost answer left open, by looking the objects up.

Found: what agrees with the intent is ours. Absent is believed only when the search is complete
and the intent is older than its request's deadline plus `settle_after`. Anything else stays open
and refuses its own resource alone (design section 7).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from synapse_apply.applying.lookup import digest_of
from synapse_apply.applying.records import comparable, met, unkept_fields
from synapse_apply.applying.runs import look_for, started
from synapse_apply.kinds.descriptor import Binding, Catalogue, ResourceType
from synapse_apply.kinds.search import read_object, search
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Capabilities, Lookup, Observed
from synapse_apply.model.ports import Api, Secrets
from synapse_apply.model.state import Intent, IntentState, Record, Uptime
from synapse_apply.model.values import ABSENT, Mac, Withheld, dig
from synapse_apply.model.verification import RUN

# In a digest's place: the secret may have arrived, and nobody saw it.
NEVER_SEEN = "unknown"


@frozen
class Settled:
    """What became of one open intent; `record` is what the address's record is from now on.

    `settles_in` are the seconds after which a look-up will be conclusive, where waiting is all.
    """

    intent: Intent
    record: Record | None = None
    why: str = ""
    settles_in: float | None = None

    @property
    def is_open(self) -> bool:
        return self.intent.state is IntentState.OPEN

    @property
    def is_done(self) -> bool:
        return self.intent.state is IntentState.DONE

    @property
    def told(self) -> str:
        """The result as history tells it."""
        return f"settled: {self.intent.state.value}"


@frozen
class Settler:
    """Looks open intents up; nothing is written here.

    `now` is RFC 3339 UTC, `up` the same moment as the machine counts it. `known_jobs` gives the
    jobs of runs that are settled, and is asked only where a run is open. `owner_of` gives the other
    address that an object is recorded under, None where there is none. `listed` gives the objects
    of a kind with a natural key from a list that was read after `now`, None where none was.
    """

    api: Api
    catalogue: Catalogue
    secrets: Secrets
    marks: SecretMarks
    capabilities: Capabilities
    now: str
    settle_after: float
    up: Uptime = Uptime()
    known_jobs: Callable[[], Container[str]] = frozenset
    owner_of: Callable[[Observed, Address], Address | None] = lambda _found, _address: None
    listed: Callable[[str, Binding, str], list[Observed] | None] = lambda *_what: None

    def settle(self, intent: Intent, record: Record | None) -> Settled:
        """The intent closed where the backend can tell, else open with the reason."""
        kind = self.catalogue.get(intent.address.kind)
        if kind is None or intent.api not in kind.bindings:
            return Settled(intent, record, "this version does not know its kind")
        binding = kind.bindings[intent.api]
        try:
            if intent.verb == RUN:
                return self._run(intent, kind, record)
            if intent.verb == "create":
                return self._create(intent, kind, binding, record)
            return self._by_id(intent, kind, binding, record)
        except RemoteError as failure:
            return Settled(intent, record, f"looking it up failed: {failure}")

    def _create(
        self, intent: Intent, kind: ResourceType, binding: Binding, record: Record | None
    ) -> Settled:
        hits = self._hits(intent, binding)
        if len(hits) == 1:
            if owner := self.owner_of(hits[0], intent.address):
                why = f"what has its name (id {hits[0].remote_id}) is recorded as {owner}"
                return Settled(intent, record, why)
            return self._found(intent, kind, hits[0], record)
        if hits:
            ids = ", ".join(hit.remote_id for hit in hits)
            return Settled(intent, record, f"several objects have its name (ids {ids})")
        if binding.proves(intent.natural_key, self.capabilities) is not Lookup.COMPLETE:
            return Settled(intent, record, "this API cannot tell whether it was made")
        return self._too_early(intent, record) or _absent(intent, record)

    def _hits(self, intent: Intent, binding: Binding) -> list[Observed]:
        """Every live object with the natural key of a create, from one list for all creates."""
        key = intent.natural_key
        if not key or binding.proves(key, self.capabilities) is Lookup.NONE:
            return []
        hits = self.listed(intent.address.kind, binding, key)
        if hits is None:
            hits = search(
                self.api, binding, key, self.capabilities, self.marks.for_address(intent.address)
            )
        return hits

    def _run(self, intent: Intent, kind: ResourceType, record: Record | None) -> Settled:
        """A run is over with its answer: the job that it started is followed by the next apply."""
        if kind.proof is None:
            return Settled(intent, record, "this version knows no run of its kind")
        trail = look_for(self.api, kind.proof, intent, self.known_jobs())
        if trail.job is not None:
            return Settled(*started(intent, record, trail.job.id, self.now))
        if early := self._too_early(intent, record):
            return early
        if trail.maybe:
            why = f"{trail.names} may be it, and this backend does not show which run made a job"
            return Settled(intent, record, why)
        return _absent(replace(intent, remote_id=""), record)

    def _by_id(
        self, intent: Intent, kind: ResourceType, binding: Binding, record: Record | None
    ) -> Settled:
        try:
            live = read_object(
                self.api, binding, intent.remote_id, self.marks.for_address(intent.address)
            )
        except NotFound:
            if intent.verb == "delete":
                return Settled(replace(intent, state=IntentState.DONE), None)
            return Settled(replace(intent, state=IntentState.FAILED), record)
        if intent.verb == "delete":
            return Settled(replace(intent, state=IntentState.FAILED), record)
        return self._found(intent, kind, live, record)

    def _found(
        self, intent: Intent, kind: ResourceType, live: Observed, record: Record | None
    ) -> Settled:
        """Ours is what the server has as we sent it; the rest is planned again."""
        created = intent.verb == "create"
        base = _fresh(intent, live, self.now)
        if record is not None:
            base = replace(base, created_at=record.created_at) if created else record
        applied, seen = dict(base.applied), dict(base.seen)
        for path, sent in intent.fields.items():
            has = dig(live.spec, path)
            if isinstance(sent, Mapping) and isinstance(has, Mapping):
                has = {}  # an empty map of ours asks for a map; the keys in it are not ours
            has = comparable(has, intent.salt, path, self.secrets)
            unseen = path[0] in live.lacks.difference(kind.identity) or (
                path[0] in live.partial and has is ABSENT
            )
            surely = created or path[0] in base.unkept
            if (unseen and surely) or _took(kind, path, sent, has, created=created):
                applied[path] = sent
                seen[path] = has
            elif created:
                seen[path] = has
            elif isinstance(sent, Mac) and path not in applied:
                # Ours it is, whatever became of it: sent again, or dropped with the manifest.
                applied[path] = Mac(sent.key_id, NEVER_SEEN)
        for name in kind.identity:
            if (has := dig(live.spec, (name,))) is not ABSENT:
                seen[(name,)] = has
                # What was made in one call with what it refers to had no id of that to send.
                if created and kind.rules[name].references:
                    applied.setdefault((name,), has)
        made = replace(
            base,
            remote_id=live.remote_id,
            applied=applied,
            seen={path: value for path, value in seen.items() if value is not ABSENT},
            natural_key=intent.natural_key or base.natural_key,
            updated_at=self.now,
            unkept=unkept_fields(kind, applied, live),
        )
        return Settled(replace(intent, state=IntentState.DONE, remote_id=live.remote_id), made)

    def _too_early(self, intent: Intent, record: Record | None) -> Settled | None:
        """None once absence may be believed.

        On the machine that sent it, by what it counted since: a wall clock that was set forward
        would rush. Elsewhere by the wall clocks; one that was set back makes it wait.
        """
        if self.up.boot and self.up.boot == intent.sent_up.boot:
            age = self.up.seconds - intent.sent_up.seconds
        else:
            age = (_time(self.now) - _time(intent.sent_at)).total_seconds()
        left = intent.deadline + self.settle_after - max(age, 0.0)
        if left <= 0:
            return None
        why = f"it is too early to tell: run again in {left:.0f} s"
        return Settled(intent, record, why, settles_in=left)


def _absent(intent: Intent, record: Record | None) -> Settled:
    return Settled(replace(intent, state=IntentState.ABSENT), record)


def _took(kind: ResourceType, path: Path, sent: Any, has: Any, *, created: bool) -> bool:
    """Whether the server has what was sent, or hides it and got it with the object itself.

    An update that changed a hidden secret may not have been done: it is planned again.
    """
    hidden = isinstance(has, Withheld) or (has is ABSENT and isinstance(sent, Mac))
    if hidden or kind.rule(path).packaged:
        return created
    return met(kind.rule(path), sent, has)


def _fresh(intent: Intent, live: Observed, now: str) -> Record:
    told = digest_of(live)
    ours = told is None or told == intent.digest  # another's bytes are not what we published
    return Record(
        address=intent.address,
        remote_id=live.remote_id,
        api=intent.api,
        salt=intent.salt,
        digest=intent.digest if ours else told,
        files=intent.files if ours else {},
        protected=intent.protected,
        depends_on=intent.depends_on,
        series=intent.series,
        version=intent.version,
        created_at=now,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def after_settling(
    records: Mapping[Address, Record], settled: list[Settled]
) -> dict[Address, Record]:
    """Records as they are once these intents are settled."""
    current = dict(records)
    for item in settled:
        if item.is_open or item.intent.state in {IntentState.FAILED, IntentState.ABSENT}:
            continue
        if item.record is None:
            current.pop(item.intent.address, None)
        else:
            current[item.intent.address] = item.record
    return current
