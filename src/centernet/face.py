"""What ``import centernet`` offers: each step of the work as one function.

These functions print nothing, never exit, and raise ``centernet.UserError`` and its kinds
(:mod:`centernet.system.errors`). They change no threads, signals, umask, working folder or logging.
Everything heavy is imported when they are called.
"""

import os
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, Union

if TYPE_CHECKING:
    import numpy as np

    from .networks.network import Network
    from .runs.score import Score
    from .verification import Verification


def open_network(
    path: str,
    device: str = 'auto',
    threads: Optional[int] = None,
    arch: Optional[str] = None,
    weights_key: Optional[str] = None,
    precision: str = 'fp32',
) -> 'Network':
    """Open a checkpoint (.pth) or an exported file (.onnx).

    Args:
        path: the file.
        device: ``auto`` (a GPU if one is usable), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads of the network; None keeps torch's number for a checkpoint, and takes all
            available cores for an exported file. Torch has one number for the whole process: a checkpoint's
            network that is opened with ``threads`` sets it whenever it runs.
        arch: architecture of a checkpoint that does not name it, such as ``dla_34``.
        weights_key: of a checkpoint with several state dicts, the entry to take.
        precision: ``fp32``, ``tf32``, ``fp16`` or ``bf16``, for checkpoints.

    Returns:
        The network. ``network.info`` says what is known about it; ``network(images)``, with float32 [N, 3, H,
        W], returns its heads.

    Raises:
        UserError: the file cannot be read, is not a detector, or the device cannot be used.
    """
    from .networks.runtimes import open_network as open_file

    return open_file(path, device, threads, arch, weights_key, precision)


def detect(
    network: 'Network',
    images: Union['np.ndarray', Sequence['np.ndarray']],
    score: float = 0.3,
    **protocol: Any,
) -> List['np.ndarray']:
    """Detect objects on images.

    Args:
        network: from :func:`open_network`.
        images: one or several, uint8 [H, W, 3] with the channels blue, green, red, as from ``cv2.imread``.
        score: the lowest score that is kept, 0 to 1.
        protocol: fields of :class:`centernet.options.protocol.Protocol`, such as ``input_height`` or
            ``flip_test``.

    Returns:
        For each image float32 [m, 6]: x1, y1, x2, y2 in pixels of the image, score, class; the best first.

    Raises:
        OptionError: an image is not such an array, or the network does not fit the protocol.
    """
    from .runs.predict import detect_images

    return detect_images(network, images, score, protocol)


def predict(
    network: 'Network',
    data: str,
    folder: str,
    images: Optional[str] = None,
    categories: Optional[Sequence[str]] = None,
    resume: bool = False,
    progress: bool = False,
    **options: Any,
) -> str:
    """Detect the objects on the images of a data set, and keep the detections in the folder of a run.

    Args:
        network: from :func:`open_network`.
        data: a folder in COCO's layout, or an annotations file.
        folder: of the run; created if missing.
        images: folder of the images, if it is not in or beside ``data``.
        categories: names or ids of the categories in the order of the network's channels, if they cannot be
            matched by name.
        resume: continue an interrupted run in ``folder``.
        progress: show a progress bar on stderr, if that is a terminal.
        options: fields of :class:`~centernet.options.protocol.Protocol`, and of ``Selection`` and ``Loading``
            in :mod:`centernet.options.selection`, such as ``flip_test``, ``limit`` and ``batch_size``.

    Returns:
        ``folder``, for :func:`score`.

    Raises:
        UserError: the data, the network or the options do not fit together, or ``folder`` belongs to another
            run.
        Interrupted: the run was stopped; ``resume`` continues it.
    """
    from .options.fields import of_values
    from .options.protocol import Protocol
    from .options.selection import Loading, Selection
    from .runs.evaluate import open_coco, record_of
    from .runs.predict import predict as keep_detections
    from .runs.predict import progress_bar
    from .runs.run import Run
    from .runs.sources import DataSource

    coco = open_coco(data, images).matched(network.info.classes, network.info.class_names, categories)
    protocol, selection, loading = of_values('predict', options, Protocol, Selection, Loading)
    record = record_of(network, coco, protocol, selection, loading, categories=categories)
    source = DataSource(coco, record.selection.of(coco.image_ids, coco.annotations))
    with Run.begin(folder, record, resume, source.paths()) as run:
        keep_detections(network, source, run, progress_bar(progress))
    return folder


