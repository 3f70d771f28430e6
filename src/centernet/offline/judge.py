"""Judge a device's outputs: evaluate them, and compare them with the checkpoint."""

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
import torch

from ..coco import CocoData, CocoMetrics
from ..detection.heads import of_outputs
from ..evaluation import Evaluation
from ..files import atomic_write
from ..verification import ComparedBatch, compare_detections, compare_metrics, tolerances
from ..verification.detections import DetectionsComparison
from ..verification.metrics import MetricsComparison
from ..verification.summary import lines_of, plain_values
from .explain import Explanation, explain
from .outputs_runner import OutputsLoader
from .reading import BadOutput
from .reference import References
from .roles import reference_positions, sigmoid
from .variants import PLAIN

COMPARISON_NAME = 'comparison.json'
PRECISIONS = ('auto', 'float32', 'float16')
# images that the tolerance of float16 is for
_USUAL = 200
# how many files or images a line names
_NAMED = 3


class Judgement(NamedTuple):
    """Whether a device runs the same model; true if it does, within the precision.

    ``explanation``, ``detections``: of the reference images; None if none of them has outputs. ``metrics``:
    None if the checkpoint was not evaluated. ``repeated``: (image, earlier image) with the very same hm for
    different inputs. ``precision``: that was allowed.
    """

    explanation: Optional[Explanation]
    detections: Optional[DetectionsComparison]
    metrics: Optional[MetricsComparison]
    repeated: List[Any]
    precision: str

    @property
    def failures(self) -> List[str]:
        """The stages that failed."""
        if self.explanation is None:
            return ['no reference image has outputs, so nothing was compared']
        found = [] if self.explanation.allowed(self.precision) else ['heads']
        found += [] if self.detections else ['detections']
        found += [] if self.metrics is None or self.metrics else ['metrics']
        return found + (['repeated outputs'] if self.repeated else [])

    def __bool__(self) -> bool:
        return not self.failures


def reference_heads(loader: OutputsLoader, references: References) -> Dict[int, Dict[str, np.ndarray]]:
    """Number of a reference image -> head -> float32 [channels, h, w], of the device; without those that are
    missing or damaged."""
    found = {}
    if loader.runner.roles is None:
        return found
    for position, places in reference_positions(loader.manifest, references).items():
        try:
            heads = loader.heads(position)
        except BadOutput:
            continue
        if position in loader.found.cells and not loader.found.parts.get(position):
            continue  # parts of the outputs cannot be compared value by value
        for place, number in places:
            found[number] = {name: array[place] for name, array in heads.items()}
    return found


def judge(
    loader: OutputsLoader,
    references: References,
    found: Evaluation,
    checkpoint: Optional[CocoMetrics],
    precision: str = 'auto',
) -> Judgement:
    """Compare what a device gave with what the checkpoint gives.

    Args:
        loader: after the evaluation.
        references: of the checkpoint.
        found: the evaluation of the outputs.
        checkpoint: the figures of the checkpoint on the same images, or None.
        precision: the one that the device may compute in, one of :data:`PRECISIONS`.
    """
    device = reference_heads(loader, references)
    explanation = detections = metrics = None
    half = precision != 'float32'
    if device:
        explanation = explain(device, references)
        half = half and explanation.precision != 'float32'
        detections = _detections(
            loader, references, device, tolerances.FLOAT16 if half else tolerances.FLOAT32
        )
    if checkpoint is not None:
        images = found.document['images']
        limit = tolerances.FLOAT32.metrics
        if half:  # an exchanged detection weighs more among fewer
            limit = tolerances.FLOAT16.metrics * max(1.0, _USUAL / images)
        metrics = compare_metrics(checkpoint, found.metrics, images)._replace(limit=limit)
    return Judgement(explanation, detections, metrics, loader.repeated, precision)


