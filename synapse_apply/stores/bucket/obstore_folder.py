"""One folder of a bucket, by obstore: each operation ends in time, and no failure shows a secret.

Requests run on an event loop in a thread of its own, so that an operation can be given up after
its deadline and Ctrl-C does not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from synapse_apply.model.errors import InputError, StateError
from synapse_apply.stores.bucket.bucket_messages import BucketFailure, read_failure
from synapse_apply.stores.bucket.bucket_options import (
    OPERATION_SECONDS,
    BucketOptions,
    build_bucket_options,
)
from synapse_apply.stores.bucket.bucket_url import BucketLocation
from synapse_apply.stores.chain.object_folder import ObjectInfo

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
# What obstore raises; FileNotFoundError is an OSError, a deadline's TimeoutError is one, too.
_FAILURES = (BaseError, OSError, ValueError)


def open_folder(
    location: BucketLocation, environ: Mapping[str, str], user_agent: str
) -> ObstoreFolder:
    """The folder at a location; nothing is sent yet. InputError for options that cannot be used."""
    options = build_bucket_options(location, environ, user_agent)
    store = _build_store_or_none(location, options)
    # Outside of the handler: obstore's text may quote an option, which may be a credential.
    if store is None:
        raise InputError.from_summary(
            "The state's bucket cannot be used",
            f"{location.display_url}: an option or a credential in the environment is malformed.",
            "Check the variables AWS_..., AZURE_... or GOOGLE_... of this job.",
        )
    return ObstoreFolder(location, options.endpoint, store)


def _build_store_or_none(location: BucketLocation, options: BucketOptions) -> ObstoreStore | None:
    with suppress(*_FAILURES):
        return _STORE_CLASSES[location.scheme](
            location.bucket,
            prefix=location.folder,
            config=dict(options.config),
            client_options=dict(options.client_options),
            retry_config=dict(options.retry_config),
        )
    return None


class ObstoreFolder:
    """An ObjectFolder (stores/chain/object_folder.py, which documents its methods).

    Its methods may be called from several threads.
    """

    def __init__(
        self,
        location: BucketLocation,
        endpoint: str,
        store: ObstoreStore,
        deadline: float = OPERATION_SECONDS,
    ) -> None:
        """An operation is given up after `deadline` seconds."""
        self._location = location
        self._endpoint = endpoint
        self._store = store
        self._deadline = deadline
        self._loop_lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        # The latest time that the store gave to an object that this process has listed.
        self._latest_store_time: datetime | None = None

    @property
    def location(self) -> str:
        return self._location.display_url

    def try_put_if_absent(self, name: str, content: bytes) -> bool:
        async def put() -> bool:
            await obstore.put_async(self._store, name, content, mode="create", use_multipart=False)
            return True

        outcome = self._run(put)
        if isinstance(outcome, BucketFailure):
            if outcome.leaves_outcome_open:
                return False
            raise self._build_error(outcome, "Writing")
        return outcome

    def get(self, name: str) -> bytes | None:
        return self.get_many([name])[0]

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        async def get(name: str) -> bytes:
            result = await obstore.get_async(self._store, name)
            return bytes(await result.bytes_async())

        outcomes = self._run_for_each(get, names)
        for outcome in outcomes:
            if isinstance(outcome, BucketFailure) and not outcome.is_absent:
                raise self._build_error(outcome, "Reading")
        return [None if isinstance(outcome, BucketFailure) else outcome for outcome in outcomes]

    def list_objects(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        async def list_folder() -> list[ObjectMeta]:
            # obstore lists whole path segments, and not every store lists in order.
            folder = prefix.rpartition("/")[0]
            stream = obstore.list(self._store, folder or None, offset=after or None)
            return [meta async for chunk in stream for meta in chunk]

        outcome = self._run(list_folder)
        if isinstance(outcome, BucketFailure):
            raise self._build_error(outcome, "Listing")
        for meta in outcome:
            time = meta["last_modified"]
            self._latest_store_time = max(time, self._latest_store_time or time)
        infos = [
            self._build_info(meta)
            for meta in outcome
            if meta["path"].startswith(prefix) and meta["path"] > after
        ]
        return iter(sorted(infos, key=lambda info: info.name))

    def delete(self, names: Sequence[str]) -> int:
        async def delete(name: str) -> None:
            # Azure calls it an error that there is none.
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, name)

        outcomes = self._run_for_each(delete, names)
        return sum(isinstance(outcome, BucketFailure) for outcome in outcomes)

    def close(self) -> None:
        with self._loop_lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _build_info(self, meta: ObjectMeta) -> ObjectInfo:
        # A lower bound of the age: the store's clock has passed the latest time it gave.
        latest = self._latest_store_time
        age = (latest - meta["last_modified"]).total_seconds() if latest is not None else None
        return ObjectInfo(meta["path"], meta["size"], age)

    def _run(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T | BucketFailure:
        """Carry out an operation before the deadline; what it failed with is returned."""
        return self._wait_for(self._attempt(operation))

    def _run_for_each(
        self, operation: Callable[[str], Coroutine[Any, Any, T]], names: Sequence[str]
    ) -> list[T | BucketFailure]:
        """The same for each name, some side by side; the results are in the order of the names."""

        async def run_all() -> list[T | BucketFailure]:
            limit = asyncio.Semaphore(_MAX_PARALLEL_REQUESTS)

            async def run_one(name: str) -> T | BucketFailure:
                async with limit:
                    return await self._attempt(lambda: operation(name))

            return await asyncio.gather(*map(run_one, names))

        return self._wait_for(run_all())

    async def _attempt(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T | BucketFailure:
        try:
            return await asyncio.wait_for(operation(), self._deadline)
        except _FAILURES as problem:
            return read_failure(problem)

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work on the event loop; it is given up where this thread is interrupted."""
        future = asyncio.run_coroutine_threadsafe(work, self._start_loop_if_needed())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _start_loop_if_needed(self) -> asyncio.AbstractEventLoop:
        with self._loop_lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: whoever gives up need not wait for what is under way.
                Thread(target=_run_loop, args=(self._loop,), name="bucket", daemon=True).start()
            return self._loop

    def _build_error(self, failure: BucketFailure, activity: str) -> StateError:
        return failure.build_error(self.location, self._endpoint, activity)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
