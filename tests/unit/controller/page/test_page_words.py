"""Words, times, drawings and links of the controller's page."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from importlib.machinery import ModuleSpec

import pytest
from unit.controller.page.page_samples import HEAD_COMMIT, format_plan
from unit.views import plan_samples

from synapse_apply.controller import extras
from synapse_apply.controller.page import phrases
from synapse_apply.controller.page.overview import OverviewQuery
from synapse_apply.controller.page.phrases import (
    draw_condition_bar,
    draw_spark_line,
)
from synapse_apply.controller.page.run_documents import (
    build_forge_links,
    list_reported_calls,
    render_plan_part,
)
from synapse_apply.controller.rows import ChangeCounts, RunOutcome, TargetCondition
from synapse_apply.controller.settings import ForgeStatus, SecretName, Source
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Action, Change
from synapse_apply.views.html.parts import NO_LINKS

TONES = {outcome: phrases.choose_outcome_tone(outcome) for outcome in RunOutcome}
REVISION_BASE = replace(plan_samples.BASE, revision="a-branch")
GITLAB = ForgeStatus("gitlab", "a/b", SecretName("env", "T"), "https://git.example/api/v4")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "less than 1 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (86_400 * 400, "400 d")],
)
def test_a_distance_is_told_in_its_largest_unit(seconds: float, words: str) -> None:
    assert phrases.format_duration(seconds) == words


@pytest.mark.parametrize(
    ("when", "words"),
    [(0.0, "never"), (1000.0, "now"), (940.0, "1 min ago"), (1060.0, "in 1 min"), (1e300, "in")],
)
def test_a_time_is_told_from_now_on(when: float, words: str) -> None:
    """However odd it is, since a clock may jump."""
    assert phrases.format_time_distance(when, 1000.0).startswith(words)
    assert phrases.format_utc(when).endswith("Z")


def test_what_is_due_already_is_due_now() -> None:
    assert phrases.format_due_time_or_now(900.0, 1000.0) == "now"
    assert phrases.format_due_time_or_now(1300.0, 1000.0) == "in 5 min"


def test_counts_name_what_needs_a_decision_first() -> None:
    counts = ChangeCounts(add=1200, change=1, refused=2, guards=1)
    assert phrases.format_change_counts(counts) == "2 refused, 1,200 to add, 1 to change, 1 guard"
    assert phrases.format_change_counts(ChangeCounts()) == ""


def test_every_condition_and_outcome_has_words() -> None:
    assert phrases.CONDITION_STYLES.keys() == set(TargetCondition)
    assert phrases.OUTCOME_PHRASES.keys() == set(RunOutcome)


def test_a_spark_line_ends_with_the_newest_run() -> None:
    """At the right, the same place for all targets; its words count what it shows."""
    svg = draw_spark_line([RunOutcome.IN_SYNC] * 20 + [RunOutcome.TIMEOUT], TONES)
    assert 'aria-label="Last runs: 15 in sync, 1 took too long"' in svg
    assert '<path class="bad" d="M75 16' in svg
    assert draw_spark_line([], TONES) == ""


def test_one_failing_target_of_ten_thousand_is_seen() -> None:
    """And all parts together are as wide as the bar."""
    bar = draw_condition_bar({TargetCondition.FAILING: 1, TargetCondition.IN_SYNC: 9999})
    assert 'class="bad" x="0.0" width="4.1"' in bar
    assert 'class="good" x="4.1" width="995.9"' in bar


def test_an_address_tells_what_is_asked_for() -> None:
    """What makes no sense is as if it were left out."""
    query = OverviewQuery.from_parameters_leniently(
        {"source": "a", "state": "in sync", "q": " x ", "page": "3"}
    )
    assert query == OverviewQuery("a", TargetCondition.IN_SYNC, "x", 3)
    assert query.build_path(page=4) == "/?source=a&state=in+sync&q=x&page=4"
    assert OverviewQuery().build_path() == "/"
    odd = OverviewQuery.from_parameters_leniently({"state": "gone", "page": "²"})
    assert odd == OverviewQuery()


@pytest.mark.parametrize(
    ("url", "status", "link"),
    [
        ("https://github.com/a/b.git", None, "https://github.com/a/b/commit/"),
        ("git@gitlab.com:a/b.git", None, "https://gitlab.com/a/b/-/commit/"),
        ("ssh://git@git.example/a/b", GITLAB, "https://git.example/a/b/-/commit/"),
        ("https://git.example:8443/a/b.git", GITLAB, "https://git.example:8443/a/b/-/commit/"),
        ("https://git.example/a/b.git", None, ""),
        ("https://notgithub.com/a/b.git", None, ""),
        ("/srv/git/b.git", GITLAB, ""),
    ],
)
def test_a_commit_is_linked_where_the_forge_is_known(
    url: str, status: ForgeStatus | None, link: str
) -> None:
    html = build_forge_links(Source("s", url, status=status), HEAD_COMMIT).render_short_commit(
        HEAD_COMMIT
    )
    assert (f'href="{link}{HEAD_COMMIT}"' in html) == bool(link)
    assert f"<code>{HEAD_COMMIT[:12]}</code>" in html


@pytest.mark.parametrize(
    ("file", "path"),
    [
        (f"{HEAD_COMMIT[:7]}:manifests/a b.yaml", "lab/manifests/a%20b.yaml"),
        (f"{HEAD_COMMIT[:7]}:../a.yaml", ""),
        (f"{HEAD_COMMIT[:7]}:/etc/a.yaml", ""),
        ("0000000:manifests/a.yaml", ""),
        ("manifests/a.yaml", ""),
    ],
)
def test_a_position_leads_to_the_line_of_the_commit(file: str, path: str) -> None:
    """Below the folder of the source's project; what names another file is text."""
    change = Change(Address("storage", "a"), Action.CREATE, position=Position(file, 7, 1))
    text = format_plan(replace(plan_samples.plan(change), base=REVISION_BASE))
    source = Source("s", "https://github.com/a/b", path="lab")
    html = render_plan_part(text, build_forge_links(source, HEAD_COMMIT)).html
    address = f"https://github.com/a/b/blob/{HEAD_COMMIT}/{path}&#35;L7"
    assert (f'href="{address}"' in html) == bool(path)
    assert html.count("/blob/") == bool(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 99}', "[" * 99_999, '{"format": 1}']
)
def test_what_is_no_plan_is_not_shown(text: str) -> None:
    """A worker is not trusted with the shape of what it says."""
    assert render_plan_part(text, NO_LINKS).html == ""


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.require_page_packages()

    def find_but_jinja(name: str) -> ModuleSpec | None:
        return None if name == "jinja2" else importlib.util.find_spec(name)

    monkeypatch.setattr(extras, "find_spec", find_but_jinja)
    with pytest.raises(InputError) as raised:
        extras.require_page_packages()
    finding = raised.value.diagnostics[0]
    assert finding.detail == "Its page is made with them; jinja2 is not installed."
    assert finding.hint == "pip install 'synapse-apply[controller]'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"create a/b (row1:{'0f' * 32})", "create a/b (row1:0f0f0f0f0f0f)"),
        (f"of {HEAD_COMMIT}: applied", f"of {HEAD_COMMIT[:12]}: applied"),
        ("0f" * 31, "0f" * 31),
        ("run 01a21ca3-8bfa-7fc8-bfd0-12bfe547d46a", "run 01a21ca3-8bfa-7fc8-bfd0-12bfe547d46a"),
    ],
)
def test_the_audit_shows_digests_by_their_beginning(text: str, shown: str) -> None:
    assert phrases.shorten_digests(text) == shown


@pytest.mark.parametrize(
    ("identity", "name"), [("proxy:ann", "ann"), ("token:ops", "ops (token)"), ("", "")]
)
def test_a_program_is_told_from_a_person(identity: str, name: str) -> None:
    assert phrases.format_identity_as_name(identity) == name


def test_a_report_of_another_shape_tells_of_no_call() -> None:
    """A worker is not trusted with what it reports."""
    for report in ("", "[]", "{", '{"outcomes": 1}', '{"outcomes": [1, null]}', "[" * 10_000):
        assert list_reported_calls(report) == []
    (call,) = list_reported_calls('{"outcomes": [{"address": 1, "result": ["done"]}]}')
    assert (call.address, call.result, call.tone) == ("", "", "quiet")
