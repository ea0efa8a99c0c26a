"""Where a controller is put together: data folder, store, mirrors, workers, senders and page."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import field
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TextIO

from synapse_apply import __version__
from synapse_apply.controller.configuration.checks import collect_findings
from synapse_apply.controller.configuration.reading import read_configuration, require_configuration
from synapse_apply.controller.configuration.secrets import (
    AccessSecrets,
    OwnSecretReader,
    read_usable_access_secrets,
)
from synapse_apply.controller.extras import require_packages
from synapse_apply.controller.fleet.fleet_engine import (
    FleetEngine,
    build_own_process_row,
    build_unique_holder_name,
)
from synapse_apply.controller.fleet.job_queue import build_store_without_connecting
from synapse_apply.controller.loop.actions import normalize_reason
from synapse_apply.controller.loop.clock import Clock, SharedClock
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.loop.leading import Engine
from synapse_apply.controller.loop.parts import ConfiguredParts, EventLog, LoopParts
from synapse_apply.controller.outbox.forge import build_status_sender
from synapse_apply.controller.outbox.messages import build_message_sender
from synapse_apply.controller.page.api import targets_document
from synapse_apply.controller.ports import ActionRefused, MessageSender, StatusSender, TargetFilter
from synapse_apply.controller.rows import ProcessRole, ProcessRow, TargetCondition
from synapse_apply.controller.rules.exit_codes import MOST_RUNS_OF_FAILURE, failure_exit_code
from synapse_apply.controller.rules.judging import may_be_one_state
from synapse_apply.controller.settings import Controller, Mode
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.store.controller_store import ControllerStore, SqliteControllerStore
from synapse_apply.controller.store.sqlite_database import create_and_hold_data_folder
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row
from synapse_apply.controller.worker.look import read_targets_in_child
from synapse_apply.controller.worker.pool import MOST_LOOKS, WorkerPool
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import Exit, InputError, SynapseApplyError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.values import Sensitive

# Which settings a running page and its commit statuses cannot change.
_FIXED_SETTINGS = (
    *("name", "store_url"),
    *("listen_host", "listen_port", "public_url", "open_metrics", "hooks"),
)
_DIGEST_LENGTH = 12
# Which of them are looked at first, the workers choose by which of their processes are warm.
_BEGUN_PER_LOOK = 4
# At each start, which may be each minute.
_CHECKED_AUDIT_ROWS = 1_000


@frozen
class ControllerSetup:
    """What a controller is started with: its file, its data folder, its environment, its log.

    At most `looks` targets are worked on at a time, by this process.
    """

    file: Path
    data: Path
    environ: Mapping[str, str] = field(repr=False)
    log_stream: TextIO
    looks: int = MOST_LOOKS


class ConfigurationReader:
    """Reads the file of a controller, at its start and again while it runs."""

    def __init__(self, setup: ControllerSetup) -> None:
        self._setup = setup
        self.read_secret = OwnSecretReader(setup.environ)
        self.findings: tuple[Diagnostic, ...] = ()
        self.file_digest = ""

    def read(self) -> ConfiguredParts:
        """What the file says, made into what does it; InputError with all that is wrong."""
        reading = read_configuration(self._setup.file)
        controller = require_configuration(reading)
        self.file_digest = ""
        with suppress(OSError):
            content = self._setup.file.read_bytes()
            self.file_digest = hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]
        self.findings = tuple(finding for finding in reading.findings if not finding.is_error)
        return self.build_loop_parts(controller)

    def read_again(self, before: Controller) -> ConfiguredParts:
        """As `read`, with the settings of before that only a restart can change."""
        parts = self.read()
        differing = [
            name
            for name in _FIXED_SETTINGS
            if getattr(before, name) != getattr(parts.settings, name)
        ]
        # Where it listens stays as it was: without `access` it could be open to everyone.
        if before.access is not None and parts.settings.access is None:
            differing.append("access")
        if differing:
            finding = warning_finding(
                "A setting needs a restart",
                f"{', '.join(differing)}: the controller still uses the earlier value.",
                "Restart the controller.",
            )
            self.findings = (*self.findings, finding)
            fixed: dict[str, Any] = {name: getattr(before, name) for name in differing}
            settings = replace(parts.settings, **fixed)
            parts = replace(
                parts,
                settings=settings,
                access_secrets=read_usable_access_secrets(settings.access, self.read_secret),
            )
        return parts

    def build_loop_parts(self, controller: Controller) -> ConfiguredParts:
        mirrors: dict[str, GitMirror] = {}
        status_senders: dict[str, StatusSender] = {}
        message_senders: dict[str, MessageSender] = {}
        findings: list[Diagnostic] = []
        for name, source in controller.sources.items():
            with collect_findings(findings):
                mirrors[name] = GitMirror(
                    source, self._setup.data, self.read_secret, read_targets=read_targets_in_child
                )
            if source.status is not None:
                with collect_findings(findings):
                    token = self.read_secret(source.status.token)
                    status_senders[name] = build_status_sender(source.status, source.ref, token)
        for channel in controller.channels:
            with collect_findings(findings):
                url = self.read_secret(channel.url)
                secret = self.read_secret(channel.secret) if channel.secret else None
                message_senders[channel.name] = build_message_sender(channel, url, secret)
        access_secrets = AccessSecrets()
        with collect_findings(findings):
            if controller.access is not None and controller.access.oidc is not None:
                require_packages("oidc")
            access_secrets = read_usable_access_secrets(controller.access, self.read_secret)
        if findings:
            raise InputError(*findings)
        return ConfiguredParts(controller, mirrors, status_senders, message_senders, access_secrets)

    def read_store_url_or_none(self, controller: Controller) -> Sensitive | None:
        """The address of the database that the store is in; None for one in the data folder."""
        return self.read_secret(controller.store_url) if controller.store_url else None

    def read_hook_secrets_by_forge(
        self, controller: Controller
    ) -> dict[Literal["github", "gitlab"], Sensitive]:
        """The secrets of the webhooks that are listened to, by forge."""
        hooks = controller.hooks
        forges: tuple[Literal["github", "gitlab"], ...] = ("github", "gitlab")
        names = {forge: getattr(hooks, forge) for forge in forges}
        return {forge: self.read_secret(name) for forge, name in names.items() if name is not None}


class _Controller:
    """A controller that is ready to run: what its ways to run share."""

    def __init__(self, setup: ControllerSetup, role: ProcessRole = ProcessRole.REPLICA) -> None:
        self.log = EventLog(
            setup.log_stream, as_json=setup.environ.get("SYNAPSE_APPLY_LOG", "") == "json"
        )
        self.clock = Clock()
        self.reader = ConfigurationReader(setup)
        self.configured = self.reader.read()
        url = self.reader.read_store_url_or_none(self.configured.settings)
        self.store, self._queue_location = build_store_without_connecting(setup.data, url)
        self._setup = setup
        self._role = role

    @contextmanager
    def open_loop(self) -> Iterator[ControllerLoop]:
        """The loop of this controller, which has the data folder for itself meanwhile.

        LockHeld where another controller has it.
        """
        setup = self._setup
        with create_and_hold_data_folder(setup.data), closing(self.store):
            if upgrade := self.store.create_or_upgrade():
                self.write_log("warn", "store upgraded", detail=upgrade)
            self.store.claim_for(self.configured.settings.name)
            # Log where the newest rows of the audit are no chain; `controller audit` checks all.
            rows = self.store.audit_rows(_CHECKED_AUDIT_ROWS + 1)[::-1]
            first = None if len(rows) <= _CHECKED_AUDIT_ROWS else rows[0]
            broken = find_first_broken_audit_row(rows[1:] if first else rows, first)
            if broken is not None:
                self.write_log("error", "audit changed", row=broken.number)
            self.publish_check()
            with closing(
                WorkerPool(
                    self.configured.settings,
                    setup.data,
                    setup.environ,
                    setup.looks,
                    2 * setup.looks,
                )
            ) as self._workers:
                loop, engine = self._build_loop_and_engine(self._workers)
                try:
                    yield loop
                except Exception:
                    raise
                except BaseException:
                    # A second signal: applies that have begun get no more time.
                    self._workers.kill_applies()
                    raise
                finally:
                    engine.close()

    def _build_loop_and_engine(self, workers: WorkerPool) -> tuple[ControllerLoop, Engine]:
        store, looks = self.store, self._setup.looks
        if self._queue_location is None:
            parts = LoopParts(self.configured, store, workers, self.clock, self.log)
            sole_engine = Engine(parts, _BEGUN_PER_LOOK * looks)
            return ControllerLoop(parts, sole_engine), sole_engine
        clock = SharedClock(self.clock, store.read_database_clock)
        holder = build_unique_holder_name()
        parts = LoopParts(self.configured, store, workers, clock, self.log, holder)
        now = clock.read_wall()

        def describe_process() -> ProcessRow:
            return build_own_process_row(
                holder,
                self._role,
                version=__version__,
                settings_digest=self.reader.file_digest,
                slots=looks,
                now=now,
            )

        engine = FleetEngine(parts, self._queue_location, clock, describe_process)
        return ControllerLoop(parts, engine), engine

    def write_log(
        self, level: Literal["info", "warn", "error"], event: str, **values: object
    ) -> None:
        self.log.write_line(level, event, self.clock.read_wall(), **values)

    def publish_check(self, *errors: Diagnostic) -> None:
        """Log what is wrong with the configuration, and write it where the page finds it."""
        findings = (*errors, *self.reader.findings)
        for finding in findings:
            level: Literal["warn", "error"] = "error" if finding.is_error else "warn"
            self.write_log(
                level, "configuration", summary=finding.summary, detail=finding.detail,
                at=finding.position,
            )  # fmt: skip
        # Of several processes, those that have a page say what is on it.
        if self._role is ProcessRole.REPLICA:
            with self.store.write() as writer:
                writer.replace_configuration_findings(findings)

    def reload_parts(self) -> ConfiguredParts | None:
        """What the file says now; None, with the findings on the page, where it cannot be used."""
        try:
            configured = self.reader.read_again(self.configured.settings)
        except SynapseApplyError as problem:
            self.publish_check(*problem.diagnostics)
            self.write_log("error", "configuration not taken", file=self._setup.file)
            return None
        self.configured = configured
        self._workers.use_settings_for_new_work(configured.settings)
        self.publish_check()
        self.write_log("info", "configuration taken", file=self._setup.file)
        return configured


def serve_controller(setup: ControllerSetup) -> None:
    """Run a controller until SIGTERM or SIGINT; SIGHUP has it read its configuration again.

    The first signal lets what runs end for some seconds, a second one does what it did before.
    InputError for a configuration that cannot be used; LockHeld for a data folder that is taken.
    """
    require_packages()
    # Where it is not installed, the message is the better one; and --once has no page.
    from synapse_apply.controller.page.server import PageServer  # noqa: PLC0415

    controller = _Controller(setup)
    settings = controller.configured.settings
    hook_secrets = controller.reader.read_hook_secrets_by_forge(settings)
    with (
        controller.open_loop() as loop,
        handle_signals_in_block(loop.request_stop, loop.request_reload),
    ):
        page_server = PageServer(
            controller.store,
            loop,
            hook_secrets,
            read_usable_access_secrets=lambda: controller.configured.access_secrets,
        )
        with page_server as page:
            controller.write_log(
                "info", "started", url=page.url, version=__version__, process=os.getpid(),
                sources=len(settings.sources),
            )  # fmt: skip
            loop.run_until_stopped(controller.reload_parts)
        controller.write_log("info", "stopped")


def serve_worker(setup: ControllerSetup) -> None:
    """Work on what is due in a controller whose store is shared, as `serve_controller` runs.

    It has no page and never leads. InputError where the store is not shared, too.
    """
    controller = _Controller(setup, ProcessRole.WORKER)
    if controller.configured.settings.store_url is None:
        raise InputError.from_summary(
            "A worker needs a shared store",
            f"{setup.file} has no `store`, and the SQLite store of a data folder serves only one "
            "process.",
            "Add a PostgreSQL database to it: `store: {url: {env: CONTROLLER_STORE}}`.",
        )
    with (
        controller.open_loop() as loop,
        handle_signals_in_block(loop.request_stop, loop.request_reload),
    ):
        controller.write_log(
            "info", "worker started", version=__version__, process=os.getpid(), looks=setup.looks
        )
        loop.run_until_stopped(controller.reload_parts)
    controller.write_log("info", "stopped")


def run_controller_once(
    setup: ControllerSetup,
    print_targets: Callable[[JsonDocument], None] = lambda _targets: None,
    *,
    detailed: bool = False,
) -> int:
    """One round over everything that is due, applies included; the worst exit code afterwards.

    `print_targets` is called at the end with all targets, as a TargetList of the API. See
    `derive_exit_code_of_store`; LOCKED where another run had a target. After a signal SIGINT or
    SIGTERM.
    """
    controller = _Controller(setup)
    with (
        controller.open_loop() as loop,
        handle_signals_in_block(loop.request_stop, lambda: None) as signal_numbers,
    ):
        locked_count = loop.run_once()
        print_targets(targets_document(controller.store))
        if signal_numbers:
            return Exit.SIGINT if signal_numbers[0] == signal.SIGINT else Exit.SIGTERM
        code = derive_exit_code_of_store(controller.store, detailed=detailed)
        return Exit.select_exit_code(code, Exit.LOCKED) if locked_count else code


def derive_exit_code_of_store(store: ControllerStore, *, detailed: bool) -> int:
    """The exit code for what the store knows of all sources and targets, the worst of all.

    As of `apply`: UNKNOWN for a call of which nobody knows whether it had an effect, INCOMPLETE for
    an apply that failed, REFUSED for what is refused where something is applied. As of `plan`:
    ERROR where a source cannot be followed or a target not be planned, and CHANGES for all that is
    not live, also what is held or waits, where `detailed` is set.
    """
    codes = {Exit.OK}
    for source in store.list_configured_sources():
        revision = store.find_revision(source.name, source.head)
        if source.finding is not None or revision is None or revision.finding is not None:
            codes.add(Exit.ERROR)
    counts = store.target_counts()
    if counts[TargetCondition.NOT_LOOKED_AT]:
        codes.add(Exit.ERROR)
    if counts[TargetCondition.UNKNOWN]:
        codes.add(Exit.UNKNOWN)
    for state in (TargetCondition.FAILING, TargetCondition.REFUSED):
        for row in store.list_targets(TargetFilter(state=state)):
            if state is TargetCondition.FAILING:
                runs = store.newest_runs(row.name, MOST_RUNS_OF_FAILURE)
                codes.add(failure_exit_code(runs))
            elif row.mode is not Mode.OBSERVE:
                codes.add(Exit.REFUSED)
    if detailed and sum(counts.values()) > counts[TargetCondition.IN_SYNC]:
        codes.add(Exit.CHANGES)
    return Exit.select_exit_code(*codes)


def write_store_backup(data_folder: Path, file: Path) -> None:
    """Copy the store of a data folder to one new file, also while a controller uses it."""
    with closing(SqliteControllerStore(data_folder)) as store:
        store.write_backup(file)


def open_own_store(file: Path, data: Path, environ: Mapping[str, str]) -> ControllerStore:
    """The store of the controller that a controller.yaml describes, as its own machine opens it."""
    controller = require_configuration(read_configuration(file))
    url = OwnSecretReader(environ)(controller.store_url) if controller.store_url else None
    return build_store_without_connecting(data, url).store


def accept_push(store: ControllerStore, source: str, commit: str, reason: str) -> str:
    """Let a held commit become the head of a source once, in the audit too; its id.

    ActionRefused where that commit is not held.
    """
    row = store.find_source(source)
    held = row.sideways if row is not None else ""
    if not held or held != commit.lower():
        raise ActionRefused.from_summary(
            "The controller is not holding back this commit",
            f"For source {source}, it is holding back {held}."
            if held
            else f"For source {source}, it is holding back no commit.",
            Text(Command("controller status"), " shows which sources hold a commit, and why."),
        )
    with store.write() as writer:
        writer.accept_push(source, held)
        detail = f"{held}: {normalize_reason(reason)}"
        writer.append_audit(time.time(), "operator", "accept push", source, detail)
    return held


def forget_rules(file: Path, data: Path, environ: Mapping[str, str], pattern: str) -> list[str]:
    """Forget what the rules of matching targets were given for; a sentence for each of them.

    Of targets that are declared only those that mean something else now are meant: what is new
    is accepted or, where another target has that, nothing is known of them any more.
    """
    source, _, target_pattern = pattern.partition("/")
    with closing(open_own_store(file, data, environ)) as store, store.write() as writer:
        lines, now = [], time.time()
        for row in store.source_targets(source):
            if not fnmatchcase(row.name.target, target_pattern):
                continue
            new, name = None if row.is_gone else row.found_binding, str(row.name)
            others = store.list_targets_of_backend(new.backend) if new else ()
            if new and any(may_be_one_state(new, o.binding) and o.name != row.name for o in others):
                new = None
            if row.binding == new and not (new and row.binding and not row.binding.means(new)):
                continue
            line = f"{name} is now bound to {new}." if new else f"{name} is no longer bound."
            after = replace(row, binding=new, found_binding=new, due_at=now)
            writer.put(after)
            audited = f"{line} It was: {row.binding}"
            writer.append_audit(now, "operator", "forget rule", name, audited)
            lines.append(line)
        return lines


@contextmanager
def handle_signals_in_block(
    stop: Callable[[], None], reload: Callable[[], None]
) -> Iterator[Sequence[int]]:
    """Call `stop` at SIGTERM and SIGINT and `reload` at SIGHUP, in the block.

    Yields the numbers of the signals that asked to stop, so far. A second SIGTERM or SIGINT does
    what it did before the block. Only the main thread can do this; in another one nothing is
    changed.
    """
    old_handlers: dict[signal.Signals, Any] = {}
    signal_numbers: list[int] = []

    def handle_stop(number: int, frame: FrameType | None) -> None:
        old_handler = old_handlers[signal.Signals(number)]
        if signal_numbers and callable(old_handler):
            old_handler(number, frame)
        signal_numbers.append(number)
        stop()

    handlers = {
        signal.SIGTERM: handle_stop,
        signal.SIGINT: handle_stop,
        signal.SIGHUP: lambda _number, _frame: reload(),
    }
    for number, handler in handlers.items():
        with suppress(ValueError):  # not the main thread: nobody sends it signals
            old_handlers[number] = signal.signal(number, handler)
    try:
        yield signal_numbers
    finally:
        for number, old_handler in old_handlers.items():
            signal.signal(number, old_handler)
