"""Use case: run a plugin once, by hand. Never sent twice.

A run makes a job, which no manifest declares and no record remembers, so there is no address that
an open intent could hold up and nothing that the next apply would look up. What takes an intent's
place: the job's id is given out the moment it is known; the call is noted in the history of the
state, where there is one, without being in anybody's way for it; and an answer that was lost ends
in words that say how to look for the job. Runs that a manifest asks for have intents.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from synapse_apply.applying.following import Pace, follow_ticket
from synapse_apply.kinds.run_forms import describe_actions, list_actions, list_lacking
from synapse_apply.model.deferred_run import build_poll
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import (
    Effect,
    InputError,
    NotFound,
    OutcomeUnknown,
    RemoteError,
    recourse,
    words,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Job, JobStatus, job_of, judge_result
from synapse_apply.session.reach import (
    Reach,
    absent,
    given_id,
    note,
    read,
    recorded_id,
    run_name,
)

_PREFIX = "plugin"
# Clocks of servers differ from ours; who looks for a lost job must not miss it for that.
_CLOCKS_DIFFER = timedelta(minutes=2)


@frozen
class Wanted:
    """A run as it was asked for.

    `plugin` is an id, a name or an address that the state records, or a code. `action`, `agent`
    and `version` are the platform's own; any of them makes its form of the call.
    """

    plugin: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    action: str = ""
    agent: int | None = None
    version: str = ""

    def body(self) -> dict[str, Any]:
        """What goes out: the API page's form, or the platform's where it was asked for."""
        special = {"action": self.action, "agent": self.agent, "version": self.version}
        given = {name: value for name, value in special.items() if value not in ("", None)}
        if not given:
            return {"parameters": dict(self.parameters), "context": dict(self.context)}
        context = {"context": dict(self.context)} if self.context else {}
        return {"params": dict(self.parameters), **context, **given}


@frozen
class Started:
    """What a run answered: its job, or None where the server answered without one.

    `status` says of an answer without a job how the run went; `plugin` and `body` are what was run.
    """

    job: Job | None
    answer: Mapping[str, Any]
    plugin: int | str = ""
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> JobStatus:
        return self.job.status if self.job else judge_result(self.answer)

    @property
    def can_be_asked_for(self) -> bool:
        """Whether the answer has a ticket that its result can be asked for with."""
        return self.job is None and build_poll(self.body, self.answer) is not None


def start(reach: Reach, wanted: Wanted) -> Started:
    """Send the run. InputError for a plugin that is not there or a run the server refuses.

    OutcomeUnknown when nobody can tell whether it started. The caller says the job's id, then
    calls `remember`.
    """
    at = given_id(_PREFIX, wanted.plugin) or recorded_id(reach, _PREFIX, wanted.plugin)
    wanted = _with_action(reach, wanted, at)
    looked_from = datetime.now(UTC) - _CLOCKS_DIFFER
    try:
        plugin = run_name(reach, at) if at else wanted.plugin
        body = wanted.body()
        answer = reach.api.run_plugin(plugin, body)
    except RemoteError as failure:
        if failure.effect is Effect.UNKNOWN:
            _note(reach, wanted, "", "unknown")
            raise _lost(reach, wanted, failure, looked_from) from None
        _note(reach, wanted, "", "failed")
        raise _refused(wanted, failure) from None
    try:
        return Started(job_of(answer), answer, plugin, body)
    except ValueError:
        return Started(None, answer, plugin, body)


def await_result(reach: Reach, started: Started, interval: float, timeout: float | None) -> Started:
    """The run with the result that its ticket is for, or as it was where none came in time.

    RemoteError when the backend refuses to be asked.
    """
    answer = follow_ticket(
        lambda question: reach.api.run_plugin(started.plugin, question),
        started.body,
        started.answer,
        Pace(interval, timeout, time.sleep, time.monotonic),
    )
    return replace(started, answer=answer)


def _with_action(reach: Reach, wanted: Wanted, at: str | None) -> Wanted:
    """The run with the only action of the release that will run, where none was given.

    InputError where it lists several. Where no release can be read, it is sent as it stands: then
    the server decides.
    """
    if wanted.action:
        return wanted
    try:
        actions = list_actions(_live_config(reach, wanted, at))
    except (RemoteError, InputError):
        return wanted
    if len(actions) > 1:
        raise InputError.of(
            "Which action is meant?",
            f"The release of {wanted.plugin} lists several: {describe_actions(actions)}.",
            f"Say one of them, as --action {shlex.quote(actions[0])}.",
        )
    return replace(wanted, action=actions[0]) if actions else wanted


def _live_config(reach: Reach, wanted: Wanted, at: str | None) -> object:
    """The config of the release that a run will take; None where there is none."""
    code = wanted.plugin if at is None else str(read(reach, _PREFIX, at).get("code") or "")
    if not code or code.isdecimal():  # a server may take digits for an id
        return None
    if wanted.version:
        lookup = f"{code}@{wanted.version}"
        return reach.api.get_plugin_release_by_lookup(lookup, expand=None).get("config")
    releases = reach.api.list_plugin_releases(code)
    return max(releases, key=_age_of).get("config") if releases else None


def _age_of(release: Mapping[str, Any]) -> int:
    """Greater for what was made later. The first of several without numbers is the newest."""
    found = str(release.get("id"))
    return int(found) if found.isdecimal() else 0


def remember(reach: Reach, wanted: Wanted, started: Started) -> Diagnostic | None:
    """Note a run in the history of the state; a warning when that cannot be."""
    return _note(reach, wanted, started.job.id if started.job else "", "done")


def _note(reach: Reach, wanted: Wanted, job_id: str, result: str) -> Diagnostic | None:
    named = wanted.plugin.removeprefix(f"{_PREFIX}/")
    version = f"@{wanted.version}" if wanted.version else ""
    return note(reach, "run", f"{_PREFIX}/{named}{version}", job_id, result)


def _lost(reach: Reach, wanted: Wanted, failure: RemoteError, since: datetime) -> OutcomeUnknown:
    target = f" -t {reach.where.target}" if reach.where.target else ""
    plugin = shlex.quote(wanted.plugin)
    return OutcomeUnknown(
        error(
            "Nobody can tell whether the run started",
            words(failure),
            "It is not sent again. Look whether there is a job of it:\n"
            f"`synapse-apply jobs list --plugin {plugin} "
            f"--created-after {since:%Y-%m-%dT%H:%M:%SZ}{target}`",
            request_id=failure.request_id,
        )
    )


def _refused(wanted: Wanted, failure: RemoteError) -> Exception:
    if isinstance(failure, NotFound):
        return absent(
            _PREFIX,
            wanted.plugin,
            failure,
            "Give a plugin's code, its id as id=123, or a name that "
            "`synapse-apply state list` shows.",
        )
    if lacking := list_lacking(failure, wanted.body()):
        names = " and ".join(f"an {name}" for name in lacking)
        options = " and ".join(f"--{name}" for name in lacking)
        return InputError(
            error(
                f"This backend wants {names}",
                words(failure),
                f"Give {options}; the package's config.yaml lists the actions, and the product "
                "shows the agents.",
                request_id=failure.request_id,
            )
        )
    if failure.status_code in {400, 409, 422}:
        return InputError(
            error(
                "The backend refuses this run",
                words(failure),
                "Correct the parameters, the context or the version, then run it again.",
                request_id=failure.request_id,
            )
        )
    return InputError(
        error(
            "The run was not started",
            words(failure),
            recourse(failure, "run it again", "Run it again."),
            request_id=failure.request_id,
        )
    )
