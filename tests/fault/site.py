"""A project of all three kinds against a backend that can fail; and what is there afterwards."""

from __future__ import annotations

import http.client
import json
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from buckets.servers import BucketServer
from forges.loopback_server import wait_until
from profiles import PROFILE

from synapse_apply import (
    BackendClient,
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
from synapse_apply.client.http.pacing import ServerClock
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action
from synapse_apply.model.state import AuditEntry
from synapse_apply.operations.state import create_empty_state_and_missing_key
from synapse_apply.workspace import state_access
from synapse_apply.workspace.backend import LastRequest
from synapse_apply.workspace.environment import normalize_base_url, read_uptime
from synapse_apply.workspace.target_session import TargetSession

TOKEN = "fault-token"
TENANT = "fault"
ENVIRON = {"FAULT_TOKEN": TOKEN, "RAW_KEY": "s3cret-of-raw"}
SETTLE_AFTER = 0.2
# While the server fails, the client of these tests gives up early: a hang costs a test little.
# Otherwise only a busy machine makes an answer late, and such a one is waited for.
READ_SECONDS, TOTAL_SECONDS = 0.6, 3.0
PATIENT_SECONDS = 60.0
# An hour: open calls are older than any deadline then.
LATER = 3600.0
# A rule that does nothing but count what arrives.
COUNTS: dict[str, Any] = {"match": {"nth": 1_000_000}, "do": {"latency": 0}}
SEPARATOR = "\n---\n"
APIS = ("v1", "v2")
FIRST_VERSION = "0.0.0"
KINDS = {"plugin": "plugins", "release": "plugin_releases", "storage": "storages"}


class Server:
    """The doors that no real backend has."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.profile = ""  # not known: another Server of the backend may have set one
        self.is_failing = False
        self._turn = threading.Lock()
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        weakref.finalize(self, self._connection.close)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Synapse-Access-Token": f"Token {TOKEN}", "Content-Type": "application/json"}
        text = None if body is None else json.dumps(body).encode()
        with self._turn:
            try:
                status, content = self._send_once(method, path, text, headers)
            except ConnectionError:
                # It lay idle too long, and the server closed it: what was asked, nobody read.
                self._connection.close()
                status, content = self._send_once(method, path, text, headers)
        assert status < 300, (method, path, status, content[:300])
        return json.loads(content) if content else None

    def _send_once(
        self, method: str, path: str, text: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        try:
            self._connection.request(method, path, text, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except BaseException:
            self._connection.close()
            raise

    def objects(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("GET", f"/_emulator/objects/{kind}/")["results"]
        return found

    def ids(self) -> dict[str, list[str]]:
        """The ids of every object there is, by address.

        But for the first release of a plugin of the profiles that make one: nobody declares it.
        """
        plugins = {row["id"]: row["body"]["code"] for row in self.objects("plugin")}
        found: dict[str, list[str]] = {}
        for kind in KINDS:
            for row in self.objects(kind):
                if row["body"].get("version") == FIRST_VERSION:
                    continue
                name = row["body"].get("code") or row["body"].get("name")
                if kind == "release":
                    name = f"{plugins[row['parent']]}@{row['body']['version']}"
                found.setdefault(f"{kind}/{name}", []).append(str(row["id"]))
        return found

    def behave(self, profile: str) -> None:
        """Follow a profile from now on.

        Switches that a test has set stay as they are unless the profile is another one.
        """
        if profile != self.profile:
            self.profile = profile
            self.send("PATCH", "/_emulator/switches/", {"profile": profile})

    @contextmanager
    def switched(self, **values: str) -> Iterator[None]:
        """Behave differently for a while; afterwards as the profile says."""
        self.send("PATCH", "/_emulator/switches/", values)
        try:
            yield
        finally:
            self.send("PATCH", "/_emulator/switches/", {"profile": self.profile})

    @property
    def lists_plugins(self) -> bool:
        """Whether plugins of v1 are in a list."""
        switches: dict[str, str] = self.send("GET", "/_emulator/switches/")
        return switches["plugin_list"] == "list"

    def empty(self, profile: str = PROFILE) -> None:
        """Remove all objects and rules, and behave as a profile says from now on."""
        self.faults()
        self.behave(profile)
        for kind in KINDS:
            self.send("DELETE", f"/_emulator/objects/{kind}/")
        self.send("DELETE", "/_emulator/requests/")

    def faults(self, *rules: Mapping[str, Any]) -> None:
        self.is_failing = any(rule != COUNTS for rule in rules)
        self.send("PUT", "/_emulator/faults/", {"rules": list(rules)})

    def counts(self) -> list[dict[str, int]]:
        found: list[dict[str, int]] = self.send("GET", "/_emulator/faults/")["counts"]
        return found

    def posts(self) -> int:
        """How many creates were asked for since the last `empty`."""
        return sum(asked.startswith("POST ") for asked in self.requests())

    def made(self) -> int:
        """How many objects they make: a plugin of API v2 comes with a release."""
        return self.posts() + self.requests().count("POST /v2/plugins/")

    def requests(self) -> list[str]:
        """METHOD PATH of each request since the last `empty`."""
        log = self.send("GET", "/_emulator/requests/")["last"]
        return [f"{entry['method']} {entry['path']}" for entry in log]

    def wait_until_acted_on(self, logged: int) -> None:
        """Wait until all that the first rule has seen was acted on; `logged` requests were before."""
        arrived = self.counts()[0]["seen"]
        wait_until(lambda: len(self.requests()) - logged == arrived, 60, "all are acted on")

    def wait_done(self, rule: int = 0, seconds: float = 60.0) -> bool:
        """Wait until a rule's deed has begun; False when it did not in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.counts()[rule]["done"]:
                return True
            time.sleep(0.02)
        return False


@dataclass(frozen=True)
class Ahead:
    """A clock that runs some seconds ahead, and by what was waited."""

    by: float
    waited: Sequence[float] = ()

    def utc_now(self) -> str:
        moment = datetime.now(UTC) + timedelta(seconds=self.by + sum(self.waited))
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def monotonic_seconds(self) -> float:
        return time.monotonic()


@dataclass(frozen=True)
class Applied:
    """What became of one apply; no report when it ended before its first call."""

    plan: Plan
    report: Report | None

    @property
    def code(self) -> int:
        return self.report.exit_code if self.report else 1


@dataclass(frozen=True)
class Site:
    """A project folder whose one target is the server. `groups` plugins with release and storage.

    `waited` are the seconds that its commands have waited for earlier calls (`convergence.command`):
    its clocks are ahead by them, and no test has to wait.
    """

    root: Path
    server: Server
    groups: int = 4
    environ: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRON))
    api: str = "v1"
    waited: list[float] = field(default_factory=list)

    @classmethod
    def make(
        cls,
        root: Path,
        server: Server,
        groups: int = 4,
        extra_storages: int = 0,
        state_url: str = "",
        api: str = "v1",
        profile: str = PROFILE,
        settle_after: float = SETTLE_AFTER,
    ) -> Site:
        """Write the project and make an empty state, at a url or in a file of the project.

        The server is emptied.
        """
        server.empty(profile)
        # Whoever shares a state needs its key.
        sharing = {
            "FAULT_STATE_URL": state_url,
            "SYNAPSE_APPLY_STATE_KEY": "A" * 44,
            **(BucketServer.environ if state_url.startswith("s3:") else {}),
        }
        made = cls(root, server, groups, {**ENVIRON, **(sharing if state_url else {})}, api)
        root.mkdir(parents=True, exist_ok=True)
        target = {
            "url": server.url,
            "tenant": TENANT,
            "token": {"env": "FAULT_TOKEN"},
            "allow_env": ["RAW_*"],
            "settle_after": settle_after,
            "api": api,
            **({"state": {"url": {"env": "FAULT_STATE_URL"}}} if state_url else {}),
        }
        project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["manifests/"]}
        (root / "synapse-apply.yaml").write_text(
            json.dumps({**project, "targets": {"site": target}})
        )
        (root / "manifests").mkdir()
        for number in range(groups):
            _write_group(root, number)
        _write_storages(root, extra_storages)
        with open_state(made.where()) as state:
            binding = state_access.build_state_identity(
                normalize_base_url(server.url), state.target, None
            )
            create_empty_state_and_missing_key(state, binding)
        return made

    @property
    def expected(self) -> set[str]:
        """The addresses that are declared."""
        return {
            _address(json.loads(text))
            for path in (self.root / "manifests").iterdir()
            for text in path.read_text().split(SEPARATOR)
        }

    def spec(self, plugin: str) -> dict[str, Any]:
        """What is declared of a plugin."""
        documents = (
            json.loads(text)
            for path in (self.root / "manifests").iterdir()
            for text in path.read_text().split(SEPARATOR)
        )
        return next(
            found["spec"]
            for found in documents
            if found["kind"] == "Plugin" and found["metadata"]["name"] == plugin
        )

    def where(self, parallelism: int = 1) -> Invocation:
        return Invocation(
            directory=self.root, target="site", environ=self.environ, parallelism=parallelism
        )

    @contextmanager
    def opened(self, ahead: float = 0.0, parallelism: int = 1) -> Iterator[TargetSession]:
        last = LastRequest(ServerClock())
        with (
            open_context(self.where(parallelism)) as context,
            BackendClient(
                self.server.url,
                TOKEN,
                tenant=TENANT,
                read_timeout=READ_SECONDS if self.server.is_failing else PATIENT_SECONDS,
                total_timeout=TOTAL_SECONDS if self.server.is_failing else PATIENT_SECONDS,
                on_request=last.remember_and_log_attempt_and_narrow_skew,
                sleep=lambda seconds: time.sleep(min(seconds, 0.01)),
            ) as api,
        ):
            context.backend = replace(
                context.backend,
                api=api,
                request_id=lambda: last.id,
                longest_call=api.max_call_seconds,
            )
            context.clock = Ahead(ahead, self.waited)
            context.uptime = lambda: replace(
                up := read_uptime(), seconds=up.seconds + ahead + sum(self.waited)
            )
            yield context

    @property
    def can_list_plugins(self) -> bool:
        """Whether a plugin whose create was not answered can be looked for."""
        return self.api == "v2" or self.server.lists_plugins

    @property
    def prunes(self) -> bool:
        """Whether what is declared no more is deleted: where the API can."""
        return self.api == "v2"

    @property
    def posts(self) -> int:
        """How many creates a first apply of everything takes."""
        made_along = self.groups if self.api == "v2" else 0
        return len(self.expected) - made_along

    def apply(self, *, ahead: float = 0.0, parallelism: int = 1, adopt: bool = False) -> Applied:
        """As the command does: plan, check and carry out under one lock."""
        with self.opened(ahead, parallelism) as context, context.store.lock("apply"):
            planned = plan(context, PlanOptions(adopt=adopt, prune=self.prunes, allow_replace=True))
            if planned.plan.has_errors:
                return Applied(planned.plan, None)
            check(planned.plan)
            return Applied(planned.plan, apply(context, planned, SilentProgress()))

    def plan(self, ahead: float = LATER) -> Plan:
        with self.opened(ahead) as context:
            return plan(context, PlanOptions(prune=self.prunes, allow_replace=True)).plan

    def records(self) -> dict[str, str]:
        """The recorded remote ids, by address."""
        with open_state(self.where()) as state:
            read = state.store.read_state()
            return {str(address): record.remote_id for address, record in read.records.items()}

    @property
    def state_file(self) -> Path:
        """Where a state is that is not in a database."""
        return self.root / ".synapse-apply" / "state" / "site.db"

    def written(self) -> tuple[int, list[AuditEntry]]:
        """The state's serial and all that was ever done, the newest first."""
        with open_state(self.where()) as state:
            return state.store.read_serial(), state.store.list_audit_entries_newest_first()

    def open_intents(self) -> list[Address]:
        with open_state(self.where()) as state:
            return [intent.address for intent in state.store.read_state().open_intents]


