"""A sequence of what people, servers and machines do to a controller, by chance."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from controllers.site import SECONDS, Site
from forges.loopback_server import Failure, wait_until


class Play:
    """One sequence of what people, servers and machines do, by chance."""

    def __init__(self, site: Site, clock: Path, seed: int) -> None:
        self.site, self.clock = site, clock
        self.chance = random.Random(seed)
        self.number = 0
        self.is_broken = False
        self.acts: list[str] = []
        clock.write_text("0")

    def start(self) -> None:
        self.site.start(altered={"clock": str(self.clock)})

    @contextmanager
    def run(self, steps: int) -> Iterator[None]:
        """So many acts, then the block, in which all is to become right; what fails has the acts."""
        try:
            self.start()
            for _ in range(steps):
                self.act()
            yield
        except Exception as failure:
            raise AssertionError(f"{failure!r}\n{self.acts}\n{self.site.read_log()}") from failure

    def wait_until_all_commits_end(self) -> None:
        """Those that the forge was told of."""
        announced = self.site.list_announced_commits()
        wait_until(
            lambda: all(self.site.get_end(commit) for commit in announced),
            SECONDS,
            f"{[one[:8] for one in announced if not self.site.get_end(one)]} end",
        )

    def list_acts(self) -> list[Callable[[], None]]:
        """What can happen next, each as often as it is to be chosen."""
        return [
            *(self.push,) * 4, self.push_broken, self.push_broken, self.force_push, self.apply, self.change_by_hand,
            self.break_forge, self.break_forge, self.break_sink, self.break_git, self.break_backend, *(self.heal,) * 2,
            self.kill, self.kill, self.restart, self.reload, self.stop_for_a_while, self.jump,
        ]  # fmt: skip

    def act(self) -> None:
        """One of them, and a while of waiting."""
        act = self.chance.choice(self.list_acts())
        self.acts.append(act.__name__)
        act()
        self.site.wait_quietly(self.chance.choice((0.0, 0.1, 0.4, 1.2)))

    def push(self) -> None:
        self.number += 1
        self.is_broken = False
        self.site.commit(
            self.chance.choice(("images", f"number {self.number}")), f"Change {self.number}"
        )

    def push_broken(self) -> None:
        self.is_broken = True
        self.site.commit("\t")

    def force_push(self) -> None:
        if int(self.site.run_git("rev-list", "--count", "HEAD")) > 2:
            self.site.run_git("reset", "-q", "--hard", "HEAD~1")
        self.push()

    def apply(self) -> None:
        if not self.is_broken and not self.site.git.failure:
            self.site.set_faults()
            self.site.apply()

    def change_by_hand(self) -> None:
        self.number += 1
        self.site.change_by_hand(f"by hand {self.number}")

    def break_forge(self) -> None:
        limit = {"Retry-After": "1"}
        failures = [
            Failure(500),
            Failure(429, limit),
            Failure(403, limit),
            Failure(is_answer_lost=True),
        ]
        self.site.forge.failures += self.chance.choices(failures, k=3)
        if self.chance.random() < 0.3:
            self.site.forge.failure_of_all = self.chance.choice(failures[:2])

    def break_sink(self) -> None:
        self.site.sink.failures += self.chance.choices(
            [Failure(503), Failure(is_answer_lost=True)], k=2
        )

    def break_git(self) -> None:
        self.site.git.failure = self.chance.choice((500, 503, 403))

    def break_backend(self) -> None:
        deed = self.chance.choice(({"status": 500}, {"reset": "before"}, {"latency": 700}))
        self.site.set_faults({"match": {"method": "GET"}, "do": deed})

    def heal(self) -> None:
        self.site.forge.failure_of_all = self.site.sink.failure_of_all = None
        self.site.forge.failures.clear()
        self.site.sink.failures.clear()
        self.site.git.failure = 0
        self.site.set_faults()

    def kill(self) -> None:
        self.site.kill()
        self.start()

    def restart(self) -> None:
        assert self.site.stop() == 0
        self.start()

    def reload(self) -> None:
        assert self.site.process is not None
        self.site.process.send_signal(signal.SIGHUP)

    def stop_for_a_while(self) -> None:
        assert self.site.process is not None
        os.killpg(self.site.process.pid, signal.SIGSTOP)
        time.sleep(0.7)
        os.killpg(self.site.process.pid, signal.SIGCONT)

    def jump(self) -> None:
        self.clock.write_text(str(self.chance.choice((-86400, -600, 0, 600, 86400))))
