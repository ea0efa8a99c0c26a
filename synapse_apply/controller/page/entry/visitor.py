"""What somebody who asks may read and do, at one request."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from starlette.requests import Request

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.page.entry.credentials import identify_person
from synapse_apply.controller.page.entry.readable_store import RestrictedStore
from synapse_apply.controller.page.entry.refusals import RequestRefused
from synapse_apply.controller.ports import RunningLoop
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.access import (
    Person,
    can_pause_scope,
    list_readable_patterns,
    list_rights,
)
from synapse_apply.controller.settings import Access, Right
from synapse_apply.controller.store_ports import ReadableStore, TargetFilter
from synapse_apply.model.frozen import frozen

API_PREFIX = "/api/v1/"


@frozen
class Visitor:
    """Who asks (None: nobody asks who, everybody may read), and what of the store they may read.

    `whole_store` has what they may not read, too: only to decide with.
    """

    person: Person | None
    access: Access | None
    store: RestrictedStore
    whole_store: ReadableStore

    @property
    def identity(self) -> str:
        """`proxy:NAME` or `token:NAME`; "" where nobody asks who it is."""
        return self.person.identity if self.person else ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that they are in, sorted."""
        return tuple(sorted(self.person.groups)) if self.person else ()

    def list_rights(self, name: TargetName) -> frozenset[Right]:
        return list_rights(self.access, self.person, name)

    def can_pause_scope(self, scope: str) -> bool:
        """Whether they may pause, and resume, every target that a pattern matches."""
        # One that matches is enough: a pattern of theirs has to cover the whole scope.
        page = self.whole_store.read_page_of_present_targets(TargetFilter(patterns=(scope,)), 0, 1)
        names = [target.name for target in page.targets]
        return can_pause_scope(self.access, self.person, scope, names)

    def scope_refusal(self, right: Right, scope: str) -> RequestRefused:
        """The refusal of a pattern: not found where nothing that they may read matches it."""
        if self.person is None or self.store.has_readable_target(scope):
            return build_right_refusal(right, scope, self)
        return RequestRefused.from_words(
            HTTPStatus.NOT_FOUND,
            "Nothing is known by this name",
            f"No target that you may read matches {scope}.",
            "A pattern is for SOURCE/TARGET, as the list of targets has it.",
        )

    def require_right_on(self, name: TargetName, right: Right) -> None:
        """Raise RequestRefused: not found for who may not even read the target."""
        if self.store.find_target_even_if_gone(name) is None:
            raise RequestRefused.from_words(
                HTTPStatus.NOT_FOUND,
                "Nothing is known by this name",
                f"There is no target {name} that you may read.",
            )
        if right not in self.list_rights(name):
            raise build_right_refusal(right, str(name), self)


def build_right_refusal(right: Right, scope: str, visitor: Visitor) -> RequestRefused:
    """The refusal of somebody without a right; another text for who has no name at all."""
    if visitor.person is None:
        return RequestRefused.from_words(
            HTTPStatus.FORBIDDEN,
            "Nobody may do anything here",
            "The controller does not know who asks: its configuration has no `access`.",
            "Set `access` in controller.yaml, and restart the controller.",
        )
    return RequestRefused.from_words(
        HTTPStatus.FORBIDDEN,
        "No right to do this",
        f"{visitor.identity} has no rule with `{right.value}` for {scope}.",
        "Ask whoever writes `access.may` of controller.yaml.",
    )


class Doorkeeper:
    """Says of each request who sends it."""

    def __init__(
        self, store: ReadableStore, loop: RunningLoop, read_secrets: Callable[[], AccessSecrets]
    ) -> None:
        """`read_secrets` gives the secrets of the configuration in use, at each request."""
        self._store = store
        self._loop = loop
        self._read_secrets = read_secrets

    def admit_visitor(self, request: Request) -> Visitor:
        """Who sends a request. RequestRefused for nobody, where the configuration has `access`."""
        access = self._loop.get_settings().access
        is_api = request.url.path.startswith(API_PREFIX)
        person = identify_person(access, self._read_secrets(), request.headers, is_api=is_api)
        patterns = list_readable_patterns(access, person)
        return Visitor(person, access, RestrictedStore(self._store, patterns), self._store)
