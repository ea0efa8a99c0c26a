"""The queue of targets that are due, by Procrastinate, beside a store that many processes share.

A job only says "claim this target if it is due". It is deleted as soon as that was done, is never
tried again and guards nothing: the claim on the target's row does, and a due row whose job was lost
is given another. Procrastinate is asyncio; it lives in one thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from synapse_apply.controller.extras import require_packages
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.store.controller_store import ControllerStore, SqliteControllerStore
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive

if TYPE_CHECKING:
    from procrastinate import App

T = TypeVar("T")

_TASK = "work on a target"
# The job of a target that is due and that nobody has claimed, as it is put: one a target, for now.
_IS_USEFUL = """
    job.status = 'todo' AND job.queue_name = %(queue)s AND job.task_name = %(task)s
    AND job.lock IS NULL AND job.scheduled_at IS NULL AND EXISTS (
        SELECT 1 FROM targets, extract(epoch FROM clock_timestamp()) AS now
        WHERE source = job.args ->> 'source' AND target = job.args ->> 'target'
        AND job.queueing_lock = source || '/' || target
        AND is_gone = 0 AND due_at <= now AND (holder = '' OR lease_until <= now))"""
_IS_RUNNING = """
    job.status = 'doing' AND EXISTS (
        SELECT 1 FROM procrastinate_workers AS worker WHERE worker.id = job.worker_id
        AND worker.last_heartbeat > now() - make_interval(secs => %(stalled)s))"""
_LIST_USEFUL = f"""
    SELECT job.args ->> 'source' AS source, job.args ->> 'target' AS target
    FROM procrastinate_jobs AS job WHERE {_IS_USEFUL}"""  # noqa: S608 - texts of this file
# So many at a time that it never takes longer than an answer may.
_DELETE_USELESS = f"""
    WITH gone AS (DELETE FROM procrastinate_jobs WHERE id IN (
        SELECT id FROM procrastinate_jobs AS job
        WHERE NOT ({_IS_USEFUL}) AND NOT ({_IS_RUNNING}) LIMIT 10000) RETURNING 1)
    SELECT count(*) AS count FROM gone"""  # noqa: S608 - texts of this file
# How long a question to the queue may take; a connection is waited for half as long.
_ANSWER_SECONDS = 6.0
_CONNECTION_SECONDS = 3.0
# Beside LISTEN and NOTIFY: should a connection be gone without a word.
_POLL_SECONDS = 2.0
_HEARTBEAT_SECONDS, STALLED_SECONDS = 5.0, 20.0
_RETRY_SECONDS = 1.0
_STOP_SECONDS = 2.0
_MOST_CONNECTIONS = 3
# The same is told once in so many seconds, however often it is tried again.
_SILENT_SECONDS = 60.0


class DueJob(NamedTuple):
    """A target that is to be worked on; a job of a greater priority is taken first."""

    name: TargetName
    priority: int


class JobQueue:
    """The jobs of one version of this program in one schema; for any thread, after `start`."""

    def __init__(
        self,
        location: QueueLocation,
        version: str,
        begin_work: Callable[[TargetName], None],
        log: Callable[..., None],
    ) -> None:
        """Nothing is opened yet.

        `begin_work` is called in a thread for each job that this process takes, one at a time: the
        next job is taken when it returns. `log` is called with an event and
        values. Processes of different versions have different queues: a digest of a target's
        inputs is of one version.
        """
        parameters = location.connection_parameters
        schema = location.schema.replace(" ", r"\ ")
        options = f'{parameters.get("options", "")} -c search_path="{schema}"'.strip()
        self._parameters = {**parameters, "options": options}
        self._queue = f"targets of {version}"
        self._sql_values = {"queue": self._queue, "task": _TASK, "stalled": STALLED_SECONDS}
        self._begin_work = begin_work
        self._log = log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._app: App | None = None
        self._is_open = Event()
        self._is_stopping = False
        self._main: asyncio.Task[None] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._thread = Thread(target=self._serve_until_cancelled, daemon=True, name="jobs")

    def start(self) -> None:
        """Open the queue in a thread of its own, and take jobs from it; waits for a moment."""
        for name in ("procrastinate", "psycopg.pool"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [_Relay(self._log)], False
            logger.setLevel(logging.WARNING)
        self._thread.start()
        self._is_open.wait(_CONNECTION_SECONDS)

    def stop(self) -> None:
        """Take no job any more, and close the queue; waits for a moment."""
        self._is_stopping = True
        if self._loop is not None and self._main is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._main.cancel)
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def reconnect_to_take_jobs(self) -> None:
        """Connect anew to take jobs: after the database was away, parts of a worker may be dead."""
        worker = self._worker
        if self._loop is not None and worker is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(worker.cancel)

    def list_targets_with_waiting_job(self) -> set[TargetName]:
        """The due targets whose job nobody has taken; StoreUnavailable."""
        return self._ask(self._waiting_targets)

    def put_jobs_unless_waiting(self, jobs: Iterable[DueJob]) -> None:
        """Add jobs; a target whose job waits already gets no other. StoreUnavailable."""
        self._ask(lambda app: self._put_jobs(app, list(jobs)))

    def delete_useless_jobs(self) -> int:
        """Delete jobs of processes that are gone, and those that name no due target; how many.

        Also those of other versions, and whatever somebody has written there. StoreUnavailable.
        """
        return self._ask(self._delete_useless_jobs)

    def _ask(self, build: Callable[[App], Coroutine[Any, Any, T]]) -> T:
        loop, app = self._loop, self._app
        if loop is None or app is None or not self._is_open.is_set():
            raise _unavailable("it is not open")
        future: Future[T] = asyncio.run_coroutine_threadsafe(build(app), loop)
        try:
            return future.result(_ANSWER_SECONDS)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the caller goes on without
            future.cancel()
            raise _unavailable(type(problem).__name__) from None

    async def _waiting_targets(self, app: App) -> set[TargetName]:
        rows = await app.connector.execute_query_all_async(_LIST_USEFUL, **self._sql_values)
        return {TargetName(row["source"], row["target"]) for row in rows}

    async def _put_jobs(self, app: App, due: list[DueJob]) -> None:
        from procrastinate.exceptions import AlreadyEnqueued  # noqa: PLC0415
        from procrastinate.jobs import Job  # noqa: PLC0415

        jobs = [
            Job(
                queue=self._queue,
                priority=job.priority,
                lock=None,
                queueing_lock=str(job.name),
                task_name=_TASK,
                task_kwargs={"source": job.name.source, "target": job.name.target},
            )
            for job in due
        ]
        try:
            if jobs:
                await app.job_manager.batch_defer_jobs_async(jobs)
        except AlreadyEnqueued:
            # One of them, which was put by a leader that has just lost the lead, say.
            for job in jobs:
                with suppress(AlreadyEnqueued):
                    await app.job_manager.defer_job_async(job)

    async def _delete_useless_jobs(self, app: App) -> int:
        row = await app.connector.execute_query_one_async(_DELETE_USELESS, **self._sql_values)
        return int(row["count"])

    def _serve_until_cancelled(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        """Keep the queue open and take jobs, whatever becomes of the database, until cancelled."""
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        self._loop.set_exception_handler(_log_lost_task)
        while not self._is_stopping:
            try:
                await self._serve_once()
            except asyncio.CancelledError:
                raise
            except Exception as problem:  # noqa: BLE001 - the store says what is wrong with it
                self._log("jobs interrupted", problem=type(problem).__name__)
            finally:
                self._is_open.clear()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _serve_once(self) -> None:
        from procrastinate import App, PsycopgConnector  # noqa: PLC0415

        connector = PsycopgConnector(
            kwargs=dict(self._parameters),
            min_size=1,
            max_size=_MOST_CONNECTIONS,
            timeout=_CONNECTION_SECONDS,
        )
        app = App(connector=connector)
        app.task(name=_TASK)(self._work_in_thread)
        self._app = app
        try:
            await self._app.open_async()
            await make_job_tables(self._app)
            self._is_open.set()
            while not self._is_stopping:
                self._worker = asyncio.create_task(self._take_jobs(self._app))
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(self._worker)
                if self._main is not None and self._main.cancelling():
                    raise asyncio.CancelledError
        finally:
            self._is_open.clear()
            if self._worker is not None and not self._worker.done():
                self._worker.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await self._worker
            with suppress(Exception):
                await self._app.close_async()

    async def _take_jobs(self, app: App) -> None:
        await app.run_worker_async(
            queues=[self._queue],
            concurrency=1,
            delete_jobs="always",
            install_signal_handlers=False,
            fetch_job_polling_interval=_POLL_SECONDS,
            abort_job_polling_interval=3600.0,
            update_heartbeat_interval=_HEARTBEAT_SECONDS,
            stalled_worker_timeout=STALLED_SECONDS,
            shutdown_graceful_timeout=_STOP_SECONDS,
        )

    async def _work_in_thread(self, source: str, target: str) -> None:
        if not self._is_stopping:
            await asyncio.to_thread(self._begin_work, TargetName(source, target))


def _unavailable(reason: str) -> StoreUnavailable:
    return StoreUnavailable.from_summary(
        "The target queue does not answer",
        f"It is in the database of the controller's store: {reason}.",
        "The controller retries automatically.",
    )


class _Relay(logging.Handler):
    """Writes what a library warns of to the event log: names of events, and none of its texts."""

    def __init__(self, log: Callable[..., None]) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._told_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        action = str(getattr(record, "action", record.name))
        now = time.monotonic()
        if now - self._told_at.get(action, -_SILENT_SECONDS) >= _SILENT_SECONDS:
            self._told_at[action] = now
            problem = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
            self._log("jobs", problem=problem, action=action)


def _log_lost_task(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Tell of a task that broke off unseen as of any warning: asyncio would print a traceback.

    So do jobs that somebody has written into the table by hand.
    """
    logging.getLogger("procrastinate").warning(
        "task lost", exc_info=context.get("exception"), extra={"action": "task_lost"}
    )


