"""Verification: a run that shows that what was published works. A step of its own.

`Verification` is planned, `VerificationResult` is what became of it, `LastRun` what state
remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen

# The verb of an intent and of an audit entry that announces and tells a run.
RUN_VERB = "run"
# What holds where a manifest does not say, in seconds.
DEFAULT_TIMEOUT, DEFAULT_POLL_INTERVAL = 300.0, 5.0


class RunStatus(Enum):
    """How a run stands.

    TIMED_OUT: it did not end in the time that was given, and may go on. RUNNING: nobody saw its
    end. SKIPPED: not started. UNKNOWN: it may have been started. UNVERIFIED is only in state: the
    bytes are not ours, and no run was made.
    """

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    RUNNING = "running"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    UNVERIFIED = "unverified"

    @property
    def may_be_running(self) -> bool:
        """Whether there is a job that may not have ended."""
        return self in {RunStatus.RUNNING, RunStatus.TIMED_OUT}


@frozen
class Verification:
    """A run that is due: `body` is what is sent, JSON without secrets, `parameters` its digest.

    `job` is one that was started for it before and is followed in its place. `timeout` and
    `poll_interval` are in seconds; `on_failure` is fail or warn.
    """

    body: Mapping[str, Any]
    parameters: str
    reason: str
    job: str = ""
    timeout: float = DEFAULT_TIMEOUT
    poll_interval: float = DEFAULT_POLL_INTERVAL
    on_failure: str = "fail"

    @property
    def tolerates_failure(self) -> bool:
        """Whether a run that does not end well is only told."""
        return self.on_failure == "warn"


@frozen
class VerificationResult:
    """What became of a verification.

    `tolerated`: it did not end well, and the manifest says that this only warns. `job` is empty
    where none was started, or the server answered without one. `logs` are the last lines of a job
    that failed, as the server wrote them. `recovery_file` is that of an Outcome: the file that
    keeps what the state could not be told.
    """

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
        """Whether what depends on it may go ahead."""
        return self.status is RunStatus.PASSED or self.tolerated


@frozen
class LastRun:
    """A record's memory of its last run.

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
    def from_json(cls, data: Mapping[str, Any] | None) -> LastRun | None:
        """What a record remembers; a result that this version does not know is no proof."""
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
        """As a record keeps it."""
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
    """Why a record of a run is not believed, as a part of a sentence; and further ways out."""

    reason: str
    ways_out: tuple[str, ...] = ()


@frozen
class OtherTargetRuns:
    """What another target's state tells: by address, the digest of the bytes and their last run.

    `doubts` are those whose record of a run is not believed, each with why and the ways out.
    `problem` tells why nothing can be told; `missing` that there is no state at all.
    """

    digests: Mapping[Address, str] = field(default_factory=dict)
    runs: Mapping[Address, LastRun] = field(default_factory=dict)
    problem: str = ""
    missing: bool = False
    doubts: Mapping[Address, RunDoubt] = field(default_factory=dict)
