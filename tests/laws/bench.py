"""A project on disk and a backend over HTTP, to plan and apply on as a person would."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from laws.effort import DEEP, spread
from laws.worlds import SECRET_FILE, SECRET_KEYS, SECRETS, Edit, World
from profiles import PAGE, PROFILE, VENDOR

from synapse_apply import (
    Invocation,
    Plan,
    PlanOptions,
    Report,
    SilentProgress,
    apply,
    check,
    open_context,
    open_state,
    plan,
)
from synapse_apply.emulator.core.switches import SWITCHES
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action
from synapse_apply.model.state import State
from synapse_apply.operations.import_ import record_all_live_objects_or_none
from synapse_apply.operations.state import create_empty_state_and_missing_key
from synapse_apply.workspace import state_access
from synapse_apply.workspace.environment import normalize_base_url
from synapse_apply.workspace.inventory_rows import InventoryRow
from synapse_apply.workspace.target_session import PlanResult, TargetSession

TOKEN = "law-token"
TENANT = "law"
APIS = ("v1", "v2")
MATTER = ("put", "secrets", "configuration", "list_items", "plugin_list", "code")
MATTER_ON_V2 = ("v2_answers", "list_order", "secrets")
# Of another profile than the page's: as it is, and with what is least sure of it.
ON_TOP: tuple[dict[str, str], ...] = (
    {},
    {"put": "full", "release_plugin": "both", "release_taken": "general"},
    {"secrets": "masked", "first_release": "none", "release_meta": "debug"},
    {"credential_regime": "session", "plugin_tenant": "number", "release_source": "checked"},
)
GUARDS = frozenset({"no-manifests", "all-missing", "mass-missing", "recreate", "adopt"})
# The packages of the worlds lack what nothing here is about.
UNCHECKED = frozenset({"package:code", "package:name"})
ANYTHING_GOES = PlanOptions(
    recreate=True, allow_replace=True, overridden=GUARDS, no_package_check=UNCHECKED
)


def combinations(api: str = "v1", profile: str = PROFILE) -> list[dict[str, str]]:
    """Every combination of the switches that matter to plan and apply, or another profile's."""
    if profile != PAGE:
        return [{"profile": profile, **more} for more in ON_TOP]
    matter = MATTER if api == "v1" else MATTER_ON_V2
    chosen = [[(s.name, value) for value in s.values] for s in SWITCHES if s.name in matter]
    return [dict(combination) for combination in itertools.product(*chosen)]


def on_vendor(few: int) -> list[dict[str, str]]:
    """`few` of the vendor's combinations, all when deep; none where all laws run on a profile."""
    if PROFILE != PAGE:
        return []
    every = combinations(profile=VENDOR)
    return every if DEEP else every[:few]


def on_each_api() -> pytest.MarkDecorator:
    """API versions of plugins and releases, each with some of its combinations of switches."""
    cases = [(api, switches) for api in APIS for switches in spread(combinations(api))]
    cases += [("v1", switches) for switches in on_vendor(few=1)]
    return pytest.mark.parametrize(("api", "switches"), cases, ids=name_of)


def name_of(combination: Mapping[str, str] | str) -> str:
    """A test id."""
    if isinstance(combination, str):
        return combination
    return ",".join(f"{name}_{value}" for name, value in combination.items())


