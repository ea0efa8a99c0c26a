"""What is wrong with `access`: names that nobody has, shared secrets, rules without approvers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from synapse_apply.controller.configuration.placed_findings import FindingBuilder
from synapse_apply.controller.rules.access import GROUP_PREFIX, TOKEN_PREFIX
from synapse_apply.controller.rules.approving import get_person_key
from synapse_apply.controller.settings import (
    Access,
    AccessRule,
    Controller,
    Mode,
    Right,
    SecretName,
    TargetRule,
)
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.phrases import suggest_name

# Browsers or servers set these by themselves, or they carry other credentials.
_RESERVED_HEADERS = frozenset(
    {
        *("accept", "authorization", "connection", "content-length", "content-type", "cookie"),
        *("forwarded", "host", "origin", "referer", "transfer-encoding", "user-agent"),
    }
)
_WILDCARDS = "*?["


def access_findings(
    settings: Mapping[str, Any], controller: Controller, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Errors and warnings on `access`, whose settings these are, and on who could approve."""
    access = controller.access
    if access is not None:
        yield from _proxy_headers(settings.get("proxy", {}), findings)
        if access.proxy is not None and not controller.public_url:
            yield findings.build_warning(
                ("access", "proxy"),
                "The page does not know its address",
                "requests by another name than that of `listen` are refused, also those of the "
                "proxy, and there is no `public_url`",
                "write `public_url`, the address under which people reach the proxy",
            )
        yield from _shared_secrets(access, findings)
        yield from _useless_tokens(access, findings)
        for index, rule in enumerate(access.rules):
            yield from _unknown_names(access, rule, index, findings)
            yield from _unmatched_patterns(controller, rule, index, findings)
    for name, source in controller.sources.items():
        for target_rule in source.rules:
            path: FieldPath = ("sources", name, "targets", target_rule.pattern)
            scope = f"{name}/{target_rule.pattern}"
            yield from _too_few_approvers(access, target_rule, scope, path, findings)


def unapprovable_waves(controller: Controller, findings: FindingBuilder) -> Iterator[Diagnostic]:
    """Warnings on waves of rollouts that nobody could let begin."""
    for rollout in controller.rollouts.values():
        for index, wave in enumerate(rollout.waves):
            scopes = [f"{rollout.source}/{pattern}" for pattern in wave.targets or ("*",)]
            counts = [_count_approvers(controller.access, scope) for scope in scopes]
            if wave.approve and 0 in counts:
                yield findings.build_warning(
                    ("rollouts", rollout.name, "waves", index, "approve"),
                    "Nobody can approve",
                    f"who lets wave {index + 1} begin needs the right to approve all of its "
                    "targets, and `access` gives that to nobody",
                    "write a rule: may: [{who: [...], do: [approve], targets: [...]}]",
                )


def _proxy_headers(proxy: Mapping[str, Any], findings: FindingBuilder) -> Iterator[Diagnostic]:
    keys_by_header: dict[str, str] = {}
    for key in ("user_header", "groups_header", "secret_header"):
        header = str(proxy.get(key, ""))
        path: FieldPath = ("access", "proxy", key)
        other_key = keys_by_header.setdefault(header.lower(), key)
        if header and other_key != key:
            yield findings.build_error(
                path,
                "Two meanings of a header",
                f"{header} is also `{other_key}`",
                "name another header, which the proxy sets",
            )
        if header.lower() in _RESERVED_HEADERS:
            yield findings.build_error(
                path,
                "A header with another meaning",
                f"{header} is set by who asks, or by servers on the way",
                "name a header that the proxy alone sets, such as X-User",
            )


def _shared_secrets(access: Access, findings: FindingBuilder) -> Iterator[Diagnostic]:
    """One secret under two names would be two people."""
    places: dict[SecretName, str] = {}
    if access.proxy is not None:
        places[access.proxy.secret] = "the proxy"
    for name, secret in access.tokens.items():
        other = places.setdefault(secret, f"token {name}")
        if other != f"token {name}":
            yield findings.build_error(
                ("access", "tokens", name),
                "One secret for two",
                f"token {name} is read from where that of {other} is",
                "give each a secret of its own: an approval counts who gave it",
            )


def _useless_tokens(access: Access, findings: FindingBuilder) -> Iterator[Diagnostic]:
    named = {who for rule in access.rules for who in rule.who}
    for name in access.tokens:
        if f"{TOKEN_PREFIX}{name}" not in named:
            yield findings.build_warning(
                ("access", "tokens", name),
                "A token without a right",
                f"no rule of `may` names token:{name}",
                f"name it in `may`, such as {{who: [token:{name}], do: [read]}}, or remove it",
            )


