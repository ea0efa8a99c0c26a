"""Where SYNAPSE_APPLY_LOG writes logs: to stderr or a file, as lines or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

TRACE = 5
LEVELS = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "json": TRACE,
    "off": logging.CRITICAL + 1,
}


class UnusableLog(Exception):
    """An unknown level, or a file that cannot be written."""


class JsonLines(logging.Formatter):
    """One JSON object per line, with the `trace_parent` of the run where it has one."""

    def __init__(self, trace_parent: str) -> None:
        super().__init__()
        self._trace = {"traceparent": trace_parent} if trace_parent else {}

    def format(self, record: logging.LogRecord) -> str:
        """The message without exception texts: they may hold what a server echoed."""
        return json.dumps(
            {
                "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
                "@level": record.levelname.lower(),
                "@module": record.name,
                "@message": record.getMessage(),
                **self._trace,
            },
            ensure_ascii=False,
        )


class TextLines(logging.Formatter):
    """`time level module: message`, without exception texts."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a message cannot start another."""
        timestamp = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        message = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        return f"{timestamp} {record.levelname.lower()} {record.name}: {message}"


def configure_logging(environ: Mapping[str, str]) -> None:
    """Set up this package's logger; other packages stay silent, as their logs may hold values."""
    from synapse_apply.workspace.environment import read_trace_parent

    logging.addLevelName(TRACE, "TRACE")
    level = environ.get("SYNAPSE_APPLY_LOG", "").lower()
    if level not in LEVELS:
        raise UnusableLog(f"SYNAPSE_APPLY_LOG must be one of {', '.join(LEVELS)}, not {level!r}.")
    handler = _open_log_handler(environ.get("SYNAPSE_APPLY_LOG_PATH", ""))
    handler.setFormatter(JsonLines(read_trace_parent(environ)) if level == "json" else TextLines())
    logger = logging.getLogger("synapse_apply")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(LEVELS[level])


def _open_log_handler(path: str) -> logging.Handler:
    if not path:
        return logging.StreamHandler(sys.stderr)
    from synapse_apply.files.checkout import open_appending

    try:
        descriptor = open_appending(Path(path))
    except OSError as problem:
        raise UnusableLog(
            f"SYNAPSE_APPLY_LOG_PATH cannot be written: {path}: {problem.strerror}."
        ) from None
    return logging.StreamHandler(os.fdopen(descriptor, "a", encoding="utf-8"))
