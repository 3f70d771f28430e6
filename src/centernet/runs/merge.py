"""Merge: join the journals of a divided run whose records agree."""

import contextlib
import os
import shlex
from typing import Any, Dict, Optional, Sequence

import attr

from ..coco import CocoData
from ..options.fields import DIGITS, IMAGES, RUN
from ..system.errors import DataError, OptionError, UserError
from ..system.files import display_path, sha256
from ..system.shards import WHOLE, Shard
from .evaluate import conclude, open_coco
from .journal import failed_entry
from .record import Record
from .run import Run, allow_open_files
from .score import Score

#: differences that --mixed-devices allows
_OF_DEVICES = ('environment.device_type', 'environment.provider')


class MissingImages(UserError):
    """Images are in none of the journals. The message has the command that evaluates the first shard of
    them."""


def merge(
    folders: Sequence[str],
    output: str,
    data: Optional[CocoData] = None,
    mixed_devices: bool = False,
    say: Any = lambda line: None,
    pages: Any = None,
) -> Score:
    """Merge the parts of a run: the metrics and results.json are those of one run over all images.

    Args:
        folders: the output folders of the parts.
        output: the folder for results.json and metrics.json.
        data: the data set, with any channels; None loads the one that the journals name.
        mixed_devices: take parts from CPUs and GPUs together, whose detections differ by rounding.
        say: gets a line if parts were evaluated under conditions that may differ in their digits.
        pages: as for :func:`.evaluate.evaluate`.

    Raises:
        DataError: a journal is missing or damaged, or the data set is missing or another.
        OptionError: the parts are not of one run: other weights, data, protocol or images; or images are in
            several of them.
        MissingImages: images are in none of them.
    """
    with contextlib.ExitStack() as stack:
        allow_open_files(len(folders))
        parts = [stack.enter_context(part) for part in map(Run.open, folders) if part is not None]
        if not parts:
            raise DataError(f'{display_path(folders[0])}: no image is finished yet')
        first = parts[0].record
        for part in parts:
            for session in part.sessions:
                _check_same(parts[0], part, session, mixed_devices, say)
        data = data_of(parts[0], data)
        if os.path.realpath(output) in {os.path.realpath(part.folder) for part in parts}:
            raise OptionError(f'--output {display_path(output)} is the folder of a shard: choose another')
        _check_complete(parts, data)
        strict = any(session.loading.on_bad_image == 'fail' for part in parts for session in part.sessions)
        record = attr.evolve(
            first,
            selection=attr.evolve(first.selection, shard=WHOLE),
            loading=attr.evolve(first.loading, on_bad_image='fail' if strict else 'skip', save_images=0),
        )
        run = stack.enter_context(Run.begin(output, record, sources=[part.path for part in parts]))
        for part in parts:
            run.join(part)
        failed = {image_id: why for part in parts for image_id, why in part.failed.items()}
        if failed:
            run.append(failed_entry({key: failed[key] for key in failed if key not in run.finished}))
        return conclude(run, data, pages)


def score_run(folder: str, data: Optional[str]) -> Score:
    """Score the run in a folder; see :func:`centernet.face.score`."""
    earlier = Run.open(folder)
    if earlier is None:
        raise DataError(f'{display_path(folder)}: no image is finished yet')
    with earlier:
        coco = data_of(earlier, open_coco(data) if data else None)
        record = earlier.record
    with Run.begin(folder, record, resume=True) as run:
        return conclude(run, coco)


def data_of(
    run: Run, data: Optional[CocoData] = None, images: Optional[str] = None, need_images: bool = False
) -> CocoData:
    """Return the data set that a run was evaluated on, with its channels.

    Args:
        run: its folder.
        data: the data set if it is known; else the one that the run recorded, or the sample in its folder.
        images: the folder of the images, if it is not the recorded one.
        need_images: whether the images are read, too.

    Raises:
        DataError: it is missing, or another.
    """
    recorded = run.record.data
    if data is None:
        moved = os.path.join(run.folder, 'sample')  # the sample in the folder of a run that was moved
        annotations = os.path.join(moved, 'annotations', 'instances_val2017.json')
        pairs = (recorded.annotations, recorded.images), (annotations, os.path.join(moved, 'val2017'))
        found = next((pair for pair in pairs if pair[0] and os.path.exists(pair[0])), None)
        if found is None:
            raise DataError(f'{recorded.annotations}, the data of {run.name}, is missing: give --data')
        data = CocoData.load(None, found[0], images or found[1], need_images)
    if sha256(data.annotations) != recorded.sha256:
        raise DataError(f'{display_path(data.annotations)} differs from what {run.name} was evaluated on')
    return data.with_channels(recorded.channels)


def _check_same(first: Run, other: Run, session: Record, mixed_devices: bool, say: Any) -> None:
    """Raise OptionError unless a session is of the same run as the first part."""
    differing = first.record.differences(session, RUN)
    if differing:
        raise OptionError(
            f'{first.name} and {other.name} cannot be merged: they come from different runs:'
            f' {_said(differing)}'
        )
    if first.record.differences(session, IMAGES):
        raise OptionError(f'{first.name} and {other.name} have different images: --limit or --ids differed')
    differing = first.record.differences(session, DIGITS)
    devices = [item for item in differing if item.name in _OF_DEVICES]
    if devices and not mixed_devices:
        raise OptionError(f'{first.name} and {other.name} differ ({_said(devices)}): see --mixed-devices')
    if differing:
        say(f'{first.name} and {other.name} may differ in the last digits: {_said(differing)}')


def _said(differing: Sequence[Any]) -> str:
    return '; '.join(f'{item.name} is {item.before} and {item.now}' for item in differing)


def _check_complete(parts: Sequence[Run], data: CocoData) -> None:
    """Raise OptionError if images are in several parts, and MissingImages if they are in none."""
    selection = parts[0].record.selection
    ids = selection.all_shards(data.image_ids, data.annotations)
    places: Dict[int, Run] = {}
    for part in parts:
        both = sorted(places.keys() & part.finished)
        if both:
            names = f'{part.name} and in {places[both[0]].name}'
            raise OptionError(f'image {both[0]} is in {names}: leave one of these folders out')
        places.update(dict.fromkeys(part.finished, part))
    done = {*places, *(image_id for part in parts for image_id in part.failed)}
    missing = [place for place, image_id in enumerate(ids) if image_id not in done]
    if not missing:
        return
    counts = {part.record.selection.shard.count for part in parts}
    count, again, folder, where = counts.pop(), WHOLE, parts[0].folder, ''
    if count > 1 and not counts:
        shards = [Shard(index + 1, count) for index in sorted({place % count for place in missing})]
        again, folder = shards[0], os.path.dirname(folder)
        where = f'{"shard" if len(shards) == 1 else "shards"} {", ".join(map(str, shards))}: '
    few = ', '.join(str(ids[place]) for place in missing[:3]) + (', ...' if missing[3:] else '')
    command = parts[0].record.command(attr.evolve(selection, shard=again))
    raise MissingImages(
        f'{len(missing)} of {len(ids)} images are missing ({where}{few}); evaluate them, and merge again:'
        f' {command} --output {shlex.quote(display_path(folder))} --resume'
    )
