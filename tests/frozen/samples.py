"""Values with every stored shape in them, as the first generation of frozen files has them.

They are written by attribute and keyword, the files by JSON key. So a field that is renamed without
its key, or given another's, makes `test_read.py` fail. Never change what they hold.
"""

from __future__ import annotations

import base64
from dataclasses import replace

from synapse_apply import Plan
from synapse_apply.kinds.compare import format_comparable_json
from synapse_apply.kinds.run_body import compute_run_body_digest, with_run_mark_if_body_has_context
from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position, Severity
from synapse_apply.model.job import LastRun, RunStatus, Verification
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.plan import (
    Action,
    Cause,
    Change,
    FieldChange,
    GuardViolation,
    PlanBase,
    Refusal,
)
from synapse_apply.model.project import MovedAddress
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.resource import Capabilities
from synapse_apply.model.state import (
    Acceptance,
    AuditEntry,
    BackendIdentity,
    Intent,
    IntentState,
    Record,
    State,
    Uptime,
)
from synapse_apply.model.values import (
    ABSENT,
    KnownAfterApply,
    Mac,
    Reference,
    Sensitive,
    WithheldSecret,
)
from synapse_apply.secrets.keys import StateKey, StateKeys
from synapse_apply.secrets.macs import compute_mac
from synapse_apply.secrets.signatures import sign_document_or_empty_without_key
from synapse_apply.stores.snapshot import StateSnapshot

# Made up, as everything here. Whoever finds it in a log has found a test.
KEY_TEXT = base64.b64encode(b"a made-up state key for fixtures").decode()
KEY = StateKey(base64.b64decode(KEY_TEXT), "fixture")
LINEAGE = "5f1c2d00-0000-4000-8000-00000000f402"
PLAN_ID = "0c0ffee0-0000-4000-8000-0000000000aa"
DIGEST = "pkg1:sha256:" + "5a" * 32
FILE_DIGEST = "ab" * 32
AT = "2026-11-26T21:00:00.000000Z"
LATER = "2026-11-26T21:00:07.500000Z"

PLUGIN = Address("plugin", "image-processing")
RELEASE = Address("release", "image-processing@1.0.0")
BY_ID = Address("release", "id=7@2.0.0")
STORAGE = Address("storage", "raw-data")


def build_records() -> tuple[Record, ...]:
    """A record of each kind and API version, each field set in one of them."""
    run = LastRun(RunStatus.PASSED, "41", "sha256:" + "1b" * 32, DIGEST, LATER, "k1:" + "2c" * 32)
    return (
        Record(
            address=STORAGE,
            remote_id="11",
            api="v1",
            natural_key="name=Raw data",
            applied={
                ("name",): "Raw data",
                ("configuration", "bucket"): "raw",
                ("configuration", "secret_access_key"): Mac("k1", "3d" * 32),
                ("configuration", "a/b~c"): [1, 1.5, None, True, {"$odd": float("inf")}],
                ("configuration", "empty"): {},
            },
            seen={
                ("name",): "raw data",
                ("configuration", "secret_access_key"): WithheldSecret("masked"),
                ("configuration", "gone"): ABSENT,
            },
            salt="4e" * 16,
            created_at=AT,
            updated_at=LATER,
            accepted=Acceptance(
                paths=(("name",), ("configuration", "bucket")),
                applied={("name",): "Older"},
                seen={("name",): "older"},
            ),
            unkept=("description", "labels"),
        ),
        Record(
            address=PLUGIN,
            remote_id="21",
            api="v2",
            natural_key="code=image-processing",
            applied={("code",): "image-processing", ("storage",): Reference(STORAGE)},
            protected=True,
            depends_on=(STORAGE,),
        ),
        Record(
            address=RELEASE,
            remote_id="rel-31",
            api="v2",
            natural_key="code=image-processing@1.0.0",
            applied={("changelog",): "Grüße \U0001f600 \ud800"},
            digest=DIGEST,
            files={"config.yaml": FILE_DIGEST, "bin/run.sh": f"{FILE_DIGEST} x"},
            verification=run.to_json(),
            depends_on=(PLUGIN, STORAGE),
            series="plugin/image-processing",
            version="1.0.0",
            proven={"digest": DIGEST, "at": LATER},
        ),
        Record(address=BY_ID, remote_id="7", api="v1", seen={("count",): 2**80}),
    )