def _unknown_names(
    access: Access, rule: AccessRule, index: int, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Names of `may` that nobody ever has."""
    for number, who in enumerate(rule.who):
        path: FieldPath = ("access", "may", index, "who", number)
        name = who.removeprefix(TOKEN_PREFIX)
        if who.startswith(TOKEN_PREFIX):
            if name not in access.tokens:
                yield findings.build_error(
                    path,
                    "Unknown token",
                    f"`access.tokens` has no `{name}`",
                    suggest_name(
                        name, access.tokens, f"declare it: tokens: {{{name}: {{env: NAME}}}}"
                    ),
                )
        elif access.proxy is None:
            yield findings.build_error(
                path,
                "Nobody is ever known by this name",
                f"`{who}` is somebody whom a proxy logs in, and there is no `proxy`",
                "write access.proxy, or name a token",
            )
        elif who.startswith(GROUP_PREFIX) and not access.proxy.groups_header:
            yield findings.build_error(
                path,
                "Nobody is ever in this group",
                f"`{who}` needs the header in which the proxy names groups",
                "write access.proxy.groups_header",
            )


def _unmatched_patterns(
    controller: Controller, rule: AccessRule, index: int, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Patterns of targets that fit no source."""
    for number, pattern in enumerate(rule.targets):
        if not any(_may_overlap(pattern, f"{name}/*") for name in controller.sources):
            sources = ", ".join(controller.sources)
            yield findings.build_warning(
                ("access", "may", index, "targets", number),
                "A pattern that matches no target",
                f"`{pattern}` is compared with SOURCE/TARGET, and the sources are {sources}",
                "write it as SOURCE/TARGET, such as acme/*",
            )


def _too_few_approvers(
    access: Access | None, rule: TargetRule, scope: str, path: FieldPath, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Rules of which too few people can approve anything, as far as can be told."""
    needs_people = rule.mode is Mode.APPROVE or rule.approvals > 1
    if not needs_people or rule.mode is Mode.OBSERVE:
        return
    count = _count_approvers(access, scope)
    if count is None or count >= rule.approvals:
        return
    people = f"{_format_people_count(rule.approvals)} {'has' if rule.approvals == 1 else 'have'}"
    if access is None:
        reason = "there is no `access`"
        hint = "write `access` with a rule that has `approve`, or another mode"
    else:
        reason = f"`access.may` lets {_format_people_count(count)} approve it"
        hint = "write a rule: may: [{who: [...], do: [approve], targets: [...]}]"
    yield findings.build_warning(
        path,
        "Too few people can approve",
        f"{people} to approve what is held of `{scope}`, and {reason}",
        hint,
    )


def _format_people_count(count: int) -> str:
    return {0: "nobody", 1: "one person"}.get(count, f"{count} people")


def _count_approvers(access: Access | None, scope: str) -> int | None:
    """How many people may approve a target that a scope may match; None where a group may.

    The identities of one person count once, as their approvals do.
    """
    who = {
        name
        for rule in (access.rules if access is not None else ())
        if Right.APPROVE in rule.rights
        and any(_may_overlap(pattern, scope) for pattern in rule.targets)
        for name in rule.who
    }
    if any(name.startswith(GROUP_PREFIX) for name in who):
        return None
    return len({get_person_key(access, name) for name in who})


def _may_overlap(pattern: str, other: str) -> bool:
    """Whether two patterns (fnmatch) may match one name; False only where they surely do not."""
    start, other_start = _get_literal_start(pattern), _get_literal_start(other)
    if start == pattern:
        return fnmatchcase(pattern, other)
    if other_start == other:
        return fnmatchcase(other, pattern)
    end, other_end = (_literal_end(pattern), _literal_end(other))
    return _are_nested(start, other_start) and _are_nested(end[::-1], other_end[::-1])


def _are_nested(start: str, other: str) -> bool:
    return start.startswith(other) or other.startswith(start)


def _get_literal_start(pattern: str) -> str:
    """What stands before the first wildcard."""
    return pattern[: min(pattern.find(sign) % (len(pattern) + 1) for sign in _WILDCARDS)]


def _literal_end(pattern: str) -> str:
    """What stands after the last wildcard; "" where that is a set of characters."""
    if "[" in pattern:
        return ""
    return pattern[max(pattern.rfind(sign) for sign in _WILDCARDS) + 1 :]
