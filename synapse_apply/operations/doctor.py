"""Which checks `doctor` makes, in which order, and what becomes of one that fails.

A check is a function over the parts of a target that yields its rows: a text where all is well, or
a finding. A part is made at its first use; what needs one that cannot be made is not checked.
"""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Generic, TypeVar, overload
from urllib.parse import urlsplit

from synapse_apply import __version__
from synapse_apply.files.opening import IGNORE_FILE, OWN_FOLDER
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.wire import list_raw_objects
from synapse_apply.live.live_reader import iter_duplicate_warnings, iter_live_owners, list_of_owners
from synapse_apply.live.open_intents import acting_call_warning, list_acting_calls
from synapse_apply.manifests.project.targets import TOKEN_VARIABLE
from synapse_apply.manifests.schemas import build_marks
from synapse_apply.model.command import Command, Text
from synapse_apply.model.dated_exception import DatedException, warnings_of
from synapse_apply.model.diagnostic import Diagnostic, Severity, error_finding, warning_finding
from synapse_apply.model.errors import (
    Forbidden,
    InputError,
    RateLimited,
    RemoteError,
    RemoteTimeout,
    SecretUnavailable,
    ServerFault,
    StateError,
    SynapseApplyError,
    Unauthorized,
    Unreachable,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.phrases import format_count_and_noun, format_field_path, shown_path
from synapse_apply.model.project import Project, Target
from synapse_apply.model.report import CheckResult, CheckStatus, Checkup
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.model.state import IntentState, ProjectAndKeyIds, State
from synapse_apply.operations.exceptions import accepted_exceptions, iter_accepted_paths
from synapse_apply.operations.health import AskHealth, ask_agents, clock_findings
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.secrets.login import read_login
from synapse_apply.stores.bucket.bucket_probe import count_prunable_objects, require_suitable_bucket
from synapse_apply.stores.bucket.bucket_url import BucketAccessDenied
from synapse_apply.stores.sql import SqlStore
from synapse_apply.views.text.plan import name_accepted_fields
from synapse_apply.workspace import backend, state_access, state_key
from synapse_apply.workspace.configuration import DeclaredTarget
from synapse_apply.workspace.embedded import EmbeddedBackend
from synapse_apply.workspace.environment import normalize_base_url, require_allowed_host
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.own_folder import has_own_folder, is_own_folder_ignored
from synapse_apply.workspace.recovery_journal import Journals
from synapse_apply.workspace.state_project import project_findings
from synapse_apply.workspace.target_session import TargetSession

T = TypeVar("T")
Row = str | Diagnostic | CheckResult

# A person waits for this: one more try tells a hiccup from a failure.
_RETRIES = 1
_HOSTS_VARIABLE = "SYNAPSE_APPLY_HOSTS"
_HAS_LIST = "yes"


class UncheckedError(Exception):
    """A check cannot be made; the text says why."""


class Part(Generic[T]):
    """A part of a target, made by a method at its first use; a failure to make it is kept, too.

    As an attribute, for a check of something else, it raises UncheckedError where it is missing.
    """

    def __init__(self, missing_reason: str, make: Callable[[Parts], T]) -> None:
        """`missing_reason` is the text of that error."""
        self._missing_reason = missing_reason
        self._make = make

    @overload
    def __get__(self, parts: None, owner: object) -> Part[T]: ...
    @overload
    def __get__(self, parts: Parts, owner: object) -> T: ...
    def __get__(self, parts: Parts | None, owner: object) -> Part[T] | T:
        if parts is None:
            return self
        try:
            return self.require(parts)
        except (SynapseApplyError, RemoteError, OSError):
            raise UncheckedError(self._missing_reason) from None

    def require(self, parts: Parts) -> T:
        """The value, for the check that is about it; raises why it cannot be made."""
        made = parts.made
        if self not in made:
            try:
                made[self] = self._make(parts), None
            except Exception as problem:  # noqa: BLE001 - raised at each use
                made[self] = None, problem
        value, failure = made[self]
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value] # what its own method made


def _part(missing_reason: str) -> Callable[[Callable[[Parts], T]], Part[T]]:
    return lambda make: Part(missing_reason, make)


