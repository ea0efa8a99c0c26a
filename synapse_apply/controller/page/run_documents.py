"""How plan and report of a run stand on a page; a worker is not trusted with either.

A worker is not trusted with what it reports: a plan of another shape is no plan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from markupsafe import Markup

from synapse_apply.controller.page.phrases import mark_escaped_html
from synapse_apply.controller.settings import Source
from synapse_apply.model.codec import plan_from_json
from synapse_apply.model.frozen import frozen
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
    host, path = _host_and_path(source.url)
    forge = (
        source.status.forge
        if source.status
        else next((name for name in _FORGE_SEPARATORS if name in host.split(".")), "")
    )
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


def _host_and_path(url: str) -> tuple[str, str]:
    """Host (with its port for https) and path of a repository; ("", "") for a folder."""
    match = _SSH_ADDRESS.fullmatch(url)
    if match is not None:
        return match["host"], match["path"]
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return "", ""
    return parts.netloc.rpartition("@")[2], parts.path


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
    findings = {
        _get_text_or_empty(finding, "address"): finding
        for finding in _list_objects_or_empty(document.get("diagnostics"))
        if finding.get("severity") == "error"
    }
    for outcome in _list_objects_or_empty(document.get("outcomes")):
        if outcome.get("action") == "no-op" and outcome.get("result") == "done":
            continue
        finding = findings.get(_get_text_or_empty(outcome, "address"), {})
        yield ReportedCall(
            _get_text_or_empty(outcome, "address"),
            _get_text_or_empty(outcome, "action"),
            _get_text_or_empty(outcome, "result"),
            _get_text_or_empty(outcome, "request_id") or _get_text_or_empty(finding, "request_id"),
            _get_text_or_empty(outcome, "id"),
            " ".join(
                filter(
                    None,
                    (_get_text_or_empty(finding, "summary"), _get_text_or_empty(finding, "detail")),
                )
            ),
            _get_text_or_empty(finding, "hint"),
        )


def _list_objects_or_empty(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _get_text_or_empty(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""
