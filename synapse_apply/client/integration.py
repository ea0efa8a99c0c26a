"""Which HTTP call each operation of API v1 is, under the names of the API page.

Some are added that a reconciler needs: lists of plugins and storages, partial lists, files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, Unpack

from synapse_apply.client import failures, lists
from synapse_apply.client.calls import ClientCall, IsSensitive, encode_path
from synapse_apply.client.dialects import V1
from synapse_apply.client.operations import JOB, JSON, AnswerShape, ApiOperations, Sending
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_types import (
    LogEntry,
    PageCheck,
    QueryParams,
    RemoteId,
    RequestBody,
    ServerObject,
)

_PLUGIN = AnswerShape(required_fields=("id",), id_fields=("id",), text_fields=("name", "code"))
_RELEASE = AnswerShape(
    required_fields=("id",), id_fields=("id",), owner_fields=("plugin",), text_fields=("version",)
)
_STORAGE = AnswerShape(required_fields=("id",), id_fields=("id",), text_fields=("name", "provider"))
_SHAPES = {"plugins": _PLUGIN, "plugin_releases": _RELEASE, "storages": _STORAGE, "jobs": JOB}
# API page, "Storage data structure": an error may be about a field that was not sent.
_STORAGE_FIELDS = frozenset({"name", "provider", "category", "configuration"})


class JobsPage(NamedTuple):
    """One page of jobs, and the server's count of all jobs that match."""

    jobs: list[ServerObject]
    total_count: int


