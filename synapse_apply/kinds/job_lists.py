"""How jobs are listed: filters, when to stop reading pages, and which plugin a job runs.

A server ignores filters that it does not know, so that callers must test each job themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from synapse_apply.kinds.descriptor import Api
from synapse_apply.kinds.wire import to_wire_id
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import Job
from synapse_apply.model.json_types import QueryParams, ServerObject
from synapse_apply.model.remote import has_remote_id_form

# Two times are in descending order by chance half of the time.
_FEWEST_IN_ORDER = 3


def iter_jobs_at_least_since(
    api: Api, params: QueryParams, since: datetime | None
) -> Iterator[ServerObject]:
    """The jobs that match these filters, newest first if the server supports ordering.

    With `since` no more pages are requested once a page shows that the list is ordered and has
    reached older jobs. Older jobs may be among the result.
    """
    query = {**params, "ordering": "-created"}
    if since is None:
        yield from api.iterate_jobs(query)
        return
    # The first is the API page's filter, the second the platform's; each ignores the other's.
    text = to_utc(since).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    query |= {"created_after": text, "created__gte": text}
    limit = to_utc(since)
    previous_times: list[datetime] = []
    is_ordered = True

    # A list is left early only behind a page that is in order: a job that is missed would be
    # started a second time.
    def is_last_page(items: Sequence[ServerObject]) -> bool:
        """Whether all later pages are older than `since`, called with page after page.

        That is so if this page by itself shows descending times down to an older one, and no page
        before contradicts that order.
        """
        nonlocal is_ordered, previous_times
        times = [
            parse_zoned_time_or_none(item.get("created", item.get("created_at"))) for item in items
        ]
        valid_times = [moment for moment in times if moment is not None]
        ordered_times = [*previous_times, *valid_times]
        # A job without a usable time leaves the order unknown.
        is_ordered &= len(valid_times) == len(times) and ordered_times == sorted(
            ordered_times, reverse=True
        )
        previous_times = valid_times[-1:]
        return is_ordered and len(set(valid_times)) >= _FEWEST_IN_ORDER and valid_times[-1] < limit

    yield from api.iterate_jobs(query, is_last_page=is_last_page)


def parse_zoned_time_or_none(text: object) -> datetime | None:
    """A time with a zone; None for any other text, as a time without a zone may be hours off."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def to_utc(moment: datetime) -> datetime:
    """The moment in UTC; a time without a zone is taken as UTC, as servers mean it."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class JobOwners:
    """Looks up the plugins of jobs that name only their release; reads each release once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        # Id, code and version that a release has of its plugin and itself; "" for what it lacks.
        self._owners: dict[str, tuple[str, str, str]] = {}
        self._codes: dict[str, str] = {}

    def with_plugin_of_release(self, job: Job) -> Job:
        """The job with plugin and version added from its release, as far as that can be read."""
        if job.plugin or job.plugin_code or not job.release:
            return job
        if job.release not in self._owners:
            raw: ServerObject = {}
            # It would become a part of a URL. What cannot be read is empty: a job list goes on.
            if has_remote_id_form(job.release):
                with suppress(RemoteError):
                    raw = self._api.get_plugin_release(to_wire_id(job.release))
            owner, config = raw.get("plugin"), raw.get("config")
            fields = owner if isinstance(owner, Mapping) else {"id": owner}
            code = fields.get("code") or (config.get("code") if isinstance(config, Mapping) else "")
            texts = map(_to_text_or_empty, (fields.get("id"), code, raw.get("version")))
            self._owners[job.release] = (next(texts), next(texts), next(texts))
        plugin, code, version = self._owners[job.release]
        return replace(job, plugin=plugin, plugin_code=code, version=job.version or version)

    def runs_other_plugin(self, job: Job, plugin: str) -> bool:
        """Whether a job certainly runs another plugin than the one with this id or code.

        `job` is a result of `with_plugin_of_release`. May read the plugin for its code.
        """
        if not plugin.isdecimal():
            return bool(job.plugin_code) and job.plugin_code != plugin
        if job.plugin.isdecimal():
            return job.plugin != plugin
        if not job.plugin_code:
            return False
        if plugin not in self._codes:
            self._codes[plugin] = ""
            with suppress(RemoteError):
                read = self._api.get_plugin(to_wire_id(plugin))
                self._codes[plugin] = _to_text_or_empty(read.get("code"))
        return self._codes[plugin] not in ("", job.plugin_code)


def _to_text_or_empty(value: object) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
