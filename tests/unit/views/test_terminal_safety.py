"""Nothing from a manifest or a server can steer a terminal or a CI runner."""

import re

import pytest
from unit.views import plan_samples as samples
from unit.views.report_samples import REPORTS

from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.outcomes import render_report
from synapse_apply.views.text.plan import render_plan
from synapse_apply.views.text.terminal import measure_width, render_table

EVIL = "\x1b]0;title\x07\x1b[2J\u202eabc\u2066\x9b31m\ud800\r\n::set-output name=x::y\n##[error]z"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
COMMAND = re.compile(r"(?m)^\s*::|##\[")


def assert_harmless(output):
    """No control character but the newline, no bidi mark, no workflow command; UTF-8 text."""
    assert not STEERING.search(output)
    assert not COMMAND.search(output)
    output.encode("utf-8")


def test_escapes_are_readable():
    """An escape says which character it stands for."""
    assert sanitize("a\x1b[31m\tb\u202e\U000e0001") == "a\\u001b[31m\\tb\\u202e\\U000e0001"
    assert sanitize("이름 👩‍🔬 é") == "이름 👩‍🔬 é"
    assert (
        escape_ci_commands("  ::error::x\na ::b ##[c] ##vso[d]")
        == "  \\::error::x\na ::b #\\#[c] #\\#vso[d]"
    )
    assert escape_ci_commands("##teamcity[message]") == "#\\#teamcity[message]"


def test_no_blank_of_unicode_hides_a_command():
    """GitHub's runner trims them all before it looks for a command."""
    blanks = [one for one in map(chr, range(0x110000)) if one.isspace() and one != "\n"]
    assert {"\u00a0", "\u2003", "\u3000"} <= set(blanks)
    for blank in blanks:
        text = escape_ci_commands(f"a\n {blank}::stop-commands::t\n{blank}::b")
        assert text == f"a\n {blank}\\::stop-commands::t\n{blank}\\::b"


@pytest.mark.parametrize("name", samples.PLANS)
def test_no_colour_means_no_escape(name):
    """Without colour not one escape sequence is written."""
    assert "\x1b" not in render_plan(samples.PLANS[name], color=False)


def test_colour_adds_nothing_but_colour():
    """Taking the escapes away gives the plain text, for plans and reports."""
    for plan in samples.PLANS.values():
        coloured = render_plan(plan, color=True)
        assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == render_plan(plan, color=False)
    for report in REPORTS.values():
        coloured = render_report(report, color=True)
        assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == render_report(report, color=False)


def test_credentials_in_a_url_are_not_shown():
    """A password somebody wrote into the backend's URL stays out of the heading."""
    assert "hunter2" not in render_plan(samples.PLANS["everything"], color=False)


def test_tables_align_wide_characters():
    """Columns begin at the same cell whatever the script; numbers align on the right."""
    table = render_table(
        ["address", "id"],
        [["storage/데이터-호수", 7], ["plugin/yolo", 1200], ["café", None]],
        right_columns=(1,),
    )
    head, wide, narrow, *_ = table.splitlines()
    assert measure_width(head) == measure_width(wide) == measure_width(narrow)
    assert table == (
        "ADDRESS                ID\nstorage/데이터-호수     7\nplugin/yolo          1200\ncafé\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "👨\u200d👩\u200d👧",
        "❤\ufe0f",
        "\u1820\u180b",
        "\u0645\u06cc\u200c\u062e",
        "क\u094d\u200dष",
        "1\ufe0f\u20e3",
    ],
)
def test_scripts_that_need_joiners_keep_them(text):
    assert sanitize(text) == text