class Parts:
    """The parts of one target that checks use."""

    def __init__(self, session: TargetSession, *, reads_manifests: bool = True) -> None:
        """Without manifests, their secrets are unknown: no word of the server may be shown."""
        self.session = session
        self.made: dict[object, tuple[object, Exception | None]] = {}
        self._reads_manifests = reads_manifests

    @_part("the project file cannot be used")
    def project(self) -> Project:
        return self.session.project

    @_part("the target is not known")
    def target(self) -> Target:
        _ = self.project
        return self.session.target

    @_part(f"what is in {OWN_FOLDER} is not used")
    def own_folder(self) -> bool:
        return has_own_folder(self.project.root)

    @_part("the manifests cannot be read")
    def declared_target(self) -> DeclaredTarget:
        _ = self.own_folder, self.target
        return self.session.declared_target

    @_part("the embedded backend cannot start")
    def embedded_backend(self) -> EmbeddedBackend | None:
        if self.target.is_embedded:
            _ = self.own_folder
        return self.session.embedded_backend

    @_part("the target has no url")
    def url(self) -> str:
        embedded = Parts.embedded_backend.require(self)
        return embedded.url if embedded else backend.require_target_url(self.session.target)

    @_part("the token may not go to this host")
    def host_permission(self) -> None:
        embedded, url = self.embedded_backend, self.url
        if embedded is None:
            require_allowed_host(url, self.session.invocation.environ)

    @_part("there is no token that can be sent")
    def token(self) -> str | None:
        if self.embedded_backend is not None:
            return str(self.embedded_backend.token.reveal())
        return backend.require_target_token(
            self.session.target, self.session.resolver.resolve_setting
        )

    @_part("no client can be created")
    def backend(self) -> backend.ConnectedBackend:
        _ = self.url, self.host_permission, self.token
        connected_backend = self.session.backend
        if self._reads_manifests:
            with suppress(UncheckedError):
                self.session.mask_secrets_of(self.declared_target.manifests)
        return connected_backend

    @_part("the backend could not be read")
    def answer_seconds(self) -> float:
        """Seconds of the one cheap read that shows whether token and tenant are taken."""
        api = Parts.backend.require(self).api
        started_at = time.monotonic()
        api.list_jobs({"page_size": 1})
        return time.monotonic() - started_at

    @_part("the state cannot be opened")
    def store(self) -> SqlStore:
        _ = self.own_folder, self.target
        return self.session.store

    @_part("the state cannot be read")
    def state(self) -> State:
        if not self.store.exists():
            raise UncheckedError("there is no state")
        return self.store.read_state()

    def read_shared_ids(self) -> ProjectAndKeyIds | None:
        """What all who use the state must have in common; None for a state that is not shared."""
        _ = self.store
        if not self.session.is_state_shared:
            return None
        _ = self.state
        return self.session.read_shared_ids()


def run_all_checks(invocation: Invocation, *, probe_bucket: bool = True) -> Checkup:
    """As `OpenTarget.diagnose`; never raises for anything that is wrong with the target."""
    with TargetSession(invocation, read_only=True, retries=_RETRIES) as session:
        parts = Parts(session)
        sections = tuple(
            (
                title,
                tuple(
                    row
                    for check in checks
                    if probe_bucket or check is not check_bucket
                    for row in _run_check(check, parts)
                ),
            )
            for title, checks in SECTIONS
        )
        target_name = ""
        with suppress(UncheckedError):
            target_name = parts.target.name
        return Checkup(target_name, sections).with_target(invocation.target or "")


def _run_check(check: Callable[[Parts], Iterator[Row]], parts: Parts) -> list[CheckResult]:
    """The rows of one check, under the end of its name; an exception becomes its last row."""
    rows, name = list[CheckResult](), check.__name__.removeprefix("check_")
    try:
        for found in check(parts):
            rows.append(_build_row(name, found))  # kept where the next one fails
    except UncheckedError as missing:
        rows.append(CheckResult.build_unchecked(name, f"{missing}"))
    except SynapseApplyError as problem:
        rows.extend(CheckResult.from_finding(name, finding) for finding in problem.diagnostics)
    except RemoteError as failure:
        finding = error_finding(
            "A call to the backend failed", f"{failure}", request_id=failure.request_id
        )
        rows.append(CheckResult.from_finding(name, finding))
    except Exception as problem:  # noqa: BLE001 - a defect of one check must not hide the others
        # Without its text, which may hold a secret.
        frames = traceback.extract_tb(problem.__traceback__)
        place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        reason = (
            f": {problem.strerror}" if isinstance(problem, OSError) and problem.strerror else ""
        )
        detail = (
            f"{type(problem).__qualname__}{place}{reason}. This is a bug in synapse-apply: "
            "please report it."
        )
        rows.append(CheckResult.from_finding(name, error_finding("This check failed", detail)))
    return rows