def build_intents() -> tuple[Intent, ...]:
    """An open call of each verb, each field set in one of them."""
    common = {"plan_id": PLAN_ID, "api": "v1"}
    return (
        Intent(
            id="11111111-0000-4000-8000-000000000001",
            address=Address("storage", "archive"),
            verb="create",
            natural_key="name=Archive",
            fields={("name",): "Archive", ("configuration", "password"): Mac("k1", "5f" * 32)},
            salt="6a" * 16,
            depends_on=(STORAGE,),
            protected=True,
            sent_at=AT,
            sent_up=Uptime("3f0c boot", 1234.5),
            deadline=30.0,
            **common,
        ),
        Intent(
            id="11111111-0000-4000-8000-000000000002",
            address=STORAGE,
            verb="update",
            natural_key="name=Raw data",
            remote_id="11",
            fields={("name",): "Raw data 2"},
            **common,
        ),
        Intent(
            id="11111111-0000-4000-8000-000000000003",
            address=BY_ID,
            verb="delete",
            natural_key="",
            remote_id="7",
            **common,
        ),
        Intent(
            id="11111111-0000-4000-8000-000000000004",
            address=RELEASE,
            verb="seal",
            natural_key="code=image-processing@1.0.0",
            remote_id="rel-31",
            digest=DIGEST,
            files={"config.yaml": FILE_DIGEST},
            series="plugin/image-processing",
            version="1.0.0",
            **common,
        ),
        Intent(
            id="11111111-0000-4000-8000-000000000005",
            address=RELEASE,
            verb="run",
            natural_key="",
            remote_id="21",
            fields={("project_id",): 123},
            digest="sha256:" + "7b" * 32,
            version="1.0.0",
            **common,
        ),
    )


# What history has: the verb of a call or of a change of the state, and how it ended.
ENDINGS = (
    ("create", "done"),
    ("create", "settled by hand: absent"),
    ("create", "settled by hand: imported"),
    ("create", "not sent"),
    ("update", "failed"),
    ("update", "unknown"),
    ("delete", "settled: done"),
    ("seal", "done"),
    ("run", "done"),
    ("run", "settled by hand: job 41"),
    ("import", "done"),
    ("move to plugin/other", "done"),
    ("accept", "done"),
    ("forget", "done"),
    ("stop", "done"),
)


def build_audit() -> tuple[AuditEntry, ...]:
    """An entry for each verb and each way in which a call ends, the oldest first."""
    return tuple(
        AuditEntry(
            at=AT.replace("21:00:00", f"21:00:{number:02}"),
            who="somebody@build",
            run="https://ci.example/runs/1",
            plan_id=PLAN_ID,
            address=str(STORAGE),
            verb=verb,
            remote_id="11",
            request_id=f"req-{number}",
            result=result,
            digest="sha256:" + "8c" * 32,
            commit="0123456789abcdef-dirty",
            command="apply",
            dirty=("manifests/a.yaml", "x y"),
        )
        for number, (verb, result) in enumerate(ENDINGS)
    )


def build_contents() -> StateSnapshot:
    """A whole state, with its history."""
    records = {record.address: record for record in build_records()}
    state = State(
        lineage=LINEAGE,
        serial=41,
        binding=BackendIdentity(url="https://api.example", tenant="acme", data_set="d-1"),
        records=records,
        open_intents=build_intents(),
    )
    return StateSnapshot(state=state, plans=((PLAN_ID, AT),), audit=build_audit(), fence=6)


POSITION = Position("manifests/a.yaml", 3, 5)


