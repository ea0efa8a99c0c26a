"""Lists of jobs: what is asked of a server, when to stop reading, and whose plugin a job runs.

Filters are hints. A server passes over those that it does not know, so whoever lists tests each
item as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from synapse_apply.kinds.wire import to_wire_id
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Job
from synapse_apply.model.remote.remote_ids import is_remote_id

if TYPE_CHECKING:
    from synapse_apply.model.ports import Api

Raw = Mapping[str, Any]
# Two times may stand in an order by chance.
_FEWEST_IN_ORDER = 3


def list_jobs_since(api: Api, params: Raw, since: datetime | None) -> Iterator[Raw]:
    """The jobs that a server lists by these filters, the newest first where it knows orders.

    With a time, pages of older jobs are not asked for once a page shows that the list is ordered;
    older jobs may be given all the same.
    """
    query = {**params, "ordering": "-created"}
    if since is None:
        yield from api.iterate_jobs(query)
        return
    # The platform does not narrow by the first, the API page does not have the second.
    text = _to_utc(since).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    query |= {"created_after": text, "created__gte": text}
    yield from api.iterate_jobs(query, is_last_page=build_last_page_check(since))


# A list is left early only behind a page that is in order: a job that is missed would be started a
# second time.
def build_last_page_check(since: datetime) -> Callable[[Sequence[Raw]], bool]:
    """Asked with page after page: whether what follows is older than a time.

    It is where this page shows by itself that the newest come first, and none before it another
    order.
    """
    limit = _to_utc(since)
    previous_times: list[datetime] = []
    is_ordered = True

    def is_last_page(items: Sequence[Raw]) -> bool:
        nonlocal is_ordered, previous_times
        times = [_parse_zoned_time(item.get("created", item.get("created_at"))) for item in items]
        valid_times = [moment for moment in times if moment is not None]
        ordered_times = [*previous_times, *valid_times]
        is_ordered &= len(valid_times) == len(times) and ordered_times == sorted(
            ordered_times, reverse=True
        )
        previous_times = valid_times[-1:]
        return is_ordered and len(set(valid_times)) >= _FEWEST_IN_ORDER and valid_times[-1] < limit

    return is_last_page


def _parse_zoned_time(text: object) -> datetime | None:
    """A time with its zone: of one without nobody knows how far it is from ours."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _to_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@frozen
class _ReleaseOwner:
    """What a release tells of the plugin it belongs to; "" where it does not."""

    plugin: str = ""
    code: str = ""
    version: str = ""


class JobOwners:
    """Tells the plugin of a job that names its release alone; each release is read once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._owners: dict[str, _ReleaseOwner] = {}
        self._codes: dict[str, str] = {}

    def add_plugin_and_version(self, job: Job) -> Job:
        """The job with its plugin and its version, as far as they can be had."""
        if job.plugin or job.plugin_code or not job.release:
            return job
        owner = self._owners.get(job.release)
        if owner is None:
            owner = self._owners[job.release] = self._read_release_owner_or_empty(job.release)
        version = job.version or owner.version
        return replace(job, plugin=owner.plugin, plugin_code=owner.code, version=version)

    def runs_other_plugin(self, job: Job, plugin: str) -> bool:
        """Whether a completed job shows that it runs another plugin than this id, or code."""
        if not plugin.isdecimal():
            return bool(job.plugin_code) and job.plugin_code != plugin
        if job.plugin.isdecimal():
            return job.plugin != plugin
        code = self._read_plugin_code_or_empty(plugin) if job.plugin_code else ""
        return bool(code) and job.plugin_code != code

    def _read_release_owner_or_empty(self, release: str) -> _ReleaseOwner:
        """A release that cannot be read tells nothing: a list of jobs does not fail for it."""
        if not is_remote_id(release):
            return _ReleaseOwner()
        try:
            raw = self._api.get_plugin_release(to_wire_id(release))
        except RemoteError:
            return _ReleaseOwner()
        owner, config = raw.get("plugin"), raw.get("config")
        plugin_fields = owner if isinstance(owner, Mapping) else {"id": owner}
        code = plugin_fields.get("code") or (
            config.get("code") if isinstance(config, Mapping) else ""
        )
        return _ReleaseOwner(
            _to_text_or_empty(plugin_fields.get("id")),
            _to_text_or_empty(code),
            _to_text_or_empty(raw.get("version")),
        )

    def _read_plugin_code_or_empty(self, plugin: str) -> str:
        if plugin not in self._codes:
            try:
                self._codes[plugin] = _to_text_or_empty(
                    self._api.get_plugin(to_wire_id(plugin)).get("code")
                )
            except RemoteError:
                self._codes[plugin] = ""
        return self._codes[plugin]


def _to_text_or_empty(value: object) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
