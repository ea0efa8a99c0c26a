"""Plans that show every action, refusal, guard, note, cause, secret, unknown and script."""

from __future__ import annotations

from dataclasses import replace

from synapse_apply import Plan
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position, error_finding, warning_finding
from synapse_apply.model.job import Verification
from synapse_apply.model.plan import (
    Action,
    Cause,
    Change,
    FieldChange,
    GuardViolation,
    PlanBase,
    Refusal,
)
from synapse_apply.model.resource import Capabilities
from synapse_apply.model.state import BackendIdentity
from synapse_apply.model.values import ABSENT, KnownAfterApply

YOLO = Address("plugin", "yolo")
RELEASE = Address("release", "yolo@1.2.0")
LAKE = Address("storage", "데이터-호수")
BASE = PlanBase(
    target="prod",
    binding=BackendIdentity("https://user:hunter2@api.synapse.sh", tenant="acme"),
    lineage="5f1c2d00-0000-4000-8000-000000000001",
    serial=41,
    manifests_digest="sha256:00ff",
    commit="0123456789abcdef0123456789abcdef01234567",
)

OFFLINE = replace(
    BASE, binding=BackendIdentity(""), lineage="", serial=0, against="git:main (1a2b3c4)"
)


def new(*path: str | int, value: object) -> FieldChange:
    """A field of a create."""
    return FieldChange(path, ABSENT, value, Cause.NONE)


def moved(*path: str | int, before: object, after: object, cause: Cause = Cause.GIT) -> FieldChange:
    """A field that differs."""
    return FieldChange(path, before, after, cause)


def secret(*path: str, cause: Cause = Cause.NONE, note: str = "") -> FieldChange:
    """A secret field."""
    return FieldChange(path, ABSENT, ABSENT, cause, sensitive=True, note=note)


def plan(*changes: Change, **more: object) -> Plan:
    """A plan with a fixed identity."""
    return Plan("plan-1", "2026-11-24T12:00:00.000000Z", "0.1.0", BASE, changes, **more)  # type: ignore[arg-type]