def _build_row(name: str, found: Row) -> CheckResult:
    if isinstance(found, CheckResult):
        return found
    if isinstance(found, Diagnostic):
        return CheckResult.from_finding(name, found)
    return CheckResult.build_ok(name, found)


def check_tool(_parts: Parts) -> Iterator[Row]:
    """The versions of the tool and of what it runs on."""
    python = f"Python {platform.python_version()}"
    yield f"synapse-apply {__version__}, {python} on {platform.system()} {platform.machine()}"


def check_project(parts: Parts) -> Iterator[Row]:
    """The project file, with each of its errors."""
    file = Parts.project.require(parts).file
    yield shown_path(file) if file else "none in this folder or above"


def check_repository(parts: Parts) -> Iterator[Row]:
    """Which Git repository resolves Git refs."""
    # Here, not above: most commands name no Git ref.
    from synapse_apply.files.commits import read_head_id
    from synapse_apply.files.repository import find_trusted_repository

    root = parts.project.root
    try:
        repository = find_trusted_repository(root)
        head = read_head_id(root)[:7] if repository else ""
    except InputError as problem:
        for finding in problem.diagnostics:
            yield finding.with_changes(severity=Severity.WARNING)
        return
    if repository is None:
        yield "no Git repository in this folder or above"
        return
    prefix = repository.relative_path_of(root)
    texts = (
        f"{repository.top} at {head}" if head else f"{repository.top}, no commit yet",
        f"the project is in {prefix}" if prefix else "",
        "a shallow clone, which lacks older commits" if repository.is_shallow else "",
    )
    yield ", ".join(text for text in texts if text)


def check_target(parts: Parts) -> Iterator[Row]:
    """Which target is chosen."""
    yield Parts.target.require(parts).name


def check_manifests(parts: Parts) -> Iterator[Row]:
    """Whether the manifests are valid, in one line: `validate` shows each finding."""
    name, count = parts.target.name, 0
    try:
        declared = Parts.declared_target.require(parts)
        findings, count = declared.diagnostics, len(declared.desired)
        # A note of `validate` is nothing that is wrong with the target.
        findings = tuple(entry for entry in findings if entry.severity is not Severity.NOTE)
    except SynapseApplyError as problem:
        findings = problem.diagnostics
    if not findings and count:
        yield f"{format_count_and_noun(count, 'resource')} declared"
        return
    if not findings:
        yield warning_finding(
            "No manifest declares a resource",
            "An apply would forget every recorded object.",
            Text("Start with ", Command("init"), ", or check `manifests:` in the project file."),
        )
        return
    errors = sum(entry.is_error for entry in findings)
    first = next((entry for entry in findings if entry.is_error), findings[0])
    position_text = f" ({first.position})" if first.position else ""
    counted = format_count_and_noun(errors or len(findings), "error" if errors else "warning")
    finding = (error_finding if errors else warning_finding)(
        f"The manifests have {counted}",
        f"{'The first is' if len(findings) > 1 else 'It is'}: {first.summary}{position_text}. "
        f"{first.detail}",
        Text(Command("validate", target=name), " shows all."),
    )
    yield CheckResult.from_finding("manifests", finding, counted_findings=findings)


def check_secrets(parts: Parts) -> Iterator[Row]:
    """Of each source of secrets that the target sets up: what opens it, and why not others.

    Where it is a server, also whether it takes the login; it is asked for no secret.
    """
    _ = parts.target
    resolver = parts.session.resolver
    for source, offers in resolver.list_setting_offers_by_source().items():
        text = "; ".join(map(str, offers))
        if not any(not offer.reason for offer in offers):
            finding = warning_finding(
                f"Secrets of {source} cannot be read here",
                f"{text}.",
                "Only plan and apply need them, to compare and send secrets.",
            )
            yield CheckResult.from_finding("secrets", finding, source)
            continue
        yield CheckResult.build_ok("secrets", text, source)
        try:
            if access := resolver.ask_for_access(source):
                yield CheckResult.build_ok("secrets", access, source)
        except SecretUnavailable as refusal:
            for finding in refusal.diagnostics:
                yield CheckResult.from_finding("secrets", finding, source)


