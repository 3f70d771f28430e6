"""A verification as text for people, and as JSON for machines."""

import json
import math
import os
from typing import Any, Dict, List

import onnx
import onnxruntime

from ..options.fields import to_json
from ..system.files import atomic_write, ensure_folder
from ..system.versions import versions
from . import tolerances
from .metrics import ANNOTATIONS
from .stages import Stage, Verification

VERIFICATION_NAME = 'verification.json'
#: how many unmatched detections, and violations per rule, the text lists; the JSON file has all of them
_LISTED, _PER_RULE = 10, 3


def document(found: Verification) -> Dict[str, Any]:
    """Return a verification as plain JSON values; numbers that are not finite become None."""
    return plain_values(
        {
            'same': found.passed,
            'stages': {stage.name: _stage(stage) for stage in found.stages},
            'notes': found.notes,
            'tolerances': tolerances.TABLE,
            'reference': to_json(found.reference),
            'model': to_json(found.model),
            'versions': dict(versions(), onnx=onnx.__version__, onnxruntime=onnxruntime.__version__),
        }
    )


def _stage(stage):
    error = stage.error and dict(zip(('type', 'message'), stage.error))
    entry = {'outcome': stage.outcome, 'note': stage.note, 'error': error, **stage.facts}
    if 'figures' in entry:
        entry['figures'] = {
            check.name: {'reference': item['reference'], 'model': item['model'], 'difference': check.value}
            for check, item in zip(stage.checks, entry['figures'])
        }
    return entry


def plain_values(value: Any) -> Any:
    """Return records as plain JSON values, a Stage as its facts; numbers that are not finite become None."""
    if isinstance(value, Stage):
        value = value.facts
    if hasattr(value, '_asdict'):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_verification(folder: str, content: Dict[str, Any]) -> str:
    """Write verification.json into ``folder``; return its path."""
    path = os.path.join(ensure_folder(folder), VERIFICATION_NAME)
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
        lines += ['  ' + line for line in lines_of(stage)]
    lines += ['note: ' + note for note in found.notes]
    if found.passed:
        lines.append('the same model')
    elif found.failed == ['rules']:
        lines.append('NOT verified: the values are the same, but the file breaks the rules of its reader')
    else:
        lines.append(f'NOT the same model: {" and ".join(found.failed)} failed')
    return '\n'.join(lines)


def lines_of(stage: Stage, model: str = 'file') -> List[str]:
    """What a stage measured, in lines for people; ``model``: what is compared with PyTorch."""
    return _LINES[stage.name](stage.facts, stage.checks, model) if stage.checks else []


def _rules(facts, checks, _):
    if not facts['violations']:
        return [f'{len(facts["checked"])} rules of {facts["target"]} kept']
    lines = []
    for rule in facts['checked']:
        broken = [item for item in facts['violations'] if item.rule == rule]
        for item in broken[:_PER_RULE]:
            lines.append(f'{rule} at {item.node}: {item.message}' if item.node else f'{rule}: {item.message}')
        if len(broken) > _PER_RULE:
            lines.append(f'{rule}: and {len(broken) - _PER_RULE} more')
    return lines


def _heads(facts, checks, _):
    lines = [_row('head', ('scale', 'max abs', 'limit', 'mean', 'median', 'p99', 'p99 rel', 'max rel'))]
    for check, head in zip(checks, facts['heads'].values()):
        absolute, relative = head['absolute'], head['relative']
        numbers = [check.value, check.limit] + [absolute[name] for name in ('mean', 'median', 'p99')]
        cells = [f'{number:.2g}' for number in numbers + [relative['p99'], relative['max']]]
        line = _row(check.name, [f'{head["scale"]:.3g}'] + cells)
        if not check.passed:
            line += '  failed'
            if head['correlation'] is not None:
                line += f', correlation {head["correlation"]:.4f}'
        lines.append(line)
    return lines + [f'over {_images(facts)}']


def _detections(facts, _, model):
    line = f'{facts["matched"]} of {facts["reference"]} matched in {_images(facts)}'
    line += f'; largest score difference {facts["score"]["max"]:.2g}'
    if facts['least_iou'] is not None:
        line += f', lowest IoU {facts["least_iou"]:.6f}'
    lines = [line]
    missing = [item for item in facts['unmatched'] if not item.undecided]
    for item in missing[:_LISTED]:
        side = 'PyTorch' if item.side == 'reference' else 'the ' + model
        box = ' '.join(f'{value:.1f}' for value in item.box)
        lines.append(
            f'only {side}: image {item.image_id}, class {item.class_index}, score {item.score:.4f}, box {box}'
        )
    if len(missing) > _LISTED:
        lines.append(f'and {len(missing) - _LISTED} more')
    undecided = len(facts['unmatched']) - len(missing)
    if undecided:
        lines.append(f'{undecided} unmatched at a tie, within the tolerance')
    return lines


def _metrics(facts, checks, model):
    lines = [_row('', ('PyTorch', model))]
    for check, figure in zip(checks, facts['figures']):
        values = (figure['reference'], figure['model'])
        cells = ['n/a' if value is None else f'{value:.4f}' for value in values]
        lines.append(_row(check.name, cells) + ('' if check.passed else '  differs'))
    own = facts['ground_truth'] != ANNOTATIONS
    against = f', measured against {facts["ground_truth"]}' if own else ''
    return lines + [f'over {_images(facts)}{against}']


_LINES = {'rules': _rules, 'heads': _heads, 'detections': _detections, 'metrics': _metrics}


def _row(name, cells):
    return f'{name:<6}' + ''.join(f' {cell:>9}' for cell in cells)


def _images(facts):
    return '1 image' if facts['images'] == 1 else f'{facts["images"]} images'
