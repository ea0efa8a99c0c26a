"""Parameter types of addresses and names, and what a shell completes for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import completion
from synapse_apply.cli.params.any_type import AnyParamType

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from synapse_apply.model.address import Address


class AddressType(AnyParamType):
    """A parameter such as `plugin/yolo`, converted to Address; `completer` offers completions."""

    name = "address"

    def __init__(self, completer: completion.Completer) -> None:
        self._completer = completer

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """A usage error for a text of another form."""
        from synapse_apply.model.address import Address

        try:
            return value if isinstance(value, Address) else Address.parse(value)
        except ValueError as problem:
            self.fail(f"{problem}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return self._completer(ctx, param, incomplete)


ADDRESS = AddressType(completion.complete_declared)


class NameType(AnyParamType):
    """A text that names a resource; the command resolves it with a state or manifests."""

    name = "name"

    def __init__(self, completer: completion.Completer) -> None:
        self._completer = completer

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return self._completer(ctx, param, incomplete)


DECLARED_NAME = NameType(completion.complete_declared)
RECORDED_NAME = NameType(completion.complete_recorded)


def has_address_form(text: str) -> bool:
    """Whether a text has the form KIND/NAME; the kind may be unknown."""
    from synapse_apply.model.address import Address

    try:
        Address.parse(text)
    except ValueError:
        return False
    return True
