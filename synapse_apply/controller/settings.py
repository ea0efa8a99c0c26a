"""What `controller.yaml` sets, as values; `configuration/` reads and checks the file.

A setting stands in the file under the name of its field, or where AT says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from synapse_apply.controller.planned_rows import RowAction, RowCause
from synapse_apply.model.cron import Window
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

# The key in a field's metadata that has the keys, joined by dots, at which the file has it; "" for
# the key at which the whole value stands.
AT = "at"
Seconds = Annotated[float, "in the file a duration, such as 10m"]
Moment = Annotated[float, "in the file an RFC 3339 time with its zone"]
PeopleCount = Annotated[int, "in the file a number, or that of each entry of a list"]
Place = Annotated[str, "in the file a path relative to its folder"]


class Mode(Enum):
    """What the controller may do with a target. OBSERVE applies on request alone."""

    OBSERVE = "observe"
    AUTO = "auto"
    APPROVE = "approve"


@frozen
class SecretName:
    """Where the controller finds a secret of its own: a variable, or a file, by `kind`."""

    kind: Literal["env", "file"]
    name: str
    position: Position | None = field(default=None, compare=False)


@frozen
class HttpsToken:
    """Git over https: the token is the password of `user`."""

    token: SecretName
    user: str = "x-access-token"


@frozen
class SshKey:
    """Git over ssh: a private key, and the host keys that are accepted (no other is)."""

    key: SecretName = field(metadata={AT: "ssh_key"})
    known_hosts: SecretName


@frozen
class ForgeStatus:
    """Where commit statuses go. `api_url` is that of the forge's API, without a final slash.

    `repository` is OWNER/NAME of GitHub, or the id or path of a GitLab project. With
    `has_context_per_target` each target of a source with few of them has a status of its own, too.
    """

    forge: Literal["github", "gitlab"]
    repository: str
    token: SecretName
    api_url: str
    has_context_per_target: bool = field(default=False, metadata={AT: "context_per_target"})


@frozen
class MayRead:
    """All that a source's targets can name: variables by pattern, and files below folders.

    `opened` are the variables of stores and sources of secrets that manifests may read, too.
    """

    variables: tuple[str, ...] = field(default=(), metadata={AT: "env"})
    files: tuple[Place, ...] = ()
    opened: tuple[str, ...] = field(default=(), metadata={AT: "allow_env"})


@frozen
class Signatures:
    """Whose signatures the commits of a source need: keys that files of the operator hold.

    `allowed_signers` is the path of SSH keys as ssh-keygen(1) reads them, `keys` that of OpenPGP
    public keys; "" for none. In mode `head` the head needs one, in mode `since_live` each commit
    that no target has yet.
    """

    allowed_signers: Place = ""
    keys: Place = ""
    mode: Literal["head", "since_live"] = "head"


@frozen
class AutoRule:
    """Which rows are applied without a person: those all of whose causes and actions are listed.

    Without `irreversible` none of them is one that cannot be undone.
    """

    causes: frozenset[RowCause] = frozenset(RowCause)
    actions: frozenset[RowAction] = frozenset(RowAction) - {RowAction.GUARD, RowAction.REPLACE}
    irreversible: bool = True


@frozen
class ApprovalRule:
    """Who has to approve the rows that it matches, and how many of them.

    `kind` "", no `actions` and `irreversible` None match all; `labels` are patterns (fnmatch) of
    values by key, all of which have to match. A guard has none of these but its action. `who` are
    names as in AccessRule, none: whoever has the right.
    """

    kind: str = ""
    actions: frozenset[RowAction] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    irreversible: bool | None = None
    who: tuple[str, ...] = ()
    count: int = 1


@frozen
class FixedPause:
    """A pause that stands in `controller.yaml`. `until` is a wall-clock time, None: for good."""

    reason: str
    until: Moment | None = None


@frozen
class BrakeHold:
    """Fields that wait for a person once they were restored often; "" matches all."""

    kind: str = ""
    field: str = ""


@frozen
class TargetRule:
    """What holds for the targets whose name matches `pattern` (fnmatch, case-sensitive).

    `interval` is in seconds; None takes the default one. `auto` counts in mode auto alone.
    `approvals` is how many people at least have to approve a row that is held; of each of the
    `approval_lists` the first that matches says more. With `not_author` none of
    them may be an author of the commits between the applied and the wanted one. Where there are
    `windows`, nothing is applied outside of them. `prune` deletes what is no longer declared; None
    takes the default. `create_state` makes the state of a target that never had one. `hosts` narrow
    those of the source for these targets. `brake_holds` are the fields for which a brake holds
    (`brake: hold`). `stricter_by` says of a rule that was merged with others whose they are,
    `is_of_now` that it is for an apply on request.
    """

    pattern: str = field(metadata={AT: ""})
    mode: Mode = Mode.OBSERVE
    interval: Seconds | None = None
    auto: AutoRule = AutoRule()
    approvals: PeopleCount = 1
    approval_lists: tuple[tuple[ApprovalRule, ...], ...] = field(
        default=(), metadata={AT: "approvals"}
    )
    not_author: bool = False
    windows: tuple[Window, ...] = ()
    pause: FixedPause | None = field(default=None, metadata={AT: "paused"})
    prune: bool | None = None
    create_state: bool = False
    hosts: tuple[str, ...] = ()
    brake_holds: tuple[BrakeHold, ...] = field(default=(), metadata={AT: "brake"})
    position: Position | None = field(default=None, compare=False)
    stricter_by: str = field(default="", compare=False)
    is_of_now: bool = field(default=False, compare=False)


@frozen
class Source:
    """A Git repository and ref that the controller follows. Times are in seconds.

    `path` is the folder of synapse-apply.yaml in the repository, "." for its top. `project_from`
    is the ref whose project file pins url, tenant, token names, allow-lists, policy and guards
    (`pin: git:REF`), "" for the revision's own. The first of `rules` that matches a target holds;
    a target that none matches is left alone. `hosts`: where its tokens may go, as in
    SYNAPSE_APPLY_HOSTS. `signed` None: commits need no signature.
    """

    name: str = field(metadata={AT: ""})
    url: str
    ref: str = "main"
    path: str = "."
    credentials: HttpsToken | SshKey | None = None
    poll: Seconds = MINUTE
    rewinds: Literal["hold", "follow"] = "hold"
    signed: Signatures | None = None
    status: ForgeStatus | None = field(default=None, metadata={AT: "commit_status"})
    may_read: MayRead = MayRead()
    hosts: tuple[str, ...] = ()
    project_from: str = ""
    rules: tuple[TargetRule, ...] = field(default=(), metadata={AT: "targets"})
    position: Position | None = field(default=None, compare=False)


@frozen
class Brake:
    """A field that was restored `after` times `within` some seconds is restored more rarely.

    At last it is restored once in `at_most_every` seconds.
    """

    after: int = 3
    within: Seconds = DAY
    at_most_every: Seconds = HOUR

    def tightened(self, figures: Mapping[str, float]) -> Brake:
        """The stricter of this and of the figures of a policy, each by itself."""
        after = min(self.after, int(figures.get("after", self.after)))
        longest = max(self.at_most_every, figures.get("at_most_every", 0.0))
        # A brake that lets go before its longest wait has come would brake nothing.
        return Brake(after, max(self.within, figures.get("within", 0.0), after * longest), longest)


@frozen
class Defaults:
    """What holds where a source or a target says nothing else. Times are in seconds.

    `jitter` is the share of an interval by which a due time varies. `keep` is the age at which
    runs are deleted. `second_look` is how long a ref must name a commit that is no descendant of
    the head before it is believed, `status_spacing` the time between two updates of one commit
    status (its end aside), `status_check` how often the status of a head is read back.
    `prune` deletes what is no longer declared.
    """

    interval: Seconds = 10 * MINUTE
    jitter: float = 0.2
    retry_first: Seconds = field(default=30.0, metadata={AT: "retry.first"})
    retry_most: Seconds = field(default=HOUR, metadata={AT: "retry.most"})
    timeout: Seconds = 30 * MINUTE
    keep: Seconds = 90 * DAY
    second_look: Seconds = MINUTE
    status_spacing: Seconds = 10.0
    status_check: Seconds = HOUR
    prune: bool = False
    brake: Brake = Brake()


class Event(Enum):
    """What people can be told of."""

    FAILED = "failed"
    RECOVERED = "recovered"
    HELD = "held"
    DRIFT = "drift"
    PAUSED = "paused"


@frozen
class Channel:
    """Where messages of some events go. `name` is unique in the file: its kind and its place.

    `secret` signs the body of a webhook (HMAC-SHA256), None: unsigned.
    """

    name: str
    kind: Literal["webhook", "slack"]
    url: SecretName
    events: frozenset[Event] = field(metadata={AT: "on"})
    secret: SecretName | None = None


@frozen
class HookSecrets:
    """Whose webhooks are listened to: the secret of each forge (`hooks: {github: {secret: ...}}`).

    None: that forge's hook does not exist. GitHub signs the body with it, GitLab sends it.
    """

    github: SecretName | None = field(default=None, metadata={AT: "github.secret"})
    gitlab: SecretName | None = field(default=None, metadata={AT: "gitlab.secret"})


class Right(Enum):
    """What somebody may do with a target."""

    READ = "read"
    RECONCILE = "reconcile"
    PAUSE = "pause"
    """Pause and resume."""
    APPROVE = "approve"
    """Approve and reject rows; let waves of rollouts begin, and resume, skip and abort them."""


@frozen
class ProxyAccess:
    """A proxy that logs people in: its headers count with its secret alone.

    `groups_header` is "" where the proxy names no groups; several are separated by commas.
    """

    user_header: str
    secret_header: str
    secret: SecretName
    groups_header: str = ""


@frozen
class OidcAccess:
    """A provider of OpenID Connect that logs people in on the page.

    `issuer` is its URL as the provider itself writes it. `user_claim` and `groups_claim` are claims
    of its ID token (OpenID Connect Core 1.0, 2).
    """

    issuer: str
    client_id: str
    client_secret: SecretName
    user_claim: str = "email"
    groups_claim: str = "groups"
    scopes: tuple[str, ...] = ("openid", "email", "profile")


@frozen
class AccessRule:
    """Who may do what with which targets.

    `who` are `group:NAME`, `proxy:NAME`, `oidc:NAME` or `token:NAME`, as they are; `targets` are
    patterns (fnmatch) of SOURCE/TARGET.
    """

    who: tuple[str, ...]
    rights: frozenset[Right] = field(metadata={AT: "do"})
    targets: tuple[str, ...] = ("*",)
    position: Position | None = field(default=None, compare=False)


@frozen
class Access:
    """Who is let in. `tokens` are for the API and to log in, by the name of who has them.

    `persons` are the people whose tokens these are, by the token's name, where that is said.
    """

    proxy: ProxyAccess | None = None
    tokens: Mapping[str, SecretName] = field(default_factory=dict)
    rules: tuple[AccessRule, ...] = field(default=(), metadata={AT: "may"})
    persons: Mapping[str, str] = field(default_factory=dict)
    oidc: OidcAccess | None = None


@frozen
class Wave:
    """A part of a rollout. Targets are those that match one of `targets` and all of `labels`.

    `targets` are patterns (fnmatch) of target names, `labels` patterns of the values of labels; one
    that is empty matches all. `soak` is for how many seconds each target has to look good.
    At most `max_parallel` targets are changed at the same time, None: all. More than `max_failures`
    targets that fail stop the rollout. With `approve` a person has to let the wave begin.
    """

    targets: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    soak: Seconds = 0.0
    max_parallel: int | None = None
    max_failures: int = 0
    approve: bool = False
    position: Position | None = field(default=None, compare=False)


@frozen
class Rollout:
    """The waves in which the targets of one source are brought to a new head.

    A target belongs to the first wave that matches it. `new_head` says what becomes of a rollout
    that is under way when a newer head comes: that one takes its place, or waits for its end.
    """

    name: str = field(metadata={AT: ""})
    source: str
    waves: tuple[Wave, ...]
    new_head: Literal["replace", "queue"] = "replace"
    position: Position | None = field(default=None, compare=False)


@frozen
class Controller:
    """All that `controller.yaml` says.

    `name` stands in status contexts, locks and audit. `public_url` is "" or the address under
    which people reach the page, without a final slash. `store_url` names the address of a
    PostgreSQL database, None for SQLite in the data folder. `rollouts` are by name. `file` is the
    file itself, None for one that was not read from a file. Without `access`, whoever reaches the
    page may read it, and nobody may do anything.
    """

    name: str = field(metadata={AT: "metadata.name"})
    sources: Mapping[str, Source]
    defaults: Defaults = Defaults()
    channels: tuple[Channel, ...] = field(default=(), metadata={AT: "notify"})
    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    public_url: str = ""
    open_metrics: bool = False
    hooks: HookSecrets = HookSecrets()
    access: Access | None = None
    store_url: SecretName | None = field(default=None, metadata={AT: "store.url"})
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    file: Path | None = field(default=None, repr=False)
