"""SIGKILL before, in and after a push of a state that is in a Git repository; then one more apply."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from fault.commands import applying
from fault.convergence import DEEP, Row, converge
from fault.site import MakeSite
from git_repositories import make_bare_repository, make_repository

# Of an apply of one plugin, its release and a storage: the lock, two for each, the lock again.
PUSHES = range(1, 9)
FEW = [("before", 2), ("in", 3), ("after", 4), ("in", 8)]
# In the hook of the remote that is run before, or after, the ref is moved; the push goes on without
# the process that began it.
MOMENTS = {"before": ("pre-receive", 1), "in": ("pre-receive", 0), "after": ("post-receive", 0)}
HOOK = """#!/bin/sh
cd {folder} && echo >>pushes
test "$(wc -l <pushes)" -eq {nth} || exit 0
while ! test -s pid; do sleep 0.01; done
kill -9 "$(cat pid)"
exit {code}
"""


@pytest.mark.parametrize(
    ("moment", "nth"),
    [(moment, nth) for moment in MOMENTS for nth in PUSHES] if DEEP else FEW,
)
def test_killed_at_a_push(
    make_site: MakeSite, tmp_path: Path, row: Row, moment: str, nth: int
) -> None:
    """What was announced and not settled is found; nothing is made twice."""
    remote = make_bare_repository(tmp_path / "state.git")
    # Of a checkout's own remote: hooks of a repository that the project file names are not run.
    make_repository(tmp_path, f'[remote "origin"]\n\turl = {remote}\n')
    site = make_site(groups=1, state_url="git:origin?pace=0")
    name, code = MOMENTS[moment]
    hook = remote / "hooks" / name
    hook.parent.mkdir()
    hook.write_text(HOOK.format(folder=tmp_path, nth=nth, code=code))
    hook.chmod(0o755)
    with applying(site) as process:
        (tmp_path / "pid").write_text(str(process.pid))
        assert process.wait(60) == -signal.SIGKILL
    hook.unlink()
    converge(site, None, row)
