"""What an evaluation is asked to do."""

import math
from typing import NamedTuple, Optional, Tuple

from ..detection import InputSpec
from ..device import available_cpus
from ..errors import DataError, OptionError

#: what becomes of a run in which an image could not be read: exit status 1, or 0
BAD_IMAGE_POLICIES = ('fail', 'skip')


class EvalOptions(NamedTuple):
    """How a data set is evaluated.

    ``input``, ``flip_test``, ``test_scales`` and ``nms`` are the protocol: they decide the detections. The
    rest decides which images count (``image_ids`` None for all of them, then the first ``limit`` of those),
    how fast it goes, and what else is made.
    """

    input: InputSpec = InputSpec()
    flip_test: bool = False
    test_scales: Tuple[float, ...] = (1.0,)
    nms: bool = False
    max_per_image: int = 100
    image_ids: Optional[Tuple[int, ...]] = None
    limit: Optional[int] = None
    batch_size: int = 1
    workers: int = 0
    on_bad_image: str = 'fail'
    save_images: int = 0


def check(options):
    """Raise OptionError for values that mean nothing."""
    for name, value, least in (
        ('--batch-size', options.batch_size, 1),
        ('--workers', options.workers, 0),
        ('--limit', options.limit, 1),
        ('--save-images', options.save_images, 0),
        ('the input height', options.input.height, 1),
        ('the input width', options.input.width, 1),
    ):
        if value is not None and value < least:
            raise OptionError(f'{name} must be at least {least}, not {value}')
    if options.on_bad_image not in BAD_IMAGE_POLICIES:
        raise OptionError(
            "--on-bad-image is one of {}, not '{}'".format(
                ', '.join(BAD_IMAGE_POLICIES), options.on_bad_image
            )
        )
    if not options.test_scales:
        raise OptionError('--test-scales needs at least one scale')
    for scale in options.test_scales:
        if not (scale > 0 and math.isfinite(scale)):
            raise OptionError(f'--test-scales: {scale:g} is not a positive number')


def protocol(options):
    """What decides the detections of an image, as a plain dict for metrics.json and for comparing two
    runs."""
    spec = options.input
    size = (
        {'keep_res': True, 'pad': spec.pad}
        if spec.keep_res
        else {'keep_res': False, 'height': spec.height, 'width': spec.width}
    )
    return dict(
        size,
        down_ratio=spec.down_ratio,
        flip_test=options.flip_test,
        test_scales=list(options.test_scales),
        nms=options.nms or len(options.test_scales) > 1,
        max_per_image=options.max_per_image,
    )


def select(data, options):
    """The ids of the images to evaluate, in the data set's order.

    Raises:
        DataError: an id that was asked for is not in the data set, or nothing is left.
    """
    ids = list(data.image_ids)
    if options.image_ids is not None:
        wanted = set(options.image_ids)
        unknown = sorted(wanted.difference(ids))
        if unknown:
            raise DataError(
                '{} has no image with the id {}{}'.format(
                    data.annotations,
                    unknown[0],
                    f' (and {len(unknown) - 1} more of those asked for)' if unknown[1:] else '',
                )
            )
        ids = [image_id for image_id in ids if image_id in wanted]
    ids = ids[: options.limit]
    if not ids:
        raise DataError(
            f'no image to evaluate: {len(data.image_ids)} images in {data.annotations}, none of them chosen'
        )
    return ids


def default_loading(device_type: str, spec: InputSpec) -> Tuple[int, int]:
    """(batch size, workers) for a device and an input size.

    On a GPU 8 images at once fill it, and up to 4 processes keep up with it. On a CPU the network itself uses
        the cores: a batch
    only pays while images are small, up to as many pixels as one of 512 x 512 has, and one process loads
    ahead.
    """
    cpus = available_cpus()
    if device_type == 'cuda':
        return 8, min(4, max(1, cpus))
    pixels = 512 * 512 if spec.keep_res else spec.height * spec.width
    return max(1, min(16, 512 * 512 // pixels)), 0 if cpus == 1 else 1