MakeSite = Callable[..., Site]


def _write_group(root: Path, number: int) -> None:
    code = f"plugin-{number}"
    package = root / "plugins" / code
    (package / "plugin").mkdir(parents=True)
    (package / "config.yaml").write_text(f'name: {code}\ncode: {code}\nversion: "1.0.0"\n')
    (package / "plugin" / "main.py").write_text(f"print({number})\n")
    secret = {"env": "RAW_KEY"}
    storage = {"bucket_name": f"raw-{number}", "region": "us-west-2", "access_key_id": "id"}
    documents = [
        _document(
            "Plugin",
            {"name": code, "code": code, "category": "export", "description": "a"},
            code,
        ),
        _document(
            "Release", {"plugin": code, "version": "1.0.0", "source": f"./plugins/{code}"}
        ),
        _document(
            "Storage",
            {
                "name": f"storage-{number}",
                "provider": "amazon_s3",
                "category": "external",
                "configuration": {**storage, "access_key_id": {"valueFrom": secret},
                                  "secret_access_key": {"valueFrom": secret}},
            },
            f"storage-{number}",
        ),
    ]  # fmt: skip
    text = SEPARATOR.join(map(json.dumps, documents))
    (root / "manifests" / f"group-{number}.yaml").write_text(text)


def _write_storages(root: Path, count: int) -> None:
    documents = [
        _document(
            "Storage",
            {"name": f"more-{n}", "provider": "file_system", "category": "internal",
             "configuration": {"base_path": f"/{n}"}},
            f"more-{n}",
        )
        for n in range(count)
    ]  # fmt: skip
    if documents:
        (root / "manifests" / "more.yaml").write_text(SEPARATOR.join(map(json.dumps, documents)))


def _address(document: Mapping[str, Any]) -> str:
    spec = document["spec"]
    if document["kind"] == "Release":
        return f"release/{spec['plugin']}@{spec['version']}"
    return f"{document['kind'].lower()}/{document['metadata']['name']}"


def _document(kind: str, spec: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    metadata = {"metadata": {"name": name}} if name else {}
    return {"apiVersion": "synapse-apply/v1", "kind": kind, **metadata, "spec": spec}


def pending(made: Plan) -> list[str]:
    """What a plan still has to do, and what it refuses."""
    return [
        f"{change.address}: {change.action.value}"
        f"{' ' + change.refusals[0].reason if change.is_refused else ''}"
        for change in made.changes
        if change.is_refused or change.action is not Action.NO_OP or change.rebase
    ]


def tally(server: Server, expected: set[str]) -> Counter[str]:
    """How many objects are there twice, and how many not at all."""
    return tally_of(server.ids(), expected)


def tally_of(found: Mapping[str, list[str]], expected: set[str]) -> Counter[str]:
    """The same of what was found at the server: ids by address."""
    assert set(found) <= expected, set(found) - expected
    return Counter(
        duplicates=sum(len(ids) - 1 for ids in found.values()),
        losses=len(expected - set(found)),
    )
