"""Charts as SVG, with the colours of the page's style sheet."""

from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 480, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 42
_SMALL_WIDTH, _SMALL_HEIGHT = 180, 130


class Series(NamedTuple):
    """A line of a chart: its name, what is drawn at the chart's positions, and its style, from 1 to 6."""

    name: str
    values: np.ndarray
    style: int


def line_chart(
    title: str,
    series: Sequence[Series],
    positions: np.ndarray,
    labels: Sequence[str],
    mark: Optional[float] = None,
) -> Markup:
    """Draw lines over axes from 0 to 1.

    Args:
        title: read by screen readers.
        series: the lines.
        positions: float64 [n], ascending, from 0 to 1.
        labels: of the horizontal and the vertical axis.
        mark: a position to mark with a vertical line.
    """
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = []
    for step in range(6):
        value = step / 5
        x, y = _LEFT + value * width, _TOP + (1 - value) * height
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}h{width}M{x:.1f} {_TOP}v{height}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP + height + 16}" text-anchor="middle">{value:.1f}</text>')
    middle = _TOP + height / 2
    parts.append(
        f'<text class="axis" x="{_LEFT + width / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f'{escape(labels[0])}</text>'
        f'<text class="axis" x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f'{escape(labels[1])}</text>'
    )
    if mark is not None:
        parts.append(f'<path class="mark" d="M{_LEFT + mark * width:.1f} {_TOP}v{height}"/>')
    parts += [_line(item, positions, _LEFT, _TOP, width, height) for item in series]
    return _svg(title, _WIDTH, _HEIGHT, 'chart', parts)


def small_chart(title: str, series: Sequence[Series], positions: np.ndarray) -> Markup:
    """Draw lines over a small frame from 0 to 1, without labels."""
    width, height = _SMALL_WIDTH - 2, _SMALL_HEIGHT - 2
    parts = [f'<path class="grid" d="M1 {1 + height / 2}h{width}M{1 + width / 2} 1v{height}"/>']
    parts.append(f'<rect class="frame" x="1" y="1" width="{width}" height="{height}"/>')
    parts += [_line(item, positions, 1, 1, width, height) for item in series]
    return _svg(title, _SMALL_WIDTH, _SMALL_HEIGHT, 'small chart', parts)


def heat_map(title: str, table: np.ndarray, names: Sequence[str]) -> Markup:
    """Draw a table of counts as squares, darker for larger shares of their row.

    Args:
        title: read by screen readers.
        table: int64 [n, n].
        names: of the rows and columns; shown when the pointer rests on a square.
    """
    step = 8
    size = step * len(table)
    parts = [f'<rect class="frame" x="0" y="0" width="{size}" height="{size}"/>']
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    for row, column in zip(*np.nonzero(table)):
        parts.append(
            f'<rect class="cell" x="{column * step}" y="{row * step}" width="{step}" height="{step}"'
            f' fill-opacity="{0.15 + 0.85 * shares[row, column]:.2f}"><title>{escape(names[row])} as'
            f' {escape(names[column])}: {table[row, column]}</title></rect>'
        )
    return _svg(title, size, size, 'heat', parts)


def _line(series: Series, positions: np.ndarray, left: float, top: float, width: float, height: float) -> str:
    points: List[str] = []
    for x, y in zip(positions, series.values):
        points.append(f'{left + x * width:.1f} {top + (1 - y) * height:.1f}')
    return f'<path class="line line{series.style}" d="M{"L".join(points)}"/>'


def _svg(title: str, width: float, height: float, kind: str, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f'{"".join(parts)}</svg>'
    )
