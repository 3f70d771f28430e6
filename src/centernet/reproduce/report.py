"""A reproduction as text for people, as Markdown, and as a plain dict for machines."""

import json
import os
from typing import Any, Dict, List

from ..files import atomic_write, ensure_folder
from . import tolerances
from .running import NO_CLAIM, Reproduction, Row

REPORT_NAME, MARKDOWN_NAME = 'report.json', 'report.md'
_COLUMNS = ('network', 'claim', 'expected', 'measured', 'difference', 'tolerance', 'verdict')


def document(found: Reproduction) -> Dict[str, Any]:
    """Everything that was found, as what JSON has. ``reproduced`` is None where nothing fails but not
    everything could be compared."""
    return {
        'reproduced': False if not found else None if found.not_comparable else True,
        'verdict': verdict(found),
        'claims': {'file': found.claims.path, 'data': found.claims.data, 'source': found.claims.source},
        'images': found.images,
        'rows': [dict(row._asdict(), difference=row.difference) for row in found.rows],
        'tolerances': {name: tolerance._asdict() for name, tolerance in tolerances.TABLE},
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
    """One sentence."""
    rows, failing, left = (
        sum(row.verdict != NO_CLAIM for row in found.rows),
        len(found.failing),
        found.not_comparable,
    )
    if failing:
        return 'NOT reproduced: {} of {} claims {}'.format(failing, rows, 'fails' if failing == 1 else 'fail')
    if left:
        notes = sorted({row.note for row in left})
        return 'nothing fails, but only {} of {} claims could be compared ({})'.format(
            rows - len(left), rows, '; '.join(notes)
        )
    return f'reproduced: all {rows} claims hold'


def format_reproduction(found: Reproduction) -> str:
    """The rows and the verdict as text, without a trailing newline."""
    cells = [_COLUMNS] + [_cells(row) for row in found.rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
    lines = []
    for line, note in zip(cells, [''] + [row.note for row in found.rows]):
        text = '  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        lines.append(text + (f'  ({note})' if note else ''))
    return '\n'.join(lines + ['', verdict(found)])


def write_report(folder: str, found: Reproduction) -> List[str]:
    """Write report.json and report.md into ``folder``; returns their paths."""
    folder = ensure_folder(folder)
    paths = [os.path.join(folder, name) for name in (MARKDOWN_NAME, REPORT_NAME)]
    with atomic_write(paths[0]) as file:
        file.write(_markdown(found))
    with atomic_write(paths[1]) as file:
        json.dump(document(found), file, indent=2, allow_nan=False)
        file.write('\n')
    return paths


def _markdown(found):
    columns = _COLUMNS + ('note',)
    lines = [
        f'# {found.claims.data}: claimed and measured',
        '',
        f'**{verdict(found)}**',
        '',
        (
            f'Source of the expected AP (in [0, 1]): {found.claims.source}. Of an export is expected what the'
            ' PyTorch network has on the same images; it is measured in onnxruntime.'
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
        _line(('of', 'limit', 'unit', 'why')),
        _line(['---'] * 4),
    ]
    lines += [
        _line((name, f'{tolerance.limit:g}', tolerance.unit, tolerance.why))
        for name, tolerance in tolerances.TABLE
    ]
    lines += ['', '## Environment', '', _line(('what', 'value')), _line(['---'] * 2)]
    for name, value in found.environment.items():
        for key, item in value.items() if isinstance(value, dict) else [('', value)]:
            lines.append(_line(((name + ' ' + key).strip().replace('_', ' '), str(item))))
    lines += ['', '## Time', '', _line(('step', 'seconds')), _line(['---'] * 2)]
    lines += [_line((name, f'{seconds:.1f}')) for name, seconds in found.seconds.items()]
    return '\n'.join(lines) + '\n'


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
