"""A reproduction as text, as Markdown and as JSON."""

import json
import os
from typing import Any, Dict, List

from ..system.files import atomic_write
from ..verification.tolerances import TABLE
from .measure import FAILS, NOT_COMPARABLE, REPORTS, Reproduction, Row

_COLUMNS = ('network', 'claim', 'expected', 'measured', 'difference', 'tolerance', 'verdict', 'note')


def document(found: Reproduction) -> Dict[str, Any]:
    """Return the reproduction as a dict for JSON. ``reproduced`` is None if no claim fails but some could not
    be compared."""
    settings = found.settings
    return {
        'reproduced': found.passed and (None if found.having(NOT_COMPARABLE) else True),
        'verdict': verdict(found),
        'claims': {'data': found.claims.data, 'source': found.claims.source},
        'images': found.images,
        'rows': [dict(row._asdict(), difference=row.difference) for row in found.rows],
        'environment': found.environment,
        'settings': {'limit': settings.selection.limit, 'targets': settings.targets},
    }


def verdict(found: Reproduction) -> str:
    """Return the result in one sentence."""
    claims, failing, left = len(found.rows), len(found.having(FAILS)), found.having(NOT_COMPARABLE)
    if failing:
        return f'NOT reproduced: {failing} of {claims} claims fail'
    if left:
        notes = '; '.join(sorted({row.note for row in left}))
        return f'no claim fails, but only {claims - len(left)} of {claims} could be compared ({notes})'
    return f'reproduced: all {claims} claims hold'


def format_reproduction(found: Reproduction) -> str:
    """Return the rows and the verdict as text, without a trailing newline."""
    return '\n'.join([*_claims_table(found), '', verdict(found)])


def write_report(folder: str, found: Reproduction) -> List[str]:
    """Write report.md and report.json into ``folder``; return their paths.

    Raises:
        OutputError: a file cannot be written.
    """
    paths = [os.path.join(folder, name) for name in REPORTS]
    with atomic_write(paths[0]) as file:
        file.write(_markdown(found))
    with atomic_write(paths[1]) as file:
        json.dump(document(found), file, indent=2, allow_nan=False)
        file.write('\n')
    return paths


def _markdown(found):
    claims = found.claims
    limits = [('metrics', TABLE['metrics']), (claims.tolerance, TABLE[claims.tolerance])]
    limits = [(name, f'{item.limit:g}', item.unit, item.why) for name, item in limits]
    lines = [
        f'# {claims.data}: claims and measurements',
        '',
        f'**{verdict(found)}**',
        '',
        f'Source of the expected AP (in [0, 1]): {claims.source}. An export is expected to have the AP of the'
        ' PyTorch network on the same images; it is measured with onnxruntime.',
        '',
        *_claims_table(found),
        '',
        f'{found.images} of {claims.images} images were evaluated.',
        '',
        '## Tolerances',
        '',
        *_table(('of', 'limit', 'unit', 'reason'), limits),
        '',
        '## Environment',
        '',
        '```json',
        json.dumps(found.environment, indent=2),
        '```',
    ]
    return '\n'.join(lines) + '\n'


def _claims_table(found):
    return _table(_COLUMNS, [_cells(row) for row in found.rows])


def _table(columns, rows):
    """The lines of a Markdown table, aligned for the terminal."""
    cells = [[' '.join(str(cell).split()).replace('|', '\\|') for cell in row] for row in [columns, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    cells.insert(1, ['-' * width for width in widths])
    return ['| ' + ' | '.join(map(str.ljust, row, widths)) + ' |' for row in cells]


def _cells(row: Row):
    return (
        row.network or '',
        row.claim,
        _value(row.expected),
        _value(row.measured),
        '' if row.difference is None else f'{round(row.difference, 4) + 0.0:+.4f}',  # not -0.0000
        '' if row.tolerance is None else f'{row.tolerance:g}',
        row.verdict,
        row.note,
    )


def _value(value):
    if isinstance(value, float):
        return f'{value:.4f}'
    return '' if value is None else value[:12] + '...'
