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
from synapse_apply.controller.page.run_documents import (
    build_forge_links,
    list_reported_calls,
    render_plan_part,
)
from synapse_apply.controller.rows import RunOutcome, TargetCondition
from synapse_apply.controller.settings import ForgeStatus, SecretName, Source
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Action, Change
from synapse_apply.views.html.parts import NO_LINKS

REVISION_BASE = replace(plan_samples.BASE, revision="a-branch")
GITLAB = ForgeStatus("gitlab", "a/b", SecretName("env", "T"), "https://git.example/api/v4")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "less than 1 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (86_400 * 400, "400 d")],
)
def test_a_distance_is_told_in_its_largest_unit(seconds, words):
    assert phrases.format_duration(seconds) == words


def test_every_condition_and_outcome_has_words():
    assert phrases.CONDITION_STYLES.keys() == set(TargetCondition)
    assert phrases.OUTCOME_PHRASES.keys() == set(RunOutcome)


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
def test_a_commit_is_linked_where_the_forge_is_known(url, status, link):
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
def test_a_position_leads_to_the_line_of_the_commit(file, path):
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
def test_what_is_no_plan_is_not_shown(text):
    """A worker is not trusted with the shape of what it says."""
    assert render_plan_part(text, NO_LINKS).html == ""


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    extras.require_packages()

    def find_but_jinja(name: str) -> ModuleSpec | None:
        return None if name == "jinja2" else importlib.util.find_spec(name)

    monkeypatch.setattr(extras, "find_spec", find_but_jinja)
    with pytest.raises(InputError) as raised:
        extras.require_packages()
    finding = raised.value.diagnostics[0]
    assert finding.detail == "jinja2 is not installed; the page needs them."
    assert finding.hint == "pip install 'synapse-apply[controller]'"


def test_a_report_of_another_shape_tells_of_no_call():
    """A worker is not trusted with what it reports."""
    for report in ("", "[]", "{", '{"outcomes": 1}', '{"outcomes": [1, null]}', "[" * 10_000):
        assert list_reported_calls(report) == []
    (call,) = list_reported_calls('{"outcomes": [{"address": 1, "result": ["done"]}]}')
    assert (call.address, call.result, call.tone) == ("", "", "quiet")