def check_url(parts: Parts) -> Iterator[Row]:
    """The url and the setting it comes from; a warning for http:// to another machine."""
    url, target = Parts.url.require(parts), parts.target
    if target.is_embedded:
        yield f"{url} (the embedded backend)"
        return
    yield f"{url} ({_describe_source(target, 'url')})"
    url_parts = urlsplit(url)
    if url_parts.scheme == "http" and not is_loopback(url_parts.hostname or ""):
        yield warning_finding(
            "The token is sent unencrypted",
            f"{url} does not use TLS.",
            "Use https:// if the backend has it.",
        )


def check_hosts(parts: Parts) -> Iterator[Row]:
    """Whether the token may be sent to this host."""
    Parts.host_permission.require(parts)
    if _HOSTS_VARIABLE not in parts.session.invocation.environ:
        yield f"no limit ({_HOSTS_VARIABLE} is not set)"
    elif parts.target.is_embedded:
        yield "no limit (the embedded backend is this process's own)"
    else:
        yield f"allowed by {_HOSTS_VARIABLE}"


def check_token(parts: Parts) -> Iterator[Row]:
    """Where the token comes from, never what it is."""
    access_token, target = Parts.token.require(parts), parts.target
    if target.is_embedded:
        yield "the embedded backend's own, new at each start"
        return
    if access_token is None:
        yield f"none, and this is a loopback address: {target.describe_setting_sources('token')}"
        return
    source = _describe_source(target, "token").removeprefix("from ")
    if target.token is not None and target.token.source != "login":
        is_of_target = "of the target" in source
        yield f"from {target.token.name} ({source})" if is_of_target else f"from {source}"
        return
    yield f"from {source} (a login with the vendor's tools)"
    login = read_login(parts.session.invocation.environ)
    if target.token is not None and login and login.is_exposed:
        yield warning_finding(
            "Others can read the login file",
            f"{login.file_label} contains a token, and its permissions let others on this machine "
            "read it.",
            f"`chmod 600 {login.file_label}`",
        )


def _describe_source(target: Target, setting: str) -> str:
    """Where the value of a setting comes from, and which other value it overrides."""
    offers = target.looked_at.get(setting, ())
    source = next((offer.source for offer in offers if not offer.reason), "")
    description = source if "of the target" in source else f"from {source}"
    return "; ".join((description, *(str(offer) for offer in offers if offer.unused)))


def check_backend(parts: Parts) -> Iterator[Row]:
    """Whether the backend answers and accepts the token, by one cheap read."""
    try:
        seconds = Parts.answer_seconds.require(parts)
    except RemoteError as failure:
        yield _failed_read_finding(failure, parts)
        return
    # The embedded backend takes its own token, which says nothing of anybody's.
    is_token_sent = parts.token and not parts.target.is_embedded
    yield f"answers in {seconds * 1000:.0f} ms{' and accepts the token' if is_token_sent else ''}"


_FAILED_READ_TEXTS: tuple[tuple[type[RemoteError], str, str], ...] = (
    (Unauthorized, "The backend does not accept the token", "Set {token} to a valid token."),
    (
        Forbidden,
        "The backend refuses this token",
        "Check the tenant ({tenant}) and the permissions of the token in {token}.",
    ),
    (RateLimited, "The backend limits requests", "Try again later."),
    (RemoteTimeout, "The backend does not answer in time", "Check the url and the network."),
    (
        Unreachable,
        "The backend cannot be reached",
        "Check the url, the network and the proxy (HTTPS_PROXY, NO_PROXY).",
    ),
    (
        ServerFault,
        "The backend reports a server error",
        "Try again later, or ask the backend's operator.",
    ),
    (
        RemoteError,
        "The answer is not from this API",
        "Check the url: it may lack a prefix, or point to a different server.",
    ),
)


