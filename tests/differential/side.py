"""One side: runs command lines of the tree that it is given, each as a line of JSON."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

from synapse_apply import EmbeddedServer
from synapse_apply.cli.main import run  # the tree of the argument


def _carry_out(typed: list[str], folder: str) -> dict[str, Any]:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(typed)
        for stream in (out, err):
            stream.flush()
    logger = logging.getLogger("synapse_apply")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    texts = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return {"code": code, **dict(zip(("out", "err"), texts, strict=True))}


def _serve(data: str, token: str, tenant: str) -> None:
    with EmbeddedServer(Path(data), token=token, tenant=tenant, job_seconds=3600) as server:
        _say({"url": server.url})
        sys.stdin.read()


def _say(answer: dict[str, Any]) -> None:
    os.write(_ANSWERS, (json.dumps(answer) + "\n").encode())


_ANSWERS = os.dup(1)
if __name__ == "__main__":
    if sys.argv[2:]:
        _serve(*sys.argv[2:])
    else:
        for line in sys.stdin:
            _say(_carry_out(**json.loads(line)))
