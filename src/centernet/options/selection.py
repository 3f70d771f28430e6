"""Which network, which data set, which of its images, and how they are loaded."""

from typing import Any, List, Optional, Sequence, Tuple

import attr

from ..system.device import available_cpus
from ..system.errors import DataError, OptionError
from ..system.precision import FP32, PRECISIONS
from ..system.shards import AUTO, WHOLE, Shard, parse_shard
from .fields import DIGITS, IMAGES, each, option, read_list, whole
from .protocol import Protocol

#: the exit status of a run in which images could not be read: 1 or 0
BAD_IMAGE_POLICIES = ('fail', 'skip')


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class NetworkOptions:
    """Which network, and where it runs."""

    weights: Optional[str] = option(
        None,
        "checkpoint, a .pth file (default: WEIGHTS, else the built-in sample's)",
        environment='WEIGHTS',
        metavar='FILE',
    )
    arch: Optional[str] = option(
        None,
        'such as dla_34, resdcn_18 or hourglass (default: as stored in the checkpoint, else dla_34)',
        metavar='NAME',
    )
    weights_key: Optional[str] = option(
        None,
        'entry of the checkpoint with the weights, such as ema or ema.state_dict (default: the only one)',
        metavar='NAME',
    )
    device: str = option(
        'auto',
        'auto, cpu, cuda or cuda:N (default: DEVICE, else auto: the first GPU if it is usable)',
        environment='DEVICE',
        metavar='NAME',
    )
    precision: str = option(
        FP32,
        'arithmetic: fp32; on a GPU also tf32 (capability 8.0 and newer) or fp16; on a CPU with'
        ' AVX512_BF16 also bf16 (default: fp32)',
        choices=PRECISIONS,
    )
    threads: Optional[int] = whole('CPU threads (default: OMP_NUM_THREADS, else all available cores)')


def parse_categories(text: str) -> Tuple[str, ...]:
    if text.startswith('@'):
        entries = read_list(text[1:], 'categories').strip().splitlines()
    else:
        entries = text.split(',')
    entries = [entry.strip() for entry in entries]
    if not all(entries):
        raise OptionError("an entry of the list of categories is empty; '-' stands for none")
    return tuple(entries)


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class DataOptions:
    """Which data set."""

    data: Optional[str] = option(
        None,
        "data set in COCO's layout: annotations/instances_val2017.json (or a single annotations/*.json) and"
        ' the images in val2017/, images/val2017/ or images/; or a single *.json with the images beside it'
        ' (default: DATA, else the built-in sample)',
        environment='DATA',
        metavar='FOLDER',
    )
    annotations: Optional[str] = option(None, 'annotations file (default: found in --data)', metavar='FILE')
    images: Optional[str] = option(None, 'folder of the images (default: found in --data)', metavar='FOLDER')
    categories: Optional[Tuple[str, ...]] = option(
        None,
        "names or ids of the data set's categories in the order of the network's channels, - for a channel"
        ' without one, such as --categories=-,person,car; or @FILE with one per line (default: matched by'
        ' name, else by the order of the ids)',
        type=parse_categories,
        metavar='LIST',
    )

    @property
    def given(self) -> Optional[str]:
        """What names the data set; None for the built-in sample."""
        return self.data or self.annotations


def _ids(text: str) -> Tuple[int, ...]:
    if text.startswith('@'):
        text = read_list(text[1:], 'ids')
    ids = each(text.replace(',', ' ').split(), int, 'image ids are whole numbers such as 139,285')
    if not ids:
        raise OptionError('the list of image ids is empty')
    return ids


def _shard(text: str) -> Any:
    found = AUTO if text == AUTO else parse_shard(text)
    if found is None:
        raise OptionError(f'{text!r} is not a shard such as 2/3, the second of three')
    return found


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class Selection:
    """Which images of a data set are evaluated: those with ``ids`` (None: all), of these the first ``limit``,
    of these every ``shard.count``-th."""

    ids: Optional[Tuple[int, ...]] = option(
        None,
        'only the images with these ids: 139,285 or @FILE with ids separated by white space or commas',
        IMAGES,
        type=_ids,
        metavar='LIST',
    )
    limit: Optional[int] = whole('only the first N images (default: all)', IMAGES)
    shard: Shard = option(
        WHOLE,
        'part I of N, into <output>/shard-I-of-N; auto reads Slurm, Kubernetes or CI variables',
        dump=str,
        word=str,
        load=parse_shard,
        type=_shard,
        metavar='I/N',
    )

    def all_shards(self, image_ids: Sequence[int], name: str) -> List[int]:
        """The selected images of all shards, in the data set's order.

        Args:
            image_ids: of the data set.
            name: of its annotations file, for messages.

        Raises:
            DataError: a requested id is not in the data set, or no image is selected.
        """
        ids = list(image_ids)
        if self.ids is not None:
            requested = set(self.ids)
            unknown = sorted(requested.difference(ids))
            if unknown:
                more = f' (and {len(unknown) - 1} more requested ids are missing)' if unknown[1:] else ''
                raise DataError(f'{name} has no image with the id {unknown[0]}{more}')
            ids = [image_id for image_id in ids if image_id in requested]
        ids = ids[: self.limit]
        if not ids:
            raise DataError(f'no image to evaluate: {name} has {len(image_ids)}, none is selected')
        return ids

    def of(self, image_ids: Sequence[int], name: str) -> List[int]:
        """The selected images of this shard; arguments and errors as for :meth:`all_shards`.

        Raises:
            OptionError: there are fewer images than shards.
        """
        ids = self.all_shards(image_ids, name)
        found = list(self.shard.of(ids))
        if not found:
            images = 'is only 1 image' if len(ids) == 1 else f'are only {len(ids)} images'
            raise OptionError(f'--shard {self.shard}: there {images}')
        return found


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class Loading:
    """How images are loaded, and what happens to those that cannot be read."""

    batch_size: Optional[int] = whole(
        'images per batch (default: chosen for the device and input size)', DIGITS, row='batch size'
    )
    workers: Optional[int] = whole(
        'processes that load images; 0: none (default: chosen for the device and cores)', least=0
    )
    on_bad_image: str = option(
        'fail',
        'exit status where images cannot be read: 1 (fail) or 0 (skip) (default: fail)',
        check=attr.validators.in_(BAD_IMAGE_POLICIES),
        choices=BAD_IMAGE_POLICIES,
    )
    save_images: int = whole(
        'draw the detections of the first N images, into <output>/images (default: 0)', default=0, least=0
    )

    def for_network(self, info: Any, protocol: Protocol, images: int) -> 'Loading':
        """Choose what is open.

        On a GPU, 8 images fill it, and up to 4 processes keep up with it. On a CPU the network itself uses
        the
        cores: a batch pays only while images are small, up to the pixels of one 512 x 512 image, and one
        process loads ahead.

        Args:
            info: of the network (``device_type``, ``batch_size``).
            protocol: after :meth:`Protocol.for_network`.
            images: how many are selected, in all shards together. A batch is no larger.
        """
        cpus = available_cpus()
        if info.device_type == 'cuda':
            batch_size, workers = 8, min(4, max(1, cpus))
        else:
            pixels = protocol.input.height * protocol.input.width
            batch_size, workers = max(1, min(16, 512 * 512 // pixels)), 0 if cpus == 1 else 1
        return attr.evolve(
            self,
            batch_size=min(self.batch_size or info.batch_size or batch_size, max(1, images)),
            workers=workers if self.workers is None else self.workers,
        )
