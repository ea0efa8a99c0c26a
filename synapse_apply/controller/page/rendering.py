"""How templates become pages: what is escaped, which assets each page has, which policy it gets."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from synapse_apply import __version__
from synapse_apply.controller.page import addresses, phrases
from synapse_apply.controller.page.api import live_processes
from synapse_apply.controller.page.phrases import mark_escaped_html
from synapse_apply.controller.page.requests import PAUSE_CHOICES
from synapse_apply.controller.page.rollout_views import (
    MEMBER_STATE_STYLES,
    PHASE_STYLES,
    describe_wave_limits,
    describe_wave_selection,
)
from synapse_apply.controller.page.visitor import Visitor
from synapse_apply.controller.rows import AuditRow, TargetName, say
from synapse_apply.controller.rules.processes import describe_processes
from synapse_apply.controller.rules.revisions import describe_holds, shorten_commit
from synapse_apply.controller.settings import Controller, Mode
from synapse_apply.views.html.page import hash_for_content_policy, read_asset
from synapse_apply.views.html.parts import render_prose
from synapse_apply.views.html.reports import render_findings
from synapse_apply.views.sanitize import sanitize

_TEMPLATES = "templates"
_TARGET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*")
_MAX_TEXT_LENGTH = 2000


def render_page(
    template: str, visitor: Visitor | None, settings: Controller, now: float, **values: Any
) -> tuple[str, str]:
    """A page as HTML, and the policy that it is to be sent with.

    All texts in `values` are escaped but Markup. `now` is a wall-clock time.
    """
    environment, content_policy = _build_environment_and_content_policy()
    rules = [rule for source in settings.sources.values() for rule in source.rules]
    html = environment.get_template(template).render(
        now=now,
        ago=lambda when: _time_element(when, phrases.format_time_distance(when, now)),
        clock=lambda when: _time_element(when, phrases.format_utc(when)[:19].replace("T", " ")),
        # What is due already is looked at now.
        due=lambda when: _time_element(
            when, "now" if when <= now else phrases.format_time_distance(when, now)
        ),
        settings=settings,
        visitor=visitor,
        is_observing=all(rule.mode is Mode.OBSERVE for rule in rules),
        processes=live_processes(visitor.store) if visitor else (),
        configuration_findings=visitor.store.list_configuration_findings() if visitor else (),
        **values,
    )
    return html, content_policy


@cache
def _build_environment_and_content_policy() -> tuple[Environment, str]:
    """What all pages of a process share, as to compile the templates takes longer than a page."""
    style = f"{read_asset('page.css')}\n{_read_template('controller.css')}"
    # Before the first paint, else a chosen theme would flicker.
    theme_script = _read_template("theme.js")
    script = f"{read_asset('page.js')}\n{_read_template('controller.js')}"
    content_policy = (
        f"default-src 'none'; style-src '{hash_for_content_policy(style)}'; "
        f"script-src '{hash_for_content_policy(theme_script)}' "
        f"'{hash_for_content_policy(script)}'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(_read_template),
        finalize=_shorten_and_escape,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {
        "page_style": mark_escaped_html(style),
        "theme_script": mark_escaped_html(theme_script),
        "page_script": mark_escaped_html(script),
        "version": __version__,
        "condition_styles": phrases.CONDITION_STYLES,
        "outcome_phrases": phrases.OUTCOME_PHRASES,
        "outcome_tones": phrases.OUTCOME_TONES,
        "cause_phrases": phrases.CAUSE_PHRASES,
        "action_phrases": phrases.ACTION_PHRASES,
        "row_cause_phrases": phrases.ROW_CAUSE_PHRASES,
        "mode_phrases": phrases.MODE_PHRASES,
        "pause_choices": PAUSE_CHOICES,
        "member_styles": MEMBER_STATE_STYLES,
        "phase_styles": PHASE_STYLES,
        "revision_path": addresses.build_revision_path,
        "describe_processes": describe_processes,
        "describe_holds": describe_holds,
    }
    # What templates do with values.
    environment.filters |= {
        "short": shorten_commit,
        "say": say,
        "counts": phrases.format_change_counts,
        "spark": phrases.draw_spark_line,
        "author": phrases.strip_email_address,
        "person": phrases.format_identity_as_name,
        "calls": phrases.format_call_counts,
        "prose": lambda text: mark_escaped_html(render_prose(text)),
        "findings": lambda findings: mark_escaped_html(render_findings(findings)),
        "target_path": addresses.build_target_path,
        "source_path": addresses.build_source_path,
        "run_path": addresses.build_run_path,
        "badge_path": addresses.build_badge_path,
        "rollout_path": addresses.build_rollout_path,
        "limits": describe_wave_limits,
        "selection": describe_wave_selection,
        "duration": phrases.format_duration,
        "short_digests": phrases.shorten_digests,
        "subject_link": _link_subject,
    }
    return environment, content_policy


def _time_element(when: float, text: str) -> Markup:
    if not when:
        return Markup('<span class="none">{}</span>').format(text)
    utc = phrases.format_utc(when)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc, utc.replace("T", " ").replace("Z", " UTC"), text
    )


def _link_subject(row: AuditRow) -> Markup | str:
    """The subject of an audit row, as a link where it is the name of a target or of a rollout."""
    if not _TARGET_NAME.fullmatch(row.subject):
        return row.subject
    name = TargetName(*row.subject.split("/"))
    is_rollout, rollout = row.is_of_rollout, addresses.build_rollout_path(name.target)
    path = rollout if is_rollout else addresses.build_target_path(name)
    return Markup('<a href="{}">{}</a>').format(path, row.subject)


def _shorten_and_escape(value: Any) -> Any:
    """A text as pages show it: shortened, and with invisible and steering characters escaped."""
    if isinstance(value, Markup | int | float):
        return value
    text = str(value)  # a name is no str, and says what foreign texts say
    if len(text) > _MAX_TEXT_LENGTH:
        text = f"{text[:_MAX_TEXT_LENGTH]} ... ({len(text) - _MAX_TEXT_LENGTH:,} more)"
    return escape(sanitize(text))


@cache
def _read_template(name: str) -> str:
    return files(__package__).joinpath(_TEMPLATES, name).read_text(encoding="utf-8")
