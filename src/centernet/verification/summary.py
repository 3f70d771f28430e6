"""A verification as text for people and as a plain dict for machines."""

import json
import math
import os
from typing import Any, Dict

import onnx
import onnxruntime

from ..errors import OutputError
from ..files import atomic_write, ensure_folder
from ..provenance import versions
from . import tolerances
from .metrics import ANNOTATIONS
from .verify import Verification

REPORT_NAME = 'verification.json'
#: how many unmatched detections, and how many violations of a rule, the text lists; the file has them all
_LISTED, _OF_A_RULE = 10, 3


def document(found: Verification) -> Dict[str, Any]:
    """Everything that was found, as what JSON has; numbers that are not finite become None."""
    return _finite(
        {
            'same': bool(found),
            'stages': {stage.name: _stage(stage) for stage in found.stages},
            'notes': list(found.notes),
            'tolerances': {name: tolerance._asdict() for name, tolerance in tolerances.TABLE},
            'reference': found.reference,
            'model': found.model,
            'versions': dict(versions(), onnx=onnx.__version__, onnxruntime=onnxruntime.__version__),
        }
    )


def remove_report(folder: str) -> None:
    """Remove an earlier run's verification.json: while a run lasts there is none."""
    try:
        os.unlink(os.path.join(folder, REPORT_NAME))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f'cannot remove {os.path.join(folder, REPORT_NAME)}: {error.strerror}') from error


def write_report(folder: str, content: Dict[str, Any]) -> str:
    """Write verification.json into ``folder``; returns the path."""
    path = os.path.join(ensure_folder(folder), REPORT_NAME)
    with atomic_write(path) as file:
        json.dump(content, file, indent=2, allow_nan=False)
        file.write('\n')
    return path


def format_verification(found: Verification) -> str:
    """The stages and the verdict as text, without a trailing newline."""
    parts = []
    for stage in found.stages:
        lines = ['{}: {}{}'.format(stage.name, stage.outcome, f' ({stage.note})' if stage.note else '')]
        if stage.error:
            lines.append('  {}: {}'.format(*stage.error))
        if stage.comparison is not None:
            lines += ['  ' + line for line in _TEXTS[stage.name](stage.comparison)]
        parts.append('\n'.join(lines))
    parts += ['note: ' + note for note in found.notes]
    failed = [stage.name for stage in found.stages if not stage]
    if found:
        parts.append('the same model')
    elif failed == ['rules']:
        parts.append('NOT verified: the values are the same, but the file breaks the rules of its reader')
    else:
        parts.append('NOT the same model: {} failed'.format(' and '.join(failed)))
    return '\n'.join(parts)


def _stage(stage):
    entry = {
        'outcome': stage.outcome,
        'note': stage.note,
        'error': stage.error and {'type': stage.error[0], 'message': stage.error[1]},
    }
    if stage.comparison is not None:
        entry.update(_DOCUMENTS[stage.name](stage.comparison))
    return entry


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rules_document(found):
    return {
        'target': found.target,
        'checked': list(found.checked),
        'violations': [item._asdict() for item in found.violations],
    }


def _heads_document(found):
    heads = [
        dict(
            item._asdict(),
            shape=list(item.shape),
            absolute=item.absolute._asdict(),
            relative=item.relative._asdict(),
            passed=bool(item),
        )
        for item in found.heads
    ]
    return {'images': found.images, 'heads': {item.pop('name'): item for item in heads}}


def _detections_document(found):
    return dict(
        found._asdict(),
        score=found.score._asdict(),
        unmatched=[dict(item._asdict(), box=list(item.box)) for item in found.unmatched],
    )


def _metrics_document(found):
    return {
        'images': found.images,
        'ground_truth': found.ground_truth,
        'figures': {
            item.name: {'reference': item.reference, 'model': item.model, 'difference': item.difference}
            for item in found.figures
        },
    }


def _rules_text(found):
    if found:
        return [f'{len(found.checked)} rules of {found.target} kept']
    lines = []
    for rule in found.checked:
        broken = [item for item in found.violations if item.rule == rule]
        lines += [
            '{}{}: {}'.format(rule, f' at {item.node}' if item.node else '', item.message)
            for item in broken[:_OF_A_RULE]
        ]
        if len(broken) > _OF_A_RULE:
            lines.append(f'{rule}: and {len(broken) - _OF_A_RULE} more')
    return lines


def _heads_text(found):
    lines = [
        '{:<6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}'.format(
            'head', 'scale', 'max abs', 'limit', 'mean', 'median', 'p99', 'p99 rel', 'max rel'
        )
    ]
    for item in found.heads:
        lines.append(
            '{:<6} {:>9.3g} {:>9.2g} {:>9.2g} {:>9.2g} {:>9.2g} {:>9.2g} {:>9.2g} {:>9.2g}{}'.format(
                item.name,
                item.scale,
                item.absolute.max,
                item.limit,
                item.absolute.mean,
                item.absolute.median,
                item.absolute.p99,
                item.relative.p99,
                item.relative.max,
                (
                    ''
                    if item
                    else '  failed'
                    + ('' if item.correlation is None else f', correlation {item.correlation:.4f}')
                ),
            )
        )
    return lines + ['over {} image{}'.format(found.images, '' if found.images == 1 else 's')]


def _detections_text(found):
    lines = [
        '{} of {} matched in {} image{}; scores differ by {:.2g} at most{}'.format(
            found.matched,
            found.reference,
            found.images,
            '' if found.images == 1 else 's',
            found.score.max,
            '' if found.least_iou is None else f', the least IoU is {found.least_iou:.6f}',
        )
    ]
    for item in found.missing[:_LISTED]:
        lines.append(
            'only {}: image {}, class {}, score {:.4f}, box {}'.format(
                'PyTorch' if item.side == 'reference' else 'the file',
                item.image_id,
                item.class_index,
                item.score,
                ' '.join(f'{value:.1f}' for value in item.box),
            )
        )
    if len(found.missing) > _LISTED:
        lines.append(f'and {len(found.missing) - _LISTED} more')
    undecided = len(found.unmatched) - len(found.missing)
    if undecided:
        lines.append(f'{undecided} unmatched at a tie within the tolerance')
    return lines


def _metrics_text(found):
    def show(value):
        return 'n/a' if value is None else f'{value:.4f}'

    lines = ['{:<6} {:>8} {:>8}'.format('', 'PyTorch', 'file')]
    lines += [
        '{:<6} {:>8} {:>8}{}'.format(
            item.name,
            show(item.reference),
            show(item.model),
            '' if item.difference <= tolerances.METRICS.limit else '  differs',
        )
        for item in found.figures
    ]
    return lines + [
        'over {} image{}{}'.format(
            found.images,
            '' if found.images == 1 else 's',
            '' if found.ground_truth == ANNOTATIONS else ', measured against ' + found.ground_truth,
        )
    ]


_DOCUMENTS = {
    'rules': _rules_document,
    'heads': _heads_document,
    'detections': _detections_document,
    'metrics': _metrics_document,
}
_TEXTS = {
    'rules': _rules_text,
    'heads': _heads_text,
    'detections': _detections_text,
    'metrics': _metrics_text,
}