def _failed_read_finding(failure: RemoteError, parts: Parts) -> Diagnostic:
    """The error for a failed cheap read, with what to do."""
    summary, hint = next(texts for kind, *texts in _FAILED_READ_TEXTS if isinstance(failure, kind))
    target = parts.target
    token = TOKEN_VARIABLE if target.token is None else target.token.name
    hint = hint.format(token=token, tenant=target.tenant or "none named")
    return error_finding(summary, f"{failure}", hint, request_id=failure.request_id)


def check_tenant(parts: Parts) -> Iterator[Row]:
    """Which tenant is requested; a backend that disagrees refuses the read."""
    target, _ = parts.target, parts.answer_seconds
    if target.is_embedded:
        yield "the embedded backend's own"
    elif target.tenant:
        yield f"{target.tenant} ({_describe_source(target, 'tenant')})"
    else:
        yield "none named: the token's tenant is used"


def check_api(parts: Parts) -> Iterator[Row]:
    """The API version used for each kind."""
    target, _ = parts.target, parts.answer_seconds
    kinds: dict[str, list[str]] = {}
    for kind in CATALOGUE.values():
        kinds.setdefault(kind.select_newest_binding(target.api).api, []).append(kind.prefix)
    yield "; ".join(f"{version} for {', '.join(names)}" for version, names in sorted(kinds.items()))


def check_capability(parts: Parts) -> Iterator[Row]:
    """Operations that this backend has and some others lack."""
    target, _ = parts.target, parts.answer_seconds
    client = parts.backend.api
    for kind in CATALOGUE.values():
        binding = kind.select_newest_binding(target.api)
        if binding.probe_list is None:
            continue
        try:
            has_list = binding.probe_list(client)
        except RemoteError as failure:
            finding = error_finding(
                "It is unknown what this backend can do",
                f"{failure}",
                "Without an answer, the tool cannot plan. Ask the backend's operator.",
                request_id=failure.request_id,
            )
            yield CheckResult.from_finding("capability", finding, binding.list_capability)
            continue
        missing_text = f"no: import each {kind.prefix} that exists before the first apply"
        yield CheckResult.build_ok(
            "capability", _HAS_LIST if has_list else missing_text, binding.list_capability
        )


def check_agents(parts: Parts) -> Iterator[Row]:
    """The rows for the target's agents; without a backend, only their variables are checked."""
    if not (agents := tuple(parts.target.agents.items())):
        yield "the target names none"
        return
    ask_health: AskHealth | None = None
    reason = ""
    try:
        _ = parts.answer_seconds
        ask_health = parts.backend.api.health_check_agent
    except UncheckedError as missing:
        reason = f"{missing}"
    yield from ask_agents(agents, parts.session.resolver.resolve_setting, ask_health, reason)


def check_clock(parts: Parts) -> Iterator[Row]:
    """How far this machine's clock is from the server's, by the answers so far."""
    target, skew = parts.target, parts.backend.server_clock.skew
    if skew is None:
        raise UncheckedError("no answer had the server's time")
    yield from clock_findings(skew, target) or (
        f"this machine's clock {skew.local_clock_description}",
    )


def check_folder(parts: Parts) -> Iterator[Row]:
    """Whether the tool's folder beside the project is its own, and was not committed."""
    root = parts.project.root
    folder = root / OWN_FOLDER if Parts.own_folder.require(parts) else root
    # Asked of the system: a read-only mount shows in no mode of the folder.
    if not os.access(folder, os.W_OK | os.X_OK):
        is_state_kept_there = True
        with suppress(UncheckedError):
            is_state_kept_there = not parts.target.state.url
        if is_state_kept_there:
            yield error_finding(
                "The state cannot be written",
                f"You cannot write to {folder}. In {OWN_FOLDER} there, apply keeps the state, its "
                "key, and calls that it could not write to the state.",
                "Make the folder writable, work in a copy of it, or set the target's `state.url` "
                "to a different location.",
            )
            return
        yield warning_finding(
            "The project folder is not writable",
            f"You cannot write to {folder}. Calls that the tool cannot write to the state would go "
            "to the system's temporary folder, and the tool could not notice there that the state "
            "was rolled back.",
            "Make the folder writable, or work in a copy of it.",
        )
    elif folder == root:
        yield "none yet"
    elif is_own_folder_ignored(root):
        yield f"{folder}: yours, not a link, and ignored by Git"
    else:
        yield warning_finding(
            "Git does not ignore the folder for states and keys",
            f"{folder / IGNORE_FILE} does not make Git ignore the whole folder, so `git add -A` "
            "would add the state key.",
            "The next command that writes there repairs this. To repair it now: `echo '*' "
            f"> {OWN_FOLDER}/.gitignore`.",
        )


