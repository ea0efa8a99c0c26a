"""Which HTTP call each operation of API v1 is, under the names of the API page.

Some are added that a reconciler needs: lists of plugins and storages, partial lists, files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple

from synapse_apply.client import failures, pagination
from synapse_apply.client.answer_shapes import JOB, PLUGIN, RELEASE, STORAGE
from synapse_apply.client.calls import (
    ClientCall,
    IsSensitive,
    build_check_for_paths_in_sensitive_fields,
    build_encoded_path_or_raise_not_sent,
    treat_every_path_as_sensitive,
)
from synapse_apply.client.dialects import v1
from synapse_apply.client.errors import ClientError
from synapse_apply.client.operations import (
    JSON,
    ApiOperations,
    PageCheck,
    build_mutating_json_call,
)
from synapse_apply.model.coding.json_types import (
    LogEntry,
    QueryParams,
    RemoteId,
    RequestBody,
    ServerObject,
)

_IS_IN_CONFIGURATION = build_check_for_paths_in_sensitive_fields("configuration")
# API page, "Storage data structure": an error may be about a field that was not sent.
_STORAGE_FIELDS = frozenset({"name", "provider", "category", "configuration"})


class JobsPage(NamedTuple):
    """One page of jobs, and the server's count of all jobs that match."""

    jobs: list[ServerObject]
    total_count: int


