"""A check tells where the live values come from that differ, and a page shows it as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.controller.worker.test_drift_of_commits import KeptSite, open_site
from git_repositories import git

from synapse_apply.controller.page.run_documents import render_plan_part
from synapse_apply.views.html.parts import NO_LINKS

pytestmark = pytest.mark.usefixtures("forked_workers")


class LinedSite(KeptSite):
    def push_lines(self, description: str) -> str:
        """The plugin with a line for each field."""
        lines = ("name: yolo", "code: yolo", "category: neural_net", f"description: {description}")
        spec = "".join(f"  {line}\n" for line in lines)
        head = "apiVersion: synapse-apply/v1\nkind: Plugin\nmetadata: {name: yolo}\nspec:\n"
        project = self.project
        return self.push({"synapse-apply.yaml": project, "manifests/yolo.yaml": head + spec})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LinedSite]:
    with open_site(tmp_path, LinedSite) as made:
        yield made


def read_page(site: LinedSite) -> str:
    return str(render_plan_part(site.look().plan_json, NO_LINKS).html)


def test_a_value_that_git_changes_has_its_commit_author_and_call(site):
    ours = site.push_lines("first")
    site.apply()
    author = git(site.upstream.path, "log", "-1", "--format=%an", ours).strip()
    site.push_lines("second")
    page = read_page(site)
    assert "<summary>Where the live values come from</summary>" in page
    assert f"<code>description</code>: declared by commit {ours[:12]} of {author}" in page
    assert "; sent 20" in page
    assert "by controller:main" in page


def test_a_value_that_was_changed_outside_has_its_times_and_no_name(site):
    site.declare()
    site.apply()
    site.change_by_hand(description="by hand")
    first = site.look()
    page = str(render_plan_part(first.plan_json, NO_LINKS).html)
    assert "<code>description</code>: changed outside between 20" in page
    site.apply()
    site.change_by_hand(description="by hand")
    again = site.look()
    assert "; restored once this week" in again.plan_json
    # What is told of it makes no other result, and no other row to approve.
    assert [row.digest for row in again.rows] == [row.digest for row in first.rows]
    assert again.result_digest == site.look().result_digest


def test_what_a_commit_or_a_worker_says_is_text(site):
    """An author's name, and a plan of another shape."""
    site.declare(description="first")
    site.apply()
    site.change_by_hand(description="by hand")
    plan = site.look().plan_json
    hostile = plan.replace("changed outside between", "<script>alert(1)</script>`synapse-apply x`")
    assert hostile != plan
    page = str(render_plan_part(hostile, NO_LINKS).html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;`synapse-apply x`" in page
    assert render_plan_part(plan.replace('"blame":[[', '"blame":[[1,'), NO_LINKS).html == ""
