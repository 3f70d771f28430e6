"""A verification as text for people, and as JSON for machines."""

import json
import math
import os
from typing import Any, Dict, List

import onnx
import onnxruntime

from ..files import atomic_write, ensure_folder, remove_file
from ..provenance import versions
from . import tolerances
from .metrics import ANNOTATIONS
from .verify import Verification

REPORT_NAME = 'verification.json'
#: how many unmatched detections, and violations per rule, the text lists; the JSON file has all of them
_LISTED, _PER_RULE = 10, 3


def document(found: Verification) -> Dict[str, Any]:
    """Return a verification as plain JSON values; numbers that are not finite become None."""
    return plain_values(
        {
            'same': bool(found),
            'stages': {stage.name: _stage(stage) for stage in found.stages},
            'notes': found.notes,
            'tolerances': dict(tolerances.TABLE),
            'reference': found.reference,
            'model': found.model,
            'versions': dict(versions(), onnx=onnx.__version__, onnxruntime=onnxruntime.__version__),
        }
    )


def remove_report(folder: str) -> None:
    """Remove verification.json of an earlier run, so that an interrupted run leaves none."""
    remove_file(os.path.join(folder, REPORT_NAME))


def write_report(folder: str, content: Dict[str, Any]) -> str:
    """Write verification.json into ``folder``; return its path."""
    path = os.path.join(ensure_folder(folder), REPORT_NAME)
    with atomic_write(path) as file:
        json.dump(content, file, indent=2, allow_nan=False)
        file.write('\n')
    return path


def format_verification(found: Verification) -> str:
    """Return the stages and the verdict as text, without a trailing newline."""
    lines = []
    for stage in found.stages:
        lines.append(f'{stage.name}: {stage.outcome}' + (f' ({stage.note})' if stage.note else ''))
        if stage.error:
            lines.append('  {}: {}'.format(*stage.error))
        if stage.comparison is not None:
            lines += ['  ' + line for line in _TEXTS[stage.name](stage.comparison)]
    lines += ['note: ' + note for note in found.notes]
    failed = [stage.name for stage in found.stages if not stage]
    if found:
        lines.append('the same model')
    elif failed == ['rules']:
        lines.append('NOT verified: the values are the same, but the file breaks the rules of its reader')
    else:
        lines.append(f'NOT the same model: {" and ".join(failed)} failed')
    return '\n'.join(lines)


def lines_of(comparison: Any, model: str = 'file') -> List[str]:
    """The figures of a DetectionsComparison or a MetricsComparison, in lines for people; ``model``: what is
    compared with PyTorch."""
    text = _detections_text if hasattr(comparison, 'matched') else _metrics_text
    return text(comparison, model)


# The stages as JSON


def _stage(stage):
    error = stage.error and dict(zip(('type', 'message'), stage.error))
    entry = {'outcome': stage.outcome, 'note': stage.note, 'error': error}
    if stage.comparison is not None:
        entry.update(stage.comparison._asdict())
    entry.pop('why', None)  # of the rules; it is the note
    if 'heads' in entry:
        entry['heads'] = dict(_named(head, passed=bool(head)) for head in entry['heads'])
    if 'figures' in entry:
        entry['figures'] = dict(_named(item, difference=item.difference) for item in entry['figures'])
    return entry


def _named(item, **more):
    """Return the name of a record, and its other fields with ``more``."""
    fields = item._asdict()
    return fields.pop('name'), dict(fields, **more)


def plain_values(value: Any) -> Any:
    """Return records as plain JSON values; numbers that are not finite become None."""
    if hasattr(value, '_asdict'):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# The stages as text


def _rules_text(found):
    if found:
        return [f'{len(found.checked)} rules of {found.target} kept']
    lines = []
    for rule in found.checked:
        broken = [item for item in found.violations if item.rule == rule]
        for item in broken[:_PER_RULE]:
            lines.append(f'{rule} at {item.node}: {item.message}' if item.node else f'{rule}: {item.message}')
        if len(broken) > _PER_RULE:
            lines.append(f'{rule}: and {len(broken) - _PER_RULE} more')
    return lines


def _heads_text(found):
    titles = ('scale', 'max abs', 'limit', 'mean', 'median', 'p99', 'p99 rel', 'max rel')
    lines = [_row('head', titles)]
    for item in found.heads:
        absolute, relative = item.absolute, item.relative
        numbers = (absolute.max, item.limit, absolute.mean, absolute.median, absolute.p99)
        numbers += (relative.p99, relative.max)
        line = _row(item.name, [f'{item.scale:.3g}'] + [f'{number:.2g}' for number in numbers])
        if not item:
            line += '  failed'
            if item.correlation is not None:
                line += f', correlation {item.correlation:.4f}'
        lines.append(line)
    return lines + [f'over {_images(found)}']


def _detections_text(found, model='file'):
    line = f'{found.matched} of {found.reference} matched in {_images(found)}'
    line += f'; largest score difference {found.score.max:.2g}'
    if found.least_iou is not None:
        line += f', lowest IoU {found.least_iou:.6f}'
    lines = [line]
    for item in found.missing[:_LISTED]:
        side = 'PyTorch' if item.side == 'reference' else 'the ' + model
        box = ' '.join(f'{value:.1f}' for value in item.box)
        lines.append(
            f'only {side}: image {item.image_id}, class {item.class_index}, score {item.score:.4f}, box {box}'
        )
    if len(found.missing) > _LISTED:
        lines.append(f'and {len(found.missing) - _LISTED} more')
    undecided = len(found.unmatched) - len(found.missing)
    if undecided:
        lines.append(f'{undecided} unmatched at a tie, within the tolerance')
    return lines


def _metrics_text(found, model='file'):
    lines = [_row('', ('PyTorch', model))]
    for item in found.figures:
        numbers = ['n/a' if value is None else f'{value:.4f}' for value in (item.reference, item.model)]
        lines.append(_row(item.name, numbers) + ('' if item.difference <= found.limit else '  differs'))
    against = '' if found.ground_truth == ANNOTATIONS else f', measured against {found.ground_truth}'
    return lines + [f'over {_images(found)}{against}']


def _row(name, cells):
    return f'{name:<6}' + ''.join(f' {cell:>9}' for cell in cells)


def _images(found):
    return '1 image' if found.images == 1 else f'{found.images} images'


_TEXTS = {
    'rules': _rules_text,
    'heads': _heads_text,
    'detections': _detections_text,
    'metrics': _metrics_text,
}
