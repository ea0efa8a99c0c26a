"""How plan and report of a run stand on a page; a worker is not trusted with either.

A worker is not trusted with what it reports: a plan of another shape is no plan.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from markupsafe import Markup

from synapse_apply.controller.page.phrases import mark_escaped_html
from synapse_apply.controller.settings import DAY, Source
from synapse_apply.model.codec import plan_from_json
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_values import WrongShapeError
from synapse_apply.model.plan import Plan
from synapse_apply.views.html.parts import NO_LINKS, ForgeLinks
from synapse_apply.views.html.reports import build_plan_page

_SSH_ADDRESS = re.compile(r"(?:ssh://)?git@(?P<host>[A-Za-z0-9.-]+)[:/](?P<path>[^:?#\s]+)")
_LEAST_COMMIT = 7  # digits
_FORGE_SEPARATORS = {"github": "", "gitlab": "/-"}
# Browsers lay out thousands of rows in a second; the command shows the rest.
MAX_SHOWN_ROWS = 1000


def build_forge_links(source: Source | None, commit: str) -> ForgeLinks:
    """Links to a commit where the source's repository is on a known forge; else none."""
    if source is None:
        return NO_LINKS
    match, parts = _SSH_ADDRESS.fullmatch(source.url), urlsplit(source.url)
    if match is not None:
        host, path = match["host"], match["path"]
    elif parts.scheme == "https" and parts.hostname:
        host, path = parts.netloc.rpartition("@")[2], parts.path  # with its port
    else:
        return NO_LINKS
    known = (name for name in _FORGE_SEPARATORS if name in host.split("."))
    forge = source.status.forge if source.status else next(known, "")
    if not host or forge not in _FORGE_SEPARATORS:
        return NO_LINKS
    repository = f"https://{host}/{path.strip('/').removesuffix('.git')}"
    find_path = partial(_repository_path, commit=commit, project_path=source.path)
    return ForgeLinks(repository, _FORGE_SEPARATORS[forge], find_path, commit)


def _repository_path(file: str, *, commit: str, project_path: str) -> str | None:
    """The path of a file that a worker names as `COMMIT:PATH`; None for another text."""
    prefix, separator, path = file.partition(":")
    is_of_commit = bool(separator) and len(prefix) >= _LEAST_COMMIT and commit.startswith(prefix)
    if not is_of_commit or path.startswith("/") or ".." in path.split("/"):
        return None
    return path if project_path == "." else f"{project_path.strip('/')}/{path}"


def parse_readable_plan(plan_json: str) -> Plan | None:
    """The plan of a run; None where there is none, or none that this version can read."""
    try:
        return plan_from_json(json.loads(plan_json)) if plan_json else None
    except (WrongShapeError, ValueError, RecursionError):
        return None


class PlanPart(NamedTuple):
    """A plan as HTML, "" where there is none that can be shown; `anchors` lead to its rows."""

    html: Markup
    anchors: Mapping[str, str]


def render_plan_part(plan_json: str, links: ForgeLinks, *, has_next_steps: bool = True) -> PlanPart:
    """A plan as a part of a page, with the fragments of its rows by address.

    `has_next_steps` is for plans that the controller does not apply: which commands do.
    """
    plan = parse_readable_plan(plan_json)
    if plan is None:
        return PlanPart(mark_escaped_html(""), {})
    # It was made of a commit in a mirror, not of a checkout that may have other files.
    base = replace(plan.base, commit=links.commit, revision="", dirty=())
    plan = replace(plan, base=base)
    hidden_count = len(plan.changes) - MAX_SHOWN_ROWS
    note = ""
    if hidden_count > 0:
        plan = replace(plan, changes=plan.changes[:MAX_SHOWN_ROWS])
        note = f'<p class="more">{hidden_count:,} more resources are not shown here.</p>'
    page = build_plan_page(plan, links=links)
    if not has_next_steps:
        page = replace(page, next_steps=())
    anchors = {address: f"#{row_id}" for address, row_id in page.row_id_by_address.items()}
    return PlanPart(mark_escaped_html(note + page.render_fragment()), anchors)


# Which calls of an apply its report tells of: the document of `apply --json` (report.schema.json).
#
# A worker is not trusted with what it reports: what has another shape is left out.

# The rest is what the command shows.
MAX_SHOWN_CALLS = 1000
_TONES = {"done": "good", "failed": "bad", "unknown": "bad", "skipped": "quiet"}


@frozen
class ReportedCall:
    """What became of one row of an apply; texts are "" where nothing is known."""

    address: str
    action: str
    result: str
    request_id: str = ""
    remote_id: str = ""
    message: str = ""
    hint: str = ""
    seconds: float = 0.0
    began_at: float = 0.0

    @property
    def tone(self) -> str:
        """The class of controller.css."""
        return _TONES.get(self.result, "quiet")


def parse_report_object(report_json: str) -> dict[str, Any] | None:
    """The document of a report; None where there is none, or it is no object."""
    try:
        document = json.loads(report_json) if report_json else None
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def list_reported_calls(report_json: str) -> Sequence[ReportedCall]:
    """What became of each row, what is not done first; nothing for a report of another shape."""
    document = parse_report_object(report_json) or {}
    calls = sorted(_shown_calls(document), key=lambda call: call.result == "done")
    return calls[:MAX_SHOWN_CALLS]


def _shown_calls(document: dict[str, Any]) -> Iterator[ReportedCall]:
    errors: dict[str, Mapping[str, str]] = {}
    for finding in _objects(document.get("diagnostics")):
        if finding["severity"] == "error":
            errors[finding["address"]] = finding
    for outcome in _objects(document.get("outcomes")):
        if (outcome["action"], outcome["result"]) != ("no-op", "done"):
            finding = errors.get(outcome["address"], defaultdict(str))
            yield ReportedCall(
                outcome["address"],
                outcome["action"],
                outcome["result"],
                outcome["request_id"] or finding["request_id"],
                outcome["id"],
                " ".join(filter(None, (finding["summary"], finding["detail"]))),
                finding["hint"],
                _seconds(outcome["seconds"]),
                _wall_time(outcome["began_at"]),
            )


def _wall_time(text: str) -> float:
    """Seconds since the epoch; 0 where it is no time."""
    with suppress(ValueError, OverflowError):
        return max(0.0, datetime.fromisoformat(text).timestamp())
    return 0.0


def _seconds(text: str) -> float:
    """A duration; 0 where it is none."""
    with suppress(ValueError):
        return max(0.0, min(float(text), DAY))
    return 0.0


def _objects(value: Any) -> list[Mapping[str, str]]:
    """The texts and numbers of each object of a list; "" for what has none by a name."""
    objects = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return [
        defaultdict(str, {n: str(one) for n, one in item.items() if isinstance(one, str | float)})
        for item in objects
    ]
