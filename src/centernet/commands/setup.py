"""What a command works with, from its options: threads, folders, weights, data, input size; and how it
prints.

Heavy imports are inside the functions: :func:`start` has to set up threads before torch is imported.
"""

import json
import logging
import os
import sys
from typing import Any, Iterable, List, Optional, Sequence, TextIO

from ..device import apply_threads, prepare_threads
from ..errors import OptionError, OutputError
from ..files import display_path, ensure_folder
from ..shards import AUTO, WHOLE, Shard, shard_of_engine

_log = logging.getLogger(__name__)
#: set in the image: paths of the container mean folders of the host there
IN_CONTAINER = bool(os.environ.get('CENTERNET_CONTAINER'))


def start(arguments: Any) -> int:
    """Set up threads, check the paths that were given, and choose the folder of a shard; call it before
    anything that imports torch.

    Args:
        arguments: parsed options; ``threads``, ``output``, ``shard`` and the paths are looked at where a
            command has them.

    Returns:
        The number of CPU threads.

    Raises:
        OptionError: in the container, a path is missing; or --shard auto finds no shard.
        OutputError: the output folder cannot be written.
    """
    _check_paths(arguments)
    threads = prepare_threads(getattr(arguments, 'threads', None))
    apply_threads(threads)
    read_shard(arguments)
    if getattr(arguments, 'shard', None):
        arguments.output = os.path.join(arguments.output, arguments.shard.folder)
    if getattr(arguments, 'output', None):
        try:
            ensure_folder(arguments.output)
        except OutputError as error:
            hint = '; on the host, change its owner or mode, or name another folder with OUTPUT_DIR'
            raise OutputError(f'{error}{hint if IN_CONTAINER else ""}') from error
    return threads


def read_shard(arguments: Any) -> None:
    """Replace --shard auto by the shard that the engine's variables name."""
    if getattr(arguments, 'shard', None) == AUTO:
        arguments.shard, read_from = shard_of_engine()
        _log.info('shard %s (%s)', arguments.shard, read_from)


def chosen_shard(arguments: Any) -> Shard:
    """The shard of the options, after :func:`start`; all if they name none."""
    return getattr(arguments, 'shard', None) or WHOLE


def weights_or_sample(arguments: Any) -> str:
    """The path of the checkpoint: --weights, or the built-in sample's where no data are given either.

    Raises:
        OptionError: there are data, but no weights.
    """
    from ..sample import SAMPLE_WEIGHTS

    if arguments.weights:
        return arguments.weights
    data = arguments.data or arguments.annotations
    if data:
        raise OptionError(
            "no --weights: the built-in sample's checkpoint only knows the sample's classes; give the"
            f' checkpoint for {data}'
        )
    _log.info("no --weights: using the built-in sample's checkpoint")
    return SAMPLE_WEIGHTS


def load_data(
    arguments: Any,
    name: str,
    classes: int,
    class_names: Optional[Sequence[str]] = None,
    any_classes: bool = False,
) -> Any:
    """The data set that the options name, or the built-in sample, with its categories matched to the
    network's classes.

    Args:
        arguments: parsed options (data, annotations, images, categories, output).
        name: of the network's file, for messages.
        classes: how many the network has.
        class_names: their names, if they are known.
        any_classes: whether the images serve a network of other classes, too. The data set then has no
            channels, and a note says why.

    Returns:
        CocoData.

    Raises:
        DataError: it is missing or cannot be read.
        OptionError: none is given, and the sample has other classes; or its categories cannot be matched.
    """
    from ..coco import CocoData
    from ..sample import sample_folder

    if arguments.data or arguments.annotations:
        data = CocoData.load(arguments.data, arguments.annotations, arguments.images)
    else:
        if arguments.images:
            raise OptionError('--images needs --data or --annotations, which describe the images')
        data = CocoData.load(sample_folder(arguments.output))
        if not any_classes and classes != len(data.categories):
            raise OptionError(
                f'no --data: {name} has {classes} classes and the built-in sample has'
                f' {len(data.categories)}; give the data set'
            )
        _log.info("no --data: using the built-in sample's images")
    if not classes:  # a network without hm, whose heads alone are compared
        return data.with_channels(())
    try:
        return data.matched(classes, class_names, arguments.categories)
    except OptionError as error:
        if any_classes and arguments.categories is None:
            given = arguments.data or arguments.annotations
            why = str(error) if given else f'{name} has other classes than the built-in sample'
            return data.with_channels((), [f'classes: the annotations do not count: {why}'])
        raise OptionError(f'cannot evaluate {name} on {data.annotations}: {error}') from error