# The tables of Procrastinate: made beside the store's, and brought to the installed version.
#
# They hold nothing that has to stay: the due rows of the store bring all work back. So a newer
# version's changes are made at once, while processes with an older one may still run: to those the
# queue may be broken until they are replaced, and the leader works on what is due by itself.

# Of PostgreSQL's advisory locks, one for who makes or changes these tables ("jobs" in ASCII).
_ADVISORY_LOCK = 0x6A6F6273
_FIND_NEWEST = (
    "SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS is_made,"
    " obj_description(to_regclass('procrastinate_jobs'), 'pg_class') AS newest"
)
_MIGRATION_NAME = re.compile(r"[0-9][0-9.]+_[0-9]+_[A-Za-z_]+")


async def make_job_tables(app: App) -> None:
    """Make the tables if there are none, and make the changes since the version that made them.

    The newest change stands as the comment of a table. Any number of processes may call this at
    once: each statement waits for the one of another, and finds its work done.
    """
    from procrastinate.exceptions import ConnectorException  # noqa: PLC0415

    migrations = _read_migrations(Path(app.schema_manager.get_migrations_path()))
    for _ in range(2):
        row = await app.connector.execute_query_one_async(_FIND_NEWEST)
        newest = str(row["newest"] or "")
        statements: list[str] = []
        if not row["is_made"]:
            statements = [app.schema_manager.get_schema()]
        elif newest:
            statements = [text for name, text in migrations.items() if name > newest]
        if row["is_made"] and newest and not statements:
            return
        try:
            await _run_statements(app, statements, max(migrations))
        except ConnectorException:
            # Another process made them meanwhile: what it made is looked at once more.
            continue
        return


