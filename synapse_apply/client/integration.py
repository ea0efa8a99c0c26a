"""The operations of the API page, under its names, and the few more that a reconciler needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from synapse_apply.client import failures, lists
from synapse_apply.client.calls import Call, IsSensitive, everything, path_to, under
from synapse_apply.client.dialects import v1
from synapse_apply.client.errors import ClientError
from synapse_apply.client.shapes import JOB, PLUGIN, RELEASE, STORAGE
from synapse_apply.client.speaking import (
    JSON,
    Data,
    IsOfUse,
    Object,
    Pk,
    Speaking,
    with_json,
)

_IN_CONFIGURATION = under("configuration")
# What a storage has (API page, "Storage data structure"): errors may name one that was not sent.
_STORAGE_FIELDS = frozenset({"name", "provider", "category", "configuration"})


class IntegrationClientMixin(Speaking):
    """Plugins, releases, jobs, agents and storages of a Synapse backend, API v1.

    Every method raises ClientError, and nothing else for what goes wrong on the way. Ids are
    integers or text. `sensitive` of a call that carries a body says which paths of it hold
    secrets; the error's text then leaves out what the server says about them.
    """

    _dialect = v1.DIALECT

    def health_check_agent(self, token: str) -> Object:
        """Health of an agent. A POST on the wire that only reads; sent once, also after a 429.

        The path holds the token, so nothing of what the server says of an error is told.
        """
        path = path_to("agents", token, "connect")
        call = Call("POST", path, content_type=JSON, once=True, empty_ok=True, sensitive=everything)
        self._transport.redactor.add(token)
        return self._object(call)

    def get_plugin(self, pk: Pk) -> Object:
        """The plugin: id, name and whatever else the server keeps."""
        return self._get(path_to("plugins", pk), shape=PLUGIN, of=pk)

    def create_plugin(
        self,
        data: Data,
        *,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
    ) -> Object:
        """A new plugin with its `id`. Never sent twice: v1 would make two.

        A server that knows `idempotency_key` takes a second create with it for the first one.
        """
        path = path_to("plugins")
        return self._write("POST", path, data, sensitive, shape=PLUGIN, key=idempotency_key)

    def update_plugin(self, pk: Pk, data: Data, *, sensitive: IsSensitive | None = None) -> Object:
        """The plugin as the server has it after a PUT of these fields."""
        return self._write("PUT", path_to("plugins", pk), data, sensitive, shape=PLUGIN, of=pk)

    def run_plugin(self, pk: Pk, data: Data, *, sensitive: IsSensitive | None = None) -> Object:
        """The started job, `job_id` in it; `pk` may be the plugin's code.

        A server that answers the run's direct result instead of an object: `{"result": ...}`.
        """
        call = with_json("POST", path_to("plugins", pk, "run"), data, sensitive)
        answer = self._send(call)
        value = self._value(call, answer)
        if not isinstance(value, dict):
            return {"result": value}
        if fault := JOB.fault_of(value):
            raise failures.unexpected(call, answer, f"it is answered with {fault}")
        return value

    def list_plugins(self) -> list[Object]:
        """All plugins, where the server lists them; a v1 server may answer 404 or 405."""
        return self._objects(path_to("plugins"), shape=PLUGIN)

    def glance_at_plugins(self, most_pages: int, is_of_use: IsOfUse) -> list[Object] | None:
        """Plugins of one reading of their list: what changes meanwhile may be missing.

        None for more than `most_pages`, or when `is_of_use` says no to the first page's items.
        """
        return self._glance(path_to("plugins"), PLUGIN, most_pages, is_of_use)

    def lists_plugins(self) -> bool:
        """Whether the server lists plugins: 200 is yes, 404 and 405 are no, else ClientError."""
        path = path_to("plugins")
        try:
            self._send(Call("GET", path, query={"page_size": 1}, repeatable=True))
        except ClientError as failure:
            if failure.status_code in {404, 405}:
                return False
            raise
        return True

    def get_plugin_release(self, pk: Pk, params: Data | None = None) -> Object:
        """The release; with `{"expand": "plugin"}` its plugin is an object instead of an id."""
        return self._get(path_to("plugin_releases", pk), params, shape=RELEASE, of=pk)

    def get_plugin_release_by_lookup(self, lookup: str, expand: str | None = "plugin") -> Object:
        """The release at `code@version`, or with this id as `get_plugin_release` gives it."""
        params = {"expand": expand} if expand else None
        path = path_to("plugin_releases", lookup, keep="@")
        code, _, version = str(lookup).rpartition("@")
        if not code:
            return self._get(path, params, shape=RELEASE, of=lookup)
        shape = replace(RELEASE, identity=("version",))
        return self._get(path, params, shape=shape, of=version)

    def list_plugin_releases(self, plugin_code: str) -> list[Object]:
        """All releases of the plugin with this code."""
        return self._objects(path_to("plugin_releases"), {"plugin": plugin_code}, RELEASE)

    def create_plugin_release(
        self,
        data: Data,
        *,
        file: Any = None,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
    ) -> Object:
        """A new release with its `id`.

        `file`, here or in the data, is a path or an open, seekable binary file, sent from where it
        stands and streamed; without one the data goes as JSON. The caller's file stays open.
        """
        fields = {key: value for key, value in data.items() if key != "file"}
        source = data.get("file") if file is None else file
        path = path_to("plugin_releases")
        if source is None:
            return self._write("POST", path, fields, sensitive, shape=RELEASE, key=idempotency_key)
        return self._upload(path, fields, source, sensitive, shape=RELEASE, key=idempotency_key)

    def fetch_release_file(self, url: str, into: BinaryIO, most: int) -> None:
        """Write the file of a release, at the URL that its answer has.

        None of our headers are sent. RemoteError, in whose text no URL is, for what is not there,
        has more than `most` bytes, or lies where this backend has nothing to name (storage_files).
        """
        self._transport.fetch_file(url, into, most)

    def get_job(self, pk: Pk, params: Data | None = None) -> Object:
        """The job; `{"expand": "logs,metrics,result"}` asks for more of it."""
        return self._get(path_to("jobs", pk), params, shape=JOB, of=pk)

    def list_jobs(self, params: Data | None = None) -> tuple[list[Object], int]:
        """The requested page of jobs and the server's count of all that match."""
        call = Call("GET", path_to("jobs"), query=dict(params or {}), repeatable=True)
        answer = self._send(call)
        page = lists.page_in(self._dialect, call, answer, JOB)
        return page.items, len(page.items) if page.total is None else page.total

    def iterate_jobs(
        self, params: Data | None = None, *, is_last_page: IsOfUse | None = None
    ) -> Iterator[Object]:
        """All jobs that match, page after page as they are taken.

        `is_last_page` is asked with a page's items whether no other page is wanted.
        """
        return self.iterate("jobs", params, JOB, is_last_page)

    def update_job(self, pk: Pk, data: Data, *, sensitive: IsSensitive | None = None) -> Object:
        """The job as the server has it after a PATCH of these fields."""
        return self._write(
            "PATCH", path_to("jobs", pk), data, sensitive, shape=JOB, empty_ok=True, of=pk
        )

    def list_job_console_logs(self, pk: Pk) -> list[Any]:
        """Log entries as the server writes them.

        The API page has objects with timestamp, level and message, other servers lines of text.
        """
        path = path_to("jobs", pk, "console_logs")
        call = Call("GET", path, repeatable=True, is_words=True)
        answer = self._send(call)
        logs = answer.parsed.get("logs") if isinstance(answer.parsed, dict) else None
        if isinstance(logs, list):
            return logs
        page = lists.page_in(self._dialect, call, answer)
        return self._all(call.path) if page.following is not None else page.items

    def iterate_job_console_logs(self, pk: Pk) -> Iterator[Any]:
        """The same entries one by one as they arrive: of a long log, never all at a time."""
        path = path_to("jobs", pk, "console_logs")
        items = lists.entries(
            self._transport.stream, path, ("logs", "results"), self._transport.limits.pages
        )
        return map(self._transport.redactor.mask_json, items)

    def tail_job_console_logs(self, pk: Pk, *, longest: float | None = None) -> Iterator[Object]:
        """What a job writes, as it writes it: objects with a `type`, until the stream ends.

        `connected`, `log` (with `data`), `complete`, `error` (with `message`) as the server sends
        them, and `heartbeat` for its signs of life. `longest` is a bound in seconds. Nothing tells
        where a second stream begins: servers have no resume. A stream that breaks off, or is
        silent for too long, is a ClientError; a server without it answers 404 or 405.
        """
        return self._tail(path_to("jobs", pk, "tail_console_logs"), longest)

    def list_storages(self) -> list[Object]:
        """All storages, of all pages."""
        return self._objects(path_to("storages"), shape=STORAGE)

    def glance_at_storages(self, most_pages: int, is_of_use: IsOfUse) -> list[Object] | None:
        """Storages of one reading of their list, as `glance_at_plugins`."""
        return self._glance(path_to("storages"), STORAGE, most_pages, is_of_use)

    def get_storage(self, pk: Pk) -> Object:
        """The storage with its configuration, which may hold secrets in plain."""
        return self._get(
            path_to("storages", pk), {"with_configuration": "true"}, shape=STORAGE, of=pk
        )

    def create_storage(
        self,
        data: Data,
        *,
        sensitive: IsSensitive | None = _IN_CONFIGURATION,
        idempotency_key: str = "",
    ) -> Object:
        """A new storage with its `id`. Never sent twice: v1 would make two."""
        call = with_json("POST", path_to("storages"), data, sensitive)
        call = replace(call, fields=call.fields | _STORAGE_FIELDS, key=idempotency_key)
        return self._object(call, STORAGE)