class IntegrationClientMixin(ApiOperations):
    """Plugins, releases, jobs, agents and storages of a Synapse backend, API v1.

    Every method raises RemoteError and no other exception for a failed call. Ids are integers or
    text. See `Sending` for how a call that changes the server is sent.
    """

    _dialect = V1
    _shapes = _SHAPES

    def health_check_agent(self, token: str) -> ServerObject:
        """The health of the agent with this token: a POST that only reads, and is never repeated.

        The path holds the token, so that an error's text has nothing of the server's message.
        """
        call = ClientCall(
            "POST",
            self._path("agents", token, "connect"),
            content_type=JSON,
            send_once=True,
            empty_ok=True,
            sensitive=lambda _path: True,
        )
        # The token is an argument of this call only; a server may quote the path.
        self._transport.redactor.mask_from_now_on(token)
        return self._ask(call)

    def create_plugin(self, data: RequestBody, **how: Unpack[Sending]) -> ServerObject:
        """Create a plugin and return it with its `id`. Never repeated: v1 would create two."""
        return self._change("POST", "plugins", data=data, **how)

    def update_plugin(
        self, pk: RemoteId, data: RequestBody, **how: Unpack[Sending]
    ) -> ServerObject:
        """PUT these fields; returns the plugin as the server has it afterwards."""
        return self._change("PUT", "plugins", pk, data=data, **how)

    def run_plugin(self, pk: RemoteId, data: RequestBody, **how: Unpack[Sending]) -> ServerObject:
        """Start a run; returns the job with its `job_id`. `pk` may be the plugin's code.

        An answer that is no object is the run's direct result, returned as `{"result": ...}`.
        """
        call = self._mutation("POST", "plugins", pk, "run", data=data, **how)
        answer = self._send(call)
        value = self._unwrap(answer)
        if not isinstance(value, dict):
            return {"result": value}
        if fault := JOB.find_fault(value):
            raise failures.unexpected_answer(answer, f"the answer is {fault}")
        return value

    def list_plugins(self) -> list[ServerObject]:
        """All plugins, of all pages; a v1 server that does not list them answers 404 or 405."""
        return self._list("plugins")

    def ask_server_if_it_lists_plugins(self) -> bool:
        """Ask the server whether it lists plugins: 2xx is yes, 404 or 405 no, else RemoteError."""
        path = self._path("plugins")
        try:
            self._send(ClientCall("GET", path, query={"page_size": 1}, repeatable=True))
        except RemoteError as failure:
            # 405: the path exists for POST alone, as the API page has it.
            if failure.status_code in {404, 405}:
                return False
            raise
        return True

    def get_plugin_release(self, pk: RemoteId, params: QueryParams | None = None) -> ServerObject:
        """The release with this id; `{"expand": "plugin"}` makes its plugin an object."""
        return self._get("plugin_releases", pk, params)

    def get_plugin_release_by_lookup(
        self, lookup: str, expand: str | None = "plugin"
    ) -> ServerObject:
        """The release that is looked up by `CODE@VERSION`, or by its id."""
        path = encode_path("plugin_releases", lookup, safe_chars="@")
        query = {"expand": expand} if expand else {}
        call = ClientCall("GET", path, query=query, repeatable=True)
        # From the right: a version has no @, a code of another server might.
        code, _, version = str(lookup).rpartition("@")
        if not code:
            return self._ask(call, _RELEASE, lookup)
        # The id of the release is not known here; its version must be the requested one.
        return self._ask(call, replace(_RELEASE, identity_fields=("version",)), version)

    def list_plugin_releases(self, plugin_code: str) -> list[ServerObject]:
        """All releases of the plugin with this code, of all pages."""
        return self._list("plugin_releases", params={"plugin": plugin_code})

    def create_plugin_release(
        self, data: RequestBody, *, file: Any = None, **how: Unpack[Sending]
    ) -> ServerObject:
        """Create a release and return it with its `id`.

        `file`, here or in the data, is a path or an open, seekable binary file, streamed from its
        current position; without one the data is sent as JSON. The caller's file stays open.
        """
        return self._change(
            "POST", "plugin_releases", data=data, file=file, may_have_file=True, **how
        )

    def fetch_release_file(self, url: str, out: BinaryIO, max_bytes: int) -> None:
        """Download the file of a release from the URL in its answer, without our headers.

        RemoteError, without the URL in its text, for a file that is missing, has more than
        `max_bytes` bytes, or is in a network that this backend may not refer to (storage_files).
        """
        self._transport.download(url, out, max_bytes)

    def get_job(self, pk: RemoteId, params: QueryParams | None = None) -> ServerObject:
        """The job with this id; `{"expand": "logs,metrics,result"}` adds these fields."""
        return self._get("jobs", pk, params)

    def list_jobs(self, params: QueryParams | None = None, *, repeat: bool = True) -> JobsPage:
        """One page of jobs, and the server's count of all jobs that match.

        Without `repeat` it is asked once: what fails, is slow or comes too often (429) is told.
        """
        call = ClientCall(
            "GET",
            self._path("jobs"),
            query=dict(params or {}),
            repeatable=repeat,
            send_once=not repeat,
        )
        answer = self._send(call)
        page = lists.parse_page(self._dialect, answer, JOB)
        total_count = len(page.items) if page.total_count is None else page.total_count
        return JobsPage(page.items, total_count)

    def iterate_jobs(
        self, params: QueryParams | None = None, *, is_last_page: PageCheck | None = None
    ) -> Iterator[ServerObject]:
        """All jobs that match; each page is requested when it is needed.

        No further page is requested once `is_last_page` is true for the items of a page.
        """
        return self.iterate("jobs", params, JOB, is_last_page)

    def update_job(self, pk: RemoteId, data: RequestBody, **how: Unpack[Sending]) -> ServerObject:
        """PATCH these fields; returns the job as the server has it afterwards."""
        return self._change("PATCH", "jobs", pk, data=data, empty_ok=True, **how)

    def list_job_console_logs(self, pk: RemoteId) -> list[LogEntry]:
        """All log entries of a job.

        On the API page they are objects with timestamp, level and message; other servers answer
        lines of text.
        """
        path = self._path("jobs", pk, "console_logs")
        call = ClientCall("GET", path, repeatable=True, is_display_text=True)
        answer = self._send(call)
        value = answer.masked_json_or_none
        if isinstance(value, dict) and isinstance(value.get("logs"), list):
            logs: list[LogEntry] = value["logs"]
            return logs
        page = lists.parse_page(self._dialect, answer)
        if page.next_query is None:
            return page.items
        # A list in several pages is read anew, as consistent lists need it.
        return self._list("jobs", pk, "console_logs")

    def iterate_job_console_logs(self, pk: RemoteId) -> Iterator[LogEntry]:
        """The log entries one by one as they arrive, without holding a long log in memory."""
        items = lists.iter_streamed_list_items_of_all_pages(
            self._transport.stream_body,
            self._path("jobs", pk, "console_logs"),
            ("logs", "results"),
            self._transport.limits.max_pages,
        )
        return map(self._transport.redactor.mask_json, items)

    def list_storages(self) -> list[ServerObject]:
        """All storages, of all pages."""
        return self._list("storages")

    def list_storages_once(
        self, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        """As `list_plugins_once`."""
        return self._list_once("storages", max_pages, is_first_page_useful)

    def get_storage(self, pk: RemoteId) -> ServerObject:
        """The storage with its configuration, which may hold secrets in plain text."""
        return self._get("storages", pk, {"with_configuration": "true"})

    def create_storage(
        self,
        data: RequestBody,
        *,
        # An error body may echo the request, so of what a server says only the texts of declared
        # fields that are not secret are printed.
        sensitive: IsSensitive | None = lambda path: path[:1] == ("configuration",),
        idempotency_key: str = "",
    ) -> ServerObject:
        """Create a storage and return it with its `id`. Never repeated: v1 would create two."""
        call = self._mutation(
            "POST", "storages", data=data, sensitive=sensitive, idempotency_key=idempotency_key
        )
        return self._ask(replace(call, body_fields=call.body_fields | _STORAGE_FIELDS), _STORAGE)
