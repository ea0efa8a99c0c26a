"""Which HTTP call each operation of API v2 is (synapse-api.md, section b)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.answer_shapes import JOB, PLUGIN_V2, RELEASE_V2, AnswerShape
from synapse_apply.client.calls import ClientCall, IsSensitive, Query
from synapse_apply.client.dialects import v2
from synapse_apply.client.errors import NotSentError
from synapse_apply.client.http.transport import Transport
from synapse_apply.client.operations import (
    DRY_RUN,
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

_RELEASES_PATH = "plugin-releases"
# The form's field for the SHA-256 of its file.
_DIGEST_FIELD = "sha256"
# A line of a log that v2 answers in one piece, so none is there before all are.
LineOfLogReadAsWhole = Any


class PlatformV2(ApiOperations):
    """Plugins, plugin releases and jobs of a Synapse backend, API v2.

    Every method raises ClientError and no other exception for a failed call. Answers are the
    server's objects without their envelopes. `dry_run` asks the server to check the call and change
    nothing; since a server that does not know it acts all the same, such a call counts as a
    mutating one. `sensitive` is as in v1.
    """

    _dialect = v2.DIALECT

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_plugins(self, params: QueryParams | None = None) -> list[ServerObject]:
        """All plugins of the tenant, of all pages; filters `category`, `is_active`."""
        return self._read_complete_object_list(
            self._build_versioned_path("plugins"), params, PLUGIN_V2
        )

    def list_plugins_in_single_pass_or_none_if_long_or_useless(
        self, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        """Plugins of a single reading of the list, without their descriptions; as in v1."""
        return self._read_list_in_single_pass_or_none_if_long_or_useless(
            self._build_versioned_path("plugins"), PLUGIN_V2, max_pages, is_first_page_useful
        )

    def iterate_plugins(self, params: QueryParams | None = None) -> Iterator[ServerObject]:
        """Plugins page by page, of a single reading: one that is missing may exist all the same."""
        return self.iterate("plugins", params, PLUGIN_V2)

    def get_plugin(self, pk: RemoteId) -> ServerObject:
        """The plugin with this integer id; v2 has no look-up by code."""
        return self._get_and_require_object(
            self._build_versioned_path("plugins", pk), shape=PLUGIN_V2, expected_id=pk
        )

    def create_plugin(
        self,
        data: RequestBody,
        *,
        file: Any = None,
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
    ) -> ServerObject:
        """Create a plugin; returns it with its `id` and its first `release`. Never repeated.

        `file`, here or in the data, is what `source: file` needs; see `create_plugin_release`.
        `idempotency_key` is as in v1.
        """
        fields, upload_file = _split_into_fields_and_file(data, file)
        path, query = self._build_versioned_path("plugins"), _build_dry_run_query_or_empty(dry_run)
        if upload_file is None:
            return self._send_body_and_require_object(
                "POST",
                path,
                fields,
                sensitive,
                shape=PLUGIN_V2,
                query=query,
                idempotency_key=idempotency_key,
            )
        return self._upload_file_and_require_object(
            path,
            fields,
            upload_file,
            sensitive,
            shape=PLUGIN_V2,
            query=query,
            idempotency_key=idempotency_key,
        )

    def update_plugin(
        self,
        pk: RemoteId,
        data: RequestBody,
        *,
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
    ) -> ServerObject:
        """PATCH name or description (nothing else may change); returns the plugin afterwards."""
        path = self._build_versioned_path("plugins", pk)
        query = _build_dry_run_query_or_empty(dry_run)
        return self._send_body_and_require_object(
            "PATCH", path, data, sensitive, shape=PLUGIN_V2, query=query, expected_id=pk
        )

    def list_plugin_releases(self, params: QueryParams | None = None) -> list[ServerObject]:
        """All releases without their config, of all pages; filters `plugin` (an id), `debug`."""
        return self._read_complete_object_list(
            self._build_versioned_path(_RELEASES_PATH), params, RELEASE_V2
        )

    def list_releases_in_single_pass_or_none_if_long_or_useless(
        self, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        """As `list_plugins_in_single_pass_or_none_if_long_or_useless`."""
        return self._read_list_in_single_pass_or_none_if_long_or_useless(
            self._build_versioned_path(_RELEASES_PATH), RELEASE_V2, max_pages, is_first_page_useful
        )

    def get_plugin_release(self, pk: RemoteId) -> ServerObject:
        """The release with this integer id; its plugin is an object."""
        return self._get_and_require_object(
            self._build_versioned_path(_RELEASES_PATH, pk), shape=RELEASE_V2, expected_id=pk
        )

    def create_plugin_release(
        self,
        data: RequestBody,
        *,
        file: Any = None,
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
    ) -> ServerObject:
        """Create a release of `plugin` (an id) and `version`; returns it with its `id`.

        Never repeated. `file`, here or in the data, is a path or an open, seekable binary file,
        streamed from its current position. Unless the data has its `sha256`, it is read once
        before to compute it. NotSentError without a file, or if the file changes meanwhile.
        """
        fields, upload_file = _split_into_fields_and_file(data, file)
        path = self._build_versioned_path(_RELEASES_PATH)
        # v1 accepts a release as JSON; v2 answers that with 415 (API page, section b).
        if upload_file is None:
            raise NotSentError(f"POST {path}: not sent: a release of API v2 needs its file")
        return self._upload_file_and_require_object(
            path,
            fields,
            upload_file,
            sensitive,
            shape=RELEASE_V2,
            query=_build_dry_run_query_or_empty(dry_run),
            digest_field=_DIGEST_FIELD,
            idempotency_key=idempotency_key,
        )

    def lock_plugin_release(self, pk: RemoteId, *, dry_run: bool = False) -> ServerObject:
        """Lock the release for ever and return it. Locking it again changes nothing."""
        return self._post_action_and_require_object(
            self._build_versioned_path(_RELEASES_PATH, pk, "release"),
            RELEASE_V2,
            pk,
            dry_run=dry_run,
        )

    def delete_plugin_release(self, pk: RemoteId, *, dry_run: bool = False) -> None:
        """Delete a release; ConflictError while it is in use."""
        path = self._build_versioned_path(_RELEASES_PATH, pk)
        self._send(
            ClientCall(
                "DELETE",
                path,
                query=_build_dry_run_query_or_empty(dry_run),
                mutates=True,
                empty_ok=True,
            )
        )

    def get_job(self, pk: RemoteId, params: QueryParams | None = None) -> ServerObject:
        """The job with this UUID, with all its fields; NotSentError for any `params`."""
        if params:
            raise NotSentError("GET jobs: not sent: API v2 shows a job whole and takes no expand")
        return self._get_and_require_object(
            self._build_versioned_path("jobs", pk), shape=JOB, expected_id=pk
        )

    def iterate_jobs(self, params: QueryParams | None = None) -> Iterator[ServerObject]:
        """All jobs that match, each page requested when needed; filters `status`, `action`."""
        return self.iterate("jobs", params, JOB)

    def update_job(
        self,
        pk: RemoteId,
        data: RequestBody,
        *,
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
    ) -> ServerObject:
        """PATCH these fields, each of which is replaced as a whole; returns the job afterwards."""
        path, query = self._build_versioned_path("jobs", pk), _build_dry_run_query_or_empty(dry_run)
        return self._send_body_and_require_object(
            "PATCH", path, data, sensitive, shape=JOB, query=query, expected_id=pk
        )

    def stop_job(self, pk: RemoteId, *, dry_run: bool = False) -> ServerObject:
        """Stop the job and return it; ConflictError if it has ended. A dry run answers no job."""
        return self._post_action_and_require_object(
            self._build_versioned_path("jobs", pk, "stop"), JOB, pk, dry_run=dry_run
        )

    def list_job_console_logs(self, pk: RemoteId) -> list[LogEntry]:
        """The log lines of a job, as texts."""
        path = self._build_versioned_path("jobs", pk, "console_logs")
        logs = self._send_and_require_object(
            ClientCall("GET", path, repeatable=True, is_display_text=True)
        ).get("logs")
        return logs if isinstance(logs, list) else []

    def create_job_log(
        self, pk: RemoteId, data: RequestBody, *, file: Any = None, dry_run: bool = False
    ) -> ServerObject:
        """Add a log of `event`, `data`, `datetime`, maybe a file; returns it. Never repeated."""
        fields, upload_file = _split_into_fields_and_file(data, file)
        path, query = (
            self._build_versioned_path("jobs", pk, "logs"),
            _build_dry_run_query_or_empty(dry_run),
        )
        if upload_file is None:
            return self._send_body_and_require_object("POST", path, fields, None, query=query)
        return self._upload_file_and_require_object(path, fields, upload_file, None, query=query)

    def create_job_logs(
        self, pk: RemoteId, logs: Sequence[RequestBody], *, dry_run: bool = False
    ) -> list[ServerObject]:
        """Add up to 1000 logs to a job, all or none; returns them with ids. Never repeated."""
        path = self._build_versioned_path("jobs", pk, "logs", "bulk")
        call = build_mutating_json_call("POST", path, {"logs": [dict(log) for log in logs]}, None)
        call = replace(call, query=_build_dry_run_query_or_empty(dry_run))
        answer = self._send(call)
        created_logs = self._unwrap_json_or_empty_object_or_raise(call, answer)
        if not isinstance(created_logs, list):
            raise failures.build_unexpected_answer_error(call, answer, "a list was expected")
        return created_logs

    def iterate_job_console_logs(self, pk: RemoteId) -> Iterator[LineOfLogReadAsWhole]:
        """The log lines one by one, although v2 answers them as a whole."""
        yield from self.list_job_console_logs(pk)

    def tail_job_console_logs(
        self, pk: RemoteId, *, max_seconds: float | None = None
    ) -> Iterator[ServerObject]:
        """The events of a running job's log, as in v1. An `error` event for an unknown job."""
        return self._iter_server_sent_events(
            self._build_versioned_path("jobs", pk, "tail_console_logs"), max_seconds
        )

    def _post_action_and_require_object(
        self, path: str, shape: AnswerShape, pk: RemoteId, *, dry_run: bool
    ) -> ServerObject:
        call = ClientCall(
            "POST",
            path,
            query=_build_dry_run_query_or_empty(dry_run),
            content_type=JSON,
            mutates=True,
        )
        return self._send_and_require_object(call, shape, expected_id=pk)


def _build_dry_run_query_or_empty(dry_run: bool) -> Query:
    return DRY_RUN if dry_run else ()


def _split_into_fields_and_file(data: RequestBody, file: Any) -> tuple[dict[str, Any], Any]:
    """The fields without `file`, and the file: the argument, else the data's, else None."""
    fields = {key: value for key, value in data.items() if key != "file"}
    return fields, data.get("file") if file is None else file