CREATE_PLUGIN = Change(
    YOLO,
    Action.CREATE,
    fields=(
        new("name", value="YOLO 객체 탐지"),
        new("code", value="yolo"),
        new("description", value="Finds things.\nFast.\n"),
        new("configuration", "parameters", "quality", "type", value="float"),
        new("configuration", "parameters", "quality", "default", value=0.8),
        new("configuration", "한국어 키", value=[1, True, None, {"a": "b"}]),
        new("configuration", "labels", value=[f"label-number-{n}" for n in range(9)]),
    ),
    after={"name": "YOLO 객체 탐지", "code": "yolo", "description": "Finds things.\nFast.\n"},
)
CREATE_RELEASE = Change(
    RELEASE,
    Action.CREATE,
    fields=(
        new("plugin", value=KnownAfterApply(YOLO)),
        new("version", value="1.2.0"),
        new("is_stable", value=True),
    ),
    after={"plugin": None, "version": "1.2.0", "is_stable": True},
    after_unknown=(("plugin",),),
    depends_on=(YOLO,),
    extras={
        "package": {
            "digest": "pkg1:sha256:00ff",
            "files": 14,
            "size": 2_202_010,
            "source": "plugins/yolo",
        }
    },
)
RUN = Verification(
    {
        "parameters": {"quality": 0.9, "format": "png\x1b[2J"},
        "context": {"project_id": 123, "tags": []},
    },
    "sha256:00ff",
    "never verified",
)
CREATE_AND_VERIFY = replace(CREATE_RELEASE, verification=RUN)
VERIFY_AGAIN = Change(
    Address("release", "ocr@2.0.0"),
    Action.NO_OP,
    remote_id="8",
    verification=Verification(
        {"parameters": {}, "context": {}},
        "sha256:00aa",
        "job 12 was not seen to end: the tool follows it",
        job="12",
        timeout=60,
        on_failure="warn",
    ),
)
CREATE_STORAGE = Change(
    LAKE,
    Action.CREATE,
    fields=(
        new("name", value="데이터 호수"),
        new("provider", value="amazon_s3"),
        new("configuration", "bucket_name", value="raw"),
        secret("configuration", "access_key_id"),
        secret("configuration", "secret_access_key", note="not checked: RAW_KEY is not set"),
    ),
    after={
        "name": "데이터 호수",
        "provider": "amazon_s3",
        "configuration": {"bucket_name": "raw", "access_key_id": None, "secret_access_key": None},
    },
    after_sensitive=(("configuration", "access_key_id"), ("configuration", "secret_access_key")),
)
_SEG_BEFORE = {
    "name": "Segmenter",
    "code": "segmenter",
    "author": "somebody else",
    "category": "ml",
    "configuration": {"mode": "fast", "steps": 3, "token": None, "tags": ["a", "b"]},
}
UPDATE = Change(
    Address("plugin", "segmenter"),
    Action.UPDATE,
    remote_id="12",
    fields=(
        moved("author", before="somebody else", after="Vision", cause=Cause.DRIFT),
        moved("description", before="old\nline two\nline three", after="new\nline two\nline three"),
        moved("configuration", "mode", before="fast", after="exact", cause=Cause.BOTH),
        moved("configuration", "tags", before=["a", "b"], after=["a", "c"]),
        moved(
            "configuration",
            "classes",
            before=[f"class-{n}" for n in range(14)],
            after=[f"class-{n}" for n in range(14) if n != 7] + ["class-new"],
        ),
        moved("configuration", "gone", before={"x": 1, "y": {"z": 2}}, after=ABSENT),
        moved("configuration", "limit", before=5, after={"min": 1, "max": 5}),
        moved(
            "configuration",
            "url",
            before="https://models.example.org/segmentation/v1/weights-and-biases-0001.bin",
            after="https://models.example.org/segmentation/v1/weights-and-biases-0002.bin",
        ),
        secret("configuration", "token", cause=Cause.SECRET, note="changed"),
        secret("configuration", "key", cause=Cause.GIT, note="not checked: SEG_KEY is not set"),
    ),
    before=_SEG_BEFORE,
    after={**_SEG_BEFORE, "author": "Vision"},
    before_sensitive=(("configuration", "token"), ("configuration", "key")),
    after_sensitive=(("configuration", "token"), ("configuration", "key")),
)
ADOPT = Change(
    Address("storage", "archive"),
    Action.ADOPT,
    remote_id="7",
    before={"name": "Archive", "provider": "gcp"},
    after={"name": "Archive", "provider": "gcp"},
)
ADOPT_AND_UPDATE = Change(
    Address("plugin", "ocr"),
    Action.ADOPT,
    remote_id="31",
    fields=(
        moved("author", before="x", after="Vision", cause=Cause.NONE),
        secret("configuration", "token", note="not checked: the server masks it"),
    ),
    before={"name": "OCR", "author": "x"},
    after={"name": "OCR", "author": "Vision"},
)
RECREATE = Change(
    Address("plugin", "tracker"),
    Action.RECREATE,
    fields=(new("name", value="Tracker"),),
    after={"name": "Tracker"},
    reason="missing",
    notes=("recorded as id 15, which no longer exists",),
)
DELETE = Change(
    Address("storage", "scratch"),
    Action.DELETE,
    remote_id="9",
    before={"name": "Scratch", "configuration": {"bucket": "tmp", "key": None}},
    before_sensitive=(("configuration", "key"),),
    reason="no longer declared, and --prune was given",
)
FORGET = Change(Address("plugin", "retired"), Action.FORGET, remote_id="4")
NO_OP = Change(
    Address("plugin", "stable"),
    Action.NO_OP,
    remote_id="2",
    notes=("configuration.token: (sensitive, not checked: STABLE_TOKEN is not set)",),
    after={"name": "S"},
    before={"name": "S"},
)
REBASE = Change(Address("plugin", "rebased"), Action.NO_OP, remote_id="3", rebase=True)
SUPERSEDED = Change(Address("release", "yolo@1.0.0"), Action.NO_OP, superseded=True)
NOTED = Change(
    Address("release", "yolo@1.1.0"),
    Action.NO_OP,
    notes=("release/yolo@1.1.0 has unreleased changes (3 files; next version 1.1.1)",),
)
REFUSED_STORAGE = Change(
    Address("storage", "raw-data"),
    Action.UPDATE,
    remote_id="21",
    fields=(moved("configuration", "region", before="us-west-2", after="eu-central-1"),),
    refusals=(
        Refusal(
            "no-update",
            "this API cannot change a storage",
            (
                "change it in Synapse, then: synapse-apply state accept storage/raw-data",
                "keep it as it is: add /configuration/region to lifecycle.ignore_changes",
                "declare a storage under a new name",
            ),
            Position("manifests/storages.yaml", 14, 5),
        ),
    ),
    before={"name": "Raw", "configuration": {"region": "us-west-2"}},
    after={"name": "Raw", "configuration": {"region": "eu-central-1"}},
)
REFUSED_UNKNOWN = Change(
    Address("plugin", "maybe"),
    Action.CREATE,
    fields=(new("name", value="Maybe"),),
    refusals=(
        Refusal(
            "outcome-unknown",
            "an earlier create was sent and its answer was lost",
            ("look for it in Synapse, then: synapse-apply import plugin/maybe ID",),
            outcome_unknown=True,
        ),
    ),
    position=Position("manifests/plugins.yaml", 3, 1),
)
GUARD = GuardViolation(
    "missing_all", "all 3 recorded objects are missing", "This looks like another tenant."
)
WARNING = warning_finding(
    "A secret is in plain text",
    "The value of secret_access_key is written in the manifest.",
    "use {valueFrom: {env: NAME}}",
    position=Position("manifests/storages.yaml", 9, 24),
    address="storage/raw-data",
    path=("spec", "configuration", "secret_access_key"),
    target="prod",
)
ERROR = error_finding(
    "The backend did not answer", "GET /plugins/12/ failed: timeout.", request_id="req-9"
)

