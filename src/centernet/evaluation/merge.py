"""Merge the journals of a divided run."""

import contextlib
import os
from typing import Any, Dict, List, Optional, Sequence

from ..coco import CocoData
from ..errors import DataError, OptionError, UserError
from ..files import display_path, ensure_folder, remove_file, sha256
from ..processes import ProcessError
from ..shards import Shard, parse_shard
from .eval_options import select_all
from .journal_file import Record, differences, read_record
from .run_folders import Part, find_recorded, open_parts
from .summary import METRICS_NAME, RESULTS_NAME, Evaluation, Made, conclude


class MissingImages(UserError):
    """Images are in none of the journals.

    ``ids``: of the images. ``shards``: those that they belong to, none if the run was not divided, or into
    different numbers. ``part``: one that is there. ``data``: the data set.
    """

    def __init__(self, ids: List[int], total: int, shards: List[Shard], part: Part, data: CocoData) -> None:
        few = ', '.join(map(str, ids[:3])) + (', ...' if ids[3:] else '')
        where = '{} {}: '.format('shard' if len(shards) == 1 else 'shards', ', '.join(map(str, shards)))
        super().__init__(f'{len(ids)} of {total} images are missing ({where if shards else ""}{few})')
        self.ids, self.shards, self.part, self.data = ids, shards, part, data


def merge(
    folders: Sequence[str], output: str, data: Optional[CocoData] = None, mixed_devices: bool = False
) -> Evaluation:
    """Merge the parts of a run: the figures and results.json are those of one run over all images.

    Detections are read from the journals image by image, in the data set's order.

    Args:
        folders: the output folders of the parts.
        output: the folder for results.json and metrics.json.
        data: the data set, with any channels; None loads the one that the journals name.
        mixed_devices: take parts from CPUs and GPUs together, whose detections differ by rounding.

    Raises:
        DataError: a journal is missing or damaged, or the data set is missing or another.
        OptionError: the parts are not of one run: other weights, data, protocol, versions or images; or
            images are in several of them.
        MissingImages: images are in none of them.
        ProcessError: a process that computes the figures was killed.
    """
    with contextlib.ExitStack() as stack:
        parts = open_parts(folders, stack)
        for part in parts[1:]:
            _check_same(parts[0], part, mixed_devices)
        data = _matching_data(parts, data)
        selection = parts[0].entry('selection')
        journals = _Journals(parts)
        image_ids = select_all(data, selection['ids'], selection['limit'])
        failed = {
            image_id: reason
            for part in parts
            for image_id, reason in part.content.failed.items()
            if image_id not in journals.places
        }
        _check_complete(image_ids, journals.places, failed, parts, data)
        output = ensure_folder(output)
        if os.path.realpath(output) in {os.path.realpath(part.folder) for part in parts}:
            raise OptionError(f'--output {display_path(output)} is the folder of a shard: choose another')
        for name in (METRICS_NAME, RESULTS_NAME):
            remove_file(os.path.join(output, name))
        finished = [image_id for image_id in image_ids if image_id in journals.places]
        if not finished:
            raise DataError(
                f'none of the {len(failed)} images could be read; the first: {next(iter(failed.values()))}'
            )
        sessions = [session for part in parts for session in part.content.sessions]
        strict = any(session['on_bad_image'] == 'fail' for session in sessions)
        made = Made(
            sessions[0]['network'],
            parts[0].content.fingerprint['protocol'],
            parts[0].content.fingerprint['data']['annotations_sha256'],
            sessions[0]['versions'],
            sessions[0]['batch_size'],
            sessions[0]['workers'],
            'fail' if strict else 'skip',
        )
        wanted = set(image_ids)
        failed = {image_id: reason for image_id, reason in failed.items() if image_id in wanted}
        try:
            return conclude(journals, finished, failed, data, made, output)
        except ProcessError as error:
            raise UserError(
                f'a process that computes the figures {error.how}, perhaps because memory ran out'
            ) from None


