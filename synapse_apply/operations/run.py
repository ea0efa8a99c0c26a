"""How `run` starts a plugin's job by hand, once, and what is noted of it.

A run makes a job, which no manifest declares and no record remembers, so there is no address
that an open intent could block and nothing that the next apply would look up. Instead of an
intent: the job's id is printed as soon as it is known; the call is noted in the audit of the
state, where there is one; and a lost answer ends in an error that says how to look for the
job. Runs that a manifest asks for have intents.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from synapse_apply.applying.logs.following import (
    FollowOptions,
    poll_deferred_run,
)
from synapse_apply.kinds.run_forms import (
    describe_at_most_ten_actions,
    list_action_names,
    list_inputs_refused_as_missing,
)
from synapse_apply.live.live_backend import (
    LiveBackend,
    build_not_found_or_hidden_error,
    find_recorded_id_or_none_but_raise_for_address,
    parse_typed_id_or_none_for_name,
    record_audit_entry_if_state_exists_or_warn,
    require_raw_object_by_id,
    resolve_v1_plugin_id_or_keep_given,
)
from synapse_apply.model.coding.json_types import JsonObject, RequestBody, ServerAnswer
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import (
    Effect,
    InputError,
    NotFound,
    OutcomeUnknown,
    RemoteError,
    advise_on_failure,
    describe_failure_without_request_id_and_effect,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import (
    Job,
    JobStatus,
    derive_run_result_status_or_completed,
    parse_job_requiring_usable_id,
)
from synapse_apply.model.remote.deferred_run import build_poll_request_or_none

_PLUGIN_PREFIX = "plugin"
# Clocks of servers differ from ours; who looks for a lost job must not miss it for that.
_CLOCK_TOLERANCE = timedelta(minutes=2)


@frozen
class RunRequest:
    """A run to start.

    `plugin` is an id, a recorded name or address, or a code. `action`, `agent` and `version` are
    the platform's own fields; any of them selects the platform's form of the request.
    """

    plugin: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    action: str = ""
    agent: int | None = None
    version: str = ""

    def build_body(self) -> JsonObject:
        """The request body in the API page's form, or in the platform's if it has such fields."""
        platform_fields = {"action": self.action, "agent": self.agent, "version": self.version}
        given_fields = {
            name: value for name, value in platform_fields.items() if value not in ("", None)
        }
        if not given_fields:
            return {"parameters": dict(self.parameters), "context": dict(self.context)}
        context = {"context": dict(self.context)} if self.context else {}
        return {"params": dict(self.parameters), **context, **given_fields}


@frozen
class StartedRun:
    """The answer to a run: its job, or None where the server answered without one.

    `status` of an answer without a job is how the run went; `plugin` and `body` are what was sent.
    """

    job: Job | None
    answer: ServerAnswer
    plugin: int | str = ""
    body: RequestBody = field(default_factory=dict)

    @property
    def status(self) -> JobStatus:
        return self.job.status if self.job else derive_run_result_status_or_completed(self.answer)

    @property
    def has_result_ticket(self) -> bool:
        """Whether the answer has a ticket with which its result can be polled."""
        return self.job is None and build_poll_request_or_none(self.body, self.answer) is not None


# Without an intent: its job has no address that an open intent could hold up. The job's id is
# printed at once, the call is noted in the audit, and a lost answer is exit code 7 with the command
# that looks for the job.
def send_run_once_auditing_only_failures(
    live_backend: LiveBackend, request: RunRequest
) -> StartedRun:
    """Send the run, once and without a mark; a refusal is an InputError.

    OutcomeUnknown when nobody can tell whether it started. An interruption, such as a
    KeyboardInterrupt, has a note that says whether the run was sent. The caller prints the job's
    id, then calls `audit_started_run_or_warn`.
    """
    with add_advice_to_interruption("Nothing was sent. Run the command again."):
        plugin_id = parse_typed_id_or_none_for_name(
            _PLUGIN_PREFIX, request.plugin
        ) or find_recorded_id_or_none_but_raise_for_address(
            live_backend, _PLUGIN_PREFIX, request.plugin
        )
        request = _with_only_action_unless_given_or_raise(live_backend, request, plugin_id)
    # Before the call: a lost answer is looked for among jobs from this moment on.
    search_start = datetime.now(UTC) - _CLOCK_TOLERANCE
    try:
        with add_advice_to_interruption("Nothing was sent. Run the command again."):
            plugin = (
                resolve_v1_plugin_id_or_keep_given(live_backend, plugin_id)
                if plugin_id
                else request.plugin
            )
        body = request.build_body()
        answer = _send_run_auditing_interruption(live_backend, request, plugin, body, search_start)
    except RemoteError as failure:
        if failure.effect is Effect.UNKNOWN:
            _audit_run_call_or_warn(live_backend, request, "", "unknown")
            raise _build_outcome_unknown_error(
                live_backend, request, failure, search_start
            ) from None
        _audit_run_call_or_warn(live_backend, request, "", "failed")
        raise _build_refusal_error(request, failure) from None
    try:
        return StartedRun(parse_job_requiring_usable_id(answer), answer, plugin, body)
    except ValueError:
        return StartedRun(None, answer, plugin, body)
    except RemoteError as failure:
        # The job was started, but its id cannot be used.
        _audit_run_call_or_warn(live_backend, request, "", "unknown")
        raise _build_outcome_unknown_error(live_backend, request, failure, search_start) from None


def _send_run_auditing_interruption(
    live_backend: LiveBackend,
    request: RunRequest,
    plugin: int | str,
    body: RequestBody,
    search_start: datetime,
) -> ServerAnswer:
    """The answer to the run; an interruption is noted in the audit as of unknown outcome."""
    search_hint = _build_search_hint(live_backend, request, search_start)
    with add_advice_to_interruption(
        f"The job may have been started; the same command would start another. {search_hint}"
    ):
        try:
            return live_backend.api.run_plugin(plugin, body)
        except Exception:
            raise
        # Also a Ctrl-C: the server may have the request, and nothing else remembers it.
        except BaseException:
            _audit_run_call_or_warn(live_backend, request, "", "unknown")
            raise


@contextmanager
def add_advice_to_interruption(advice: str) -> Iterator[None]:
    """Add `advice` as a note to an interruption of the block: what the user has to know of it."""
    try:
        yield
    except Exception:
        raise
    except BaseException as interruption:
        interruption.add_note(advice)
        raise


def poll_run_result_until_timeout(
    reach: LiveBackend, started: StartedRun, interval: float, timeout: float | None
) -> StartedRun:
    """Poll with the run's ticket until its result is there, at most for `timeout` seconds.

    Returns the run as it is then. RemoteError when the backend refuses to be asked.
    """
    answer = poll_deferred_run(
        lambda question: reach.api.run_plugin(started.plugin, question),
        started.body,
        started.answer,
        FollowOptions(interval, timeout, time.sleep, time.monotonic),
    )
    return replace(started, answer=answer)


def _with_only_action_unless_given_or_raise(
    live_backend: LiveBackend, request: RunRequest, plugin_id: str | None
) -> RunRequest:
    """The request with the release's only action, where no action was given.

    InputError where the release lists several. Where no release can be read, the request stays as
    it is, and the server decides.
    """
    if request.action:
        return request
    try:
        actions = list_action_names(_read_release_config_or_none(live_backend, request, plugin_id))
    except (RemoteError, InputError):
        return request
    if len(actions) > 1:
        raise InputError.from_summary(
            "Which action is meant?",
            f"The release of {request.plugin} lists several: "
            f"{describe_at_most_ten_actions(actions)}.",
            f"Say one of them, as --action {shlex.quote(actions[0])}.",
        )
    return replace(request, action=actions[0]) if actions else request


def _read_release_config_or_none(
    live_backend: LiveBackend, request: RunRequest, plugin_id: str | None
) -> object:
    """The config of the release that a run will use; None where there is none."""
    code = (
        request.plugin
        if plugin_id is None
        else str(
            require_raw_object_by_id(live_backend, _PLUGIN_PREFIX, plugin_id).get("code") or ""
        )
    )
    if not code or code.isdecimal():  # a server may take digits for an id
        return None
    if request.version:
        lookup = f"{code}@{request.version}"
        return live_backend.api.get_plugin_release_by_lookup(lookup, expand=None).get("config")
    releases = live_backend.api.list_plugin_releases(code)
    # The server takes the newest release where none is named, so that its actions count.
    return max(releases, key=_build_creation_order_key).get("config") if releases else None


def _build_creation_order_key(release: Mapping[str, Any]) -> int:
    """Greater for a later release. Of several without numeric ids, the first is the newest."""
    release_id = str(release.get("id"))
    return int(release_id) if release_id.isdecimal() else 0


def audit_started_run_or_warn(
    live_backend: LiveBackend, request: RunRequest, started_run: StartedRun
) -> Diagnostic | None:
    """Note a started run in the audit of the state; a warning when that fails."""
    return _audit_run_call_or_warn(
        live_backend, request, started_run.job.id if started_run.job else "", "done"
    )


def _audit_run_call_or_warn(
    live_backend: LiveBackend, request: RunRequest, job_id: str, result: str
) -> Diagnostic | None:
    plugin_name = request.plugin.removeprefix(f"{_PLUGIN_PREFIX}/")
    version = f"@{request.version}" if request.version else ""
    return record_audit_entry_if_state_exists_or_warn(
        live_backend, "run", f"{_PLUGIN_PREFIX}/{plugin_name}{version}", job_id, result
    )


def _build_outcome_unknown_error(
    live_backend: LiveBackend, request: RunRequest, failure: RemoteError, since: datetime
) -> OutcomeUnknown:
    return OutcomeUnknown.from_summary(
        "It is not known whether the run started",
        describe_failure_without_request_id_and_effect(failure),
        Text("It is not sent again. ", _build_search_hint(live_backend, request, since)),
        request_id=failure.request_id,
    )


def _build_search_hint(live_backend: LiveBackend, request: RunRequest, since: datetime) -> Text:
    """How to look for the job of a run whose answer did not arrive."""
    return Text(
        "Check whether it has a job:\n",
        Command(
            "jobs list --plugin",
            request.plugin,
            "--created-after",
            f"{since:%Y-%m-%dT%H:%M:%SZ}",
            target=live_backend.invocation.target or "",
        ),
    )


def _build_refusal_error(request: RunRequest, failure: RemoteError) -> Exception:
    if isinstance(failure, NotFound):
        return build_not_found_or_hidden_error(
            _PLUGIN_PREFIX,
            request.plugin,
            failure,
            Text(
                "Give a plugin's code, its id as id=123, or a name that ",
                Command("state list"),
                " shows.",
            ),
        )
    if missing_names := list_inputs_refused_as_missing(failure, request.build_body()):
        names = " and ".join(f"an {name}" for name in missing_names)
        options = " and ".join(f"--{name}" for name in missing_names)
        return InputError.from_summary(
            f"This backend requires {names}",
            describe_failure_without_request_id_and_effect(failure),
            f"Give {options}; the package's config.yaml lists the actions, and Synapse "
            "shows the agents.",
            request_id=failure.request_id,
        )
    if failure.status_code in {400, 409, 422}:
        return InputError.from_summary(
            "The backend refuses this run",
            describe_failure_without_request_id_and_effect(failure),
            "Correct the parameters, the context or the version, then run it again.",
            request_id=failure.request_id,
        )
    return InputError.from_summary(
        "The run was not started",
        describe_failure_without_request_id_and_effect(failure),
        advise_on_failure(failure, "run it again", "Run it again."),
        request_id=failure.request_id,
    )