def check_state(parts: Parts) -> Iterator[Row]:
    """Whether a state exists that this version can read, and where it is stored."""
    store = Parts.store.require(parts)
    # Before the warnings: what was read may be one of them.
    if has_state := store.exists():
        with suppress(StateError):
            store.read_header()
    yield from store.list_warnings()
    if has_state:
        state = Parts.state.require(parts)
        records = format_count_and_noun(len(state.records), "record")
        last_seen = parts.session.last_seen_files
        yield from last_seen.build_findings_if_state_is_older(store, parts.target) or (
            f"{store.where}: {records}, serial {state.serial}",
        )
        return
    target, embedded = parts.target, parts.embedded_backend
    if embedded is None:
        raise state_access.build_missing_state_error(target, parts.session.seen_place)
    if not embedded.is_new:
        raise state_access.embedded_mismatch(target, state_access.NO_STATE_TEXT)
    yield "none yet: the first run of the embedded backend creates it"


def check_bucket(parts: Parts) -> Iterator[Row]:
    """Whether a bucket does what a state needs, and what pruning left; no row for another store.

    One object is made for it, and deleted.
    """
    target, _ = parts.target, parts.store
    with state_access.bucket_folder(parts.session, target.state.url) as folder:
        if folder is None:
            return
        count = count_prunable_objects(folder)
        try:
            may_delete = require_suitable_bucket(folder)
        except BucketAccessDenied as denied:
            # A job that only plans has no right to write, and needs none.
            finding = denied.diagnostics[0]
            yield warning_finding(
                "This job does not have permission to write the state", finding.detail, finding.hint
            )
            return
    left_text = f"{format_count_and_noun(count, 'old object')} not deleted yet"
    if may_delete:
        yield f"creates an object only once, and lists it; {left_text}"
        return
    yield warning_finding(
        "The state's old objects cannot be deleted",
        f"{folder.location}: {left_text}. They do no harm, but they take space.",
        "Grant permission to delete in this folder (s3:DeleteObject). If a lock or a policy "
        "of the bucket forbids that, ignore this warning.",
    )


def check_binding(parts: Parts) -> Iterator[Row]:
    """Whether the state belongs to the target's current url and tenant."""
    recorded, target, embedded = parts.state.binding, parts.target, parts.embedded_backend
    if embedded is not None and recorded.data_set != embedded.data_set:
        raise state_access.embedded_mismatch(target, state_access.OTHER_DATA_TEXT)
    expected = state_access.build_state_identity(normalize_base_url(parts.url), target, embedded)
    yield from state_access.identity_findings(recorded, target, expected) or (
        f"made for {state_access.describe_identity(recorded)}",
    )


def check_sharing(parts: Parts) -> Iterator[Row]:
    """Whether a shared state is bound to this project; no row for any other state."""
    shared_ids, project = parts.read_shared_ids(), parts.project
    if shared_ids is not None:
        yield from project_findings(shared_ids, project, parts.target) or (
            f"bound to this project, {project.id}",
        )


def check_lineage(parts: Parts) -> Iterator[Row]:
    """Whether the state has the lineage that the project file pins."""
    lineage, target = parts.state.lineage, parts.target
    pin_text = "as the project file pins it" if target.state.lineage else "not pinned"
    yield from state_access.lineage_findings(lineage, target) or (f"{lineage} ({pin_text})",)


