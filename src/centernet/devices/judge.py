"""Judge a device's outputs: compare them, and what an evaluation made of them, with the checkpoint."""

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..coco import CocoMetrics
from ..runs.run import Run
from ..runs.score import Score
from ..system.files import atomic_write
from ..verification import ComparedBatch, Stage, compare_detections, compare_metrics, tolerances
from ..verification.summary import lines_of, plain_values
from .explain import Explanation, explain
from .mistakes import PLAIN
from .order import Order, sigmoid
from .outputs import Outputs

COMPARISON_NAME = 'comparison.json'
# images that the tolerance of float16 is for
_USUAL = 200
# how many files or images a line names
_NAMED = 3


class Judgement(NamedTuple):
    """Whether a device runs the same model.

    ``order``: which output is which head. ``explanation``, ``detections``: of the reference images; None if
    none of them has outputs. ``metrics``: None if the checkpoint was not evaluated. ``repeated``: (image,
    earlier image) with the very same hm for different inputs. ``precision``: that was allowed.
    """

    order: Optional[Order]
    explanation: Optional[Explanation]
    detections: Optional[Stage]
    metrics: Optional[Stage]
    repeated: List[Tuple[int, int]]
    precision: str

    @property
    def failures(self) -> List[str]:
        """The stages that failed."""
        if self.explanation is None:
            return ['no reference image has outputs, so nothing was compared']
        found = [] if self.explanation.allowed(self.precision) else ['heads']
        found += [] if self.detections.passed else ['detections']
        found += [] if self.metrics is None or self.metrics.passed else ['metrics']
        return found + (['repeated outputs'] if self.repeated else [])

    @property
    def passed(self) -> bool:
        """Whether it is the same model, within the precision."""
        return not self.failures


def judge(
    outputs: Outputs, found: Score, checkpoint: Optional[CocoMetrics], precision: str = 'auto'
) -> Judgement:
    """Compare what a device gave with what the checkpoint gives.

    Args:
        outputs: after the evaluation.
        found: the evaluation of the outputs.
        checkpoint: the metrics of the checkpoint on the same images, or None.
        precision: that the device may compute in: ``auto`` (either), ``float32`` or ``float16``.
    """
    device = outputs.reference_heads()
    explanation = detections = metrics = None
    half = precision != 'float32'
    if device:
        explanation = explain(device, outputs.references)
        half = half and explanation.precision != 'float32'
        detections = _detections(outputs, device, tolerances.FLOAT16 if half else tolerances.FLOAT32)
    if checkpoint is not None:
        images, limit = len(found.image_ids), tolerances.FLOAT32.metrics
        if half:  # an exchanged detection weighs more among fewer
            limit = tolerances.FLOAT16.metrics * max(1.0, _USUAL / images)
        metrics = compare_metrics(checkpoint, found.metrics, images, limit=limit)
    return Judgement(outputs.order, explanation, detections, metrics, outputs.repeated, precision)


def _detections(outputs: Outputs, device: Any, limits: tolerances.Limits) -> Stage:
    manifest, batches = outputs.manifest, []
    for number, heads in sorted(device.items()):
        image_id = outputs.references.image_ids[number]
        position, place = manifest.places[image_id]
        plain = {name: outputs.references.outputs[PLAIN][name][number] for name in heads}
        if outputs.order.is_probability:
            plain['hm'] = sigmoid(plain['hm']).astype(np.float32)
        geometries = [manifest.files[position].images[place].geometry]
        batches.append(ComparedBatch(outputs.ready(plain), outputs.ready(heads), geometries, [image_id]))
    return compare_detections(batches, limits)


def format_judgement(found: Judgement) -> str:
    """The judgement as text, without a trailing newline."""
    lines = []
    if found.explanation is not None:
        images = found.explanation.images
        lines.append(f'against the checkpoint, {images} reference image{"" if images == 1 else "s"}:')
        row = '  {:<6} {:>9} {:>9} {:>9} {:>9} {:>9}'
        lines.append(row.format('head', 'scale', 'max abs', 'mean', 'float16', 'correl.'))
        for head in found.explanation.heads:
            numbers = [f'{value:.2g}' for value in (head.largest, head.mean, head.float16)]
            correlation = 'n/a' if head.correlation is None else f'{head.correlation:.4f}'
            lines.append(row.format(head.name, f'{head.scale:.3g}', *numbers, correlation))
        lines.append('  float16: mean difference that rounding every layer to float16 makes')
        lines += ['difference: ' + words for words in found.explanation.mistakes]
        lines += ['note: ' + words for words in found.explanation.remarks]
    for stage in (found.detections, found.metrics):
        if stage is not None:
            lines += [stage.name + ':'] + ['  ' + line for line in lines_of(stage, 'device')]
    pairs = ['image {} has exactly the heat map of image {}'.format(*pair) for pair in found.repeated]
    if pairs:
        lines.append(f'difference: {_shortened(pairs)}: was an output file overwritten?')
    if found.passed:
        lines.append(f'the same model, in {found.explanation.precision}')
    elif found.explanation is None:
        lines.append(f'NOT verified: {found.failures[0]}')
    else:
        lines.append(f'NOT the same model: {" and ".join(found.failures)} failed')
    return '\n'.join(lines)


def foreign_line(foreign: List[str], folder: str) -> str:
    """A line about files that belong to none of the inputs."""
    belongs = 'file belongs' if len(foreign) == 1 else 'files belong'
    names = _shortened([os.path.relpath(path, folder) for path in foreign])
    return f'warning: {len(foreign)} {belongs} to none of the inputs: {names}'


def _shortened(items: List[str]) -> str:
    more = f', and {len(items) - _NAMED} more' if len(items) > _NAMED else ''
    return ', '.join(items[:_NAMED]) + more


def write_comparison(run: Run, found: Judgement) -> str:
    """Write comparison.json into the folder of a run; returns its path."""
    path = run.target(COMPARISON_NAME)
    with atomic_write(path) as file:
        json.dump(document(found), file, indent=2, allow_nan=False)
        file.write('\n')
    return path


def document(found: Judgement) -> Dict[str, Any]:
    """The judgement as JSON values."""
    return dict(plain_values(found), same=found.passed, failures=found.failures)
