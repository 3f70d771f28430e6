"""The options of an evaluation."""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..coco import CocoData
from ..detection import DOWN_RATIO, InputSpec
from ..device import available_cpus
from ..errors import DataError, OptionError
from ..shards import WHOLE, Shard

#: the exit status of a run in which images could not be read: 1 or 0
BAD_IMAGE_POLICIES = ('fail', 'skip')


class EvalOptions(NamedTuple):
    """How to evaluate a data set.

    ``input``, ``flip_test``, ``test_scales``, ``nms`` and ``max_per_image`` are the protocol: they determine
    the detections. ``image_ids`` (None: all), then ``limit``, then ``shard`` select the images.
    ``batch_size`` and ``workers`` affect the speed only. ``on_bad_image``: one of
    :data:`BAD_IMAGE_POLICIES`. ``save_images``: the number of pictures to draw.
    """

    input: InputSpec = InputSpec()
    flip_test: bool = False
    test_scales: Tuple[float, ...] = (1.0,)
    nms: bool = False
    max_per_image: int = 100
    image_ids: Optional[Tuple[int, ...]] = None
    limit: Optional[int] = None
    shard: Shard = WHOLE
    batch_size: int = 1
    workers: int = 0
    on_bad_image: str = 'fail'
    save_images: int = 0


def check(options: EvalOptions) -> None:
    """Raise OptionError for invalid values."""
    for name, value, minimum in (
        ('--batch-size', options.batch_size, 1),
        ('--workers', options.workers, 0),
        ('--limit', options.limit, 1),
        ('--max-detections', options.max_per_image, 1),
        ('--save-images', options.save_images, 0),
        ('the input height', options.input.height, 1),
        ('the input width', options.input.width, 1),
    ):
        if value is not None and value < minimum:
            raise OptionError(f'{name} must be at least {minimum}, not {value}')
    if options.on_bad_image not in BAD_IMAGE_POLICIES:
        raise OptionError(
            "--on-bad-image must be one of {}, not '{}'".format(
                ', '.join(BAD_IMAGE_POLICIES), options.on_bad_image
            )
        )
    if not options.test_scales:
        raise OptionError('--test-scales needs at least one scale')
    for scale in options.test_scales:
        if not (scale > 0 and math.isfinite(scale)):
            raise OptionError(f'--test-scales: {scale:g} is not a positive number')


def protocol(options: EvalOptions) -> Dict[str, Any]:
    """Return what determines the detections of an image, for metrics.json and to compare two runs."""
    spec = options.input
    size = (
        {'keep_res': True, 'pad': spec.pad}
        if spec.keep_res
        else {'keep_res': False, 'height': spec.height, 'width': spec.width}
    )
    return dict(
        size,
        normalization=describe_normalization(spec),
        down_ratio=DOWN_RATIO,
        flip_test=options.flip_test,
        test_scales=list(options.test_scales),
        nms=options.nms or len(options.test_scales) > 1,
        max_per_image=options.max_per_image,
    )


def describe_normalization(spec: InputSpec) -> Dict[str, Any]:
    """Return a normalization for metrics.json: its name or None, mean and std of blue, green and red."""
    used = spec.normalization
    return {'name': used.name, 'mean': list(used.mean), 'std': list(used.std)}


def select(data: CocoData, options: EvalOptions) -> List[int]:
    """Return the ids of the images to evaluate, in the data set's order.

    Raises:
        DataError: a requested id is not in the data set, or no image is selected.
        OptionError: there are fewer images than shards.
    """
    ids = select_all(data, options.image_ids, options.limit)
    found = list(options.shard.of(ids))
    if not found:
        raise too_few_images(options.shard, len(ids))
    return found


def select_all(data: CocoData, image_ids: Optional[Sequence[int]], limit: Optional[int]) -> List[int]:
    """Return the ids of the images of all shards; arguments and DataError as for :func:`select`."""
    ids = list(data.image_ids)
    if image_ids is not None:
        requested = set(image_ids)
        unknown = sorted(requested.difference(ids))
        if unknown:
            raise DataError(
                '{} has no image with the id {}{}'.format(
                    data.annotations,
                    unknown[0],
                    f' (and {len(unknown) - 1} more requested ids are missing)' if unknown[1:] else '',
                )
            )
        ids = [image_id for image_id in ids if image_id in requested]
    ids = ids[:limit]
    if not ids:
        raise DataError(
            f'no image to evaluate: none of the {len(data.image_ids)} images in {data.annotations} is'
            ' selected'
        )
    return ids


def too_few_images(shard: Shard, count: int) -> OptionError:
    """Return the error of a shard that gets none of ``count`` images."""
    images = 'is only 1 image' if count == 1 else f'are only {count} images'
    return OptionError(f'--shard {shard}: there {images}')


def default_loading(device_type: str, spec: InputSpec) -> Tuple[int, int]:
    """Return the batch size and the number of loader processes for a device and an input size.

    On a GPU, 8 images fill it, and up to 4 processes keep up with it. On a CPU the network itself uses the
    cores: a batch pays only while images are small, up to the pixels of one 512 x 512 image, and one process
    loads ahead.
    """
    cpus = available_cpus()
    if device_type == 'cuda':
        return 8, min(4, max(1, cpus))
    pixels = 512 * 512 if spec.keep_res else spec.height * spec.width
    return max(1, min(16, 512 * 512 // pixels)), 0 if cpus == 1 else 1
