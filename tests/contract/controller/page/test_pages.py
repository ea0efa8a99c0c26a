"""What a reader finds on each page, over HTTP."""

import re
from dataclasses import replace

import pytest
from unit.controller.page import page_samples as samples
from unit.controller.page.page_samples import HEAD_COMMIT, OLD_COMMIT
from unit.controller.page.people_samples import SRE, list_proxy_headers

from synapse_apply.controller.planned_rows import PlannedRow, RowAction, RowCause
from synapse_apply.controller.rows import (
    ApprovalRow,
    BegunApply,
    MessageRow,
    RunCause,
    RunningJob,
    RunningJobsSeen,
    RunOutcome,
    RunVerb,
    SourceRow,
    StatusRow,
    StatusState,
    StatusText,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.model.diagnostic import error_finding, warning_finding

from .conftest import read_text


def test_who_needs_a_person_stands_first(page):
    """The headline counts them, and each has its reason before the list of all targets."""
    text = read_text(page.get("/").text)
    assert "2 of 6 targets need attention" in text
    needs, _, every = text.partition("Needs attention")[2].partition(" Targets ")
    assert "The backend refused the token" in needs
    assert "4 runs in a row, for 3 h" in needs
    assert "acme/ dev" in every
    assert "acme/ dev" not in needs


def test_filters_stand_in_the_address(page):
    """Source, condition and words narrow the list, and the form shows what was asked for."""
    html = page.get("/?source=acme&state=pending&q=stag").text
    assert re.findall(r'<th scope="row"><a href="(/targets/[^"]+)"', html) == [
        "/targets/acme/staging"
    ]
    assert 'name="q" value="stag"' in html
    assert '<option value="pending" selected>' in html
    assert "No target matches" in read_text(page.get("/?q=no-such-target").text)


def list_shown(html: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/targets/([^"]+)"', html)


def test_labels_narrow_the_list(page):
    """Those of targets that the reader may see; links to other pages and conditions keep them."""
    html = page.get("/?label=tier%3Dstandard").text
    assert list_shown(html) == ["acme/prod-eu", "acme/prod-us"]
    assert '<option value="tier=standard" selected>' in html
    assert 'href="/?state=failing&amp;label=tier%3Dstandard"' in html
    assert list_shown(page.get("/?label=tier%3Dtest").text) == ["vision/lab", "acme/dev"]
    assert "No target matches" in read_text(page.get("/?label=tier").text)
    assert "region=eu, tier=standard" in read_text(page.get("/targets/acme/prod-eu").text)


def test_labels_of_hidden_targets_are_not_offered(held_page):
    """jonas may read acme/dev and acme/staging."""
    html = held_page.get("/?label=region%3Deu", **list_proxy_headers("jonas")).text
    assert list_shown(html) == []
    assert re.findall(r'<option value="([^"]+=[^"]+)"', html) == ["region=eu", "tier=test"]
    assert "region=us" in held_page.get("/", **SRE).text


def test_the_order_stands_in_the_address(page):
    by_name = list_shown(page.get("/?sort=name").text)
    assert by_name == sorted(by_name)
    assert by_name != list_shown(page.get("/").text) == list_shown(page.get("/?sort=x").text)
    html = page.get("/?sort=next+check&state=pending").text
    assert '<option value="next check" selected>' in html
    assert 'href="/?state=failing&amp;sort=next+check"' in html


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=9" * 9, "state=%00", "q=%ff", "label=%00"]
)
def test_an_odd_address_is_no_error(page, query):
    assert page.get(f"/?{query}").status_code == 200


def test_a_target_shows_what_differs_now_and_its_history(page):
    """The plan as the HTML report shows it, then every kept run."""
    answer = page.get("/targets/vision/lab")
    text = read_text(answer.text)
    assert "this API cannot change a storage" in text
    assert "6 times in a row" in text
    assert answer.text.count('<th scope="row"><a class="commit" href="/runs/') == 12


def test_a_target_shows_the_jobs_of_its_plugins_that_ran_at_its_last_look(page):
    """Or why they are not known; nothing where nobody asked. The API has the same."""
    name = TargetName("vision", "lab")
    row = page.store.find_target(name)
    assert row is not None
    assert "Running jobs" not in page.get(f"/targets/{name}").text
    jobs = (
        RunningJob("4711", "release/yolo@1.1.0", "1.1.0", 41.7, samples.NOW - 3 * samples.HOUR),
        RunningJob("4710", "plugin/yolo"),
    )
    seen = RunningJobsSeen(jobs, is_cut=True, seen_at=samples.NOW - samples.MINUTE)
    with page.store.write() as writer:
        writer.put(replace(row, running_jobs=seen))
    text = read_text(page.get(f"/targets/{name}").text)
    assert "running at the check 1 min ago ; there may be more, see get jobs" in text
    assert "4711 release/yolo@1.1.0 1.1.0 running 42 % 3 h ago" in text
    assert "4710 plugin/yolo unknown running unknown unknown" in text
    (item,) = page.get("/api/v1/targets?source=vision&q=lab").json()["items"]
    assert [job["id"] for job in item["running_jobs"]["jobs"]] == ["4711", "4710"]
    with page.store.write() as writer:
        unread = RunningJobsSeen(unread_reason="its token may not list jobs (403)", seen_at=1.0)
        writer.put(replace(row, running_jobs=unread))
    text = read_text(page.get(f"/targets/{name}").text)
    assert "Unknown: its token may not list jobs (403)" in text
    with page.store.write() as writer:
        writer.put(row)


def test_a_target_says_what_the_controller_does_with_it_now(page):
    """Checking or applying while the claim holds; one that is due waits for a worker."""
    name = TargetName("acme", "dev")
    row = page.store.find_target(name)
    assert row is not None
    begun = BegunApply("01JDP", HEAD_COMMIT, RunCause.APPROVED, samples.NOW - 3)
    due = "The controller checks the target as soon as a worker is free."
    for shown, lease, words in (
        (row, 0, ""),
        (replace(row, due_at=1.0), 0, due),
        (row, 5, "The controller is checking the target now."),
        (replace(row, begun_apply=begun), 5, "is applying the target now. It began 3 s ago"),
        (replace(row, begun_apply=begun), -1, ""),
        # Its controller was killed.
        (replace(row, begun_apply=begun, due_at=1.0), -1, due),
    ):
        with page.store.write() as writer:
            writer.put(shown)
            epoch = writer.claim(name, "one", samples.NOW + lease, samples.NOW) if lease else 0
        html = page.get(f"/targets/{name}").text
        assert words in read_text(html)
        assert ('busy">' in html) == bool(words)
        assert ("It began" in html) == ("It began" in words)
        with page.store.write() as writer:
            writer.release_claim(name, "one", epoch)
    with page.store.write() as writer:
        writer.put(row)


def test_a_failing_target_shows_its_findings(page):
    text = read_text(page.get("/targets/acme/prod-eu").text)
    assert "Renew the token, and set the variable PROD_EU_TOKEN." in text
    assert "manifests/storages.yaml:12:3" in text
    assert "7f9c24e5d1" in text


def test_a_run_names_its_cause_and_links_to_its_commit(page):
    run = page.store.newest_runs(TargetName("acme", "staging"), 1)[0]
    html = page.get(f"/runs/{run.id}").text
    assert "a push" in read_text(html)
    assert f'href="https://github.com/acme/synapse/commit/{HEAD_COMMIT}"' in html
    assert "plugin/yolo" in html


def test_what_was_waited_for_is_told_of_a_run(page):
    """A pause, a window or a new controller.yaml: the one that it was."""
    run = page.store.newest_runs(TargetName("acme", "staging"), 1)[0]
    resumed = replace(run, cause=RunCause.RESUMED, cause_detail="a window that opened")
    with page.store.write() as writer:
        writer.put(resumed)
    text = read_text(page.get(f"/runs/{run.id}").text)
    assert "a window that opened" in text
    assert "the end of a pause" not in text
    with page.store.write() as writer:
        writer.put(run)


def test_an_apply_waits_from_the_end_of_the_check_that_an_approval_came_in(page):
    """The approval does not begin the wait anew while the check goes on."""
    name = TargetName("acme", "staging")
    run = page.store.newest_runs(name, 1)[0]
    began = run.began_at
    check = replace(run, id="01WAITED0", verb=RunVerb.LOOK, began_at=began, ended_at=began + 100)
    apply = replace(
        run, id="01WAITED1", verb=RunVerb.APPLY, began_at=began + 110, ended_at=began + 120
    )
    row = PlannedRow("row1:" + "a" * 64, "plugin/a", RowAction.UPDATE, (RowCause.GIT,))
    approval = ApprovalRow("a1", name, row.digest, row, "token:ann", began + 50)
    with page.store.write() as writer:
        writer.put(check, apply)
        writer.put_approval(replace(approval, used_by_run=apply.id, used_at=began + 111))
    html = page.get(f"/runs/{apply.id}").text.partition('id="timeline-title"')[2]
    [line] = [one for one in html.split("<tr") if "Apply" in one and "this run" in one]
    assert '<td data-label="Waited">10 s</td>' in line.replace("\n", ""), line


def test_a_revision_shows_what_became_of_it(page):
    """On each target that wants it, with the status that its commit has."""
    text = read_text(page.get(f"/revisions/acme/{HEAD_COMMIT}").text)
    for words in ("Write category as the schema has it", "Jonas Weber", "1 of 4 failed: prod-eu",
                  "synapse-apply/platform/acme", "prod-us", "staging"):  # fmt: skip
        assert words in text
    assert "a newer head replaced it" in read_text(page.get(f"/revisions/acme/{OLD_COMMIT}").text)


def test_a_source_lists_its_revisions(page):
    html = page.get("/sources/acme").text
    assert html.count('href="/revisions/acme/') == 4
    assert "https://github.com/acme/synapse.git" in html


@pytest.mark.parametrize(
    "path",
    [
        "/targets/acme/none",
        "/runs/none",
        "/revisions/acme/none",
        "/sources/none",
        "/none",
        "/runs/",
    ],
)
def test_an_unknown_name_is_not_found(page, path):
    """A page for a browser, a line for others."""
    answer = page.get(path, Accept="text/html")
    assert answer.status_code == 404
    assert "Not found" in answer.text
    assert page.get(path).text.count("\n") == 1


@pytest.mark.parametrize("summary", ["The branch was rewound or rewritten", "There is no such ref"])
def test_a_ref_that_went_back_is_told_once(empty_page, summary):
    """In the words of the fetch that found it; where that is gone by now, the newest fetch counts."""
    with empty_page.store.write() as writer:
        writer.put(
            SourceRow(
                "acme", sideways=OLD_COMMIT, fetched_at=samples.NOW, finding=error_finding(summary)
            )
        )
    for path in ("/", "/sources/acme"):
        assert re.findall("<strong>([^<]+)</strong>", empty_page.get(path).text) == [summary]


def test_what_nobody_takes_is_said(empty_page):
    """Commit statuses that a forge refuses, messages that a channel refuses, once each."""
    status = StatusText(StatusState.SUCCESS, "planned only: no changes", "")
    with empty_page.store.write() as writer:
        for commit in (OLD_COMMIT, HEAD_COMMIT):
            writer.put(StatusRow("acme", commit, "c", status, refusal="403: no right to it"))
        writer.put_message_if_new(
            MessageRow("m1", "slack-1", "failed", "f", {}, 1.0, refusal="404: gone")
        )
    text = read_text(empty_page.get("/").text)
    assert text.count("403: no right to it") == 1
    assert "message of slack-1 404: gone" in text


@pytest.mark.parametrize(
    ("findings", "title"),
    [
        ([warning_finding("W", "mode auto")], "The configuration has warnings"),
        (
            [warning_finding("W"), error_finding("E", "no url")],
            "The controller rejected the new configuration",
        ),
    ],
)
def test_what_is_wrong_with_the_configuration_is_said_on_every_page(empty_page, findings, title):
    with empty_page.store.write() as writer:
        writer.replace_configuration_findings(findings)
    for path in ("/", "/none"):
        text = read_text(empty_page.get(path, Accept="text/html").text)
        assert title in text
        assert findings[-1].detail in text


def test_a_page_has_a_hundred_targets(empty_page):
    """So it costs as much for many more; tests/browser opens it with 10,000 targets."""
    samples.fill_many(empty_page.store, 1000, runs=1)
    assert len(set(re.findall(r"tenant-\d{5}", empty_page.get("/").text))) == 100


def test_before_the_first_fetch_the_page_says_so(empty_page):
    text = read_text(empty_page.get("/").text)
    assert "No targets yet" in text
    assert "after its first fetch" in text


def test_targets_of_one_cause_stand_together_at_any_size(empty_page):
    """Whatever their own names, urls and lineages in it are; with what to do next, and each
    condition among the causes."""
    lineage = "6f4c1f0a-1f0e-4c52-9d0b-{:012d}"
    with empty_page.store.write() as writer:
        writer.put(SourceRow("acme"))
        for number in range(1200):
            name = TargetName("acme", f"std-{number}")
            run = samples.build_run(number, name, RunOutcome.PLAN_ERROR)
            state, findings = TargetCondition.FAILING, ()
            if number < 600:
                findings = (
                    error_finding(
                        "There is no state for this target",
                        f"http://127.0.0.1:{40000 + number}/ has no lineage "
                        f"{lineage.format(number)}, of tenant acme-std-{number}.",
                        f"Make one, where std-{number} is new: `synapse-apply state init -t std-{number}`"
                        + ", and say so to those who share its backend; " * 3,
                    ),
                )
            elif number < 1000:
                findings = (
                    error_finding("A variable is not set", f"TOKEN_STD_{number} is empty."),
                )
            elif number < 1080:
                findings = (error_finding(f"Cause {number % 20}", "Of many."),)
            else:
                state = TargetCondition.HELD
            row = TargetRow(name, "c", 1, state=state, last_run=run.id, hold_count=2)
            writer.put(row)
            writer.put(replace(run, findings=findings))
    html = empty_page.get("/").text
    cards = html.partition('class="troubles"')[2].partition("</ul>")[0].split("<li")[1:]
    texts = [read_text(card) for card in cards]
    assert len(texts) == 8
    assert "and 594 more There is no state for this target" in texts[0]
    assert "synapse-apply state init -t std-0" in texts[0]
    assert "(from std-0; the other targets have the same problem)" in texts[0]
    assert "and 394 more A variable is not set" in texts[1]
    assert "and 114 more Rows of their plans need approval" in texts[-1]
    assert "60 more targets need attention" in read_text(html)


def test_a_target_says_what_was_restored_often(page, held_page):
    """How often, since when, by whom, and when it is restored again; who may pause can end it."""
    path = "/targets/acme/prod-us"
    html = page.get(path).text
    text = read_text(html)
    for said in (
        "Restored often : somebody changes these fields outside Git.",
        "description of plugin/yolo: 4 times, first 1 h ago ; controller:other changes it, too.",
        "changes it, too. The controller may restore it in 20 min .",
        "storage/raw-data: 3 times, first 15 min ago . It waits for a person.",
        "category of plugin/yolo: 3 times, first 9 s ago . It is always restored at once.",
    ):
        assert said in text
    assert "name of plugin/yolo" not in text
    button = "Restore now"
    assert button not in html
    assert button in held_page.get(path, **list_proxy_headers("ann", "sre")).text
    assert button not in held_page.get(path, **list_proxy_headers("mina")).text


def test_what_was_restored_often_is_in_json_and_metrics(page):
    (target,) = page.get("/api/v1/targets?target=acme/prod-us").json()["items"]
    first, second, third, last = target["restored"]
    assert first == {
        "address": "plugin/yolo",
        "field": "description",
        "count": 4,
        "since": "2026-11-27T06:00:00Z",
        "last_at": "2026-11-27T06:46:40Z",
        "next_at": "2026-11-27T07:20:00Z",
        "is_held": False,
        "is_always": False,
        "by": "controller:other",
    }
    assert (second["field"], second["is_held"], second["next_at"]) == (None, True, None)
    assert (third["is_always"], last["count"], last["by"]) == (True, 1, None)
    metrics = page.get("/metrics").text
    assert 'synapse_apply_braked_fields{source="acme"} 2.0' in metrics
    assert 'synapse_apply_braked_fields{source="vision"} 0.0' in metrics
