"""A play with a rollout: commits, drift, failures, approvals, skips, aborts and kills, by chance."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests
from controllers.play import Play
from controllers.rollout_laws import WaveLedger
from controllers.rollout_site import RolloutSite
from controllers.site import SECONDS
from forges.loopback_server import wait_until

WAVES = (("canary-1",), ("eu-1", "eu-2"), ("prod-1",))
SOAKS = (1.0, 0.0, 0.0)
# Of what the controller writes and calls: where a kill is to come, counted from its start.
FIRST_POINTS, LAST_POINT = 5, 120


class RolloutPlay(Play):
    """One sequence of what people, servers and machines do; `ledger` is what they allowed."""

    site: RolloutSite

    def __init__(self, site: RolloutSite, clock: Path, seed: int) -> None:
        super().__init__(site, clock, seed)
        self.ledger = WaveLedger(WAVES, SOAKS, approved_waves=(3,))
        self.is_to_be_killed = False

    def start(self) -> None:
        self.is_to_be_killed = False
        super().start()

    def list_acts(self) -> list[Callable[[], None]]:
        return [
            *(self.push,) * 4, self.push_to_one, self.push_failing, self.go_back, self.change_by_hand,
            self.break_backend, self.break_git, *(self.heal,) * 3,
            self.kill, *(self.kill_at_a_point,) * 3, self.restart, self.queue_or_replace,
            *(self.approve,) * 3, *(self.resume,) * 2, self.skip, self.abort, self.act_late, self.wait,
        ]  # fmt: skip

    def act(self) -> None:
        """As of Play; a controller that killed itself is started again before."""
        self._start_again_if_killed()
        act = self.chance.choice(self.list_acts())
        self.acts.append(act.__name__)
        act()
        seconds = self.chance.choice((0.0, 0.1, 0.4, 1.2))
        if self.is_to_be_killed:
            time.sleep(seconds)
        else:
            self.site.wait_quietly(seconds)

    # Git and the backend

    def push(self) -> None:
        self.number += 1
        self.site.push_to_all(f"number {self.number}")

    def push_to_one(self) -> None:
        """A commit that changes one target; of the others nothing new is asked."""
        self.number += 1
        target = self.chance.choice([target for wave in WAVES for target in wave])
        self.site.push(**{target.replace("-", "_"): f"number {self.number}"})

    def push_failing(self) -> None:
        """A commit with which one target cannot be planned."""
        self.push()
        target = self.chance.choice([target for wave in WAVES for target in wave])
        self.site.push(**{target.replace("-", "_"): "\t"})

    def go_back(self) -> None:
        """A commit that declares what an older one did."""
        texts = self.chance.choice(list(self.site.declared.values()))
        self.site.push(**{name.replace("-", "_"): text for name, text in texts.items() if text})

    def change_by_hand(self) -> None:
        self.number += 1
        target = self.chance.choice([target for wave in WAVES for target in wave])
        self.site.change_target_by_hand(target, f"by hand {self.number}")

    def break_backend(self) -> None:
        deed = self.chance.choice(
            ({"status": 500}, {"reset": "before"}, {"reset": "after"}, {"latency": 400})
        )
        method = self.chance.choice(("GET", "POST", "PUT"))
        self.site.set_faults({"match": {"method": method}, "do": deed})

    # Processes

    def kill_at_a_point(self) -> None:
        """Start it so that it kills itself at a write of its store or a call, soon."""
        self.site.kill()
        nth = self.chance.randint(FIRST_POINTS, LAST_POINT)
        self.site.start(altered={"clock": str(self.clock), "nth": nth}, wait=False)
        self.is_to_be_killed = True
        self.push()
        with suppress(AssertionError):
            wait_until(self._has_ended, 3.0, "killed")

    def _has_ended(self) -> bool:
        return self.site.process is None or self.site.process.poll() is not None

    def _start_again_if_killed(self) -> None:
        if self.is_to_be_killed:
            self.site.kill()
            self.start()

    def queue_or_replace(self) -> None:
        self.site.new_head = {"queue": "replace", "replace": "queue"}[self.site.new_head]
        self.site.write_configuration()
        self.reload()

    def wait(self) -> None:
        time.sleep(2.0)

    # People

    def approve(self) -> None:
        rollout = self._get_rollout()
        if rollout.get("state") == "waiting for approval":
            wave = rollout["wave"]
            self.ledger.approvals.append((time.monotonic(), rollout["commit"], wave))
            self._send("approve", rollout["number"], wave=wave)

    def skip(self) -> None:
        rollout = self._get_rollout()
        if rollout.get("state") in {"stopped", "running"}:
            wave = rollout["wave"]
            self.ledger.skips.append((time.monotonic(), rollout["commit"], wave))
            self._send("skip", rollout["number"], wave=wave, reason="by chance")

    def resume(self) -> None:
        rollout = self._get_rollout()
        if rollout.get("state") == "stopped":
            self._send("resume", rollout["number"])

    def abort(self) -> None:
        rollout = self._get_rollout()
        if rollout.get("state") in {"stopped", "waiting for approval"}:
            self._send("abort", rollout["number"], reason="by chance")

    def act_late(self) -> None:
        """Decide on what was shown of an older revision: it is refused, whatever it was."""
        rollout = self._get_rollout()
        number = (rollout.get("number") or 1) - 1
        for verb in ("approve", "skip", "resume", "abort"):
            body = {"wave": rollout.get("wave") or 1} if verb in {"approve", "skip"} else {}
            answer = self._send(verb, number, **body)
            assert answer is None or answer.status_code in {400, 404, 409}, answer.text

    def _get_rollout(self) -> dict[str, Any]:
        """What is shown of the rollout; {} where the controller is away."""
        with suppress(requests.RequestException):
            return self.site.get_rollout()
        return {}

    def _send(self, verb: str, number: int, **body: Any) -> requests.Response | None:
        """An action that may be refused, since things are others by now; None where nobody answers."""
        with suppress(requests.RequestException):
            if verb in {"skip", "abort"}:
                body.setdefault("reason", "by chance")
            answer = self.site.send_action(verb, number, **body)
            assert answer.status_code in {200, 400, 404, 409}, answer.text
            return answer
        return None

    # The end

    def end(self) -> str:
        """All is well, and pushed once more; people let all of it through: that commit."""
        self._start_again_if_killed()
        self.heal()
        self.push()
        commit = self.site.run_git("rev-parse", "HEAD")
        wait_until(lambda: self._is_done(commit), 3 * SECONDS, "the rollout ends", pause=0.3)
        return commit

    def _is_done(self, commit: str) -> bool:
        """Whether a commit is everywhere; people do what they are asked for on the way."""
        rollout = self._get_rollout()
        self.approve()
        self.resume()
        return rollout.get("commit") == commit and rollout.get("state") == "done"

    def check(self) -> None:
        self.ledger.check(self.site)
