"""Which paths jobs have on API v2, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, FactSource
from synapse_apply.emulator.jobs.v2 import responses

_D = FactSource.DOCUMENTED

_WRITES = ("v2_writes", "all")

ENDPOINTS = (
    Endpoint(
        "GET",
        "jobs/",
        responses.list_jobs,
        _D,
        "List jobs, the newest first; `?status=`, `?action=`.",
    ),
    Endpoint("GET", "jobs/{id}/", responses.read_job, _D, "Read a job by its UUID."),
    Endpoint(
        "PATCH", "jobs/{id}/", responses.report_on_job, _D, "Report on a job.", switch=_WRITES
    ),
    Endpoint(
        "POST",
        "jobs/{id}/logs/",
        responses.create_log,
        _D,
        "Log an event of a job: 201.",
        switch=_WRITES,
    ),
    Endpoint(
        "POST",
        "jobs/{id}/logs/bulk/",
        responses.create_logs,
        _D,
        "Log up to 1000 events: `{logs: [...]}`, all or none.",
        switch=_WRITES,
    ),
    Endpoint("POST", "jobs/{id}/stop/", responses.stop_job, _D, "Stop a job.", switch=_WRITES),
    Endpoint(
        "GET",
        "jobs/{id}/console_logs/",
        responses.list_console_logs,
        _D,
        "The lines: `{logs: [...]}`.",
    ),
    Endpoint(
        "GET",
        "jobs/{id}/tail_console_logs/",
        responses.tail_console_logs,
        _D,
        "The lines a job writes, as server-sent events until it has ended.",
    ),
)

FACTS = (
    Fact("Jobs are known by a UUID, and started on v1 alone.", _D),
    Fact("A job of v1 that has no release is not there on v2.", FactSource.GUESSED),
    Fact(
        "An update takes `status`, `progress_record`, `metrics_record`, `meta`, `result`, each "
        "replaced as a whole; other fields are dropped.",
        _D,
    ),
    Fact("Status words are upper-case; another word is 400.", _D),
    Fact("A change that is not allowed is 400 with INVALID_TRANSITION.", _D),
    Fact("An ended job stays ended; saying the same again is fine.", _D),
    Fact("A job that has ended is not stopped: 409 with INVALID_STATE.", _D),
    Fact("The dry run of a stop is answered `{dry_run: true, action: stop, target: ID}`.", _D),
    Fact(
        "The tail has the frames of v1, without an envelope; a line is a text. Of a job that is "
        "not there the tail is 200 and one `error` frame.",
        FactSource.OBSERVED,
    ),
    Fact("More than 1000 logs at once are 400 with BULK_SIZE_EXCEEDED.", _D),
    Fact(
        "The file of a log is not kept, and its URL leads nowhere; without one it is empty.",
        FactSource.GUESSED,
    ),
    Fact("Logs are taken of ended jobs too, and are no lines of the console.", FactSource.GUESSED),
    Fact("Every queued job is the first of the queue.", FactSource.GUESSED),
)
