"""`python -m fault.permitted JSON`: an apply of permitted rows, as a service makes it, to be killed.

`apply_permitted` makes it in this process. Each row gets an approval whose id is made of its
digest: who is asked again gives the same one, as a controller does that was set back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault.altered import Altered
from fault.site import Site
from forking import ForkedProcess
from installed import environment

from synapse_apply import Plan, open_target
from synapse_apply.library.plan_rows import (
    PermittedApply,
    PermittedRows,
    compute_guard_digest,
    compute_row_digest,
    list_decidable_changes,
)
from synapse_apply.model.report import Result

TESTS = Path(__file__).resolve().parents[1]
RUN_ID, WHO = "run-1", "controller:test, approved by token:ops"


def permit_all(plan: Plan, names: frozenset[str] | None = None) -> PermittedRows:
    """Every row of a plan, or those with these addresses, each by an approval of its content.

    So are guards.
    """
    rows = {
        change.address: compute_row_digest(change, plan.base)
        for change in list_decidable_changes(plan)
        if not change.is_refused and (names is None or str(change.address) in names)
    }
    approvals = {address: (f"of-{digest[5:37]}",) for address, digest in rows.items()}
    guards = {guard.name: compute_guard_digest(guard, plan) for guard in plan.guards}
    guard_ids = tuple(f"of-{digest[5:37]}" for digest in guards.values())
    return PermittedRows(frozenset(rows), frozenset(guards), approvals, guard_ids)


def compute_digests(folder: Path | str, environ: Mapping[str, str]) -> dict[str, str]:
    """The digest of each row of a plan, by action and address."""
    with open_target("site", folder=folder, environ=environ) as target:
        plan = target.plan(prune=True)
    return {
        f"{change.action.value} {change.address}": compute_row_digest(change, plan.base)
        for change in plan.changes
    }


@dataclass
class CountingPermit:
    """A permit that ends after it was asked so often; what it says then."""

    questions: int = 1_000_000
    reason: str = "the window closed at 18:00 KST"
    asked: int = 0
    _turn: Any = field(default_factory=threading.Lock)

    def explain_missing_or_empty(self) -> str:
        with self._turn:
            self.asked += 1
            return self.reason if self.asked > self.questions else ""


def apply_permitted(
    site: Site,
    choose: Callable[[Plan], PermittedRows] = permit_all,
    *,
    permit: Any = None,
    run_id: str = RUN_ID,
    parallelism: int = 1,
    **options: Any,
) -> PermittedApply:
    """Apply a site's permitted rows, in this process."""
    with open_target(
        "site",
        folder=site.root,
        environ=environment(site.environ),
        parallelism=parallelism,
        lock_timeout=60.0,
    ) as target:
        return target.apply_permitted(
            choose,
            run_id=run_id,
            who=WHO,
            operation="apply of the controller",
            permit=permit,
            prune=site.prunes,
            **options,
        )


@contextmanager
def applying_permitted(
    site: Site, run_id: str = RUN_ID, **altered: Any
) -> Iterator[subprocess.Popen[str]]:
    """The same as a process under way, in altered surroundings; killed at the end if it runs."""
    order = {"altered": altered, "prunes": site.prunes, "run_id": run_id}
    process = ForkedProcess(
        [sys.executable, "-m", "fault.permitted", json.dumps(order)],
        cwd=site.root,
        env={**environment(site.environ), "PYTHONPATH": str(TESTS)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    order = json.loads(sys.argv[1])
    Altered(**order["altered"]).alter()
    with open_target(
        "site", folder=".", environ=dict(os.environ), parallelism=1, lock_timeout=60.0
    ) as target:
        made = target.apply_permitted(
            permit_all,
            run_id=order["run_id"],
            who=WHO,
            operation="apply of the controller",
            prune=order["prunes"],
        )
    results = {str(outcome.address): outcome.result.value for outcome in made.report.outcomes}
    said = [finding.summary for outcome in made.report.outcomes for finding in outcome.diagnostics]
    print(json.dumps({"results": results, "used": len(made.used_approvals), "said": said}))
    sys.exit(0 if set(results.values()) <= {Result.DONE.value} else 3)


if __name__ == "__main__":
    main()
