"""A reproduction as text, as Markdown and as JSON."""

import json
import os
from typing import Any, Dict, List

from ..files import atomic_write
from ..verification import tolerances
from .measure import NO_CLAIM, Reproduction, Row

_COLUMNS = ('network', 'claim', 'expected', 'measured', 'difference', 'tolerance', 'verdict')


def document(found: Reproduction) -> Dict[str, Any]:
    """Return the reproduction as a dict for JSON. ``reproduced`` is None if no claim fails but some could not
    be compared."""
    return {
        'reproduced': False if not found else None if found.not_comparable else True,
        'verdict': verdict(found),
        'claims': {'data': found.claims.data, 'source': found.claims.source},
        'images': found.images,
        'rows': [dict(row._asdict(), difference=row.difference) for row in found.rows],
        'tolerances': {name: tolerance._asdict() for name, tolerance in _tolerances(found)},
        'environment': found.environment,
        'settings': {
            'limit': found.settings.limit,
            'targets': list(found.settings.targets),
            'batch_size': found.settings.batch_size,
            'workers': found.settings.workers,
            'threads': found.settings.threads,
            'onnx_device': found.settings.onnx_device,
        },
        'seconds': found.seconds,
    }


def verdict(found: Reproduction) -> str:
    """Return the result in one sentence."""
    claims = sum(row.verdict != NO_CLAIM for row in found.rows)
    failing, left = len(found.failing), found.not_comparable
    if failing:
        return f'NOT reproduced: {failing} of {claims} claims {"fails" if failing == 1 else "fail"}'
    if left:
        notes = '; '.join(sorted({row.note for row in left}))
        return f'no claim fails, but only {claims - len(left)} of {claims} could be compared ({notes})'
    return f'reproduced: all {claims} claims hold'


def format_reproduction(found: Reproduction) -> str:
    """Return the rows and the verdict as text, without a trailing newline."""
    cells = [_COLUMNS] + [_cells(row) for row in found.rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
    lines = []
    for line, note in zip(cells, [''] + [row.note for row in found.rows]):
        text = '  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        lines.append(text + (f'  ({note})' if note else ''))
    return '\n'.join(lines + ['', verdict(found)])


def write_report(folder: str, found: Reproduction) -> List[str]:
    """Write report.md and report.json into ``folder``; return their paths.

    Raises:
        OutputError: a file cannot be written.
    """
    paths = [os.path.join(folder, name) for name in ('report.md', 'report.json')]
    with atomic_write(paths[0]) as file:
        file.write(_markdown(found))
    with atomic_write(paths[1]) as file:
        json.dump(document(found), file, indent=2, allow_nan=False)
        file.write('\n')
    return paths


def _markdown(found):
    columns = _COLUMNS + ('note',)
    lines = [
        f'# {found.claims.data}: claims and measurements',
        '',
        f'**{verdict(found)}**',
        '',
        (
            f'Source of the expected AP (in [0, 1]): {found.claims.source}. An export is expected to have the'
            ' AP of the PyTorch network on the same images; it is measured with onnxruntime.'
        ),
        '',
        _line(columns),
        _line(['---'] * len(columns)),
    ]
    lines += [_line(_cells(row) + (row.note,)) for row in found.rows]
    lines += [
        '',
        f'{found.images} of {found.claims.images} images were evaluated.',
        '',
        '## Tolerances',
        '',
        _line(('of', 'limit', 'unit', 'reason')),
        _line(['---'] * 4),
    ]
    lines += [
        _line((name, f'{tolerance.limit:g}', tolerance.unit, tolerance.why))
        for name, tolerance in _tolerances(found)
    ]
    lines += ['', '## Environment', '', _line(('item', 'value')), _line(['---'] * 2)]
    for name, value in found.environment.items():
        for key, item in value.items() if isinstance(value, dict) else [('', value)]:
            lines.append(_line(((name + ' ' + key).strip().replace('_', ' '), str(item))))
    lines += ['', '## Time', '', _line(('step', 'seconds')), _line(['---'] * 2)]
    lines += [_line((name, f'{seconds:.1f}')) for name, seconds in found.seconds.items()]
    return '\n'.join(lines) + '\n'


def _tolerances(found):
    """The table's entries for the rows' AP, and for the exports."""
    used = (found.claims.tolerance, tolerances.METRICS)
    return [(name, tolerance) for name, tolerance in tolerances.TABLE if tolerance in used]


def _line(cells):
    return '| ' + ' | '.join(' '.join(str(cell).split()).replace('|', '\\|') for cell in cells) + ' |'


def _cells(row: Row):
    return (
        row.network or '',
        row.claim,
        _value(row.expected),
        _value(row.measured),
        '' if row.difference is None else f'{round(row.difference, 4) + 0.0:+.4f}',  # not -0.0000
        '' if row.tolerance is None else f'{row.tolerance:g}',
        row.verdict,
    )


def _value(value):
    if isinstance(value, float):
        return f'{value:.4f}'
    return '' if value is None else str(value)[:12] + ('...' if len(str(value)) > 12 else '')
