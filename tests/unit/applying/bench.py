"""A run without manifests and sockets: declared values, a scripted backend, a state in a file.

`widget` is a kind made up here: it has every verb, references another widget, and holds secrets.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sessions import with_parts
from unit.applying.scripted import ScriptedApi

from synapse_apply import Invocation, PlanOptions, Report, apply, check, plan
from synapse_apply.applying.step import Actor
from synapse_apply.client.http.pacing import ServerClock
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ApiBinding as KindBinding
from synapse_apply.kinds.descriptor import Catalogue, FieldRule, ResourceType
from synapse_apply.kinds.wire import (
    require_remote_id_of_answer,
    select_sorted_non_null_fields,
    wrap_secrets_and_withhold_masked,
)
from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.model.address import Address
from synapse_apply.model.job import Job
from synapse_apply.model.project import Project, Target
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.report import Outcome
from synapse_apply.model.resource import (
    Desired,
    Lifecycle,
    Lookup,
    Observed,
    Package,
    PackageSource,
)
from synapse_apply.model.secrets.secret_marks import KindMarks, SecretMarks
from synapse_apply.model.state import BackendIdentity, Record, Uptime
from synapse_apply.model.values import Reference
from synapse_apply.secrets.keys import StateKey, StateKeys
from synapse_apply.secrets.resolve import SecretResolver
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store
from synapse_apply.workspace.backend import ConnectedBackend
from synapse_apply.workspace.configuration import DeclaredTarget
from synapse_apply.workspace.target_session import PlanResult, TargetSession

FIELDS = frozenset({"name", "serial", "note", "size", "parent", "configuration"})
_WIDGET = frozenset({("configuration", "key"), ("configuration", "pass")})
MARKS = SecretMarks(
    {
        "widget": KindMarks("configuration", "note", dict.fromkeys(("", "a", "b"), _WIDGET)),
        "storage": KindMarks(
            "configuration", "provider", {"s3": frozenset({("configuration", "key")})}
        ),
    }
)
KEY = StateKey(bytes(range(32)), "test")
NOW = "2026-01-01T00:00:00.000000Z"


def _decode(raw: Mapping[str, Any], _marks: SecretMarks) -> Observed:
    spec = wrap_secrets_and_withhold_masked(
        "widget", {"note": "", **select_sorted_non_null_fields(raw, FIELDS)}, MARKS
    )
    return Observed(
        require_remote_id_of_answer(raw), "v1", {k: v for k, v in spec.items() if k in raw}
    )


def _api(api: Any) -> ScriptedApi:
    return cast("ScriptedApi", api)


WIDGET_V1 = KindBinding(
    api="v1",
    fields=FIELDS,
    lookup={"name": Lookup.COMPLETE},
    read_object=lambda api, pk: _api(api).get("widget", pk),
    create_object=lambda api, body, _key: _api(api).make("widget", body),
    update_object=lambda api, pk, body: _api(api).change("widget", pk, body),
    delete_object=lambda api, pk: _api(api).remove("widget", pk),
    list_objects=lambda api: _api(api).all("widget"),
    lists_whole_objects=True,
    list_natural_keys=lambda raw: (f"name={raw['name']}",),
    decode=_decode,
    encode=dict,
)
WIDGET = ResourceType(
    kind="Widget",
    prefix="widget",
    rank=1,
    rules={
        "name": FieldRule("name", required=True),
        "serial": FieldRule("serial", immutable=True),
        "note": FieldRule("note", reset_value=""),
        "size": FieldRule("size"),
        "parent": FieldRule("parent", references="widget"),
        "configuration": FieldRule("configuration", free_form=True, reset_value={}),
    },
    derive_natural_key=lambda spec, _parents: f"name={spec['name']}" if spec.get("name") else "",
    identity_fields=("serial",),
    bindings={"v1": WIDGET_V1},
)


def widget_kind(**changes: Any) -> ResourceType:
    """The kind with another binding: `lookup`, `update`, `decode` and so on."""
    return replace(WIDGET, bindings={"v1": replace(WIDGET_V1, **changes)})


class FixedClock:
    """`at` is what `utc_now` answers; seconds move only while somebody waits."""

    def __init__(self) -> None:
        self.at = NOW
        self.waited = 0.0

    def pause(self, seconds: float) -> None:
        self.waited += seconds

    def utc_now(self) -> str:
        return self.at

    def monotonic_seconds(self) -> float:
        return self.waited


class Silent:
    """Progress that remembers the order of starts, and how each ended."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.ends: list[tuple[str, str, str]] = []

    def report_start(self, address: Address, verb: str) -> None:
        self.order.append(str(address))

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Not of interest here."""

    def report_job(self, address: Address, job: Job) -> None:
        """Not of interest here."""

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        self.ends.append((str(address), verb, result))

    def report_wait(self, seconds: float, location: str) -> None:
        """Not of interest here."""


class Bytes:
    """Packages whose bytes are the digest's own; `error` is raised while they are read."""

    error: BaseException | None = None

    @contextmanager
    def open_package(self, address: Address) -> Iterator[io.BytesIO]:
        if self.error is not None:
            raise self.error
        yield io.BytesIO(b"PK")


