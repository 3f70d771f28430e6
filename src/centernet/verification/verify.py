"""Compare a checkpoint's network with an exported file, stage by stage."""

import os
from typing import Any, Iterator, List, Optional, Sequence

import attr
import numpy as np
import torch

from ..coco import CocoData, compute_metrics, read_image
from ..detection import preprocess
from ..detection.decode import only_peaks
from ..detection.heads import of_outputs
from ..exporting import rules
from ..networks.network import Network
from ..options.fields import RUN
from ..options.protocol import Protocol
from ..options.selection import Loading, Selection
from ..runs.evaluate import evaluate
from ..runs.record import Data, Record
from ..runs.run import Run
from ..system.errors import DataError, ShapeError, VerificationError
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
from .stages import Stage, Verification, at_most

#: of the built-in sample, as many images are used as have this many input pixels, but at least so many
_PIXELS, _LEAST = 200 * 192 * 192, 12


def record_of_both(
    reference: Network,
    model: Network,
    data: CocoData,
    protocol: Protocol,
    selection: Selection,
    loading: Loading,
    sample: bool = False,
    categories: Optional[Sequence[str]] = None,
) -> Record:
    """Describe the evaluation of a file that is compared with its checkpoint, with what the options leave
    open chosen for both; arguments as for :func:`centernet.runs.evaluate.record_of`. Of the sample, fewer
    images are selected if the input is large.

    Raises:
        OptionError: the file has another input size than ``protocol``.
        DataError: no image is selected, or one that is not in the data set.
    """
    protocol = protocol.for_network(facts_of_both(reference, model), model.info.file)
    if sample and selection == Selection():
        pixels = protocol.input.height * protocol.input.width
        selection = Selection(limit=max(_LEAST, _PIXELS // pixels))
    images = len(selection.all_shards(data.image_ids, data.annotations))
    loading = attr.evolve(loading, batch_size=loading.batch_size or model.info.batch_size or 1)
    loading = loading.for_network(model.info, protocol, images)
    return Record.of(model, Data.of(data, sample, categories), protocol, selection, loading)


def facts_of_both(reference: Network, model: Network) -> Any:
    """What a checkpoint and its file say of the input, for :class:`.Protocol`."""
    ours, info = reference.info, model.info
    return attr.evolve(
        info,
        step=ours.step,
        stored=info.stored or ours.stored,
        normalization=ours.normalization or info.normalization,
    )


def verify(
    reference: Network,
    model: Network,
    data: CocoData,
    folder: str,
    record: Record,
    *,
    compare_images: int = 8,
    metrics: bool = True,
    target: Optional[str] = None,
    progress: bool = True,
    reference_folder: Optional[str] = None,
    reuse: bool = False,
    resume: bool = False,
) -> Verification:
    """Compare an exported file with the checkpoint's network.

    Args:
        reference: runs the checkpoint.
        model: runs the file.
        data: the images, and the ground truth of the stage ``metrics``. If its channels are not those of the
            network, or the images have no annotations, the metrics are measured against the checkpoint's own
            detections.
        folder: output folder of the evaluations of the stage ``metrics``, each in a folder of its own.
        record: of the file's evaluation, from :func:`record_of_both`.
        compare_images: number of images for the stages ``heads`` and ``detections``.
        metrics: whether to run the stage ``metrics``.
        target: the target whose rules the file must keep; by default taken from its metadata or operators.
        progress: show bars on stderr.
        reference_folder: of the evaluation of ``reference`` against the annotations, by default in
            ``folder``.
        reuse: keep what ``reference_folder`` has of that, if it is :func:`same_run`.
        resume: resume the interrupted evaluation of the file in ``folder``, if it is :func:`same_run`.

    Raises:
        OptionError: the file has another input size than the record.
        DataError: an image cannot be read.
        ModelError: the file cannot be read, or a runtime fails.
    """
    stages = [_rules(model, target, record.protocol.normalization)]
    stages += _heads_and_detections(reference.plain(), model, data, record, compare_images)
    ours, info = reference.info, model.info
    why_not = None if metrics else 'not requested'
    if metrics and (ours.no_boxes or info.no_boxes):
        why_not = 'no boxes'
    elif metrics and info.classes != ours.classes:
        why_not = 'the networks have different numbers of classes'
    if why_not:
        stages.append(Stage('metrics', note=why_not))
    else:
        evaluation = (folder, reference_folder, reuse, resume, progress)
        stages.append(_metrics(reference, model, data, record, *evaluation))
    notes, named = info.notes, info.metadata.get('weights_sha256')
    if named and ours.sha256 not in (None, named):
        said = f'sha256 {named[:12]}..., not {ours.sha256[:12]}...'
        notes += (f"the file's metadata names other weights: {said}",)
    return Verification(tuple(stages), ours, info, notes)


def same_run(folder: str, record: Record) -> bool:
    """Whether a folder has a run with this record that is finished or interrupted, and every session of it
    had the same versions, device and threads."""
    try:
        earlier = Run.open(folder)
    except DataError:  # there is none, or a damaged one
        return False
    if earlier is None:
        return False
    with earlier:
        sessions = earlier.sessions
    same = (item.environment == record.environment for item in sessions)
    return all(same) and not sessions[0].differences(record, RUN)  # which all sessions share


def _rules(model, target, normalization):
    found = rules.check(model.info.file, target)
    target, checked, violations = found.target, found.checked, found.violations
    recorded = model.info.normalization
    if recorded is not None and not recorded.same(normalization):
        text = f'the metadata record the normalization {recorded}, the images are fed with {normalization}'
        target, checked = target or 'its readers', checked + ('normalization',)
        violations += (rules.Violation('normalization', '', text),)
    if target is None:
        return Stage('rules', note=found.why)
    facts = {'target': target, 'checked': checked, 'violations': violations}
    return Stage('rules', [at_most('violations', len(violations), 0)], facts)


def _heads_and_detections(reference, model, data, record, count) -> List[Stage]:
    ours, classes = reference.info, model.info.classes
    try:
        if classes and classes != ours.classes:
            raise ShapeError(f'the file has {classes} classes, the PyTorch model {ours.classes}')
        batches = list(_run_both(reference, model, data, record, count))
        heads = compare_heads([batch.reference for batch in batches], [batch.model for batch in batches])
    except VerificationError as error:
        return [
            Stage('heads', error=(type(error).__name__, str(error))),
            Stage('detections', note='the heads cannot be compared'),
        ]
    no_boxes = ours.no_boxes or model.info.no_boxes
    if no_boxes:
        return [heads, Stage('detections', note=f'no boxes: {no_boxes}')]
    is_probability = model.heat_map.is_probability
    decoded = [
        batch._replace(
            reference=of_outputs(batch.reference, is_probability),
            model=of_outputs(batch.model, is_probability),
        )
        for batch in batches
    ]
    return [heads, compare_detections(decoded)]


def _run_both(reference, model, data, record, count) -> Iterator[ComparedBatch]:
    """Run the first ``count`` images through both networks; ``reference`` and ``model`` are all outputs by
    name, not yet Heads."""
    spec, chain = record.protocol.input, model.heat_map
    ids = record.selection.of(data.image_ids, data.annotations)[:count]
    # With keep_res, each image has its own size.
    size = 1 if spec.keep_res else record.loading.batch_size
    for start in range(0, len(ids), size):
        chosen = ids[start : start + size]
        inputs = [preprocess(read_image(data.file(image_id)), spec) for image_id in chosen]
        images = np.stack([planes for planes, _ in inputs])
        outputs = reference.outputs(images)
        if chain.is_probability and 'hm' in outputs:  # the reference's in the form of the file's
            hm = torch.sigmoid(outputs['hm'])
            outputs['hm'] = only_peaks(hm) if chain.only_peaks else hm
        yield ComparedBatch(
            outputs,
            model.outputs(images),
            [geometry for _, geometry in inputs],
            chosen,
            model.boxes(images) if model.info.decodes else None,
        )


def _metrics(reference, model, data, record, folder, reference_folder, reuse, resume, progress):
    def run(network, place, chosen, keep):
        found = Record.of(network, about, record.protocol, chosen, record.loading)
        return evaluate(network, data, found, place, keep and same_run(place, found), progress)

    selection, about, notes = record.selection, record.data, []
    ids = selection.of(data.image_ids, data.annotations)
    own = reference.info.classes != len(data.channels)
    if not own and not has_ground_truth(data, ids):
        own, notes = True, ['the images have no annotations']
    if own:
        data = without_annotations(data, reference.info.classes)
        about, reuse, reference_folder = Data.of(data, False), False, None
    first = run(reference, reference_folder or os.path.join(folder, 'reference'), selection, reuse)
    expected = first.metrics
    ids = [image_id for image_id in ids if image_id not in first.failed]
    if own:
        detections = first.detections
        data = with_detections(data, detections, ids)
        if data is None:
            note = 'no detection of the checkpoint can be ground truth; use a data set of its classes'
            return Stage('metrics', note=note)
        expected, selection = compute_metrics(data, detections, ids), Selection()
    second = run(model, os.path.join(folder, 'model'), selection, resume)
    if first.failed:
        notes.append(f'{len(first.failed)} images could not be read')
    found = compare_metrics(expected, second.metrics, len(ids), OWN_DETECTIONS if own else ANNOTATIONS)
    return found._replace(note='; '.join(notes) or None)
