"""A PyTorch network and an ONNX file side by side."""

import os
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np

from ..coco import CocoData, read_image
from ..coco import compute_metrics as coco_metrics
from ..detection import InputSpec, preprocess
from ..errors import OptionError
from ..evaluation import EvalOptions, evaluate
from ..evaluation.options import check, select
from ..export import rules
from ..files import ensure_folder
from .detections import compare_detections
from .errors import ShapeError, VerificationError
from .heads import compare_heads
from .metrics import ANNOTATIONS, OWN_DETECTIONS, compare_metrics, with_detections, without_annotations

STAGES = ('rules', 'heads', 'detections', 'metrics')


class Stage(NamedTuple):
    """What one stage found. True where it passed; ``outcome`` is ``passed``, ``failed`` or ``left out``.

    ``comparison``: what was compared, an object with figures and a truth value; None where it could not be,
    or was left out. ``error``: class and text of what kept the two from being compared. ``note``: why it was
    left out, or what to know.
    """

    name: str
    outcome: str
    comparison: Any = None
    error: Optional[Tuple[str, str]] = None
    note: Optional[str] = None

    def __bool__(self) -> bool:
        return self.outcome != 'failed'


class Verification(NamedTuple):
    """All stages; true where the file is the same model, and one that its reader takes: the heads are the
    same, and no stage failed."""

    stages: Tuple[Stage, ...]
    reference: Dict[str, Any]
    model: Dict[str, Any]
    notes: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return all(self.stages) and self.stage('heads').outcome == 'passed'

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)


def verify(
    reference,
    model,
    data: CocoData,
    spec: InputSpec,
    folder: str,
    options: EvalOptions,
    compare_images: int = 8,
    metrics: bool = True,
    target: Optional[str] = None,
    progress: bool = True,
    reference_folder: Optional[str] = None,
    resume: bool = False,
) -> Verification:
    """Compare a file with the PyTorch network it should be.

    Args:
        reference: a TorchRunner.
        model: an OnnxRunner.
        data: images, and the ground truth of the last stage. Where it has another number of categories than
            the network has classes, its images serve all the same, and the figures are measured against the
            PyTorch network's own detections.
        spec: the input size; the file's own, where the file fixes one.
        folder: for what the evaluations of the last stage write, each network in a folder of its own.
        options: which images, and how fast; ``input`` is replaced by ``spec``.
        compare_images: how many of the images the first two stages take.
        metrics: whether the last stage is run.
        target: what the file is for, whose rules it has to keep; None takes what the file says, or what its
            operators tell.
        progress: show bars on stderr.
        reference_folder: a folder with an evaluation of ``reference`` on this data, of the same protocol;
            what is finished there is not evaluated again. Not for data of another number of categories.
        resume: go on where the file's own interrupted evaluation in ``folder`` ends.

    Returns:
        Verification.

    Raises:
        OptionError: the file takes another size than ``spec`` says.
        DataError, ModelError, ...: images cannot be read, onnxruntime fails.
    """
    if model.input_size is not None and (spec.keep_res or model.input_size != (spec.height, spec.width)):
        raise OptionError(
            '{} takes images of {} x {} (height x width) only'.format(
                model.path or 'the model', *model.input_size
            )
        )
    if compare_images < 1:
        raise OptionError(f'--compare-images must be at least 1, not {compare_images}')
    options = options._replace(input=spec)
    check(options)
    stages = [_rules(model, target)]
    stages += _first_stages(reference, model, data, options, compare_images)
    if not metrics:
        stages.append(Stage('metrics', 'left out', note='not asked for'))
    elif model.classes != reference.classes:
        stages.append(Stage('metrics', 'left out', note='the two networks have different numbers of classes'))
    else:
        stages.append(_metrics(reference, model, data, options, folder, progress, reference_folder, resume))
    return Verification(
        tuple(stages), reference.describe(), model.describe(), tuple(_notes(reference, model))
    )


def _rules(model, target):
    if model.path is None:
        return Stage('rules', 'left out', note='the model is not in a file')
    found = rules.check(model.path, target)
    if found.target is None:
        return Stage('rules', 'left out', note=found.why)
    return Stage('rules', 'passed' if found else 'failed', found)


def _first_stages(reference, model, data, options, count):
    """Heads and detections of the first images, which go through both networks one after the other."""
    ids = select(data, options)[:count]
    batches = []
    for start in range(0, len(ids), options.batch_size):
        chosen = ids[start : start + options.batch_size]
        inputs = [preprocess(read_image(data.file(image_id)), options.input) for image_id in chosen]
        if len({planes.shape for planes, _ in inputs}) > 1:  # keep_res: each image has its own size
            groups = [([image_id], [item]) for image_id, item in zip(chosen, inputs)]
        else:
            groups = [(chosen, inputs)]
        for group_ids, group in groups:
            images = np.stack([planes for planes, _ in group])
            batches.append(
                (
                    reference(images),
                    model.heads(images),
                    [geometry for _, geometry in group],
                    group_ids,
                    model.boxes(images) if model.decodes else None,
                )
            )
    try:
        if model.classes != reference.classes:
            raise ShapeError(
                f'the model has {model.classes} classes where the PyTorch model has {reference.classes}'
            )
        heads = compare_heads([batch[0] for batch in batches], [batch[1] for batch in batches])
        stages = [Stage('heads', 'passed' if heads else 'failed', heads)]
    except VerificationError as error:
        return [
            Stage('heads', 'failed', error=(type(error).__name__, str(error))),
            Stage('detections', 'left out', note='the heads cannot be compared'),
        ]
    detections = compare_detections(batches)
    return stages + [Stage('detections', 'passed' if detections else 'failed', detections)]


def _metrics(reference, model, data, options, folder, progress, reference_folder, resume):
    folder = ensure_folder(folder)
    own = reference.classes != len(data.categories)
    if own:
        data = without_annotations(data, reference.classes, os.path.join(folder, 'own_detections'))
    found = evaluate(
        reference,
        data,
        options,
        reference_folder or os.path.join(folder, 'reference'),
        resume=reference_folder is not None,
        progress=progress,
    )
    first, image_ids = (
        found.metrics,
        [image_id for image_id in select(data, options) if image_id not in found.failed],
    )
    if own:
        data = with_detections(data, found.results, image_ids, os.path.join(folder, 'own_detections'))
        if data is None:
            return Stage(
                'metrics',
                'left out',
                note=(
                    'the PyTorch model detects nothing in the built-in images that could be measured '
                    'against; give a data set of its classes'
                ),
            )
        first, options = (
            coco_metrics(data, found.results, image_ids),
            options._replace(image_ids=None, limit=None),
        )
    second = evaluate(
        model, data, options, os.path.join(folder, 'model'), resume=resume, progress=progress
    ).metrics
    compared = compare_metrics(first, second, len(image_ids), OWN_DETECTIONS if own else ANNOTATIONS)
    note = f'{len(found.failed)} images could not be read' if found.failed else None
    return Stage('metrics', 'passed' if compared else 'failed', compared, note=note)


def _notes(reference, model):
    """What to know beside the figures."""
    said, ours = model.metadata.get('weights_sha256'), reference.identity().get('weights_sha256')
    if said and ours and said != ours:
        yield f'the file says it was made of other weights: sha256 {said[:12]}..., not {ours[:12]}...'
    if model.translated:
        yield '{} was run through its translation to {}'.format(
            model.translated, 'standard operators' if model.decomposed else 'DeformConv'
        )
