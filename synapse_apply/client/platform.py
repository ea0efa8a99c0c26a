"""Which HTTP call each operation of API v2 is (synapse-api.md, section b)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Unpack

from synapse_apply.client import failures
from synapse_apply.client.calls import ClientCall
from synapse_apply.client.dialects import V2
from synapse_apply.client.http.transport import Transport
from synapse_apply.client.operations import DRY_RUN, JOB, AnswerShape, ApiOperations, Trying
from synapse_apply.model.errors import Invalid
from synapse_apply.model.json_types import (
    LogEntry,
    PageCheck,
    QueryParams,
    RemoteId,
    RequestBody,
    ServerObject,
)

_RELEASES = "plugin-releases"
_PLUGIN = AnswerShape(
    required_fields=("id", "code"), id_fields=("id",), text_fields=("name", "code")
)
_RELEASE = AnswerShape(
    required_fields=("id", "plugin_id", "version"),
    id_fields=("id", "plugin_id"),
    text_fields=("version",),
    bool_fields=("is_released",),
)


class PlatformV2(ApiOperations):
    """Plugins, plugin releases and jobs of a Synapse backend, API v2.

    Every method raises RemoteError and no other exception for a failed call. Answers are the
    server's objects without their envelopes. See `Trying` for how a call that changes the server is
    sent; since a server that does not know `dry_run` acts all the same, such a call counts as a
    mutating one.
    """

    _dialect = V2
    _shapes: ClassVar = {"plugins": _PLUGIN, _RELEASES: _RELEASE, "jobs": JOB}

    def __init__(self, transport: Transport, *, is_dry_run: bool = False) -> None:
        """With `is_dry_run` every call that changes something is a dry run."""
        self._transport = transport
        self.is_dry_run = is_dry_run

    def list_plugins(self, params: QueryParams | None = None) -> list[ServerObject]:
        """All plugins of the tenant, of all pages; filters `category`, `is_active`."""
        return self._list("plugins", params=params)

    def iterate_plugins(self, params: QueryParams | None = None) -> Iterator[ServerObject]:
        """Plugins page by page, of a single reading: one that is missing may exist all the same."""
        return self.iterate("plugins", params, _PLUGIN)

    def create_plugin(
        self, data: RequestBody, *, file: Any = None, **how: Unpack[Trying]
    ) -> ServerObject:
        """Create a plugin; returns it with its `id` and its first `release`. Never repeated.

        `file`, here or in the data, is what `source: file` needs; see `create_plugin_release`.
        """
        return self._change("POST", "plugins", data=data, file=file, may_have_file=True, **how)

    def update_plugin(self, pk: RemoteId, data: RequestBody, **how: Unpack[Trying]) -> ServerObject:
        """PATCH name or description (nothing else may change); returns the plugin afterwards."""
        return self._change("PATCH", "plugins", pk, data=data, **how)

    def list_plugin_releases(self, params: QueryParams | None = None) -> list[ServerObject]:
        """All releases without their config, of all pages; filters `plugin` (an id), `debug`."""
        return self._list(_RELEASES, params=params)

    def list_releases_once(
        self, max_pages: int, is_first_page_useful: PageCheck
    ) -> list[ServerObject] | None:
        """As `list_plugins_once`."""
        return self._list_once(_RELEASES, max_pages, is_first_page_useful)

    def get_plugin_release(self, pk: RemoteId) -> ServerObject:
        """The release with this integer id; its plugin is an object."""
        return self._get(_RELEASES, pk)

    def create_plugin_release(
        self, data: RequestBody, *, file: Any = None, **how: Unpack[Trying]
    ) -> ServerObject:
        """Create a release of `plugin` (an id) and `version`; returns it with its `id`.

        Never repeated. `file`, here or in the data, is a path or an open, seekable binary file,
        streamed from its current position. Unless the data has its `sha256`, it is read once
        before to compute it. Invalid without a file, or if the file changes meanwhile.
        """
        # v1 accepts a release as JSON; v2 answers that with 415 (API page, section b).
        if file is None and data.get("file") is None:
            path = self._path(_RELEASES)
            raise Invalid(f"POST {path}: not sent: a release of API v2 needs its file")
        return self._change(
            "POST",
            _RELEASES,
            data=data,
            file=file,
            may_have_file=True,
            digest_field="sha256",
            **how,
        )

    def lock_plugin_release(self, pk: RemoteId, *, dry_run: bool = False) -> ServerObject:
        """Lock the release for ever and return it. Locking it again changes nothing."""
        return self._change("POST", _RELEASES, pk, "release", dry_run=dry_run)

    def delete_plugin_release(self, pk: RemoteId, *, dry_run: bool = False) -> None:
        """Delete a release; Conflict while it is in use."""
        path, query = self._path(_RELEASES, pk), DRY_RUN if dry_run else ()
        self._send(ClientCall("DELETE", path, query=query, mutates=True, empty_ok=True))

    def get_job(self, pk: RemoteId, params: QueryParams | None = None) -> ServerObject:
        """The job with this UUID, with all its fields; Invalid for any `params`."""
        if params:
            raise Invalid(
                "GET jobs: not sent: API v2 returns complete jobs and does not accept expand"
            )
        return self._get("jobs", pk)

    def iterate_jobs(self, params: QueryParams | None = None) -> Iterator[ServerObject]:
        """All jobs that match, each page requested when needed; filters `status`, `action`."""
        return self.iterate("jobs", params, JOB)

    def update_job(self, pk: RemoteId, data: RequestBody, **how: Unpack[Trying]) -> ServerObject:
        """PATCH these fields, each of which is replaced as a whole; returns the job afterwards."""
        return self._change("PATCH", "jobs", pk, data=data, **how)

    def stop_job(self, pk: RemoteId, *, dry_run: bool = False) -> ServerObject:
        """Stop the job and return it; Conflict if it has ended. A dry run answers no job."""
        return self._change("POST", "jobs", pk, "stop", dry_run=dry_run)

    def list_job_console_logs(self, pk: RemoteId) -> list[LogEntry]:
        """The log lines of a job, as texts."""
        path = self._path("jobs", pk, "console_logs")
        answer = self._ask(ClientCall("GET", path, repeatable=True, is_display_text=True))
        logs = answer.get("logs")
        return logs if isinstance(logs, list) else []

    def create_job_log(
        self, pk: RemoteId, data: RequestBody, *, file: Any = None, dry_run: bool = False
    ) -> ServerObject:
        """Add a log of `event`, `data`, `datetime`, maybe a file; returns it. Never repeated."""
        path, how = ("jobs", pk, "logs"), {"file": file, "may_have_file": True}
        return self._ask(self._mutation("POST", *path, data=data, dry_run=dry_run, **how))

    def create_job_logs(
        self, pk: RemoteId, logs: Sequence[RequestBody], *, dry_run: bool = False
    ) -> list[ServerObject]:
        """Add up to 1000 logs to a job, all or none; returns them with ids. Never repeated."""
        data = {"logs": [dict(log) for log in logs]}
        call = self._mutation("POST", "jobs", pk, "logs", "bulk", data=data, dry_run=dry_run)
        answer = self._send(call)
        created_logs = self._unwrap(answer)
        if not isinstance(created_logs, list):
            raise failures.unexpected_answer(answer, "expected a list")
        return created_logs

    def iterate_job_console_logs(self, pk: RemoteId) -> Iterator[LogEntry]:
        """The log lines one by one, although v2 answers them as a whole."""
        yield from self.list_job_console_logs(pk)