def check_key(parts: Parts) -> Iterator[Row]:
    """Whether the state key exists, and is the one that recorded secrets were digested with."""
    project, target, _ = parts.project, parts.target, parts.own_folder
    keys = parts.session.state_keys
    yield from keys.warnings
    used_ids: set[str] = set()
    with suppress(UncheckedError):
        used_ids = state_key.key_ids_of_digests(parts.state)
    shared_ids = None
    with suppress(UncheckedError):
        shared_ids = parts.read_shared_ids()
    if shared_ids is not None and shared_ids.key_id:
        findings = state_key.shared_key_findings(keys, parts.session.key_sources, shared_ids.key_id)
        if findings:
            yield from findings
            return
    if (current_key := keys.current_key) is None:
        # A state that cannot be opened may exist, and so may a secret in manifests with errors.
        has_no_state = declares_secret = False
        with suppress(UncheckedError, SynapseApplyError):
            has_no_state = not parts.store.exists()
        if has_no_state:
            yield "none here: it is created with the state"
            return
        with suppress(UncheckedError):
            declares_secret = bool(used_ids) or state_key.declares_any_secret(
                parts.declared_target.desired
            )
        yield (
            state_key.build_no_key_warning(project, target)
            if used_ids or declares_secret
            else "none, and no secret needs one yet"
        )
        return
    unknown_ids = sorted(used_ids - {entry.key_id for entry in keys.all_keys})
    if unknown_ids:
        yield warning_finding(
            "Secrets were digested with a different state key",
            f"The state names key {', '.join(unknown_ids)}; the available key is "
            f"{current_key.key_id} from {current_key.origin}. Those secrets are not "
            "compared.",
            Text(
                "Restore that key, or digest the secrets again: ",
                Command("state rekey"),
                ".",
            ),
        )
    else:
        yield f"{current_key.key_id} from {current_key.origin}"


def check_lock(parts: Parts) -> Iterator[Row]:
    """Whether a run would have to wait."""
    _ = parts.state
    notes = parts.store.list_lock_held_findings_unless_owner_ended()
    yield from (warning_finding(note.summary, note.detail, note.hint) for note in notes)
    if not notes:
        yield "free"


def check_accepted(parts: Parts) -> Iterator[Row]:
    """Differences between manifest and live object that `state accept` recorded as accepted.

    As far as the record shows that they still differ.
    """
    names = [
        f"{address}: {format_field_path(path)}"
        for address, record in sorted(parts.state.records.items())
        for path in iter_accepted_paths(record)
    ]
    undo_hint = Text(Command("state accept ADDRESS --undo"), " shows them in plans again")
    yield Text(f"{name_accepted_fields(names)} ", undo_hint) if names else "no difference"


def check_exceptions(parts: Parts) -> Iterator[Row]:
    """What is let pass until a day, if it has ended or ends within a week; else no row."""
    exceptions: list[DatedException] = []
    with suppress(UncheckedError, SynapseApplyError):  # told by the check of the manifests
        _ = parts.declared_target
        exceptions += parts.session.exceptions
    with suppress(UncheckedError):
        exceptions += accepted_exceptions(parts.state.records)
    yield from warnings_of(exceptions, parts.session.today)


def check_calls(parts: Parts) -> Iterator[Row]:
    """Calls with unknown outcome, and calls that only a recovery journal has."""
    _ = parts.own_folder
    project, target = parts.project, parts.target
    keys, lineage = StateKeys(), ""
    with suppress(InputError):  # told by the check of the key
        keys = parts.session.state_keys
    with suppress(UncheckedError):
        lineage = parts.state.lineage
    journals = Journals(project, target, keys, lineage)
    unrecorded = journals.warn(lambda: parts.state)
    yield from unrecorded
    state = parts.state
    answered = journals.done_calls(state)
    acting = [
        acting_call_warning(seconds, call)
        for seconds, call in list_acting_calls(parts.session, state)
        if call.state is not IntentState.OPEN  # told of below
    ]
    yield from acting
    calls = ", ".join(
        f"{entry.verb} of {entry.address} (sent {entry.sent_at})"
        for entry in state.open_intents
        if entry.id not in answered  # its file is told of above
    )
    if not calls:
        if not (unrecorded or acting):
            yield "none of unknown outcome"
        return
    yield warning_finding(
        "The outcome of earlier calls is unknown",
        f"{calls}.",
        "The run in progress may have sent them, and may still get their answers."
        if parts.store.list_lock_held_findings_unless_owner_ended()
        else Text(
            "The next apply looks them up first; ", Command("plan"), " shows what it would do."
        ),
    )