def widget(name: str, lifecycle: Lifecycle | None = None, **spec: Any) -> Desired:
    """A declared widget; `needs=NAME` refers to another as its parent."""
    if parent := spec.pop("needs", None):
        spec["parent"] = Reference(Address("widget", parent))
    return Desired(
        Address("widget", name), {"name": name, **spec}, lifecycle=lifecycle or Lifecycle()
    )


def plugin(name: str = "yolo", **spec: Any) -> Desired:
    return Desired(Address("plugin", name), {"name": name, "code": name, **spec})


def release(
    version: str = "1.0.0", digest: str | None = f"pkg1:sha256:{'aa' * 32}", verify: Any = None
) -> Desired:
    """A declared release of plugin/yolo; without digest its source is `published`."""
    at = PackageSource("folder" if digest else "published", "plugins/yolo" if digest else "")
    return Desired(
        Address("release", f"yolo@{version}"),
        {"plugin": Reference(Address("plugin", "yolo")), "version": version},
        source=at,
        package=Package(digest, {"a.py": "00"}, 10, at) if digest else None,
        verify=verify,
    )


@dataclass
class Bench:
    """One target of many runs; change `desired`, `environ`, `clock` between them."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)
    api: ScriptedApi = field(default_factory=ScriptedApi)
    store: SqlStore = field(init=False)
    clock: FixedClock = field(default_factory=FixedClock)
    progress: Silent = field(default_factory=Silent)
    packages: Bytes = field(default_factory=Bytes)
    catalogue: Catalogue = field(default_factory=lambda: {**CATALOGUE, "widget": WIDGET})
    target: Target = field(default_factory=lambda: Target("test", "http://localhost"))
    keys: StateKeys = field(default_factory=lambda: StateKeys((KEY,)))
    salts: int = 0
    up: Uptime = Uptime()

    def __post_init__(self) -> None:
        self.begin_state()

    def begin_state(self) -> None:
        """Go on with an empty state, in a folder of its own beside the project."""
        folder = Path(tempfile.mkdtemp(dir=self.root.parent, prefix="state-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.store = make_unopened_sqlite_store(folder / "state.db")
        self.store.create_state(BackendIdentity("http://localhost"), "lineage")

    def context(self, *desired: Desired) -> TargetSession:
        declared = {one.address: one for one in desired}
        manifests = LoadedManifests(self.target, declared, (), MARKS)
        invocation = Invocation(self.root, environ=self.environ, parallelism=1)
        return with_parts(
            TargetSession(invocation),
            project=Project(self.root),
            target=self.target,
            declared_target=DeclaredTarget(manifests, declared, {}, ()),
            backend=ConnectedBackend(
                self.api,
                BackendIdentity("http://localhost"),
                None,
                request_id=lambda: "req-1",
                longest_call=lambda _size: 60.0,
                server_clock=ServerClock(),
                hang_up=lambda _why: None,
                redactor=Redactor(),
            ),
            store=self.store,
            state_keys=self.keys,
            resolver=SecretResolver(self.root, self.environ),
            packages=self.packages,
            clock=self.clock,
            actor=Actor("tester"),
            catalogue=self.catalogue,
            new_salt=self._salt,
            uptime=lambda: self.up,
            pause=self.clock.pause,
        )

    def _salt(self) -> str:
        self.salts += 1
        return f"salt-{self.salts}"

    def plan(self, *desired: Desired, **choices: Any) -> PlanResult:
        """As on a terminal, where what is to be adopted is shown and asked."""
        return plan(self.context(*desired), PlanOptions(**{"adopt": True, **choices}))

    def apply(
        self,
        *desired: Desired,
        stop: Callable[[], int] = lambda: 0,
        adopts: bool = False,
        **choices: Any,
    ) -> Report:
        """Plan and apply; raises what stops an apply before its first call."""
        context = self.context(*desired)
        with self.store.lock("apply"):
            planned = plan(context, PlanOptions(**{"adopt": True, **choices}))
            check(planned.plan)
            return apply(context, planned, self.progress, stop, may_adopt=adopts)

    def record(self, address: str) -> Record:
        found = self.store.find_record(Address.parse(address))
        assert found is not None, f"{address} is not recorded"
        return found

    def live(self, name: str, kind: str = "widget") -> dict[str, Any]:
        """The one live object with this name."""
        (found,) = [one for one in self.api.objects[kind].values() if one.get("name") == name]
        return found


def outcome(report: Report, address: str) -> Outcome:
    return next(one for one in report.outcomes if str(one.address) == address)


def told(report: Report) -> str:
    """Every word of the report's findings."""
    return "\n".join(
        f"{found.summary} {found.detail} {found.hint}"
        for one in (*report.outcomes, *report.verification_results)
        for found in one.diagnostics
    )
