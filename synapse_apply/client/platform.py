"""API v2: the operations of the platform as it is today."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from synapse_apply.client import failures
from synapse_apply.client.calls import Call, IsSensitive, Query
from synapse_apply.client.dialects import v2
from synapse_apply.client.errors import NotSentError
from synapse_apply.client.shapes import JOB, PLUGIN_V2, RELEASE_V2, Shape
from synapse_apply.client.speaking import (
    DRY_RUN,
    JSON,
    Data,
    IsOfUse,
    Object,
    Pk,
    Speaking,
    with_json,
)
from synapse_apply.client.transport import Transport

_RELEASES = "plugin-releases"
# The form's field for the SHA-256 of its file.
_DIGEST = "sha256"


class PlatformV2(Speaking):
    """Plugins, plugin releases and jobs of a Synapse backend, API v2.

    Every method raises ClientError, and nothing else for what goes wrong on the way. Answers are
    the server's objects without their envelopes. `dry_run` asks the server to check and to change
    nothing; a server that does not know the word changes all the same, so such a call is never
    taken for a harmless one. `sensitive` is as in v1.
    """

    _dialect = v2.DIALECT

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_plugins(self, params: Data | None = None) -> list[Object]:
        """All plugins of the tenant, of all pages; filters `category`, `is_active`."""
        return self._objects(self._path("plugins"), params, PLUGIN_V2)

    def glance_at_plugins(self, most_pages: int, is_of_use: IsOfUse) -> list[Object] | None:
        """Plugins of one reading of their list, without their descriptions; as in v1."""
        return self._glance(self._path("plugins"), PLUGIN_V2, most_pages, is_of_use)

    def iterate_plugins(self, params: Data | None = None) -> Iterator[Object]:
        """The same as they are taken, of one reading: proof of what is there, of no absence."""
        return self.iterate("plugins", params, PLUGIN_V2)

    def get_plugin(self, pk: Pk) -> Object:
        """The plugin by its integer id; there is no look-up by code."""
        return self._get(self._path("plugins", pk), shape=PLUGIN_V2, of=pk)

    def create_plugin(
        self,
        data: Data,
        *,
        file: Any = None,
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
    ) -> Object:
        """A new plugin with its `id`, and its first `release`. Never sent twice.

        `file`, here or in the data, is what `source: file` needs; see `create_plugin_release`.
        `idempotency_key` is as in v1.
        """
        fields, source = _parted(data, file)
        path, query = self._path("plugins"), _query(dry_run)
        if source is None:
            return self._write(
                "POST", path, fields, sensitive, shape=PLUGIN_V2, query=query, key=idempotency_key
            )
        return self._upload(
            path, fields, source, sensitive, shape=PLUGIN_V2, query=query, key=idempotency_key
        )

    def update_plugin(
        self,
        pk: Pk,
        data: Data,
        *,
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
    ) -> Object:
        """The plugin after a PATCH of its name, its description, or both: all that may change."""
        path = self._path("plugins", pk)
        query = _query(dry_run)
        return self._write("PATCH", path, data, sensitive, shape=PLUGIN_V2, query=query, of=pk)

    def list_plugin_releases(self, params: Data | None = None) -> list[Object]:
        """All releases, of all pages; filters `plugin` (an id), `debug`. Without their config."""
        return self._objects(self._path(_RELEASES), params, RELEASE_V2)

    def glance_at_plugin_releases(self, most_pages: int, is_of_use: IsOfUse) -> list[Object] | None:
        """Releases of one reading of their list, as `glance_at_plugins`."""
        return self._glance(self._path(_RELEASES), RELEASE_V2, most_pages, is_of_use)

    def get_plugin_release(self, pk: Pk) -> Object:
        """The release by its integer id, its plugin an object in it."""
        return self._get(self._path(_RELEASES, pk), shape=RELEASE_V2, of=pk)

    def create_plugin_release(
        self,
        data: Data,
        *,
        file: Any = None,
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
        idempotency_key: str = "",
    ) -> Object:
        """A new release of `plugin` (an id) and `version`, with its `id`. Never sent twice.

        `file`, here or in the data, is a path or an open, seekable binary file, streamed from
        where it stands. It is read once before, for its `sha256`, unless the data has that; bytes
        that then differ are not sent to their end.
        """
        fields, source = _parted(data, file)
        path = self._path(_RELEASES)
        if source is None:
            raise NotSentError(f"POST {path}: not sent: a release of API v2 needs its file")
        return self._upload(
            path,
            fields,
            source,
            sensitive,
            shape=RELEASE_V2,
            query=_query(dry_run),
            digest=_DIGEST,
            key=idempotency_key,
        )

    def lock_plugin_release(self, pk: Pk, *, dry_run: bool = False) -> Object:
        """The release, locked. Cannot be taken back; a second time changes nothing."""
        return self._act(self._path(_RELEASES, pk, "release"), RELEASE_V2, pk, dry_run=dry_run)

    def delete_plugin_release(self, pk: Pk, *, dry_run: bool = False) -> None:
        """Delete a release; ConflictError while it is in use."""
        path = self._path(_RELEASES, pk)
        self._send(Call("DELETE", path, query=_query(dry_run), mutates=True, empty_ok=True))

    def get_job(self, pk: Pk, params: Data | None = None) -> Object:
        """The job by its UUID. It is whole: there are no parameters to ask for more of it."""
        if params:
            raise NotSentError("GET jobs: not sent: API v2 shows a job whole and takes no expand")
        return self._get(self._path("jobs", pk), shape=JOB, of=pk)

    def iterate_jobs(self, params: Data | None = None) -> Iterator[Object]:
        """All jobs that match, page after page as they are taken; filters `status`, `action`."""
        return self.iterate("jobs", params, JOB)

    def update_job(
        self,
        pk: Pk,
        data: Data,
        *,
        dry_run: bool = False,
        sensitive: IsSensitive | None = None,
    ) -> Object:
        """The job after a report; each value sent replaces the old one as a whole."""
        path, query = self._path("jobs", pk), _query(dry_run)
        return self._write("PATCH", path, data, sensitive, shape=JOB, query=query, of=pk)

    def stop_job(self, pk: Pk, *, dry_run: bool = False) -> Object:
        """The job, stopped; ConflictError when it has ended. A dry run answers no job."""
        return self._act(self._path("jobs", pk, "stop"), JOB, pk, dry_run=dry_run)

    def list_job_console_logs(self, pk: Pk) -> list[Any]:
        """The lines a job wrote, as texts."""
        path = self._path("jobs", pk, "console_logs")
        logs = self._object(Call("GET", path, repeatable=True, is_words=True)).get("logs")
        return logs if isinstance(logs, list) else []

    def create_job_log(
        self, pk: Pk, data: Data, *, file: Any = None, dry_run: bool = False
    ) -> Object:
        """A log with its `id`, of `event`, `data`, `datetime`, maybe a file. Never sent twice."""
        fields, source = _parted(data, file)
        path, query = self._path("jobs", pk, "logs"), _query(dry_run)
        if source is None:
            return self._write("POST", path, fields, None, query=query)
        return self._upload(path, fields, source, None, query=query)

    def create_job_logs(
        self, pk: Pk, logs: Sequence[Data], *, dry_run: bool = False
    ) -> list[Object]:
        """Up to 1000 logs of a job, all or none, with their ids. Never sent twice."""
        path = self._path("jobs", pk, "logs", "bulk")
        call = with_json("POST", path, {"logs": [dict(one) for one in logs]}, None)
        call = replace(call, query=_query(dry_run))
        answer = self._send(call)
        made = self._value(call, answer)
        if not isinstance(made, list):
            raise failures.unexpected(call, answer, "a list was expected")
        return made

    def iterate_job_console_logs(self, pk: Pk) -> Iterator[Any]:
        """The same one by one; v2 answers them in one piece."""
        yield from self.list_job_console_logs(pk)

    def tail_job_console_logs(self, pk: Pk, *, longest: float | None = None) -> Iterator[Object]:
        """What a job writes, as it writes it; see v1. Of a job that is not there, an `error`."""
        return self._tail(self._path("jobs", pk, "tail_console_logs"), longest)

    def _act(self, path: str, shape: Shape, pk: Pk, *, dry_run: bool) -> Object:
        call = Call("POST", path, query=_query(dry_run), content_type=JSON, mutates=True)
        return self._object(call, shape, of=pk)


def _query(dry_run: bool) -> Query:
    return DRY_RUN if dry_run else ()


def _parted(data: Data, file: Any) -> tuple[dict[str, Any], Any]:
    """The fields of a form, and its file."""
    fields = {key: value for key, value in data.items() if key != "file"}
    return fields, data.get("file") if file is None else file
