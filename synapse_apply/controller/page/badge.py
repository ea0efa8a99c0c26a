"""How a target's badge is drawn: an SVG of two fields that needs no font of its own."""

from __future__ import annotations

from markupsafe import escape

from synapse_apply.controller.page.phrases import CONDITION_STYLES
from synapse_apply.controller.rows import TargetCondition, TargetRow
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.cells import measure_width

# Dark enough for white letters (contrast of 4.5 and more).
_COLORS = {
    "good": "#1b7837",
    "bad": "#b1241c",
    "moved": "#8a5a00",
    "git": "#0b57b8",
    "quiet": "#5a6372",
}
# Widths of letters in pixels, at 11 px of a font like Verdana, where they are not as most.
_NARROW, _WIDE = frozenset("fijlrtI.,:;'|!()[]/ -"), frozenset("mwMW@%")
_NARROW_WIDTH, _LETTER_WIDTH, _WIDE_WIDTH, _PADDING = 4.4, 7.0, 10.5, 7
# As long as SOURCE/TARGET can be.
_MAX_NAME = 130


def draw_badge(target: TargetRow | None, label: str) -> str:
    """The badge of a target; "unknown" for none."""
    style = CONDITION_STYLES[target.state if target else TargetCondition.NOT_LOOKED_AT]
    word = style.word if target else "unknown"
    name = sanitize(label[:_MAX_NAME])
    name_width, word_width = (
        round(sum(map(_letter_width, text))) + 2 * _PADDING for text in (name, word)
    )
    width = name_width + word_width
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" '
        f'viewBox="0 0 {width} 20" role="img" '
        f'aria-label="{escape(name)}: {word}"><title>{escape(name)}: {word}</title>'
        f'<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{name_width}" height="20" fill="#3a414d"/>'
        f'<rect x="{name_width}" width="{word_width}" height="20" fill="{_COLORS[style.tone]}"/>'
        '</g><g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        f'text-anchor="middle"><text x="{name_width / 2:g}" y="14">{escape(name)}</text>'
        f'<text x="{name_width + word_width / 2:g}" y="14">{word}</text>'
        "</g></svg>\n"
    )


def _letter_width(letter: str) -> float:
    if letter in _NARROW:
        return _NARROW_WIDTH
    if letter in _WIDE:
        return _WIDE_WIDTH
    return _LETTER_WIDTH * max(1, measure_width(letter))


def draw_icon(tone: str) -> str:
    """The icon of the page's tab, in the colour of the whole."""
    color = _COLORS.get(tone, _COLORS["quiet"])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
        f'<path d="M8 1l7 7-7 7-7-7z" fill="{color}"/></svg>\n'
    )