def input_spec(arguments: Any, limits: Any, name: str) -> Any:
    """The InputSpec for a network: the size that it is fixed to, else the options, else the stored size, else
    512; and the normalization of the options, else the stored one, else COCO's.

    Args:
        arguments: parsed options (input_height, input_width, normalization, and keep_res where the command
            has it).
        limits: the network's :class:`~centernet.runners.input_limits.InputLimits`.
        name: of the network's file, for messages.

    Raises:
        OptionError: the network does not take that size, or the normalization is not one.
    """
    from ..detection import COCO, InputSpec
    from ..detection.normalization import parse_normalization

    keep_res = getattr(arguments, 'keep_res', False)
    given = (arguments.input_height, arguments.input_width)
    if keep_res and limits.fixed:
        raise OptionError(
            f'--keep-res keeps the size of each image, but {name} is fixed to'
            f' {limits.fixed[1]} x {limits.fixed[0]}'
        )
    if keep_res and any(given):
        raise OptionError('--keep-res keeps the size of each image: omit --input-height and --input-width')
    sides = []
    for side, option, usual in zip(('height', 'width'), given, limits.fixed or limits.stored or (512, 512)):
        if limits.fixed and option not in (None, usual):
            raise OptionError(f'--input-{side} {option}: {name} is fixed to {usual}')
        pixels = option or usual
        if pixels % limits.step:
            raise OptionError(
                f'the input {side} must be a multiple of {limits.step} for {name}, not {pixels}'
            )
        sides.append(pixels)
    stored = limits.normalization
    used = parse_normalization(arguments.normalization) if arguments.normalization else stored or COCO
    if stored is not None and not used.same(stored):
        _log.info('%s records the normalization %s; %s is used', display_path(name), stored, used)
    return InputSpec(sides[0], sides[1], keep_res, limits.step - 1, used)


def describe_input(arguments: Any, limits: Any, spec: Any) -> List[str]:
    """The size and the normalization of the input for people, with what nobody named marked as assumed.

    Args:
        arguments, limits: as for :func:`input_spec`.
        spec: what it returned.
    """
    known = limits.fixed or limits.stored or arguments.input_height or arguments.input_width
    size = f'{spec.width} x {spec.height}' + ('' if known else ' (assumed)')
    known = limits.normalization is not None or arguments.normalization
    normalization = f'normalization {spec.normalization}' + ('' if known else ' (assumed)')
    return ['original size' if spec.keep_res else size, normalization]


def warn_of_normalization(runner: Any, data: Any, ids: Any, spec: Any) -> None:
    """Warn if another normalization clearly fits the network's first layers better; does nothing for ONNX
    files.

    Args:
        runner: the network.
        data, ids: the images; the first are looked at.
        spec: the InputSpec in use.
    """
    from ..evaluation.normalization_check import better_normalization

    model = getattr(runner, 'model', None)
    better = model and better_normalization(model, data, ids, spec)
    if better:
        _log.warning(
            'warning: the first layer of %s does not fit the normalization %s; it was probably trained with'
            ' %s: try --normalization %s',
            display_weights(runner.path),
            spec.normalization,
            better,
            better,
        )


def text_stream(arguments: Any) -> TextIO:
    """Where text for people goes: stdout, or stderr where --json has stdout."""
    return sys.stderr if arguments.json else sys.stdout


def display_weights(path: str) -> str:
    """A checkpoint's path as it is shown to people."""
    from ..sample import SAMPLE_WEIGHTS

    return 'the built-in sample' if path == SAMPLE_WEIGHTS else display_path(path)


def print_json(document: Any) -> None:
    """Print a document on stdout."""
    json.dump(document, sys.stdout, indent=2)
    print()


def print_files(files: Iterable[str], stream: Optional[TextIO] = None) -> None:
    """Print which files were written, as paths that mean the same in the container and on the host."""
    print('\n'.join(['written:'] + ['  ' + display_path(path) for path in files]), file=stream or sys.stdout)


def _check_paths(arguments: Any) -> None:
    """In the container, explain a missing path by the host's folders; elsewhere the readers report it."""
    if not IN_CONTAINER:
        return
    for path in (getattr(arguments, name, None) for name in ('weights', 'data', 'annotations', 'images')):
        if path and not os.path.exists(path):
            raise OptionError(
                f'{path} does not exist in the container, where models is MODELS_DIR of the host and data is'
                ' DATA_DIR: with MODELS_DIR=/my/folder, /my/folder/x.pth is models/x.pth'
            )
