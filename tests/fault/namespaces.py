"""Another host on this machine: a name and a network of its own (root and iproute2 alone)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

# A free network for tests (RFC 2544), and four addresses of it for each process.
NETWORK = "198.18"
# What is mounted there, and what it is called, is seen there alone.
ENTER = 'hostname elsewhere && mount --bind {hosts} /etc/hosts && exec "$0" "$@"'


@dataclass(frozen=True)
class Host:
    """`by` runs a command there, for which localhost is `address` of this machine."""

    by: Sequence[str]
    address: str
    _link: str

    def cut_off(self, *, cut: bool = True) -> None:
        """No packet leaves or arrives."""
        _ip("link", "set", self._link, "down" if cut else "up")


@contextmanager
def another_host() -> Iterator[Host]:
    """One at a time for each process."""
    name = f"sa{uuid4().hex[:8]}"
    link, place = f"{name}a", os.getpid() % 2**14
    addresses = [f"{NETWORK}.{place // 64}.{place % 64 * 4 + part}" for part in (1, 2)]
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder) / "hosts"
        hosts.write_text(f"{addresses[0]} localhost\n")
        try:
            _ip("netns", "add", name)
            _ip("link", "add", link, "type", "veth", "peer", "name", f"{name}b", "netns", name)
            _ip("addr", "add", f"{addresses[0]}/30", "dev", link)
            _ip("link", "set", link, "up")
            _ip("-n", name, "addr", "add", f"{addresses[1]}/30", "dev", f"{name}b")
            _ip("-n", name, "link", "set", f"{name}b", "up")
            there = ("ip", "netns", "exec", name, "unshare", "--uts", "--mount")
            enter = (*there, "sh", "-c", ENTER.format(hosts=hosts))
            yield Host(enter, addresses[0], link)
        finally:
            for left in (("link", "del", link), ("netns", "del", name)):
                with suppress(OSError, subprocess.CalledProcessError):
                    _ip(*left)


@cache
def can_be_made() -> bool:
    """Whether this machine lets us."""
    try:
        with another_host() as host:
            subprocess.run([*host.by, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _ip(*typed: str) -> None:
    subprocess.run(["ip", *typed], check=True, capture_output=True)
