"""Which targets of a rollout its page lists, by filters in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synapse_apply.controller.page.addresses import build_rollout_path
from synapse_apply.controller.page.rollouts.rollout_views import RolloutView
from synapse_apply.controller.page.rollouts.wave_views import TargetCell
from synapse_apply.controller.rules.rollouts import MemberState
from synapse_apply.model.frozen import frozen

TARGETS_PER_PAGE = 100
_MOST_DIGITS = 7


@frozen
class TargetListQuery:
    """What an address asks for; `wave` 0 is every wave, and `page` counts from 1."""

    wave: int = 0
    state: str = ""
    page: int = 1

    @classmethod
    def from_parameters_leniently(cls, parameters: Mapping[str, str]) -> TargetListQuery:
        """The query of an address; what makes no sense there is as if it were left out."""
        state = parameters.get("state", "")
        states = {member_state.value for member_state in MemberState}
        return cls(
            _parse_number_or_zero(parameters.get("wave", "")),
            state if state in states else "",
            max(1, _parse_number_or_zero(parameters.get("page", ""))),
        )


@frozen
class TargetList:
    """A page of the list: some of the `matching_count` targets."""

    rollout: str
    query: TargetListQuery
    cells: Sequence[TargetCell]
    matching_count: int

    @property
    def page_count(self) -> int:
        return max(1, -(-self.matching_count // TARGETS_PER_PAGE))

    def build_path(
        self, *, page: int = 1, wave: int | None = None, state: str | None = None
    ) -> str:
        """The address of another page of the list, or of it with another wave or state."""
        shown_wave = self.query.wave if wave is None else wave
        return build_rollout_path(
            self.rollout,
            {
                "wave": str(shown_wave) if shown_wave else "",
                "state": self.query.state if state is None else state,
                "page": str(page) if page > 1 else "",
            },
        )


def build_target_list_page(view: RolloutView, query: TargetListQuery) -> TargetList:
    """The page that a query asks for; one behind the last is empty."""
    cells = filter_and_sort_cells(view, query.wave, query.state)
    first = (query.page - 1) * TARGETS_PER_PAGE
    page_cells = cells[first : first + TARGETS_PER_PAGE]
    return TargetList(view.summary.name, query, page_cells, len(cells))


def filter_and_sort_cells(view: RolloutView, wave: int, state: str) -> Sequence[TargetCell]:
    """The targets of a wave (0: of all) in a state ("": in any), who needs a person first."""
    order = list(MemberState)
    cells = [
        cell
        for cell in view.cells
        if state in {"", cell.state.value} and wave in {0, cell.row.wave}
    ]
    return sorted(cells, key=lambda cell: (order.index(cell.state), cell.row.wave, cell.name))


def _parse_number_or_zero(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else 0