class IntegrationClientMixin(ApiOperations):
    """Plugins, releases, jobs, agents and storages of a Synapse backend, API v1.

    Every method raises ClientError and no other exception for a failed call. Ids are integers or
    text. `sensitive` tells which paths of a body hold secrets: messages of the server about them
    are left out of an error's text.
    """

    _dialect = v1.DIALECT

    def health_check_agent(self, token: str) -> ServerObject:
        """The health of the agent with this token: a POST that only reads, and is never repeated.

        The path holds the token, so that an error's text has nothing of the server's message.
        """
        path = build_encoded_path_or_raise_not_sent("agents", token, "connect")
        call = ClientCall(
            "POST",
            path,
            content_type=JSON,
            send_once=True,
            empty_ok=True,
            sensitive=treat_every_path_as_sensitive,
        )
        # The token is an argument of this call only; a server may quote the path.
        self._transport.redactor.mask_secret_from_now_on_if_long_enough(token)
        return self._send_and_require_object(call)

    def get_plugin(self, pk: RemoteId) -> ServerObject:
        """The plugin as the server answers it: `id`, `name`, and fields of its own."""
        return self._get_and_require_object(
            build_encoded_path_or_raise_not_sent("plugins", pk), shape=PLUGIN, expected_id=pk
        )

    def create_plugin(
        self,
        data: RequestBody,
        *,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
    ) -> ServerObject:
        """Create a plugin and return it with its `id`. Never repeated: v1 would create two.

        A server that supports `idempotency_key` answers a second create with the first object.
        """
        path = build_encoded_path_or_raise_not_sent("plugins")
        return self._send_body_and_require_object(
            "POST", path, data, sensitive, shape=PLUGIN, idempotency_key=idempotency_key
        )

    def update_plugin(
        self, pk: RemoteId, data: RequestBody, *, sensitive: IsSensitive | None = None
    ) -> ServerObject:
        """PUT these fields; returns the plugin as the server has it afterwards."""
        return self._send_body_and_require_object(
            "PUT",
            build_encoded_path_or_raise_not_sent("plugins", pk),
            data,
            sensitive,
            shape=PLUGIN,
            expected_id=pk,
        )

    def run_plugin(
        self, pk: RemoteId, data: RequestBody, *, sensitive: IsSensitive | None = None
    ) -> ServerObject:
        """Start a run; returns the job with its `job_id`. `pk` may be the plugin's code.

        An answer that is no object is the run's direct result, returned as `{"result": ...}`.
        """
        call = build_mutating_json_call(
            "POST", build_encoded_path_or_raise_not_sent("plugins", pk, "run"), data, sensitive
        )
        answer = self._send(call)
        value = self._unwrap_json_or_empty_object_or_raise(call, answer)
        if not isinstance(value, dict):
            return {"result": value}
        if fault := JOB.describe_first_fault_or_empty(value):
            raise failures.build_unexpected_answer_error(
                call, answer, f"it is answered with {fault}"
            )
        return value

    def list_plugins(self) -> list[ServerObject]:
        """All plugins, of all pages; a v1 server that does not list them answers 404 or 405."""
        return self._read_complete_object_list(
            build_encoded_path_or_raise_not_sent("plugins"), shape=PLUGIN
        )

    def list_plugins_in_single_pass_or_none_if_long_or_useless(
        self, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        """All plugins of a single reading of the list, which may have missed some.

        None for more than `max_pages` pages, or if `is_first_page_useful` is false for the first.
        """
        return self._read_list_in_single_pass_or_none_if_long_or_useless(
            build_encoded_path_or_raise_not_sent("plugins"), PLUGIN, max_pages, is_first_page_useful
        )

    def ask_server_if_it_lists_plugins(self) -> bool:
        """Ask the server whether it lists plugins: 2xx is yes, 404 or 405 no, else ClientError."""
        path = build_encoded_path_or_raise_not_sent("plugins")
        try:
            self._send(ClientCall("GET", path, query={"page_size": 1}, repeatable=True))
        except ClientError as failure:
            # 405: the path exists for POST alone, as the API page has it.
            if failure.status_code in {404, 405}:
                return False
            raise
        return True

    def get_plugin_release(self, pk: RemoteId, params: QueryParams | None = None) -> ServerObject:
        """The release with this id; `{"expand": "plugin"}` makes its plugin an object."""
        return self._get_and_require_object(
            build_encoded_path_or_raise_not_sent("plugin_releases", pk),
            params,
            shape=RELEASE,
            expected_id=pk,
        )

    def get_plugin_release_by_lookup(
        self, lookup: str, expand: str | None = "plugin"
    ) -> ServerObject:
        """The release that is looked up by `CODE@VERSION`, or by its id."""
        params = {"expand": expand} if expand else None
        path = build_encoded_path_or_raise_not_sent("plugin_releases", lookup, safe_chars="@")
        # From the right: a version has no @, a code of another server might.
        code, _, version = str(lookup).rpartition("@")
        if not code:
            return self._get_and_require_object(path, params, shape=RELEASE, expected_id=lookup)
        # The id of the release is not known here; its version must be the requested one.
        shape = replace(RELEASE, identity_fields=("version",))
        return self._get_and_require_object(path, params, shape=shape, expected_id=version)

    def list_plugin_releases(self, plugin_code: str) -> list[ServerObject]:
        """All releases of the plugin with this code, of all pages."""
        return self._read_complete_object_list(
            build_encoded_path_or_raise_not_sent("plugin_releases"),
            {"plugin": plugin_code},
            RELEASE,
        )

    def create_plugin_release(
        self,
        data: RequestBody,
        *,
        file: Any = None,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
    ) -> ServerObject:
        """Create a release and return it with its `id`.

        `file`, here or in the data, is a path or an open, seekable binary file, streamed from its
        current position; without one the data is sent as JSON. The caller's file stays open.
        """
        fields = {key: value for key, value in data.items() if key != "file"}
        upload_file = data.get("file") if file is None else file
        path = build_encoded_path_or_raise_not_sent("plugin_releases")
        if upload_file is None:
            return self._send_body_and_require_object(
                "POST", path, fields, sensitive, shape=RELEASE, idempotency_key=idempotency_key
            )
        return self._upload_file_and_require_object(
            path, fields, upload_file, sensitive, shape=RELEASE, idempotency_key=idempotency_key
        )

    def fetch_release_file(self, url: str, out: BinaryIO, max_bytes: int) -> None:
        """Download the file of a release from the URL in its answer, without our headers.

        RemoteError, without the URL in its text, for a file that is missing, has more than
        `max_bytes` bytes, or is in a network that this backend may not refer to (storage_files).
        """
        self._transport.download_file_without_token(url, out, max_bytes)

    def get_job(self, pk: RemoteId, params: QueryParams | None = None) -> ServerObject:
        """The job with this id; `{"expand": "logs,metrics,result"}` adds these fields."""
        return self._get_and_require_object(
            build_encoded_path_or_raise_not_sent("jobs", pk), params, shape=JOB, expected_id=pk
        )

    def list_jobs(self, params: QueryParams | None = None, *, repeat: bool = True) -> JobsPage:
        """One page of jobs, and the server's count of all jobs that match.

        Without `repeat` it is asked once: what fails, is slow or comes too often (429) is told.
        """
        call = ClientCall(
            "GET",
            build_encoded_path_or_raise_not_sent("jobs"),
            query=dict(params or {}),
            repeatable=repeat,
            send_once=not repeat,
        )
        answer = self._send(call)
        page = pagination.parse_page_or_raise_unexpected(self._dialect, call, answer, JOB)
        total_count = len(page.items) if page.total_count is None else page.total_count
        return JobsPage(page.items, total_count)

    def iterate_jobs(
        self, params: QueryParams | None = None, *, is_last_page: PageCheck | None = None
    ) -> Iterator[ServerObject]:
        """All jobs that match; each page is requested when it is needed.

        No further page is requested once `is_last_page` is true for the items of a page.
        """
        return self.iterate("jobs", params, JOB, is_last_page)

    def update_job(
        self, pk: RemoteId, data: RequestBody, *, sensitive: IsSensitive | None = None
    ) -> ServerObject:
        """PATCH these fields; returns the job as the server has it afterwards."""
        return self._send_body_and_require_object(
            "PATCH",
            build_encoded_path_or_raise_not_sent("jobs", pk),
            data,
            sensitive,
            shape=JOB,
            empty_ok=True,
            expected_id=pk,
        )

    def list_job_console_logs(self, pk: RemoteId) -> list[LogEntry]:
        """All log entries of a job.

        On the API page they are objects with timestamp, level and message; other servers answer
        lines of text.
        """
        path = build_encoded_path_or_raise_not_sent("jobs", pk, "console_logs")
        call = ClientCall("GET", path, repeatable=True, is_display_text=True)
        answer = self._send(call)
        logs = (
            answer.masked_json_or_none.get("logs")
            if isinstance(answer.masked_json_or_none, dict)
            else None
        )
        if isinstance(logs, list):
            return logs
        page = pagination.parse_page_or_raise_unexpected(self._dialect, call, answer)
        # A list in several pages is read anew, as consistent lists need it.
        return (
            self._read_complete_value_list(call.path) if page.next_query is not None else page.items
        )

    def iterate_job_console_logs(self, pk: RemoteId) -> Iterator[LogEntry]:
        """The log entries one by one as they arrive, without holding a long log in memory."""
        path = build_encoded_path_or_raise_not_sent("jobs", pk, "console_logs")
        items = pagination.iter_streamed_list_items_of_all_pages(
            self._transport.stream_body, path, ("logs", "results"), self._transport.limits.max_pages
        )
        return map(self._transport.redactor.mask_secrets_in_json_value, items)

    def tail_job_console_logs(
        self, pk: RemoteId, *, max_seconds: float | None = None
    ) -> Iterator[ServerObject]:
        """The events of a running job's log as they arrive, until the stream ends.

        Each has a `type`: `connected`, `log` (with `data`), `complete` or `error` (with `message`)
        as the server sends them, or `heartbeat`. The stream lasts at most `max_seconds`. It cannot
        be resumed: a second stream does not tell where it begins. ClientError if it breaks off or
        is silent for too long; a server without streams answers 404 or 405.
        """
        return self._iter_server_sent_events(
            build_encoded_path_or_raise_not_sent("jobs", pk, "tail_console_logs"), max_seconds
        )

    def list_storages(self) -> list[ServerObject]:
        """All storages, of all pages."""
        return self._read_complete_object_list(
            build_encoded_path_or_raise_not_sent("storages"), shape=STORAGE
        )

    def list_storages_in_single_pass_or_none_if_long_or_useless(
        self, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        """As `list_plugins_in_single_pass_or_none_if_long_or_useless`."""
        return self._read_list_in_single_pass_or_none_if_long_or_useless(
            build_encoded_path_or_raise_not_sent("storages"),
            STORAGE,
            max_pages,
            is_first_page_useful,
        )

    def get_storage(self, pk: RemoteId) -> ServerObject:
        """The storage with its configuration, which may hold secrets in plain text."""
        return self._get_and_require_object(
            build_encoded_path_or_raise_not_sent("storages", pk),
            {"with_configuration": "true"},
            shape=STORAGE,
            expected_id=pk,
        )

    def create_storage(
        self,
        data: RequestBody,
        *,
        sensitive: IsSensitive | None = _IS_IN_CONFIGURATION,
        idempotency_key: str = "",
    ) -> ServerObject:
        """Create a storage and return it with its `id`. Never repeated: v1 would create two."""
        call = build_mutating_json_call(
            "POST", build_encoded_path_or_raise_not_sent("storages"), data, sensitive
        )
        call = replace(
            call, body_fields=call.body_fields | _STORAGE_FIELDS, idempotency_key=idempotency_key
        )
        return self._send_and_require_object(call, STORAGE)