def check_twins(parts: Parts) -> Iterator[Row]:
    """Whether a second live object has the natural key of a recorded one."""
    records, _ = parts.state.records, parts.answer_seconds
    marks = build_marks(parts.project.providers)
    api, versions = parts.backend.api, parts.target.api
    count = 0
    for prefix, kind in CATALOGUE.items():
        kind_records = {
            address: record for address, record in records.items() if address.kind == prefix
        }
        if not kind_records:
            continue
        binding = kind.select_newest_binding(versions)
        raw_objects: Sequence[ServerObject] = list_raw_objects(api, binding) or ()
        if binding.list_objects is None and binding.list_members_or_none is not None:
            parent = CATALOGUE[kind.rules[kind.series_field].references]
            owners = iter_live_owners(
                api, kind, parent.select_newest_binding(versions), kind_records, marks
            )
            raw_objects = list_of_owners(api, binding, owners)
        for warning in iter_duplicate_warnings(kind, binding, kind_records, raw_objects, marks, {}):
            count += 1
            yield warning
    if not count:
        yield "the lists show no second live object with a recorded name"


# In the order in which one thing needs another. The clock comes last of what is asked of the
# backend: it is told by the answers to all the rest.
SECTIONS: tuple[tuple[str, tuple[Callable[[Parts], Iterator[Row]], ...]], ...] = (
    (
        "Project",
        (check_tool, check_project, check_repository, check_target, check_manifests, check_secrets),
    ),
    (
        "Backend",
        (
            *(check_url, check_hosts, check_token, check_backend, check_tenant, check_api),
            *(check_capability, check_agents, check_clock),
        ),
    ),
    (
        "State",
        (
            *(check_folder, check_state, check_bucket, check_binding, check_sharing),
            *(check_lineage, check_key, check_lock, check_accepted, check_exceptions, check_calls),
            check_twins,
        ),
    ),
)


_EMPTY = "An empty state records no objects."


@frozen
class BackendOffer:
    """`rows` as in `doctor`; none where the backend could not be asked, and `unasked` says why.

    `listed` and `unlisted` are the kinds that only some backends can list.
    """

    rows: tuple[CheckResult, ...] = ()
    unasked: str = ""
    listed: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def empty_state_risk(self) -> str:
        """What an empty state cannot protect from here; on any backend if it was not asked."""
        lists, lacks = (
            " and ".join(f"{kind}s" for kind in kinds) for kinds in (self.listed, self.unlisted)
        )
        if lacks:
            return (
                f"{_EMPTY} This backend does not list {lacks}: import those that exist and "
                "that `plan` would create, or apply creates them a second time. Everything "
                "else is found by name and adopted."
            )
        if lists:
            return (
                f"{_EMPTY} This backend lists {lists}, so `plan` finds existing objects by "
                "code or name and adopts them."
            )
        return (
            f"{_EMPTY} `plan` asks this backend for existing objects: it finds storages and "
            "releases, and plugins if the backend lists them, by name and adopts them. If "
            "it does not list plugins, import those that exist and that `plan` would "
            "create, or apply creates them a second time."
        )


def read_offer(invocation: Invocation) -> BackendOffer:
    """As `TargetLive.read_offer`; a failure is in the result and never raised."""
    with TargetSession(invocation, read_only=True, retries=_RETRIES) as session:
        parts = Parts(session, reads_manifests=False)
        rows: list[CheckResult] = []
        try:
            Parts.answer_seconds.require(parts)
            rows += [_build_row("api", found) for found in check_api(parts)]
            rows += [_build_row("capability", found) for found in check_capability(parts)]
            broken = [row for row in rows if row.status is not CheckStatus.OK]
        except RemoteError as failure:
            broken = [_build_row("backend", _failed_read_finding(failure, parts))]
        except SynapseApplyError as problem:
            broken = [_build_row("", finding) for finding in problem.diagnostics]
        except UncheckedError as missing:
            return BackendOffer(unasked=f"{missing}")
        for row in broken:
            # Without the server's own words.
            request_id = row.first_request_id
            id_text = f" (request id {request_id})" if request_id else ""
            return BackendOffer(unasked=f"{row.summary}{id_text}")
        lists = {row.subject for row in rows if row.summary == _HAS_LIST}
        listed: list[str] = []
        unlisted: list[str] = []
        for kind in CATALOGUE.values():
            if any(binding.list_capability for binding in kind.bindings.values()):
                needs = kind.select_newest_binding(parts.target.api).list_capability
                (listed if not needs or needs in lists else unlisted).append(kind.prefix)
        return BackendOffer(tuple(rows), listed=tuple(listed), unlisted=tuple(unlisted))
