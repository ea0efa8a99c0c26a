"""Which paths jobs have on API v1, and from which source each behaviour is known."""

from __future__ import annotations

from synapse_apply.emulator.core.call import Endpoint
from synapse_apply.emulator.core.facts import Fact, FactSource
from synapse_apply.emulator.jobs import responses

ENDPOINTS = (
    Endpoint(
        "POST",
        "plugins/{lookup}/run/",
        responses.run_plugin,
        FactSource.DOCUMENTED,
        "Run a plugin by id or code: 200 with `job_id` and the job.",
    ),
    Endpoint(
        "GET",
        "jobs/",
        responses.list_jobs,
        FactSource.DOCUMENTED,
        "List jobs, the newest first; `?status=` in any case; others as the switch `filters` says.",
    ),
    Endpoint(
        "GET",
        "jobs/{id}/",
        responses.read_job,
        FactSource.DOCUMENTED,
        "Read a job; `?expand=logs,metrics,result`.",
    ),
    Endpoint(
        "PATCH", "jobs/{id}/", responses.report_on_job, FactSource.DOCUMENTED, "Report on a job."
    ),
    Endpoint(
        "GET",
        "jobs/{id}/console_logs/",
        responses.list_console_logs,
        FactSource.DOCUMENTED,
        "The lines a job wrote.",
    ),
    Endpoint(
        "GET",
        "jobs/{id}/tail_console_logs/",
        responses.tail_console_logs,
        FactSource.OBSERVED,
        "The lines a job writes, as server-sent events until it has ended.",
    ),
)

FACTS = (
    Fact("A run takes `parameters` and `context`.", FactSource.DOCUMENTED),
    Fact(
        "A run takes `action`, `agent`, `params`, `storage_id`, `job_id`, `debug`, `version`, "
        "`language`; a plugin's code instead of its id.",
        FactSource.OBSERVED,
    ),
    Fact(
        "A run uses the release of `version` (unknown: 400), else the newest, else none.",
        FactSource.GUESSED,
    ),
    Fact("Job ids are integers.", FactSource.DOCUMENTED),
    Fact(
        "With `run_form=platform`, an `action` that the release's config.yaml does not list is "
        "400; where it lists none, any action is taken.",
        FactSource.GUESSED,
    ),
    Fact("The result that answers a run of an action that fails is a 400.", FactSource.GUESSED),
    Fact("An action whose config names no `method` is a `task`.", FactSource.OBSERVED),
    Fact("queued, then running with progress, then completed or failed.", FactSource.DOCUMENTED),
    Fact(
        "`parameters: {fail: true}`, or `emulator: {outcome, seconds, log_lines}` in parameters or "
        "context, decides how a job goes.",
        FactSource.GUESSED,
    ),
    Fact("An update takes `status`, `progress`, `result`, `metadata`.", FactSource.DOCUMENTED),
    Fact(
        "An update takes `progress_record`, `metrics_record`, `console_logs`, `meta`; status words "
        "of both vocabularies in any case.",
        FactSource.OBSERVED,
    ),
    Fact("A reported status or progress stops the job's own clock.", FactSource.GUESSED),
    Fact("An ended job stays ended (400), saying the same again is fine.", FactSource.OBSERVED),
    Fact("A job does not go back from running to queued: 400.", FactSource.GUESSED),
    Fact(
        "The tail's frames are `data: {...}` of type `connected` (with `job_id`), `log` (with "
        "`data`), `complete` or `error` (with `message`); comments are `: heartbeat`.",
        FactSource.OBSERVED,
    ),
    Fact(
        "The tail ends with `complete` once the job has ended. A heartbeat comes after each second "
        "of silence. An unknown job is 404 before any frame.",
        FactSource.GUESSED,
    ),
    Fact(
        "`result` is shown once there is one; logs and metrics only when expanded.",
        FactSource.GUESSED,
    ),
)
