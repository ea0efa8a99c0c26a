"""One folder of a bucket, by obstore: each operation ends in time, and no failure shows a secret.

Requests run in the threads of a pool, so that an operation can be given up after its deadline and
Ctrl-C does not wait for it. Each has an event loop: only what is awaited can be given up amid an
answer.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.secrets.proxies import proxy_logins
from synapse_apply.stores.bucket.bucket_probe import PROBE_FOLDER
from synapse_apply.stores.bucket.bucket_url import (
    OPERATION_SECONDS,
    PAGE_IN_PLACE_OF_OBJECT,
    TOO_LARGE_ANSWER,
    TOO_MANY_BYTES,
    TOO_MANY_NAMES,
    BucketFailure,
    BucketLocation,
    build_bucket_options,
    parse_client_exception,
)
from synapse_apply.stores.chain.link_format import ObjectInfo

if TYPE_CHECKING:
    from obstore import ObjectMeta  # there at no run time

T = TypeVar("T")
ObstoreStore = S3Store | AzureStore | GCSStore

_STORE_CLASSES: Mapping[str, Callable[..., ObstoreStore]] = {
    "s3": S3Store,
    "az": AzureStore,
    "gs": GCSStore,
}
# Requests of one operation that are under way side by side.
_MAX_PARALLEL_REQUESTS = 16
# Before a page begins there may be white space. No object of ours begins with a `<`.
_MOST_SPACES = 1024
# What one operation takes of a server that may go on for ever: bytes of objects, and of a list its
# names. The time-out of an operation allows far fewer names of ours than that.
MOST_BYTES, MOST_NAMES, _MOST_NAME_BYTES = 512 * 1024**2, 1_000_000, 128 * 1024**2
_CHUNK_BYTES = 1024**2
# A page of a list, and an error, stand whole in memory, more than once, before obstore tells of
# them. So far may this process grow meanwhile.
MOST_GROWTH, _WATCH_SECONDS = 2 * 1024**3, 0.1
# What obstore raises; FileNotFoundError is an OSError, a deadline's TimeoutError is one, too.
_FAILURES = (BaseError, OSError, ValueError)


def make_unconnected_folder(
    location: BucketLocation, environ: Mapping[str, str], user_agent: str
) -> ObstoreFolder:
    """The folder at a location; nothing is sent yet. InputError for options that cannot be used."""
    options = build_bucket_options(location, environ, user_agent)
    store = None
    with suppress(*_FAILURES):
        store = _STORE_CLASSES[location.scheme](
            location.bucket,
            prefix=location.folder,
            config=dict(options.config),
            client_options=dict(options.client_options),
            retry_config=dict(options.retry_config),
        )
    # Outside of the handler: obstore's text may quote an option, which may be a credential.
    if store is None:
        raise InputError.from_summary(
            "The state's bucket cannot be used",
            f"{location.display_url}: an option or a credential in the environment is malformed.",
            "Check the variables AWS_..., AZURE_... or GOOGLE_... of this job.",
        )
    redactor = Redactor([*options.credentials(), *proxy_logins(environ)])
    return ObstoreFolder(location, options.endpoint, store, redactor)


def _require_below(size: int, limit: int, mark: str) -> None:
    if size > limit:
        raise ValueError(mark)


async def _stop_if_memory_grows(operation: Coroutine[Any, Any, T]) -> T:
    """The result of an operation; ValueError where an answer is larger than any may be."""
    limit, task = _read_resident_bytes() + MOST_GROWTH, asyncio.ensure_future(operation)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_WATCH_SECONDS)
            _require_below(_read_resident_bytes(), limit, TOO_LARGE_ANSWER)
        return task.result()
    finally:
        task.cancel()


def _read_resident_bytes() -> int:
    """How much memory this process has, 0 where the system does not say so in /proc."""
    with suppress(OSError, ValueError, IndexError):
        words = Path("/proc/self/statm").read_text(encoding="ascii").split()
        return int(words[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


class ObstoreFolder:
    """An ObjectFolder (stores/chain/link_format.py, which documents its methods).

    Its methods may be called from several threads.
    """

    def __init__(
        self,
        location: BucketLocation,
        endpoint: str,
        store: ObstoreStore,
        redactor: Redactor,
        deadline: float = OPERATION_SECONDS,
    ) -> None:
        """An operation is given up after `deadline` seconds; `redactor` has the credentials."""
        self._location = location
        self._endpoint = endpoint
        self._store = store
        self._mask = redactor.mask_secrets_in_text
        self._deadline = deadline
        self._pool_lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        # The latest time that the store gave to an object that this process has listed.
        self._latest_store_time: datetime | None = None

    @property
    def location(self) -> str:
        return self._location.display_url

    def try_put_if_absent_and_tell_if_certain(self, name: str, content: bytes) -> bool:
        async def put() -> bool:
            await obstore.put_async(self._store, name, content, mode="create", use_multipart=False)
            return True

        outcome = self._run_or_return_failure(put)
        if isinstance(outcome, BucketFailure):
            if outcome.leaves_outcome_open:
                return False
            raise self._build_error(outcome, "Writing")
        return outcome

    def get_or_none_if_absent(self, name: str) -> bytes | None:
        return self.get_objects_or_none_in_order([name])[0]

    def get_objects_or_none_in_order(self, names: Sequence[str]) -> list[bytes | None]:
        sizes: list[int] = []

        async def get(name: str) -> bytes:
            result = await obstore.get_async(self._store, name)
            _require_below(result.meta["size"], MOST_BYTES, TOO_MANY_BYTES)
            chunks = []
            async for chunk in result.stream(_CHUNK_BYTES):
                chunks.append(bytes(chunk))
                sizes.append(len(chunk))
                _require_below(sum(sizes), MOST_BYTES, TOO_MANY_BYTES)
            return b"".join(chunks)

        outcomes = self._for_each(get, names)
        for outcome in outcomes:
            if isinstance(outcome, BucketFailure) and not outcome.says_object_is_absent:
                raise self._build_error(outcome, "Reading")
            if isinstance(outcome, bytes) and outcome[:_MOST_SPACES].lstrip()[:1] == b"<":
                self._require_object(get)
        return [None if isinstance(outcome, BucketFailure) else outcome for outcome in outcomes]

    def _require_object(self, get: Callable[[str], Coroutine[Any, Any, bytes]]) -> None:
        """StateError where the server has a page for an object that nobody made."""
        outcome = self._run_or_return_failure(lambda: get(f"{PROBE_FOLDER}{secrets.token_hex(16)}"))
        failure = outcome if isinstance(outcome, BucketFailure) else PAGE_IN_PLACE_OF_OBJECT
        if not failure.says_object_is_absent:
            raise self._build_error(failure, "Reading")

    def list_objects(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        async def list_folder() -> list[ObjectMeta]:
            # obstore lists whole path segments, and not every store lists in order.
            folder, size = prefix.rpartition("/")[0], 0
            metas: list[ObjectMeta] = []
            async for chunk in obstore.list(self._store, folder or None, offset=after or None):
                metas += chunk
                size += sum(len(meta["path"]) for meta in chunk)
                _require_below(len(metas), MOST_NAMES, TOO_MANY_NAMES)
                _require_below(size, _MOST_NAME_BYTES, TOO_MANY_NAMES)
            return metas

        # Who exits waits for this thread. Pages without objects yield no chunk.
        outcome = self._run_or_return_failure(
            lambda: asyncio.wait_for(list_folder(), self._deadline)
        )
        if isinstance(outcome, BucketFailure):
            raise self._build_error(outcome, "Listing")
        for meta in outcome:
            made_at = meta["last_modified"]
            self._latest_store_time = max(made_at, self._latest_store_time or made_at)
        # A lower bound of the age: the store's clock has passed the latest time it gave.
        latest = self._latest_store_time
        infos = [
            ObjectInfo(
                meta["path"],
                meta["size"],
                (latest - meta["last_modified"]).total_seconds() if latest is not None else None,
            )
            for meta in outcome
            if meta["path"].startswith(prefix) and meta["path"] > after
        ]
        return iter(sorted(infos, key=lambda info: info.name))

    def delete_and_count_undeleted(self, names: Sequence[str]) -> int:
        async def delete(name: str) -> None:
            # Azure calls it an error that there is none.
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, name)

        outcomes = self._for_each(delete, names)
        return sum(isinstance(outcome, BucketFailure) for outcome in outcomes)

    def close(self) -> None:
        with self._pool_lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _run_or_return_failure(
        self, operation: Callable[[], Coroutine[Any, Any, T]]
    ) -> T | BucketFailure:
        """Carry out an operation before the deadline; what it failed with is returned."""
        (outcome,) = self._for_each(lambda _: operation(), [""])
        return outcome

    def _for_each(
        self, operation: Callable[[str], Coroutine[Any, Any, T]], names: Sequence[str]
    ) -> list[T | BucketFailure]:
        """The same for each name, some side by side; the results are in the order of the names."""

        def attempt(name: str) -> T | BucketFailure:
            try:
                return asyncio.run(_stop_if_memory_grows(operation(name)))
            except _FAILURES as problem:
                return parse_client_exception(problem)

        pool = self._start_pool_if_needed()
        try:
            futures = [pool.submit(attempt, name) for name in names]
        except RuntimeError as problem:  # closed by another thread, or the process ends
            return [parse_client_exception(problem)] * len(names)
        deadline = time.monotonic() + self._deadline * (1 + len(names) // _MAX_PARALLEL_REQUESTS)
        try:
            return [future.result(max(0.0, deadline - time.monotonic())) for future in futures]
        except TimeoutError as problem:
            return [parse_client_exception(problem)] * len(names)
        finally:
            for future in futures:
                future.cancel()

    def _start_pool_if_needed(self) -> ThreadPoolExecutor:
        """The pool. Its threads are waited for at exit: one in native code may not be cut off."""
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_MAX_PARALLEL_REQUESTS, thread_name_prefix="bucket")
            return self._pool

    def _build_error(self, failure: BucketFailure, activity: str) -> StateError:
        masked = BucketFailure(failure.status, self._mask(failure.code), self._mask(failure.marks))
        return masked.build_state_error(self.location, self._endpoint, activity)
