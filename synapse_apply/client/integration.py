"""The operations of the API page, under its names, and the few more that a reconciler needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from synapse_apply.client import failures, pagination
from synapse_apply.client.answer_shapes import JOB, PLUGIN, RELEASE, STORAGE
from synapse_apply.client.calls import (
    ClientCall,
    IsSensitive,
    build_path,
    build_sensitive_check,
    is_always_sensitive,
)
from synapse_apply.client.dialects import v1
from synapse_apply.client.errors import ClientError
from synapse_apply.client.operations import (
    JSON,
    ApiOperations,
    Data,
    Object,
    PageCheck,
    Pk,
    build_json_call,
)

_IS_IN_CONFIGURATION = build_sensitive_check("configuration")
# What a storage has (API page, "Storage data structure"): errors may name one that was not sent.
_STORAGE_FIELDS = frozenset({"name", "provider", "category", "configuration"})


class IntegrationClientMixin(ApiOperations):
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
        path = build_path("agents", token, "connect")
        call = ClientCall(
            "POST",
            path,
            content_type=JSON,
            send_once=True,
            empty_ok=True,
            sensitive=is_always_sensitive,
        )
        self._transport.redactor.add_secret(token)
        return self._send_for_object(call)

    def get_plugin(self, pk: Pk) -> Object:
        """The plugin: id, name and whatever else the server keeps."""
        return self._get_object(build_path("plugins", pk), shape=PLUGIN, expected_id=pk)

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
        path = build_path("plugins")
        return self._write_object(
            "POST", path, data, sensitive, shape=PLUGIN, idempotency_key=idempotency_key
        )

    def update_plugin(self, pk: Pk, data: Data, *, sensitive: IsSensitive | None = None) -> Object:
        """The plugin as the server has it after a PUT of these fields."""
        return self._write_object(
            "PUT", build_path("plugins", pk), data, sensitive, shape=PLUGIN, expected_id=pk
        )

    def run_plugin(self, pk: Pk, data: Data, *, sensitive: IsSensitive | None = None) -> Object:
        """The started job, `job_id` in it; `pk` may be the plugin's code.

        A server that answers the run's direct result instead of an object: `{"result": ...}`.
        """
        call = build_json_call("POST", build_path("plugins", pk, "run"), data, sensitive)
        answer = self._send(call)
        value = self._unwrap_answer(call, answer)
        if not isinstance(value, dict):
            return {"result": value}
        if fault := JOB.describe_first_fault(value):
            raise failures.build_unexpected_answer_error(
                call, answer, f"it is answered with {fault}"
            )
        return value

    def list_plugins(self) -> list[Object]:
        """All plugins, where the server lists them; a v1 server may answer 404 or 405."""
        return self._list_objects(build_path("plugins"), shape=PLUGIN)

    def list_plugins_partially(self, max_pages: int, is_useful: PageCheck) -> list[Object] | None:
        """Plugins of one reading of their list: what changes meanwhile may be missing.

        None for more than `max_pages`, or when `is_useful` says no to the first page's items.
        """
        return self._list_partially(build_path("plugins"), PLUGIN, max_pages, is_useful)

    def can_list_plugins(self) -> bool:
        """Whether the server lists plugins: 200 is yes, 404 and 405 are no, else ClientError."""
        path = build_path("plugins")
        try:
            self._send(ClientCall("GET", path, query={"page_size": 1}, repeatable=True))
        except ClientError as failure:
            if failure.status_code in {404, 405}:
                return False
            raise
        return True

    def get_plugin_release(self, pk: Pk, params: Data | None = None) -> Object:
        """The release; with `{"expand": "plugin"}` its plugin is an object instead of an id."""
        return self._get_object(
            build_path("plugin_releases", pk), params, shape=RELEASE, expected_id=pk
        )

    def get_plugin_release_by_lookup(self, lookup: str, expand: str | None = "plugin") -> Object:
        """The release at `code@version`, or with this id as `get_plugin_release` gives it."""
        params = {"expand": expand} if expand else None
        path = build_path("plugin_releases", lookup, safe_chars="@")
        code, _, version = str(lookup).rpartition("@")
        if not code:
            return self._get_object(path, params, shape=RELEASE, expected_id=lookup)
        shape = replace(RELEASE, identity_fields=("version",))
        return self._get_object(path, params, shape=shape, expected_id=version)

    def list_plugin_releases(self, plugin_code: str) -> list[Object]:
        """All releases of the plugin with this code."""
        return self._list_objects(build_path("plugin_releases"), {"plugin": plugin_code}, RELEASE)

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
        upload_file = data.get("file") if file is None else file
        path = build_path("plugin_releases")
        if upload_file is None:
            return self._write_object(
                "POST", path, fields, sensitive, shape=RELEASE, idempotency_key=idempotency_key
            )
        return self._upload_file(
            path, fields, upload_file, sensitive, shape=RELEASE, idempotency_key=idempotency_key
        )

    def fetch_release_file(self, url: str, out: BinaryIO, max_bytes: int) -> None:
        """Write the file of a release, at the URL that its answer has.

        None of our headers are sent. RemoteError, in whose text no URL is, for what is not there,
        has more than `max_bytes` bytes, or lies where this backend has nothing to name
        (storage_files).
        """
        self._transport.fetch_file(url, out, max_bytes)

    def get_job(self, pk: Pk, params: Data | None = None) -> Object:
        """The job; `{"expand": "logs,metrics,result"}` asks for more of it."""
        return self._get_object(build_path("jobs", pk), params, shape=JOB, expected_id=pk)

    def list_jobs(self, params: Data | None = None) -> tuple[list[Object], int]:
        """The requested page of jobs and the server's count of all that match."""
        call = ClientCall("GET", build_path("jobs"), query=dict(params or {}), repeatable=True)
        answer = self._send(call)
        page = pagination.parse_page(self._dialect, call, answer, JOB)
        return page.items, len(page.items) if page.total_count is None else page.total_count

    def iterate_jobs(
        self, params: Data | None = None, *, is_last_page: PageCheck | None = None
    ) -> Iterator[Object]:
        """All jobs that match, page after page as they are taken.

        `is_last_page` is asked with a page's items whether no other page is wanted.
        """
        return self.iterate("jobs", params, JOB, is_last_page)

    def update_job(self, pk: Pk, data: Data, *, sensitive: IsSensitive | None = None) -> Object:
        """The job as the server has it after a PATCH of these fields."""
        return self._write_object(
            "PATCH",
            build_path("jobs", pk),
            data,
            sensitive,
            shape=JOB,
            empty_ok=True,
            expected_id=pk,
        )

    def list_job_console_logs(self, pk: Pk) -> list[Any]:
        """Log entries as the server writes them.

        The API page has objects with timestamp, level and message, other servers lines of text.
        """
        path = build_path("jobs", pk, "console_logs")
        call = ClientCall("GET", path, repeatable=True, is_display_text=True)
        answer = self._send(call)
        logs = answer.parsed.get("logs") if isinstance(answer.parsed, dict) else None
        if isinstance(logs, list):
            return logs
        page = pagination.parse_page(self._dialect, call, answer)
        return self._list_values(call.path) if page.next_query is not None else page.items

    def iterate_job_console_logs(self, pk: Pk) -> Iterator[Any]:
        """The same entries one by one as they arrive: of a long log, never all at a time."""
        path = build_path("jobs", pk, "console_logs")
        items = pagination.stream_list_items(
            self._transport.stream_body, path, ("logs", "results"), self._transport.limits.max_pages
        )
        return map(self._transport.redactor.mask_json, items)

    def tail_job_console_logs(
        self, pk: Pk, *, max_seconds: float | None = None
    ) -> Iterator[Object]:
        """What a job writes, as it writes it: objects with a `type`, until the stream ends.

        `connected`, `log` (with `data`), `complete`, `error` (with `message`) as the server sends
        them, and `heartbeat` for its signs of life. `max_seconds` is a bound in seconds. Nothing
        tells where a second stream begins: servers have no resume. A stream that breaks off, or is
        silent for too long, is a ClientError; a server without it answers 404 or 405.
        """
        return self._stream_events(build_path("jobs", pk, "tail_console_logs"), max_seconds)

    def list_storages(self) -> list[Object]:
        """All storages, of all pages."""
        return self._list_objects(build_path("storages"), shape=STORAGE)

    def list_storages_partially(self, max_pages: int, is_useful: PageCheck) -> list[Object] | None:
        """Storages of one reading of their list, as `list_plugins_partially`."""
        return self._list_partially(build_path("storages"), STORAGE, max_pages, is_useful)

    def get_storage(self, pk: Pk) -> Object:
        """The storage with its configuration, which may hold secrets in plain."""
        return self._get_object(
            build_path("storages", pk),
            {"with_configuration": "true"},
            shape=STORAGE,
            expected_id=pk,
        )

    def create_storage(
        self,
        data: Data,
        *,
        sensitive: IsSensitive | None = _IS_IN_CONFIGURATION,
        idempotency_key: str = "",
    ) -> Object:
        """A new storage with its `id`. Never sent twice: v1 would make two."""
        call = build_json_call("POST", build_path("storages"), data, sensitive)
        call = replace(
            call, body_fields=call.body_fields | _STORAGE_FIELDS, idempotency_key=idempotency_key
        )
        return self._send_for_object(call, STORAGE)
