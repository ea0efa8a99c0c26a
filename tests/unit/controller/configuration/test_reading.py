"""controller.yaml: what it says, and all that is wrong with it in one run."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from unit.controller.configuration.test_rollouts import write_rollout

from synapse_apply.controller.configuration.reading import parse_and_check_configuration
from synapse_apply.controller.planned_rows import RowAction, RowCause
from synapse_apply.controller.settings import (
    AccessRule,
    AutoRule,
    Defaults,
    Event,
    FixedPause,
    ForgeStatus,
    HttpsToken,
    MayRead,
    Mode,
    ProxyAccess,
    Right,
    Rollout,
    SecretName,
    SshKey,
    Wave,
)
from synapse_apply.controller.worker.access import own_secret_locations, readable_variable_names

FILE = Path("/etc/synapse-apply/controller.yaml")
# Every key of the format.
WHOLE = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources:
  acme:
    url: https://git.example/acme/synapse.git
    ref: main
    path: deploy
    credentials: {token: {env: GIT_TOKEN}}
    poll: 2m
    rewinds: follow
    commit_status: {github: {repository: acme/synapse, token: {env: GITHUB_TOKEN}}}
    may_read: {env: ["ACME_*"], files: [secrets/acme/], allow_env: [AWS_TOKEN]}
    hosts: ["api.synapse.example", "other.example:8443"]
    pin: git:stable
    targets:
      dev: {mode: auto}
      staging: {mode: auto, auto: {causes: [git], actions: [create, update]}}
      "prod-*":
        mode: approve
        approvals: 2
        not_author: true
        prune: true
        interval: 30m
        windows: [{cron: "0 9 * * 1-5", duration: 8h, timezone: Asia/Seoul}]
        paused: {reason: holidays, until: "2027-01-02T00:00:00Z"}
      "*": {mode: observe}
  infra:
    url: ssh://git@git.example/infra.git
    credentials: {ssh_key: {file: /run/key}, known_hosts: {file: known_hosts}}
    commit_status: {gitlab: {repository: 17, token: {file: token}, api_url: "https://gl.example/api/v4/"}}
    targets: {"*": {}}
  local: {url: ./repository, targets: {"*": {}}}
defaults:
  interval: 5m
  jitter: 0.1
  retry: {first: 10s, most: 30m}
  timeout: 1m
  prune: true
  keep: 30d
  second_look: 2s
  status_spacing: 1s
  status_check: 2h
notify:
  - {webhook: {url: {env: HOOK_URL}, secret: {env: HOOK_SECRET}}, on: [failed, recovered, held, drift, paused]}
  - {slack: {url: {env: SLACK_URL}}, on: [failed]}
listen: "[::1]:9000"
public_url: https://synapse-apply.example/
open_metrics: true
hooks: {github: {secret: {env: GH}}, gitlab: {secret: {file: gl}}}
access:
  proxy: {user_header: X-User, groups_header: X-Groups, secret_header: X-Proxy, secret: {env: PROXY_SECRET}}
  tokens: {ops: {env: OPS_TOKEN}}
  may:
    - {who: ["group:sre", "token:ops"], do: [read, reconcile, pause, approve], targets: ["acme/*"]}
    - {who: ["proxy:ann"], do: [read]}
store: {url: {env: CONTROLLER_STORE}}
rollouts: {all: {source: acme, waves: [{targets: ["canary-*"], soak: 30m}]}}
"""
SMALL = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources: {acme: {url: https://git.example/a.git, targets: {"*": {}}}}
"""


def test_every_key_is_read():
    """Values of each, without an error."""
    controller, findings = parse_and_check_configuration(WHOLE, FILE, now=1.8e9 - 2e7)
    assert not any(finding.is_error for finding in findings)
    acme, infra, local = controller.sources.values()
    assert (acme.ref, acme.path, acme.poll, acme.rewinds) == ("main", "deploy", 120, "follow")
    assert isinstance(acme.credentials, HttpsToken)
    assert (acme.credentials.token.name, acme.credentials.user) == ("GIT_TOKEN", "x-access-token")
    assert isinstance(acme.status, ForgeStatus)
    assert (acme.status.repository, acme.status.api_url) == (
        "acme/synapse",
        "https://api.github.com",
    )
    assert acme.may_read == MayRead(
        ("ACME_*",), ("/etc/synapse-apply/secrets/acme",), ("AWS_TOKEN",)
    )
    assert acme.project_from == "stable"
    assert isinstance(infra.credentials, SshKey)
    assert infra.credentials.known_hosts.name == "/etc/synapse-apply/known_hosts"
    assert infra.status is not None
    assert (infra.status.repository, infra.status.api_url) == ("17", "https://gl.example/api/v4")
    assert local.url == "/etc/synapse-apply/repository"
    assert controller.defaults == Defaults(
        300, 0.1, 10, 1800, 60, 30 * 86400, 2, 1, 7200, prune=True
    )
    webhook, slack = controller.channels
    assert (webhook.name, webhook.events) == ("webhook 1", frozenset(Event))
    assert webhook.secret is not None
    assert (slack.kind, slack.url.name, slack.events) == (
        "slack",
        "SLACK_URL",
        frozenset({Event.FAILED}),
    )
    assert (controller.listen_host, controller.listen_port) == ("::1", 9000)
    assert controller.public_url == "https://synapse-apply.example"
    assert controller.open_metrics
    assert controller.hooks.gitlab is not None
    assert controller.hooks.gitlab.name == "/etc/synapse-apply/gl"
    assert isinstance(controller.hooks.github, SecretName)


def test_every_key_by_which_it_acts_is_read():
    """Rules, access, and a warning for each setting that this version does not use."""
    controller, findings = parse_and_check_configuration(WHOLE, FILE, now=1.8e9 - 2e7)
    acme = controller.sources["acme"]
    assert [(rule.pattern, rule.mode, rule.interval) for rule in acme.rules] == [
        ("dev", Mode.AUTO, None),
        ("staging", Mode.AUTO, None),
        ("prod-*", Mode.APPROVE, 1800),
        ("*", Mode.OBSERVE, None),
    ]
    prod, others = acme.rules[2:]
    assert prod.pause == FixedPause("holidays", datetime(2027, 1, 2, tzinfo=UTC).timestamp())
    assert (prod.approvals, prod.not_author, prod.prune) == (2, True, True)
    (window,) = prod.windows
    assert (window.cron.text, window.duration) == ("0 9 * * 1-5", timedelta(hours=8))
    assert str(window.zone) == "Asia/Seoul"
    assert (others.approvals, others.not_author, others.prune, others.windows) == (
        1,
        False,
        None,
        (),
    )
    assert acme.rules[0].auto == AutoRule()
    assert acme.rules[1].auto == AutoRule(
        frozenset({RowCause.GIT}), frozenset({RowAction.CREATE, RowAction.UPDATE})
    )
    assert findings == ()
    access = controller.access
    assert access.proxy == ProxyAccess(
        "X-User", "X-Proxy", SecretName("env", "PROXY_SECRET"), "X-Groups"
    )
    assert access.tokens == {"ops": SecretName("env", "OPS_TOKEN")}
    assert access.rules == (
        AccessRule(("group:sre", "token:ops"), frozenset(Right), ("acme/*",)),
        AccessRule(("proxy:ann",), frozenset({Right.READ}), ("*",)),
    )


def test_the_secrets_of_access_are_the_controllers_own():
    """No source reads them, whatever its patterns say."""
    controller, _ = parse_and_check_configuration(WHOLE.replace('"ACME_*"', '"*"'), FILE)
    assert controller is not None
    own = own_secret_locations(controller)
    assert {"PROXY_SECRET", "OPS_TOKEN"} <= own.variables
    environ = {"PROXY_SECRET": "x", "OPS_TOKEN": "y", "OTHER": "z"}
    assert readable_variable_names(controller.sources["acme"], own, environ) == ("OTHER",)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("metadata: {name: main}", "metadata: {name: Main}", 3, "letters"),
        ("kind: Controller", "kind: Controler", 2, "Controller"),
        ("metadata: {name: main}", "metadata: {name: main}\nmetadata: {name: b}", 4, "twice|[Dd]upl"),
        ('{"*": {}}', '{"*": {mode: watch}}', 4, "observe"),
        ('{"*": {}}', '{"*": {intervall: 5m}}', 4, "interval"),
        ('{"*": {}}', '{"*": {interval: 5}}', 4, "30s, 10m"),
        ('{"*": {}}', '{"*": {interval: 0s}}', 4, "Too short"),
        ('{"*": {}}', '{"*": {windows: [{cron: "99 * * * *", duration: 1h}]}}', 4, "cron"),
        ('{"*": {}}', '{"*": {windows: [{cron: "1 * * * *", duration: 1h, timezone: Mars}]}}', 4, "zone"),
        ('{"*": {}}', '{"*": {paused: {reason: x, until: soon}}}', 4, "RFC 3339"),
        ("https://git", "http://git", 4, "is not encrypted"),
        ("https://git", "svn://git", 4, "not an https, ssh or file URL"),
        ("https://git", "https://[git", 4, "brackets"),
        ("https://git", "ssh://git", 4, "known_hosts"),
        ("targets:", "credentials: {ssh_key: {env: K}}, targets:", 4, "known_hosts"),
        ("targets:", "credentials: {token: {env: K, file: f}}, targets:", 4, "env|too many|at most"),
        ("targets:", "path: ../other, targets:", 4, "leaves its repository"),
        ("targets:", "hosts: [https://a], targets:", 4, "host"),
        ("kind: Controller", "kind: Controller\nlisten: 0.0.0.0:8080", 3, "open to everyone"),
        ("kind: Controller", "kind: Controller\nlisten: 127.0.0.1:99999", 3, "65535"),
        ("kind: Controller", "kind: Controller\nlisten: 0.0.0.0:80\naccess: {}", 3, "has no proxy"),
        ("kind: Controller", "kind: Controller\npublic_url: https://u:p@x", 3, "without credentials"),
        ("kind: Controller", "kind: Controller\npublic_url: https://[x/y", 3, "URL"),
        ("kind: Controller", "kind: Controller\nnotify: [{on: [failed]}]", 3, "neither"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(old, new, line, words):
    """An error with line and words; the file is not used."""
    controller, findings = parse_and_check_configuration(SMALL.replace(old, new, 1), FILE)
    assert controller is None
    errors = [finding for finding in findings if finding.is_error]
    texts = [f"{f.summary}: {f.detail}; {f.hint}" for f in errors]
    found = [f for f, text in zip(errors, texts, strict=True) if re.search(words, text)]
    assert found, texts
    assert found[0].position is not None
    assert (found[0].position.file, found[0].position.line) == (str(FILE), line)


def test_all_that_is_wrong_is_said_in_one_run():
    """Findings of several sorts beside one another."""
    text = SMALL.replace("https://git", "http://git").replace(
        "kind: Controller", "kind: Controller\nlisten: 0.0.0.0:80\nnotify: [{on: [failed]}]"
    )
    _, findings = parse_and_check_configuration(text, FILE)
    assert len([finding for finding in findings if finding.is_error]) == 3


def test_what_the_schema_refuses_hides_nothing_else():
    """Each setting that fits is checked, also of a source with one that does not."""
    text = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources:
  acme:
    url: http://git.example/acme.git
    colour: red
    poll: 0s
    path: ../x
    targets: {"*": {}, prod: {}}
  keyed: {url: "git@git.example:x.git", credentials: {ssh_key: 1}, targets: {"*": {}}}
  odd: 5
listen: 0.0.0.0:8080
"""
    reading = parse_and_check_configuration(text, FILE)
    assert reading.controller is None
    paths = {finding.path for finding in reading.findings}
    assert paths >= {
        ("sources", "acme", "colour"),
        ("sources", "odd"),
        *(("sources", "acme", key) for key in ("url", "poll", "path")),
        ("sources", "acme", "targets", "prod"),
        ("listen",),
    }
    assert ("sources", "keyed", "url") not in paths


@pytest.mark.parametrize(
    "setting",
    [
        "sources: {acme: {url: x, targets: {}, credentials: {token: S3CRET}}}",
        "sources: {acme: {url: x, targets: {}, commit_status: {github: {repository: a/b, token: S3CRET}}}}",
        "sources: {acme: {url: 'https://user:S3CRET@git.example/a', targets: {}}}",
        "sources: {acme: {url: 'https://user:S3CRET@[x/a', targets: {}}}",
        "notify: [{webhook: {url: 'https://hook.example/S3CRET', secret: S3CRET}, on: [failed]}]",
        "notify: [{slack: {url: [S3CRET]}, on: [failed]}]",
        "hooks: {github: {secret: S3CRET}}",
        "access: {tokens: {ops: S3CRET}, proxy: {secret: S3CRET}}",
        "store: {url: 'postgresql://u:S3CRET@db'}",
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_shown(setting):
    """Wherever one can stand, also beside other errors."""
    base = SMALL if not setting.startswith("sources") else SMALL.partition("sources:")[0]
    controller, findings = parse_and_check_configuration(f"{base}{setting}\nnonsense: 1\n", FILE)
    assert controller is None
    assert "S3CRET" not in repr(findings)
    if "user:" not in setting:
        assert any("secret" in finding.summary.lower() for finding in findings)
    controller, findings = parse_and_check_configuration(f"{base}{setting}\n", FILE)
    assert controller is None
    assert "S3CRET" not in repr(findings)
    assert any("The file contains a secret" in finding.summary for finding in findings)


def test_rules_that_never_hold_are_told():
    """Only where an earlier pattern certainly matches the same."""
    text = SMALL.replace('{"*": {}}', '{"a?": {}, "a*": {}, "a-b*": {}, "*": {}, dev: {}}')
    controller, findings = parse_and_check_configuration(text, FILE)
    assert controller is not None
    assert [finding.detail.partition(":")[0] for finding in findings] == ["`a-b*`", "`dev`"]


def test_a_pattern_that_fits_the_controllers_own_secrets_is_told():
    """No worker ever gets them, so that it would look as if they were not set."""
    text = SMALL.replace(
        "targets:", "credentials: {token: {env: acme_git}}, may_read: {env: [A*, B*]}, targets:"
    )
    controller, findings = parse_and_check_configuration(text, FILE)
    assert controller is not None
    (finding,) = findings
    assert finding.detail.startswith("`A*` matches ACME_GIT")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "a: [\n", "\x00", "--- a\n--- b\n"])
def test_odd_files_are_findings(text):
    """Empty, of another shape, broken, two documents."""
    controller, findings = parse_and_check_configuration(text, FILE)
    assert controller is None
    assert findings


def test_every_key_of_a_rollout_is_read():
    """The source may be left out where there is one; what is left out matches all."""
    controller, findings = parse_and_check_configuration(
        write_rollout(
            '{targets: ["canary-*", dev], soak: 30m}',
            "{labels: {tier: standard}, max_parallel: 10, max_failures: 2}",
            "{approve: true}",
            keys="    new_head: queue\n",
        ),
        FILE,
    )
    assert findings == ()
    assert controller.rollouts == {
        "all": Rollout(
            "all",
            "acme",
            (
                Wave(("canary-*", "dev"), soak=1800.0),
                Wave(labels={"tier": "standard"}, max_parallel=10, max_failures=2),
                Wave(approve=True),
            ),
            new_head="queue",
        )
    }
    position = controller.rollouts["all"].waves[1].position
    assert (position.file, position.line, position.column) == (str(FILE), 11, 9)
