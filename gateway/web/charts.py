"""Charts as SVG for a page with a strict policy: no script, no style of their own, nothing fetched.

Colours are classes of the sheet (``console.css``), for light and dark alike; beside its colour each series
has a pattern of its own, and numbers stand beside what they are of. Whoever does not see it hears title and
description, and a table on the same page has every number. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

#: Series are told apart by so many patterns.
MOST_SERIES = 5
# Pixels of the picture: it is shown in its own size. Where the window has less room than that there is a
# second one for it, no wider than a telephone is (WCAG 1.4.10: 320 pixels, less the margins).
_NARROW = 288
_LEFT, _RIGHT, _TOP, _PLOT, _BOTTOM = 52, 14, 22, 200, 26
_HEIGHT = _TOP + _PLOT + _BOTTOM
# Of a letter at 12 px, half-width and full-width: what is too long is cut, and does not leave the picture.
_HALF, _FULL = 6.8, 12.2
_PATTERNS = (
    Markup(""),
    Markup('<path d="M-2 2l4-4M0 8l8-8M6 10l4-4" class="on" stroke-width="2"/>'),
    Markup('<circle cx="4" cy="4" r="1.7" class="dot"/>'),
    Markup('<path d="M0 4h8" class="on" stroke-width="3"/>'),
    Markup('<path d="M0 0l8 8M8 0L0 8" class="on" stroke-width="1.3"/>'),
)


@dataclass(frozen=True)
class Series:
    """Numbers, one for each place of the chart, and what they are called; None: there is none."""

    words: str
    values: Sequence[float | None]


def columns(name: str, title: str, told: str, labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """A column for each label, the series one upon the other. ``name``: of its elements, once on a page;
    ``told``: what it shows, in a sentence."""
    sums = [sum(each.values[at] or 0 for each in series) for at in range(len(labels))]
    top = _ceiling(max(sums, default=0))

    def drawn(step: float) -> list[Markup]:
        parts = [_scale(top, len(labels) * step, "{:,.0f}")]
        for at, label in enumerate(labels):
            left, foot = _LEFT + at * step + step * 0.15, float(_TOP + _PLOT)
            for number, each in enumerate(series):
                height = (each.values[at] or 0) * _PLOT / top
                foot -= height
                if height:
                    parts.append(_bar(name, number, left, foot, step * 0.7, height))
            parts.append(_under(at, label, step))
            if sums[at] and step >= 40:
                parts.append(_text(left + step * 0.35, foot - 5, f"{sums[at]:,.0f}", "middle"))
        return parts

    return _defined(name, len(series)) + _fitting(name, title, told, len(labels), drawn)


def line(name: str, title: str, told: str, labels: Sequence[str], values: Sequence[float | None]) -> Markup:
    """Shares in percent, as a line from label to label; it is broken where there is none."""

    def drawn(step: float) -> list[Markup]:
        parts = [_scale(100, len(labels) * step, "{:.0f}%")]
        points = [
            None if value is None else (_LEFT + (at + 0.5) * step, _TOP + _PLOT - value * _PLOT / 100)
            for at, value in enumerate(values)
        ]
        for run in _runs(points):
            parts.append(
                Markup('<polyline points="{}" class="line"/>').format(
                    " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
                )
            )
        # Beads that touch would be no line any more.
        radius = max(1.5, min(4.0, step / 4))
        for at, (label, value, point) in enumerate(zip(labels, values, points, strict=True)):
            parts.append(_under(at, label, step))
            if point is not None:
                parts.append(
                    Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:g}" class="s0"/>').format(*point, radius)
                )
                # Above the line, and below it where there is no room.
                beside = point[1] - 9 if point[1] > _TOP + 6 else point[1] + 19
                if step >= 40:
                    parts.append(_text(point[0], beside, f"{value:.0f}%", "middle"))
        return parts

    return _fitting(name, title, told, len(labels), drawn)


def bars(name: str, title: str, told: str, labels: Sequence[str], values: Sequence[int]) -> Markup:
    """A bar across for each label, which stands above it. As wide as the page is."""
    most, parts, row = max(values, default=0) or 1, list[Markup](), 42
    for at, (label, value) in enumerate(zip(labels, values, strict=True)):
        across = value * 78 / most
        parts.append(_text(0, at * row + 14, _cut(label, 320), "start"))
        parts.append(
            Markup('<rect x="0" y="{}" width="{:.2f}%" height="16" class="s0"/>').format(
                at * row + 20, across
            )
        )
        parts.append(
            Markup('<text x="{:.2f}%" y="{}" dx="6" font-size="12">{:,}</text>').format(
                across, at * row + 33, value
            )
        )
    return _framed(name, title, told, "100%", len(labels) * row, parts)


def legend(name: str, series: Sequence[Series]) -> Markup:
    """What each pattern of `columns` is, as a list."""
    entries = (
        Markup(
            '<li><svg width="18" height="14" aria-hidden="true" focusable="false" class="chart">'
            '<rect width="18" height="14" class="s{0}"/>{1}</svg> {2}</li>'
        ).format(number, _patterned(name, number, 0, 0, 18, 14), each.words)
        for number, each in enumerate(series)
    )
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(entries))


# -- parts -----------------------------------------------------------------------------------------------


def _fitting(
    name: str, title: str, told: str, count: int, drawn: Callable[[float], Sequence[Markup]]
) -> Markup:
    """The picture as wide as ``count`` labels need, and where that is much the narrow one beside it: the
    sheet shows one of them. ``drawn``: the parts, by the pixels for each label."""
    step, room = _step(count), _NARROW - _LEFT - _RIGHT
    width = f"{_LEFT + count * step + _RIGHT:.0f}"
    if count * step <= room:
        return _framed(name, title, told, width, _HEIGHT, drawn(step))
    wide = _framed(name, title, told, width, _HEIGHT, drawn(step), kind=" wide")
    return wide + _framed(
        f"{name}-narrow", title, told, f"{_NARROW}", _HEIGHT, drawn(room / count), kind=" narrow"
    )


def _defined(name: str, patterns: int) -> Markup:
    """The patterns of a chart, where both pictures and the legend find them: in one that is not shown they
    would be lost."""
    if patterns < 2:
        return Markup("")
    each = Markup('<pattern id="{}-p{}" width="8" height="8" patternUnits="userSpaceOnUse">{}</pattern>')
    defined = Markup("").join(each.format(name, number, _PATTERNS[number]) for number in range(1, patterns))
    return Markup(
        '<svg width="0" height="0" aria-hidden="true" focusable="false" class="chart"><defs>{}</defs></svg>'
    ).format(defined)


def _framed(
    name: str, title: str, told: str, width: str, height: float, parts: Sequence[Markup], *, kind: str = ""
) -> Markup:
    # The narrow one grows a little where there is room, letters and all.
    box = Markup(' viewBox="0 0 {} {:.0f}"').format(width, height) if kind == " narrow" else Markup("")
    return Markup(
        '<svg role="img" aria-labelledby="{0}-title {0}-desc" width="{1}" height="{2:.0f}"{3} '
        'class="chart{4}">'
        '<title id="{0}-title">{5}</title><desc id="{0}-desc">{6}</desc>{7}</svg>'
    ).format(name, width, height, box, kind, title, told, Markup("").join(parts))


def _bar(name: str, number: int, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="s{}"/>{}').format(
        x, y, width, height, number, _patterned(name, number, x, y, width, height)
    )


def _patterned(name: str, number: int, x: float, y: float, width: float, height: float) -> Markup:
    if not number:
        return Markup("")
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="url(#{}-p{})"/>').format(
        x, y, width, height, name, number
    )


def _scale(top: float, width: float, form: str) -> Markup:
    parts = list[Markup]()
    for quarter in range(5):
        y = _TOP + _PLOT - quarter * _PLOT / 4
        parts.append(_text(_LEFT - 6, y + 4, form.format(top * quarter / 4), "end"))
        kind = "grid" if quarter else "axis"
        parts.append(Markup('<path d="M{} {:.1f}h{:.0f}" class="{}"/>').format(_LEFT, y, width, kind))
    return Markup("").join(parts)


def _under(at: int, label: str, step: float) -> Markup:
    # So many of them that none reaches into the next.
    every = max(1, round(40 / step + 0.49))
    if at % every:
        return Markup("")
    return _text(_LEFT + (at + 0.5) * step, _TOP + _PLOT + 17, label, "middle")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" font-size="12" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def _step(count: int) -> float:
    """Pixels for each label: some thirteen have room for their numbers, and 157 are not a mile long."""
    return next((step for most, step in ((13, 54), (27, 42), (53, 24)) if count <= most), 12)


def _ceiling(most: float) -> int:
    """The end of the scale: a number that people like, four times one that they like, not below ``most``."""
    size = 1
    while True:
        for nice in (1, 2, 5):
            if nice * size * 4 >= most:
                return nice * size * 4
        size *= 10


def _runs(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    found: list[list[tuple[float, float]]] = [[]]
    for each in points:
        if each is None:
            found.append([])
        else:
            found[-1].append(each)
    return [run for run in found if len(run) > 1]


def _cut(text: str, most: float) -> str:
    width = 0.0
    for at, letter in enumerate(text):
        width += _HALF if letter.isascii() else _FULL
        if width > most:
            return text[: at - 1] + "…"
    return text