async def _run_statements(app: App, statements: list[str], newest: str) -> None:
    """Run statements in one transaction, in which this process alone changes the tables."""
    if not _MIGRATION_NAME.fullmatch(newest):
        raise ValueError(f"not the name of a migration: {newest}")
    text = "\n;\n".join(
        (
            f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})",
            *statements,
            f"COMMENT ON TABLE procrastinate_jobs IS '{newest}'",
        )
    )
    # Without arguments the driver sends all of it at once, in one implicit transaction.
    await app.connector.execute_query_async(text.replace("%", "%%"))


def _read_migrations(folder: Path) -> dict[str, str]:
    """The changes that the installed version knows, by name, in order."""
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.sql"))}


@frozen
class QueueLocation:
    """Where the queue of a shared store lies: the parameters of psycopg, with a password."""

    connection_parameters: Mapping[str, Any] = field(repr=False)
    schema: str


class OpenedStore(NamedTuple):
    """A store, and where its queue lies: None for a store that one process has alone."""

    store: ControllerStore
    queue_location: QueueLocation | None


def build_store_without_connecting(data_folder: Path, url: Sensitive | None) -> OpenedStore:
    """The store at the url of a database, or without one in a data folder; asks nobody yet.

    InputError for a url that cannot be used, and where packages are missing.
    """
    if url is None:
        return OpenedStore(SqliteControllerStore(data_folder), None)
    require_packages("fleet")
    # Where it is not installed, the message is the better one.
    from synapse_apply.controller.store.postgres_store import (  # noqa: PLC0415
        PostgresControllerStore,
    )

    store = PostgresControllerStore(url)
    return OpenedStore(store, QueueLocation(store.connection_parameters, store.schema))
