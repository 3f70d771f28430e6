"""What a command works on: a checkpoint and a data set, given or built in."""

import logging

from ..errors import OptionError

_log = logging.getLogger(__name__)


def load_inputs(arguments):
    """The network and the data that the flags name, or the built-in sample's.

    Neither weights nor data: both are the sample's. Weights alone: the sample's data, where the classes are
        as many. Data alone
    is an error.

    Args:
        arguments: parsed flags (weights, arch, data, annotations, images, output).

    Returns:
        (LoadedModel, path of the checkpoint, CocoData).

    Raises:
        UserError: something is missing or cannot be read.
    """
    from ..checkpoint import load_model
    from ..coco import CocoData
    from ..sample import SAMPLE_WEIGHTS, sample_folder

    has_data = bool(arguments.data or arguments.annotations)
    if arguments.images and not has_data:
        raise OptionError('--images without --data or --annotations: which objects are in those images?')
    if has_data and not arguments.weights:
        raise OptionError(
            "no --weights: the built-in checkpoint knows only the built-in sample's shapes; give the"
            f' checkpoint to evaluate on {arguments.data or arguments.annotations}'
        )
    weights = arguments.weights or SAMPLE_WEIGHTS
    if has_data:
        data = CocoData.load(arguments.data, arguments.annotations, arguments.images)
        return load_model(weights, arguments.arch), weights, data
    loaded = load_model(weights, arguments.arch)
    data = CocoData.load(sample_folder(arguments.output))
    if arguments.weights and loaded.heads.get('hm') != len(data.categories):
        raise OptionError(
            'no --data: {} has {} classes, so the built-in sample with its {} cannot stand in; give the'
            ' data set'.format(weights, loaded.heads.get('hm'), len(data.categories))
        )
    if arguments.weights:
        _log.info("no --data: the built-in sample's images are used")
    else:
        _log.info(
            'no --weights and no --data: the built-in sample is used, both its checkpoint and its images'
        )
    return loaded, weights, data


def input_spec(arguments, loaded):
    """The InputSpec that the flags (input_height, input_width, keep_res) and the checkpoint give.

    Raises:
        OptionError: the network cannot take that size.
    """
    from ..detection import InputSpec
    from ..models import divisor

    step = divisor(loaded.arch)
    given = loaded.checkpoint.meta.get('input_size')
    if not (
        isinstance(given, (list, tuple)) and len(given) == 2 and all(isinstance(side, int) for side in given)
    ):
        given = (512, 512)
    keep_res = getattr(arguments, 'keep_res', False)
    if keep_res and (arguments.input_height or arguments.input_width):
        raise OptionError(
            "--keep-res keeps each image's own size: leave --input-height and --input-width away"
        )
    sides = []
    for name, side, default in (
        ('height', arguments.input_height, given[0]),
        ('width', arguments.input_width, given[1]),
    ):
        side = default if side is None else side
        if side < step or side % step:
            raise OptionError(f'the input {name} must be a multiple of {step} for {loaded.arch}, not {side}')
        sides.append(side)
    return InputSpec(height=sides[0], width=sides[1], keep_res=keep_res, pad=step - 1)


def load_data(arguments, classes, name):
    """The data set that the flags name, or the built-in sample's.

    Args:
        arguments: parsed flags (data, annotations, images, output).
        classes: how many the network has.
        name: of the network's file, for messages.

    Raises:
        UserError: it is missing or cannot be read; or none is given, and the sample has other classes.
    """
    from ..coco import CocoData
    from ..sample import sample_folder

    if arguments.data or arguments.annotations:
        return CocoData.load(arguments.data, arguments.annotations, arguments.images)
    if arguments.images:
        raise OptionError('--images without --data or --annotations: which objects are in those images?')
    data = CocoData.load(sample_folder(arguments.output))
    if classes is not None and classes != len(data.categories):
        raise OptionError(
            f'no --data: {name} has {classes} classes, so the built-in sample with its {len(data.categories)}'
            ' cannot stand in; give the data set'
        )
    _log.info("no --data: the built-in sample's images are used")
    return data


def file_input_spec(arguments, runner, default=(512, 512), step=32):
    """The InputSpec for an ONNX file: the size that it is fixed to, or what the flags say, or ``default``.

    Args:
        arguments: parsed flags (input_height, input_width, perhaps keep_res).
        runner: the file's OnnxRunner.
        default: (height, width).
        step: both have to be a multiple of it.

    Raises:
        OptionError: the file does not take that size.
    """
    from ..detection import InputSpec

    keep_res = getattr(arguments, 'keep_res', False)
    fixed = runner.input_size
    if keep_res and fixed:
        raise OptionError(
            f"--keep-res keeps each image's own size, but {runner.path} takes {fixed[1]} x {fixed[0]} only"
        )
    if keep_res and (arguments.input_height or arguments.input_width):
        raise OptionError(
            "--keep-res keeps each image's own size: leave --input-height and --input-width away"
        )
    sides = []
    for place, (name, side) in enumerate(
        (('height', arguments.input_height), ('width', arguments.input_width))
    ):
        usual = (fixed or default)[place]
        side = usual if side is None else side
        if fixed and side != usual:
            raise OptionError(f'--input-{name} {side}: {runner.path} is fixed to {usual}')
        if side < step or side % step:
            raise OptionError(f'the input {name} must be a multiple of {step}, not {side}')
        sides.append(side)
    return InputSpec(height=sides[0], width=sides[1], keep_res=keep_res, pad=step - 1)
