"""What a dump will write: which images, and how much space they take."""

import shutil
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from ..checkpoint import LoadedModel
from ..coco import CocoData
from ..detection import DOWN_RATIO, InputSpec
from ..errors import OptionError, OutputError
from ..evaluation import EvalOptions
from ..evaluation.eval_options import check, select, too_few_images
from ..files import display_path
from ..shards import WHOLE, Shard
from .layouts import Layout
from .reference import reference_bytes
from .variants import applicable


class DumpOptions(NamedTuple):
    """What to write.

    ``layout``, ``dtype`` and ``input_name``: of the files. ``batch``: images in a file. ``spec``: the input.
    ``image_ids`` (None: all), then ``limit``, then ``shard`` select the images.
    ``calibration``: how many others for a calibration. ``references``: how many images the checkpoint is run
    on. ``inputs``: whether to write the inputs at all. ``workers``: processes that load images.
    """

    layout: Layout
    spec: InputSpec
    dtype: str = 'float32'
    batch: int = 1
    input_name: str = 'image'
    image_ids: Optional[Tuple[int, ...]] = None
    limit: Optional[int] = None
    shard: Shard = WHOLE
    calibration: int = 0
    references: int = 8
    inputs: bool = True
    workers: int = 0


class Plan(NamedTuple):
    """What a dump will write.

    ``image_ids``: in the order of the files. ``calibration``: ids of the images for the calibration.
    ``bytes``: the space that all files take. ``outputs``: that the outputs of the device will take, in
    float32.
    """

    image_ids: List[int]
    calibration: List[int]
    bytes: int
    outputs: int


def plan(loaded: LoadedModel, data: CocoData, options: DumpOptions) -> Plan:
    """Choose the images, and work out the space that their files take.

    Raises:
        OptionError: an option is out of range or does not fit the layout, or there are too few images.
        DataError: requested images are not in the data set.
    """
    spec, layout = options.spec, options.layout
    if spec.keep_res:
        raise OptionError('a device needs a fixed input: --keep-res cannot be dumped')
    if options.batch > 1 and not layout.batches:
        raise OptionError(
            f'--batch {options.batch}: the tools of the layout {layout.name} join files into batches'
            ' themselves; write one image per file'
        )
    selection = EvalOptions(input=spec, image_ids=options.image_ids, limit=options.limit)
    check(selection)
    chosen = select(data, selection)
    taken = set(chosen)
    others = [image_id for image_id in data.image_ids if image_id not in taken]
    if options.calibration > len(others):
        raise OptionError(
            f'--calibration {options.calibration}: only {len(others)} of the {len(data.image_ids)} images are'
            ' not evaluated, and images that are must not calibrate; use a smaller --limit'
        )
    # sorted: the order of the names, in which tools read them
    ids = list(options.shard.of(sorted(chosen)))
    if not ids:
        raise too_few_images(options.shard, len(chosen))
    item = np.dtype(options.dtype).itemsize
    per_image = int(3 * spec.height * spec.width * item * layout.growth)
    cells = (spec.height // DOWN_RATIO) * (spec.width // DOWN_RATIO)
    references = min(options.references, len(ids))
    written = (len(ids) * per_image if options.inputs else 0) + options.calibration * per_image
    variants = len(applicable(loaded.model)) - 1
    return Plan(
        ids,
        others[: options.calibration],
        written + reference_bytes(loaded.heads, cells, references, variants) + 400 * len(ids),
        4 * cells * sum(loaded.heads.values()) * len(ids),
    )


def check_space(planned: Plan, folder: str) -> int:
    """Return how many bytes are free for a folder's files. Raise OutputError if they are too few."""
    free = shutil.disk_usage(folder).free
    if planned.bytes > free:
        raise OutputError(
            f'{display_path(folder)} has {describe_bytes(free)} free, and the files take'
            f' {describe_bytes(planned.bytes)}: use --limit or --shard, or another --output'
        )
    return free


def describe_bytes(count: int) -> str:
    """``1.6 GB``, as disks are sold: 1 GB is a thousand million bytes."""
    for unit, size in (('GB', 10**9), ('MB', 10**6), ('kB', 10**3)):
        if count >= size:
            return f'{count / size:.1f} {unit}'
    return f'{count} bytes'