class Server:
    """The doors that no real backend has, over one connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Synapse-Access-Token": f"Token {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):
            # It lay idle too long, and the server closed it: what was asked, nobody read.
            self._connection.close()
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status < 300, (method, path, answer.status, content[:300])
        return json.loads(content) if content else None

    def close(self) -> None:
        self._connection.close()

    def objects(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("GET", f"/_emulator/objects/{kind}/")["results"]
        return found

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        return {kind: self.objects(kind) for kind in ("plugin", "release", "storage")}

    def reset(self, switches: Mapping[str, str]) -> None:
        """Empty it; how jobs look goes with the other switches, so that each way is met."""
        for kind in ("plugin", "release", "storage"):
            self.send("DELETE", f"/_emulator/objects/{kind}/")
        if "profile" in switches:
            self.send("PATCH", "/_emulator/switches/", dict(switches))
            self.forget()
            return
        partial = switches.get("put") != "full"
        jobs = {
            "job_context": "returned" if partial else "none",
            "status_words": "page" if partial else "platform",
            "console_logs": "entries" if partial else "lines",
        }
        self.send("PATCH", "/_emulator/switches/", {"profile": PAGE, **jobs, **switches})
        self.forget()

    def switches(self) -> dict[str, str]:
        """How it behaves, by switch."""
        values: dict[str, str] = self.send("GET", "/_emulator/switches/")
        return values

    def forget(self) -> None:
        self.send("DELETE", "/_emulator/requests/")

    def mutations(self) -> list[dict[str, Any]]:
        """The mutating requests since the last `forget`."""
        log = self.send("GET", "/_emulator/requests/")["last"]
        return [entry for entry in log if entry["method"] not in ("GET", "HEAD")]

    def edit(self, edit: Edit) -> None:
        """Carry an outside edit out, where there is such an object."""
        rows = self.objects(edit.kind)
        if not rows:
            return
        row = rows[edit.at % len(rows)]
        path = f"/_emulator/objects/{edit.kind}/{row['id']}/"
        configuration = dict(row["body"].get("configuration") or {})
        if edit.act == "delete":
            self.send("DELETE", path)
        elif edit.act == "copy":
            self.send("POST", f"/_emulator/objects/{edit.kind}/", {"body": row["body"]})
        elif edit.act == "leak":
            key = SECRET_KEYS.get(row["body"]["provider"], edit.key)
            secret = {**configuration, key: edit.value} if key else configuration
            self.send("PATCH", path, {"configuration": secret})
        elif edit.act == "field":
            value: Any = edit.value
            if edit.key == "category" and edit.kind == "storage":
                value = "internal"
            if edit.key in ("is_stable", "is_released"):
                value = bool(edit.value)
            self.send("PATCH", path, {edit.key: value})
        elif edit.act == "set":
            self.send("PATCH", path, {"configuration": {**configuration, edit.key: edit.value}})
        else:
            configuration.pop(edit.key, None)
            self.send("PATCH", path, {"configuration": configuration})

    def exists_already(self, world: World, address: str) -> str:
        """Make the object of an address as somebody else might have made it; gives its id."""
        row: Mapping[str, Any] = {"id": ""}
        spec = world.documents[address]["spec"]
        if address.startswith("plugin/"):
            code = spec.get("code")
            body = {**spec, "description": "older", "code": code}
            row = self.send("POST", "/_emulator/objects/plugin/", {"body": body, "key": code})
        elif address.startswith("storage/"):
            body = {**spec, "configuration": {"bucket_name": "raw", "password": "********"}}
            row = self.send("POST", "/_emulator/objects/storage/", {"body": body})
        return str(row["id"])


@dataclass
class Recorder:
    """The real client, and the body of every call that is to change something."""

    api: Any
    server: Server
    sent: list[tuple[str, Any]] = field(default_factory=list)

    def put_storage(self, pk: str, data: Mapping[str, Any]) -> Any:
        """An update this API does not have yet: what is not sent is reset."""
        return self.patch_storage(pk, {"category": "external", "configuration": {}, **data})

    def patch_storage(self, pk: str, data: Mapping[str, Any]) -> Any:
        """An update this API does not have yet: each field that is sent is replaced."""
        self.sent.append(("update_storage", data))
        self.server.send("PATCH", f"/_emulator/objects/storage/{pk}/", dict(data))
        return self.api.get_storage(int(pk))

    @property
    def v2(self) -> Recorder:
        return replace(self, api=self.api.v2)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.api, name)
        if not name.startswith(("create_", "update_", "run_", "lock_", "delete_")):
            return call

        def recorded(*given: Any, **named: Any) -> Any:
            self.sent.append((name, given[-1]))
            return call(*given, **named)

        return recorded


@dataclass(frozen=True)
class Project:
    """A project folder whose one target is the server."""

    root: Path
    server: Server
    parallelism: int = 1
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)
    environ: Mapping[str, str] = field(default_factory=lambda: {"LAW_TOKEN": TOKEN, **SECRETS})

    @classmethod
    def make(cls, root: Path, server: Server, api: str = "v1") -> Project:
        """Write the project file and make an empty state."""
        target = (
            f"{{url: '{server.url}', tenant: {TENANT}, token: {{env: LAW_TOKEN}}, settle_after: 0,"
            f" api: {api}, unsupported_fields: warning}}"
        )
        (root / "synapse-apply.yaml").write_text(
            "apiVersion: synapse-apply/v1\nkind: Project\nmanifests: [manifests/]\n"
            "policy: {rules: [{rule: no-debug-releases, severity: off}]}\n"
            f"targets:\n  law: {target}\n"
        )
        (root / "manifests").mkdir()
        (root / "secrets").mkdir()
        (root / SECRET_FILE).write_text(SECRETS["LAW_SECRET_0"] + "\n", encoding="utf-8")
        made = cls(root, server)
        with open_state(made.where) as state:
            binding = state_access.build_state_identity(
                normalize_base_url(server.url), state.target, None
            )
            create_empty_state_and_missing_key(state, binding)
        return made

    @property
    def where(self) -> Invocation:
        return Invocation(
            directory=self.root, target="law", environ=self.environ, parallelism=self.parallelism
        )

    @contextmanager
    def opened(self) -> Iterator[tuple[TargetSession, Recorder]]:
        with open_context(self.where) as context:
            recorder = Recorder(context.api, self.server)
            context.api, context.catalogue = recorder, self.catalogue
            yield context, recorder

    def found(self, world: World, addresses: Iterable[str]) -> None:
        """Objects of these addresses exist; a plugin that no list shows is imported."""
        world.write(self.root)
        listed = self.server.switches()["plugin_list"] == "list"
        for address in addresses:
            remote_id = self.server.exists_already(world, address)
            if address.startswith("plugin/") and not listed:
                with self.opened() as (context, _):
                    row = InventoryRow(remote_id)
                    record_all_live_objects_or_none(context, {Address.parse(address): row})

    def state(self) -> State:
        with open_state(self.where) as state:
            return state.store.read_state()

    def plan(self, choices: PlanOptions = ANYTHING_GOES) -> PlanResult:
        with self.opened() as (context, _):
            return plan(context, choices)

    def apply(self, choices: PlanOptions = ANYTHING_GOES) -> Applied:
        """As the command does: plan, check and carry out under one lock."""
        with self.opened() as (context, recorder), context.store.lock("apply"):
            self.server.forget()
            planned = plan(context, choices)
            check(planned.plan)
            report = apply(context, planned, SilentProgress())
            return Applied(planned.plan, report, recorder.sent)


@dataclass(frozen=True)
class Applied:
    """A plan, what became of it, and what was sent."""

    plan: Plan
    report: Report
    sent: list[tuple[str, Any]]


def pending(plan: Plan) -> list[str]:
    """What a plan still has to do, in words; what is refused is not pending."""
    return [
        f"{change.address}: {change.action.value}"
        f" {[(f.path, f.before, f.after, f.cause.value) for f in change.fields]}"
        f"{' rebase' if change.rebase else ''}{' verify' if change.verification else ''}"
        for change in plan.changes
        if not change.is_refused
        and (change.action is not Action.NO_OP or change.rebase or change.verification)
    ]
