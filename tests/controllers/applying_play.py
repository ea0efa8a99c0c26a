"""A play with a controller that applies: modes, approvals, pauses and windows are acts, too."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from controllers.applying_site import APPROVE, AUTO, MOST_PERMIT_SECONDS, OBSERVE, ApplyingSite
from controllers.backend_proxy import Call
from controllers.play import Play
from in_process import run_in_process
from installed import environment

CLOSED = f'{AUTO}, windows: [{{cron: "0 0 1 1 *", duration: 1m, timezone: UTC}}]'
ONLY_GIT = f"{AUTO}, auto: {{causes: [git]}}"
# How often of ten one waits, after what forbids calls, until no permit can count any more.
WAITS = 1 if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else 0
A_MONTH = 30 * 86400


@dataclass
class Ledger:
    """What was allowed when, by `time.monotonic`: spans are [begin, end]."""

    auto_spans: list[list[float]] = field(default_factory=lambda: [[0.0, inf]])
    forbidden_spans: list[list[float]] = field(default_factory=list)
    approvals: list[tuple[float, str]] = field(default_factory=list)

    def check(self, calls: list[Call], order: dict[str, int]) -> None:
        """That each call was allowed; `order` gives the commit of each description."""
        used: Counter[str] = Counter()
        newest = 0
        for call in calls:
            content = get_content(call)
            if call.method == "PUT":
                assert content in order, call
                assert order[content] >= newest, (call, newest)
                newest = order[content]
            for begin, end in self.forbidden_spans:
                assert not begin < call.began_at < end, (call, begin, end)
            if not any(begin <= call.began_at <= end for begin, end in self.auto_spans):
                approved = [
                    when
                    for when, what in self.approvals
                    if what == content and when < call.began_at
                ]
                used[content] += call.is_done
                assert max(used[content], 1) <= len(approved), (call, used, self.approvals)


def get_content(call: Call) -> str:
    """What a call writes: the name of a storage, or the description of the plugin."""
    return str(call.values.get("name" if call.method == "POST" else "description"))


class ApplyingPlay(Play):
    """One sequence of what people, servers and machines do; `ledger` is what they allowed."""

    site: ApplyingSite

    def __init__(self, site: ApplyingSite, clock: Path, seed: int) -> None:
        super().__init__(site, clock, seed)
        self.ledger = Ledger()
        self.order = {"images": 0}
        self.texts = {site.run_git("rev-parse", "HEAD"): "images"}
        self.is_paused = False

    def start(self) -> None:
        super().start()
        if not self.acts:
            # Whoever asks for something before a target is known is refused.
            self.site.wait_for_end(self.site.run_git("rev-parse", "HEAD"), "success")

    def list_acts(self) -> list[Callable[[], None]]:
        return [
            *(self.push,) * 5, self.push_broken, self.force_push, self.apply, self.change_by_hand, self.change_by_hand,
            self.break_forge, self.break_sink, self.break_git, *(self.break_backend,) * 2, *(self.heal,) * 3,
            self.kill, self.kill, self.restart, self.reload, self.stop_for_a_while, self.jump,
            self.kill_worker, self.stop_worker_for_a_while,
            *(self.approve,) * 4, self.reject, self.pause, *(self.resume,) * 2,
            self.observe, self.close_window, self.ask_for_approvals, self.ask_for_approvals, self.trust_git, *(self.trust_all,) * 3,
        ]  # fmt: skip

    # Git and the backend

    def push(self) -> None:
        self.number += 1
        self.is_broken = False
        description = f"number {self.number}"
        self.order[description] = self.number
        self.site.storages += self.chance.choice((0, 0, 1, 2))
        commit = self.site.commit(description, f"Change {self.number}")
        self.texts[commit] = description

    def apply(self) -> None:
        """By hand; what became of a call that was just lost cannot be known yet."""
        if not self.is_broken and not self.site.git.failure:
            self.site.set_faults()
            # A controller that has seen an older commit alone took the records of newer objects away.
            typed = ["apply", "-t", "dev", "--auto-approve", "--adopt"]
            environ = environment(self.site.own_variables)
            done = run_in_process(typed, self.site.checkout, environ)
            assert done.returncode in {0, 7}, done.stdout + done.stderr

    def break_backend(self) -> None:
        deed = self.chance.choice(
            ({"status": 500}, {"reset": "before"}, {"reset": "after"}, {"latency": 700})
        )
        method = self.chance.choice(("GET", "POST", "PUT"))
        self.site.set_faults({"match": {"method": method}, "do": deed})

    # Processes

    def kill_worker(self) -> None:
        for process_id in self.site.list_worker_ids():
            self.site.killed_workers.add(process_id)
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)

    def stop_worker_for_a_while(self) -> None:
        ids = self.site.list_worker_ids()
        for number, seconds in ((signal.SIGSTOP, 0.7), (signal.SIGCONT, 0.0)):
            for process_id in ids:
                with suppress(ProcessLookupError):
                    os.kill(process_id, number)
            time.sleep(seconds)

    # People

    def approve(self) -> None:
        holds = self.site.list_holds()
        chosen = self.chance.sample(holds, self.chance.randint(0, len(holds)))
        if not chosen:
            return
        asked_at = time.monotonic()
        answer = self.site.send(
            "approve", target="acme/dev", rows=[hold["digest"] for hold in chosen]
        )
        assert answer.status_code in {200, 409}, answer.text
        if answer.status_code == 200:
            self.ledger.approvals += [(asked_at, self.read_content(hold)) for hold in chosen]

    def read_content(self, hold: dict[str, Any]) -> str:
        """As `get_content` of the call that does what is held."""
        kind, _, name = hold["address"].partition("/")
        return self.texts[hold["commit"]] if kind == "plugin" else name.replace("s-", "S ")

    def reject(self) -> None:
        for hold in self.site.list_holds()[:1]:
            answer = self.site.send(
                "reject", target="acme/dev", rows=[hold["digest"]], reason="not now"
            )
            assert answer.status_code in {200, 409}, answer.text

    def pause(self) -> None:
        if not self.is_paused:
            self.site.act("pause", scope="acme/*", reason="by chance", seconds=A_MONTH)
            self.forbid()
            self.is_paused = True

    def resume(self) -> None:
        if self.is_paused:
            self.allow()
            self.site.act("resume", scope="acme/*")
            self.is_paused = False

    def observe(self) -> None:
        self.use_rule(OBSERVE)

    def close_window(self) -> None:
        self.use_rule(CLOSED)

    def ask_for_approvals(self) -> None:
        self.use_rule(APPROVE)

    def trust_git(self) -> None:
        self.use_rule(ONLY_GIT)

    def trust_all(self) -> None:
        self.use_rule(AUTO)

    def use_rule(self, rule: str) -> None:
        """Another rule; when calls were allowed by the one before, and are by this one."""
        if rule == self.site.rule:
            return
        self.allow()
        if rule in {AUTO, ONLY_GIT}:
            self.ledger.auto_spans.append([time.monotonic(), inf])
        self.site.use_rule(rule)
        if rule not in {AUTO, ONLY_GIT}:
            end = time.monotonic() + MOST_PERMIT_SECONDS
            for span in self.ledger.auto_spans:
                span[1] = min(span[1], end)
        if self.is_paused or rule in {OBSERVE, CLOSED}:
            self.forbid()

    def forbid(self) -> None:
        """From now on no call may begin as soon as no permit can count any more."""
        self.ledger.forbidden_spans.append([time.monotonic() + MOST_PERMIT_SECONDS, inf])
        if self.chance.randrange(10) < WAITS:
            self.site.wait_quietly(MOST_PERMIT_SECONDS + 2)

    def allow(self) -> None:
        """Calls may begin again; what else forbids them is said anew by `use_rule`."""
        for span in self.ledger.forbidden_spans:
            span[1] = min(span[1], time.monotonic())

    def end(self) -> str:
        """All is well and allowed again, and pushed once more: that commit."""
        self.heal()
        self.resume()
        self.use_rule(AUTO)
        self.push()
        return self.site.run_git("rev-parse", "HEAD")

    def check(self) -> None:
        """That all calls of the controller's were allowed."""
        self.ledger.check(
            [call for call in self.site.writes if call.process_id != os.getpid()], self.order
        )
