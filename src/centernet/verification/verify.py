"""Compare a PyTorch network and an ONNX file, stage by stage."""

import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
import torch

from ..coco import CocoData, read_image
from ..coco import compute_metrics as coco_metrics
from ..detection import preprocess
from ..detection.decode import only_peaks
from ..detection.heads import of_outputs
from ..errors import OptionError, ShapeError, VerificationError
from ..evaluation import EvalOptions, evaluate
from ..evaluation.eval_options import check, select
from ..export import rules
from ..files import display_path
from ..runners.onnx_runner import OnnxRunner
from ..runners.torch_runner import TorchRunner
from .detections import ComparedBatch, compare_detections
from .heads import compare_heads
from .metrics import (
    ANNOTATIONS,
    OWN_DETECTIONS,
    compare_metrics,
    has_ground_truth,
    with_detections,
    without_annotations,
)

STAGES = ('rules', 'heads', 'detections', 'metrics')


class Stage(NamedTuple):
    """The result of one stage; false if it failed.

    Attributes:
        name: one of :data:`STAGES`.
        outcome: ``passed``, ``failed`` or ``skipped``.
        comparison: an object with figures and a truth value; None if the stage was skipped or impossible.
        error: class and message of the error that made the comparison impossible.
        note: why the stage was skipped, or other remarks.
    """

    name: str
    outcome: str
    comparison: Any = None
    error: Optional[Tuple[str, str]] = None
    note: Optional[str] = None

    def __bool__(self) -> bool:
        return self.outcome != 'failed'


class Verification(NamedTuple):
    """All stages; true if no stage failed and the heads were compared.

    ``reference`` and ``model`` describe the two runners.
    """

    stages: Tuple[Stage, ...]
    reference: Dict[str, Any]
    model: Dict[str, Any]
    notes: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return all(self.stages) and self.stage('heads').outcome == 'passed'

    def stage(self, name: str) -> Stage:
        """Return the stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)


def verify(
    reference: TorchRunner,
    model: OnnxRunner,
    data: CocoData,
    folder: str,
    *,
    options: EvalOptions,
    compare_images: int = 8,
    metrics: bool = True,
    target: Optional[str] = None,
    progress: bool = True,
    reference_folder: Optional[str] = None,
    resume: bool = False,
) -> Verification:
    """Compare an ONNX file with the PyTorch network it was exported from.

    Args:
        reference: runs the PyTorch network.
        model: runs the ONNX file.
        data: the images, and the ground truth of the stage ``metrics``. If its channels are not those of the
            network, or the images have no annotations, the figures are measured against the PyTorch network's
            own detections.
        folder: output folder of the evaluations of the stage ``metrics``, each in a folder of its own.
        options: the input size, which images, and how fast.
        compare_images: number of images for the stages ``heads`` and ``detections``.
        metrics: whether to run the stage ``metrics``.
        target: the target whose rules the file must keep; by default taken from its metadata or operators.
        progress: show bars on stderr.
        reference_folder: a folder with an evaluation of ``reference`` on this data with the same protocol, to
            be reused. Ignored if the figures are measured against its own detections.
        resume: resume the interrupted evaluation of the file in ``folder``.

    Returns:
        Verification.

    Raises:
        OptionError: the file has another input size than ``options``, or an option is out of range.
        DataError: an image cannot be read.
        ModelError: onnxruntime fails.
    """
    spec = options.input
    if model.input_size is not None and (spec.keep_res or model.input_size != (spec.height, spec.width)):
        name = display_path(model.path) if model.path else 'the model'
        raise OptionError('{} takes only images of {} x {} (height x width)'.format(name, *model.input_size))
    if compare_images < 1:
        raise OptionError(f'--compare-images must be at least 1, not {compare_images}')
    check(options)
    stages = [_rules(model, target, spec.normalization)]
    stages += _heads_and_detections(reference.plain(), model, data, options, compare_images)
    if not metrics:
        stages.append(Stage('metrics', 'skipped', note='not requested'))
    elif reference.no_boxes or model.no_boxes:
        stages.append(Stage('metrics', 'skipped', note='no boxes'))
    elif model.classes != reference.classes:
        stages.append(Stage('metrics', 'skipped', note='the networks have different numbers of classes'))
    else:
        stages.append(_metrics(reference, model, data, options, folder, progress, reference_folder, resume))
    return Verification(
        tuple(stages), reference.describe(), model.describe(), tuple(_notes(reference, model))
    )


def _stage(name, comparison, note=None):
    return Stage(name, 'passed' if comparison else 'failed', comparison, note=note)


def _rules(model, target, normalization):
    if model.path is None:
        return Stage('rules', 'skipped', note='the model is not in a file')
    found = rules.check(model.path, target)
    recorded = model.limits.normalization
    if recorded is not None and not recorded.same(normalization):
        text = (
            f'the metadata record the normalization {recorded}, but the images are fed with {normalization}'
        )
        wrong = rules.Violation('normalization', '', text)
        found = found._replace(
            target=found.target or 'its readers',
            checked=found.checked + ('normalization',),
            violations=found.violations + (wrong,),
        )
    if found.target is None:
        return Stage('rules', 'skipped', note=found.why)
    return _stage('rules', found)


def _heads_and_detections(reference, model, data, options, count) -> List[Stage]:
    if model.classes and model.classes != reference.classes:
        error = ShapeError(f'the file has {model.classes} classes, the PyTorch model {reference.classes}')
        return _incomparable(error)
    batches = list(_run_both(reference, model, data, options, count))
    try:
        heads = compare_heads([batch.reference for batch in batches], [batch.model for batch in batches])
    except VerificationError as error:
        return _incomparable(error)
    if reference.no_boxes or model.no_boxes:
        note = f'no boxes: {reference.no_boxes or model.no_boxes}'
        return [_stage('heads', heads), Stage('detections', 'skipped', note=note)]
    is_probability = model.heat_map.is_probability
    decoded = [
        batch._replace(
            reference=of_outputs(batch.reference, is_probability),
            model=of_outputs(batch.model, is_probability),
        )
        for batch in batches
    ]
    return [_stage('heads', heads), _stage('detections', compare_detections(decoded))]


def _incomparable(error) -> List[Stage]:
    return [
        Stage('heads', 'failed', error=(type(error).__name__, str(error))),
        Stage('detections', 'skipped', note='the heads cannot be compared'),
    ]


def _run_both(reference, model, data, options, count) -> Iterator[ComparedBatch]:
    """Run the first ``count`` images through both networks; ``reference`` and ``model`` are all outputs by
    name, not yet Heads."""
    ids = select(data, options)[:count]
    # With keep_res, each image has its own size.
    size = 1 if options.input.keep_res else options.batch_size
    for start in range(0, len(ids), size):
        chosen = ids[start : start + size]
        inputs = [preprocess(read_image(data.file(image_id)), options.input) for image_id in chosen]
        images = np.stack([planes for planes, _ in inputs])
        yield ComparedBatch(
            _like(model.heat_map, reference.outputs(images)),
            model.outputs(images),
            [geometry for _, geometry in inputs],
            chosen,
            model.boxes(images) if model.decodes else None,
        )


def _like(heat_map, outputs):
    """The reference's outputs, hm in the form in which the file has it."""
    if heat_map is not None and heat_map.is_probability and 'hm' in outputs:
        outputs['hm'] = torch.sigmoid(outputs['hm'])
        if heat_map.only_peaks:
            outputs['hm'] = only_peaks(outputs['hm'])
    return outputs


