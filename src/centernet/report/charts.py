"""What the charts of the page show; the templates draw them as SVG."""

from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .analysis import Analysis
from .curves import CURVES, RECALLS, precision_curves


class Chart(NamedTuple):
    """Lines over axes from 0 to 1. ``title``: read by screen readers. ``lines``: name -> float64 [101]."""

    title: str
    lines: Dict[str, np.ndarray]
    caption: str = ''


def precision_charts(analyses: Sequence[Analysis], number: Optional[int] = None) -> List[Chart]:
    """Chart precision over recall: the curves of one run together, or for each IoU those of both runs.

    Args:
        analyses: the runs.
        number: a class; None for the mean of the classes.

    Returns:
        The charts; none without objects.
    """
    curves = [precision_curves(item.matches, number) for item in analyses]
    what = 'mean of the classes' if number is None else analyses[0].class_names[number]
    drawn = {'': curves[0]} if curves[0] else {}
    if drawn and len(curves) > 1:
        drawn = {f'IoU {name}': {'A': curves[0][name], 'B': curves[1][name]} for name in CURVES}
    charts = []
    for caption, lines in drawn.items():
        areas = ', '.join(f'{name}: area {values.mean():.3f}' for name, values in lines.items())
        at = f' at {caption}' if caption else ''
        charts.append(Chart(f'Precision over recall{at}, {what}; {areas}', lines, caption))
    return charts


def score_chart(analyses: Sequence[Analysis]) -> Chart:
    """Chart the mean F1 over the score."""
    labels = 'AB' if len(analyses) > 1 else ['mean F1']
    lines = {label: item.curves.mean_f1() for label, item in zip(labels, analyses)}
    best = ', '.join(
        f'{label}: at most {lines[label].max():.3f}, at {item.score:.2f}'
        for label, item in zip(labels, analyses)
    )
    return Chart(f'F1 over the score; {best}', lines)


def line_path(values: np.ndarray) -> str:
    """Return the path in SVG of a line, within the axes that the template draws."""
    points = (f'{46 + 422 * x:.1f} {12 + 266 * (1 - y):.1f}' for x, y in zip(RECALLS, values))
    return 'M' + 'L'.join(points)
