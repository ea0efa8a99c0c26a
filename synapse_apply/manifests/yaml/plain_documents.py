"""Which texts libyaml may compose as a whole: those of which there is nothing to be said.

An event for each key and value costs twice as much as the nodes that libyaml's composer makes of
them in C. It neither reads on behind a mistake nor says what is wrong, so whatever is not plain is
left to the builder, which reads every text and gives the same for a plain one.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from synapse_apply.manifests.yaml.positions import COLUMN_BITS, PositionTree
from synapse_apply.manifests.yaml.read_scalars import NON_STRING_FIRST_CHARS, parse_plain_scalar

# Where an anchor, an alias or a tag may begin. In a quoted text it is none, which costs time only.
_ANCHOR_ALIAS_OR_TAG = re.compile(r"(?:^|[\s\[{,:])[&*!]", re.MULTILINE)
# The composer goes down a level by a call in C, without a bound of its own. So many levels are a
# small part of any thread's stack. A block's level takes at least one of the characters that a
# line begins with, and a list may stand at the place of the map around it; a flow's level takes
# a bracket.
_MAX_LEADING_CHARACTERS = 60
_DEEP_LINE = re.compile(rf"\n[ \t?-]{{{_MAX_LEADING_CHARACTERS}}}")
_MAX_BRACKETS = 200
# Below the builder's, so that what is too deep is left to it.
_MAX_DEPTH = 50


class _NotPlain(Exception):
    """There is something to be said of it."""


def compose_plain_documents(text: str, first_line: int) -> list[tuple[Any, PositionTree]] | None:
    """The value and the position tree of each document of a text; None where it is not plain.

    `first_line` is added to every line.
    """
    composer_class = _import_composer()
    if composer_class is None or _may_nest_deeply(text) or _may_hold_anchor_or_tag(text):
        return None
    documents = []
    try:
        composer = composer_class(text)
        while composer.check_node():
            documents.append(_convert_plain_node(composer.get_node(), first_line, _MAX_DEPTH))
    except (_NotPlain, ValueError, yaml.YAMLError):
        return None
    return documents


def _may_nest_deeply(text: str) -> bool:
    if text.count("[") + text.count("{") > _MAX_BRACKETS:
        return True
    # Lines may end otherwise, too.
    lines = text if text.isascii() and "\r" not in text else "\n".join(text.splitlines())
    return (
        _DEEP_LINE.search(lines) is not None
        or _DEEP_LINE.match("\n" + lines[:_MAX_LEADING_CHARACTERS]) is not None
    )


def _may_hold_anchor_or_tag(text: str) -> bool:
    # Most texts hold none of the characters, which is told faster than by an expression.
    has_character = "&" in text or "*" in text or "!" in text
    return has_character and _ANCHOR_ALIAS_OR_TAG.search(text) is not None


@cache
def _import_composer() -> Any:
    """Libyaml's composer without the resolver of tags; None where PyYAML was built without it."""
    try:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # noqa: PLC0415
    except ImportError:
        return None

    class Composer(CParser):
        # No tag is asked for: any callable will do, and one of C takes no time.
        resolve = descend_resolver = ascend_resolver = "".format

        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)

    return Composer


def _convert_plain_node(node: Any, first_line: int, levels_left: int) -> tuple[Any, PositionTree]:
    """The value of a node and its position tree, as the builder makes them."""
    start = node.start_mark
    start_mark = start.line + first_line << COLUMN_BITS | start.column
    node_type = type(node)
    if node_type is ScalarNode:
        return _read_scalar(node), start_mark
    if not levels_left:
        raise _NotPlain
    if node_type is SequenceNode:
        items = [_convert_plain_node(item, first_line, levels_left - 1) for item in node.value]
        return [item[0] for item in items], (start_mark, [item[1] for item in items])
    if node_type is not MappingNode:
        raise _NotPlain
    values: dict[str, Any] = {}
    position_trees: dict[str, PositionTree] = {}
    for key_node, value_node in node.value:
        if type(key_node) is not ScalarNode:
            raise _NotPlain
        key = key_node.value
        if key in values or (not key_node.style and _is_merge_or_non_text_key(key)):
            raise _NotPlain
        start = key_node.start_mark
        key_mark = start.line + first_line << COLUMN_BITS | start.column
        if type(value_node) is ScalarNode:
            text = value_node.value
            values[key] = (
                parse_plain_scalar(text)
                if not value_node.style and (not text or text[0] in NON_STRING_FIRST_CHARS)
                else text
            )
            position_trees[key] = key_mark
        else:
            values[key], tree = _convert_plain_node(value_node, first_line, levels_left - 1)
            position_trees[key] = (key_mark, tree[1])
    return values, (start_mark, position_trees)


def _is_merge_or_non_text_key(key: str) -> bool:
    """Whether an unquoted key merges another map, or is not text."""
    if not key or key[0] in NON_STRING_FIRST_CHARS:
        return parse_plain_scalar(key) is not key
    return key == "<<"


def _read_scalar(node: Any) -> Any:
    return node.value if node.style else parse_plain_scalar(node.value)