def build_change() -> Change:
    """What a plan says of an address, each field set."""
    field = FieldChange(
        path=("configuration", "items", 1),
        before=[1, {"a": None}],
        after=KnownAfterApply(PLUGIN),
        cause=Cause.BOTH,
        sensitive=False,
        note="changed",
        inside=(("0", "a"), ("1",)),
    )
    secret = FieldChange(("configuration", "key"), ABSENT, ABSENT, Cause.SECRET, sensitive=True)
    return Change(
        address=RELEASE,
        action=Action.UPDATE,
        fields=(field, secret),
        refusals=(Refusal("locked", "It is locked.", ("unlock it",), POSITION, True),),
        notes=("a note",),
        depends_on=(PLUGIN,),
        remote_id="rel-31",
        api="v2",
        reason="because",
        rebase=True,
        superseded=True,
        before={"name": "a", "key": None},
        after={"name": "b", "key": None},
        before_sensitive=(("key",),),
        after_sensitive=(("key",),),
        after_unknown=(("id",),),
        fingerprint="9d" * 32,
        extras={"digest": DIGEST, "replaces": {"added": 1}},
        position=POSITION,
        verification=Verification(
            body={"action": "run", "context": {"project_id": 123}},
            parameters="sha256:" + "1b" * 32,
            reason="first",
            job="40",
            timeout=60.0,
            poll_interval=0.5,
            on_failure="warn",
        ),
        held=(FieldChange(("name",), "live", "declared", Cause.DRIFT),),
        accepted=(FieldChange(("label",), "live", "declared", Cause.GIT),),
    )


def build_finding() -> Diagnostic:
    """A finding, each field set."""
    return Diagnostic(
        severity=Severity.WARNING,
        summary="Something is odd",
        detail="At this place.",
        hint="Look.",
        position=POSITION,
        address=str(RELEASE),
        path=("spec", "source", 0),
        target="prod",
        request_id="req-1",
        rule="package:size",
        of_backend=True,
    )


def build_plan() -> Plan:
    """A plan with every shape that a saved one may have, more than any real one has at once."""
    others = tuple(Change(STORAGE, action) for action in Action)
    base = PlanBase(
        target="prod",
        binding=BackendIdentity("https://api.example", "acme", "d-1"),
        lineage=LINEAGE,
        serial=41,
        manifests_digest="sha256:" + "ae" * 32,
        commit="0123456789abcdef",
        revision="main",
        against="git:main",
        compared=False,
        dirty=("a.yaml",),
    )
    return Plan(
        id=PLAN_ID,
        created=AT,
        tool_version="0.1.0",
        base=base,
        changes=(build_change(), *others),
        guards=(GuardViolation("deletes", "Too many", "3 of 4", (STORAGE,), 2),),
        diagnostics=(build_finding(),),
        capabilities=Capabilities({"plugin.list": True, "storage.list": False}),
        moved=(MovedAddress(PLUGIN, Address("plugin", "new"), POSITION),),
        trial=DryRunCounts(tried=3, refused=1, untried=2),
    )


def build_ended() -> tuple[tuple[Intent, Record | None, AuditEntry], ...]:
    """Calls that ended and could not be recorded: one that made an object, and one that failed."""
    opened, updated = build_intents()[:2]
    entry = build_audit()[0]
    record = Record(opened.address, "12", "v1", natural_key="name=Archive", applied=opened.fields)
    created = replace(opened, remote_id="12", state=IntentState.DONE)
    failed = replace(updated, state=IntentState.FAILED)
    return (
        (created, record, replace(entry, address=str(created.address), verb=created.verb)),
        (failed, None, replace(entry, address=str(failed.address), verb="update", result="failed")),
    )


def build_digests() -> dict[str, str]:
    """Each digest and signature that stands in a user's file, over values that are hard to write."""
    odd = {"b": [1, 1.0, 2.5, None, True], "a": "Gr\u00fc\u00dfe \U0001f600", "": {"x/y~z": 10**20}}
    keys = StateKeys((KEY,))
    path = ("configuration", "a/b~c")
    return {
        "canonical": format_canonical_json(
            codec.fields_to_json({path: odd, ("m",): Mac("k", "00")})
        ),
        "value": codec.format_canonical_field_value(
            [ABSENT, WithheldSecret("omitted"), KnownAfterApply(PLUGIN)]
        ),
        "secret": compute_mac(KEY, "4e" * 16, path, Sensitive({"user": "a", "n": 1.0})).digest,
        "signature": sign_document_or_empty_without_key(
            keys, "line of what a run did", {"number": 1, "line": odd}
        ),
        "run": compute_run_body_digest({"action": "run", "parameters": odd}),
        "marked": format_canonical_json(
            with_run_mark_if_body_has_context({"context": {"a": 1}}, "an-intent")
        ),
        "compared": format_comparable_json(odd),
    }