def _metrics(reference, model, data, options, folder, progress, reference_folder, resume):
    notes = []
    own = reference.classes != len(data.channels)
    if not own and not has_ground_truth(data, select(data, options)):
        own, notes = True, ['the images have no annotations']
    if own:
        data, reference_folder = without_annotations(data, reference.classes), None
    first = evaluate(
        reference,
        data,
        options,
        reference_folder or os.path.join(folder, 'reference'),
        resume=reference_folder is not None,
        progress=progress,
    )
    expected = first.metrics
    image_ids = [image_id for image_id in select(data, options) if image_id not in first.failed]
    if own:
        data = with_detections(data, first.results, image_ids)
        if data is None:
            note = (
                'no detection of the PyTorch model is suitable as ground truth; use a data set of its classes'
            )
            return Stage('metrics', 'skipped', note=note)
        expected = coco_metrics(data, first.results, image_ids)
        options = options._replace(image_ids=None, limit=None)
    second = evaluate(model, data, options, os.path.join(folder, 'model'), resume=resume, progress=progress)
    ground_truth = OWN_DETECTIONS if own else ANNOTATIONS
    if first.failed:
        notes.append(f'{len(first.failed)} images could not be read')
    comparison = compare_metrics(expected, second.metrics, len(image_ids), ground_truth)
    return _stage('metrics', comparison, '; '.join(notes) or None)


def _notes(reference, model):
    yield from model.notes
    said, ours = model.metadata.get('weights_sha256'), reference.identity().get('weights_sha256')
    if said and ours and said != ours:
        yield f"the file's metadata names other weights: sha256 {said[:12]}..., not {ours[:12]}..."