class _Journals:
    """Several journals as one. ``places``: image id -> number of the part that has it."""

    def __init__(self, parts: List[Part]) -> None:
        self.parts = parts
        self.places: Dict[int, int] = {}
        for number, part in enumerate(parts):
            double = [image_id for image_id in part.content.finished if image_id in self.places]
            if double:
                first = parts[self.places[double[0]]]
                count = f'{len(double)} images are' if len(double) > 1 else 'an image is'
                raise OptionError(
                    f'{count} in {display_path(part.folder)} and in {display_path(first.folder)} or others'
                    f' (the first has the id {double[0]}): leave one of these folders out'
                )
            self.places.update(dict.fromkeys(part.content.finished, number))

    def read(self, image_id: int) -> Record:
        """Return a finished image."""
        part = self.parts[self.places[image_id]]
        return read_record(part.handle, part.content.finished[image_id], image_id, part.path)

    def session_of(self, image_id: int) -> Dict[str, Any]:
        """Return the description of what evaluated a finished image."""
        content = self.parts[self.places[image_id]].content
        return content.sessions[content.finished[image_id].session]


def _check_same(first: Part, other: Part, mixed_devices: bool) -> None:
    """Raise OptionError unless two parts are of one run."""
    found = []
    for part in (first, other):
        network = dict(part.content.fingerprint['network'])
        if mixed_devices:
            network.pop('device_type', None)
            network.pop('provider', None)
        found.append(dict(part.content.fingerprint, network=network))
    differing = differences(*found)
    if differing:
        hint = '; --mixed-devices takes CPUs and GPUs together' if all(map(_is_of_device, differing)) else ''
        raise OptionError(f'{first.path} and {other.path} are of different runs: {_said(differing)}{hint}')
    for session in first.content.sessions[1:] + other.content.sessions:
        differing = differences(first.entry('versions'), session['versions'])
        if differing:
            raise OptionError(
                f'{first.path} and {other.path} were made by different versions: {_said(differing)}; evaluate'
                ' all shards with the same'
            )
        selections = [dict(entry['selection'], shard=None) for entry in (first.content.sessions[0], session)]
        if selections[0] != selections[1]:
            raise OptionError(
                f'{first.path} and {other.path} are of different images: --limit or --ids differed'
            )


def _is_of_device(difference: str) -> bool:
    return difference.startswith(('network.device_type ', 'network.provider '))


def _said(differing: List[str]) -> str:
    return '; '.join(text.replace(' was ', ' is ').replace(', is now ', ' and ') for text in differing)


def _matching_data(parts: List[Part], data: Optional[CocoData]) -> CocoData:
    """Return the data set that was evaluated, with its channels."""
    expected = parts[0].content.fingerprint['data']['annotations_sha256']
    if data is None:
        data = _recorded_data(parts)
    if sha256(data.annotations) != expected:
        raise DataError(
            f'{display_path(data.annotations)} is not the file that the shards were evaluated on: its content'
            ' differs'
        )
    return data.with_channels(
        [category and tuple(category) for category in parts[0].entry('data')['channels']]
    )


def _recorded_data(parts: List[Part]) -> CocoData:
    for part in parts:
        paths = find_recorded(part.folder, part.entry('data'))
        if paths is not None:
            return CocoData.load(None, *paths, need_images=False)
    raise DataError(
        f'the shards were evaluated on {parts[0].entry("data")["annotations"]}, which is missing: name the'
        ' data with --data or --annotations'
    )


def _check_complete(
    image_ids: List[int],
    finished: Dict[int, int],
    failed: Dict[int, str],
    parts: List[Part],
    data: CocoData,
) -> None:
    """Raise MissingImages if images are neither finished nor failed."""
    places = [
        place
        for place, image_id in enumerate(image_ids)
        if image_id not in finished and image_id not in failed
    ]
    if not places:
        return
    divided = [parse_shard(part.entry('selection')['shard']) for part in parts]
    counts = {shard.count for shard in divided if shard}
    shards = []
    if len(counts) == 1 and counts != {1}:
        (count,) = counts
        shards = [Shard(index + 1, count) for index in sorted({place % count for place in places})]
    raise MissingImages([image_ids[place] for place in places], len(image_ids), shards, parts[0], data)
