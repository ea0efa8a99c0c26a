"""What a verification run is, planned and ended, and which last run a record stores.

A verification runs what was published, to show that it works; it is a step of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import RequestBody
from synapse_apply.model.command import WithCommands
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen

# The verb of intents and audit entries of runs.
RUN_VERB = "run"
# Defaults of a manifest's `verify` block, in seconds.
DEFAULT_TIMEOUT, DEFAULT_POLL_INTERVAL = 300.0, 5.0


class RunStatus(Enum):
    """The status of a run.

    TIMED_OUT: it did not end within the timeout, and may still run. RUNNING: its end was not seen.
    SKIPPED: not started. UNKNOWN: it may have been started. UNVERIFIED is only in a state: the
    package is not ours and there was no run, or it was replaced and no run of it counts.
    """

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    RUNNING = "running"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    UNVERIFIED = "unverified"

    @property
    def may_run_still(self) -> bool:
        """Whether there is a job that may still be running."""
        return self in {RunStatus.RUNNING, RunStatus.TIMED_OUT}


@frozen
class Verification:
    """A planned run: `body` is the request body (without secrets), `parameters` its digest.

    `job` was started for it earlier, and is followed in place of a new run. `timeout` and
    `poll_interval` are in seconds; `on_failure` is fail or warn.
    """

    body: RequestBody
    parameters: str
    reason: str
    job: str = ""
    timeout: float = DEFAULT_TIMEOUT
    poll_interval: float = DEFAULT_POLL_INTERVAL
    on_failure: str = "fail"

    @property
    def tolerates_failure(self) -> bool:
        """Whether a failed run is only a warning."""
        return self.on_failure == "warn"


@frozen
class VerificationResult(WithCommands):
    """The result of a verification run.

    `tolerated`: it failed, and by the manifest this is only a warning. `job` is empty
    where none was started, or the server answered without a job. `logs` are the last lines of a job
    that failed, as the server wrote them. `recovery_file` is as in Outcome: the file that
    has what could not be recorded.
    """

    TEXT_FIELDS = ("diagnostics",)

    address: Address
    status: RunStatus
    job: str = ""
    tolerated: bool = False
    request_id: str = ""
    seconds: float = 0.0
    logs: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    recovery_file: str | None = None

    @property
    def is_acceptable(self) -> bool:
        """Whether changes that depend on it may be applied."""
        return self.status is RunStatus.PASSED or self.tolerated


@frozen
class LastRun:
    """The last run that a record stores.

    `parameters` and `digest` are digests: of what was sent, and of the package that ran ("" where
    it is not known). `at` is RFC 3339 UTC. `signature` is over all of it under the state key
    (`secrets/signatures.py`); "" where no key was at hand, and in records of earlier versions.
    """

    result: RunStatus
    job: str = ""
    parameters: str = ""
    digest: str = ""
    at: str = ""
    signature: str = ""

    @classmethod
    def from_json_or_none(cls, data: Mapping[str, Any] | None) -> LastRun | None:
        """The last run in a record's data; None without one.

        An unknown result counts as UNKNOWN.
        """
        if not data:
            return None
        status_by_value = {verdict.value: verdict for verdict in RunStatus}
        return cls(
            status_by_value.get(str(data.get("result")), RunStatus.UNKNOWN),
            job=str(data.get("job", "")),
            parameters=str(data.get("parameters", "")),
            digest=str(data.get("digest", "")),
            at=str(data.get("at", "")),
            signature=str(data.get("signature", "")),
        )

    def to_json(self) -> dict[str, str]:
        """The JSON object that a record stores."""
        texts = {
            "result": self.result.value,
            "job": self.job,
            "parameters": self.parameters,
            "digest": self.digest,
            "at": self.at,
        }
        return {**texts, "signature": self.signature} if self.signature else texts


@frozen
class RunDoubt:
    """Why a recorded run is not trusted, as part of a sentence, and further ways out."""

    reason: str
    ways_out: tuple[str, ...] = ()


@frozen
class OtherTargetRuns:
    """What another target's state says: by address, the package's digest and its last run.

    `doubts` has the addresses whose recorded run is not trusted. `problem` says why nothing is
    known; `missing`: that there is no state at all.
    """

    digests: Mapping[Address, str] = field(default_factory=dict)
    runs: Mapping[Address, LastRun] = field(default_factory=dict)
    problem: str = ""
    missing: bool = False
    doubts: Mapping[Address, RunDoubt] = field(default_factory=dict)