def format_judgement(found: Judgement, references: References) -> str:
    """The judgement as text, without a trailing newline."""
    lines = []
    if found.explanation is not None:
        lines.append(f'against the checkpoint, {_count(found.explanation.images, "reference image")}:')
        lines += ['  ' + line for line in _heads_lines(found.explanation)]
        lines += ['difference: ' + words for words in found.explanation.mistakes]
        lines += ['note: ' + words for words in found.explanation.remarks]
        lines += ['detections:'] + ['  ' + line for line in lines_of(found.detections, 'device')]
    if found.metrics is not None:
        lines += ['metrics:'] + ['  ' + line for line in lines_of(found.metrics, 'device')]
    if found.repeated:
        pairs = ', '.join(f'{image} has those of {earlier}' for image, earlier in found.repeated[:_NAMED])
        more = len(found.repeated) - _NAMED
        lines.append(
            'difference: {} the very same hm as another image: {}{}'.format(
                'an image has' if len(found.repeated) == 1 else f'{len(found.repeated)} images have',
                pairs,
                f', and {more} more' if more > 0 else '',
            )
        )
    if found.failures:
        lines.append(f'NOT the same model: {" and ".join(found.failures)} failed')
        if found.explanation is None:
            lines[-1] = f'NOT verified: {found.failures[0]}'
    else:
        lines.append(f'the same model, in {found.explanation.precision}')
    return '\n'.join(lines)


def foreign_line(foreign: List[str], folder: str) -> List[str]:
    """A line about files that belong to none of the inputs; none if there are no such."""
    if not foreign:
        return []
    names = [os.path.relpath(path, folder) if os.path.isabs(path) else path for path in foreign[:_NAMED]]
    more = '' if len(foreign) <= _NAMED else f', and {len(foreign) - _NAMED} more'
    belongs = 'file belongs' if len(foreign) == 1 else 'files belong'
    return [f'warning: {len(foreign)} {belongs} to none of the inputs: {", ".join(names)}{more}']


def write_comparison(folder: str, found: Judgement) -> str:
    """Write comparison.json; returns its path."""
    path = os.path.join(folder, COMPARISON_NAME)
    with atomic_write(path) as file:
        json.dump(document(found), file, indent=2, allow_nan=False)
        file.write('\n')
    return path


def document(found: Judgement) -> Dict[str, Any]:
    """The judgement as JSON values."""
    return dict(plain_values(found), same=bool(found), failures=found.failures)


def _detections(loader, references, device, limits) -> DetectionsComparison:
    geometries = {image.id: image.geometry for file in loader.manifest.files for image in file.images}
    is_probability = loader.runner.roles.is_probability
    batches = []
    for number, heads in sorted(device.items()):
        image_id = references.image_ids[number]
        plain = {name: np.array(references.outputs[PLAIN][name][number]) for name in heads}
        if is_probability:
            plain['hm'] = sigmoid(plain['hm']).astype(np.float32)
        ours, others = (
            of_outputs(
                {name: torch.from_numpy(np.ascontiguousarray(values))[None] for name, values in side.items()},
                is_probability,
            )
            for side in (plain, heads)
        )
        batches.append(ComparedBatch(ours, others, [geometries[image_id]], [image_id]))
    return compare_detections(batches, limits)


def _heads_lines(found: Explanation) -> List[str]:
    titles = ('scale', 'max abs', 'mean', 'float16', 'correl.')
    lines = [f'{"head":<6}' + ''.join(f' {title:>9}' for title in titles)]
    for head in found.heads:
        numbers = [f'{head.scale:.3g}'] + [
            f'{value:.2g}' for value in (head.largest, head.mean, head.float16)
        ]
        numbers.append('n/a' if head.correlation is None else f'{head.correlation:.4f}')
        lines.append(f'{head.name:<6}' + ''.join(f' {number:>9}' for number in numbers))
    return lines + ['float16: mean difference that rounding every layer to float16 makes']


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}{"" if number == 1 else "s"}'


def recorded_data(manifest: Any) -> Optional[CocoData]:
    """The data set that a manifest names, if it is still where it was; None otherwise."""
    recorded = manifest.document['data']
    paths = [recorded.get(name) for name in ('annotations', 'images')]
    if all(isinstance(path, str) and os.path.exists(path) for path in paths):
        return CocoData.load(None, *paths)
    return None
