"""controller.yaml: what each of its keys means."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

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
ROLLOUT = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
access: {tokens: {ops: {env: T}}, may: [{who: ["token:ops"], do: [approve]}]}
sources:
  acme: {url: https://git.example/a.git, pin: git:main, targets: {watched: {mode: observe}, "*": {mode: auto}}}
rollouts:
  all:
    waves:
      - {targets: ["canary-*", dev], soak: 30m}
      - {labels: {tier: standard}, max_parallel: 10, max_failures: 2}
      - {approve: true}
    new_head: queue
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


def test_every_key_of_a_rollout_is_read():
    """The source may be left out where there is one; what is left out matches all."""
    controller, findings = parse_and_check_configuration(ROLLOUT, FILE)
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