def score(folder: str, data: Optional[str] = None) -> 'Score':
    """Compute the metrics of a run's finished images, and write its results.json and metrics.json.

    Args:
        folder: of the run, from :func:`predict` or a command.
        data: the data set's folder or annotations file, if it is no longer where the run found it.

    Returns:
        The score: ``metrics.stats`` has COCO's twelve metrics by name, ``metrics.per_class`` AP by class.

    Raises:
        UserError: the folder is not that of a run, or the data set is missing or not the run's.
    """
    from .runs.merge import score_run

    return score_run(folder, data)


def export(
    weights: str,
    folder: str,
    targets: Sequence[str] = ('onnx',),
    size: Optional[Tuple[int, int]] = None,
    arch: Optional[str] = None,
    weights_key: Optional[str] = None,
    normalization: Optional[str] = None,
    batch: Optional[int] = 1,
    boxes: Optional[int] = None,
    name: Optional[str] = None,
) -> Dict[str, str]:
    """Export a checkpoint to ONNX.

    Args:
        weights: the checkpoint.
        folder: where the files go; created if missing.
        targets: any of ``ascend``, ``tensorrt``, ``onnx`` and ``portable`` (docs/export.md).
        size: (height, width) of the input in pixels; None takes the size that the checkpoint records, else
            512 x 512.
        arch, weights_key: as for :func:`open_network`.
        normalization: of the input, for the metadata, as ``--normalization`` takes it; None takes the one
            that the checkpoint records, else COCO's.
        batch: number of images; None leaves it open.
        boxes: append the decoder, for this many boxes; None keeps the heads.
        name: of the files, without suffix; None takes the checkpoint's.

    Returns:
        Target -> path of its file.

    Raises:
        UserError: the checkpoint cannot be read, or a target cannot hold the network.
    """
    from .exporting import exporter
    from .exporting.targets import file_name, find_target
    from .networks.checkpoint import load_model
    from .networks.facts import facts_of_checkpoint
    from .options.fields import of_values
    from .options.protocol import Protocol

    loaded = load_model(weights, arch, weights_key)
    height, width = size or (None, None)
    options = {'input_height': height, 'input_width': width, 'normalization': normalization}
    (protocol,) = of_values('export', options, Protocol)
    spec = protocol.for_network(facts_of_checkpoint(loaded), weights).input
    stem = name or os.path.splitext(os.path.basename(weights))[0]
    sides = spec.height, spec.width
    about = {'size': sides, 'batch': batch, 'boxes': boxes, 'normalization': spec.normalization}
    exporter.export(loaded, folder, stem, targets, **about)
    return {target: os.path.join(folder, file_name(stem, find_target(target))) for target in targets}


def verify(
    file: str,
    weights: str,
    folder: str,
    data: Optional[str] = None,
    arch: Optional[str] = None,
    weights_key: Optional[str] = None,
    limit: Optional[int] = None,
    compare_images: int = 8,
    metrics: bool = True,
    target: Optional[str] = None,
) -> 'Verification':
    """Compare an exported file with its checkpoint: rules of its reader, heads, detections and metrics.

    Args:
        file: the exported file.
        weights: the checkpoint.
        folder: for the evaluations of both.
        data: a folder in COCO's layout, or an annotations file; None takes the built-in sample.
        arch, weights_key: as for :func:`open_network`.
        limit: only the first images of the data set.
        compare_images: the number of images whose heads and detections are compared.
        metrics: whether the metrics are compared.
        target: whose rules the file has to keep; None takes the target that its metadata name.

    Returns:
        What was compared; ``passed`` says whether both are the same network.

    Raises:
        UserError: a file cannot be read, or the data do not fit.
    """
    from .options.protocol import Protocol
    from .options.selection import DataOptions, Loading, Selection
    from .runs.evaluate import open_coco
    from .runs.plan import match_data
    from .sample import sample_folder
    from .system.files import ensure_folder
    from .verification import verify as compare
    from .verification.verify import record_of_both

    reference, model = open_network(weights, arch=arch, weights_key=weights_key), open_network(file)
    coco = open_coco(data or sample_folder(folder))
    coco = match_data(DataOptions(data=coco.annotations), coco, weights, reference.info, any_classes=True)
    selection = Selection(limit=limit)
    record = record_of_both(reference, model, coco, Protocol(), selection, Loading(), data is None)
    options: Dict[str, Any] = {'compare_images': compare_images, 'metrics': metrics, 'target': target}
    return compare(reference, model, coco, ensure_folder(folder), record, progress=False, **options)