ALL = (
    CREATE_PLUGIN,
    CREATE_RELEASE,
    CREATE_STORAGE,
    UPDATE,
    ADOPT,
    ADOPT_AND_UPDATE,
    RECREATE,
    DELETE,
    FORGET,
    NO_OP,
    REBASE,
    SUPERSEDED,
    NOTED,
    REFUSED_STORAGE,
    REFUSED_UNKNOWN,
)
PLANS = {
    "everything": plan(
        *ALL,
        guards=(GUARD,),
        diagnostics=(WARNING,),
        capabilities=Capabilities({"plugin.list": True}),
    ),
    "create": plan(CREATE_PLUGIN, CREATE_RELEASE, CREATE_STORAGE),
    "no-changes": plan(Change(YOLO, Action.NO_OP, remote_id="41"), REBASE, SUPERSEDED),
    "note-only": plan(NO_OP, NOTED),
    "refused-only": plan(NO_OP, REFUSED_STORAGE),
    "errored": plan(UPDATE, diagnostics=(WARNING, ERROR)),
    "verify": plan(CREATE_AND_VERIFY, VERIFY_AGAIN),
    "verify-only": plan(NOTED, VERIFY_AGAIN),
    "empty": plan(),
    "as-of": replace(plan(UPDATE), base=replace(BASE, revision="v1.2 (1a2b3c4)")),
    "offline": replace(plan(CREATE_RELEASE, UPDATE, NOTED), base=OFFLINE),
    "offline-same": replace(plan(NO_OP), base=OFFLINE),
}
