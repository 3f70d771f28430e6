"""A finished evaluation, as a report needs it."""

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..coco import CocoData
from ..options.fields import from_json
from ..options.selection import DataOptions
from ..runs import run as folders
from ..runs.merge import data_of
from ..runs.record import Record
from ..system.errors import DataError
from ..system.files import display_path


class Run(NamedTuple):
    """A finished evaluation.

    ``folder``: where it is. ``record``: what it is. ``document``: the content of metrics.json. ``results``:
    all detections in COCO's results format. ``data``: the data set, with the run's channels. ``image_ids``:
    the evaluated images.
    """

    folder: str
    record: Record
    document: Dict[str, Any]
    results: List[Dict[str, Any]]
    data: CocoData
    image_ids: List[int]

    @property
    def name(self) -> str:
        """The folder as it is shown to people."""
        return display_path(self.folder)

    @property
    def network(self) -> str:
        """The network and its file, such as ``dla_34 (ctdet_coco_dla_2x.pth)``."""
        return dict(self.record.rows())['network']

    def rows(self) -> List[Tuple[str, str]]:
        """The settings of the run, for tables: name, value."""
        rows = dict(self.record.rows())
        devices = self.document['timings'].get('per_device')
        if devices:  # of merged shards
            rows['device'] = '; '.join(f'{name}: {part["images"]} images' for name, part in devices.items())
        rows['images'] = str(self.document['images'])
        if self.document['failed_images']:
            rows['images that could not be read'] = str(len(self.document['failed_images']))
        return list(rows.items())


def make_run(opened: folders.Run, data: CocoData, document: Dict[str, Any]) -> Run:
    """Return a run that has just been scored.

    Args:
        opened: its folder.
        data: the data set, with the run's channels.
        document: the content of metrics.json.
    """
    selected = opened.record.selection.of(data.image_ids, data.annotations)
    ids = [image_id for image_id in selected if image_id in opened.finished]
    results = _read(opened.folder, folders.RESULTS_NAME)
    return Run(opened.folder, opened.record, document, results, data, ids)


def load_run(folder: str, options: Optional[DataOptions] = None) -> Run:
    """Read an evaluation's folder and its data set.

    Args:
        folder: the output folder of eval-pth, eval-onnx, eval-outputs or merge.
        options: the data set, if it is no longer where the run found it.

    Raises:
        DataError: a file is missing or damaged, or the annotations have changed since.
    """
    shown = display_path(folder)
    opened = folders.Run.open(folder)
    if opened is None:
        raise DataError(f'{shown} is not the folder of a finished evaluation: no image is finished')
    with opened:
        document = _read(folder, folders.METRICS_NAME)
    # a resumed run that had nothing left to evaluate may have scored fewer images than its journal has
    opened.record = from_json(Record, document['record'])
    options = options or DataOptions()
    given = CocoData.load(options.data, options.annotations, options.images) if options.given else None
    data = data_of(opened, given, options.images, need_images=True)
    if not {None, *data.categories}.issuperset(data.channels):
        raise DataError(f'no report of {shown}: it was measured against detections, not annotations')
    return make_run(opened, data, document)


def _read(folder: str, name: str) -> Any:
    path = os.path.join(folder, name)
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except FileNotFoundError:
        shown = display_path(folder)
        raise DataError(f'{shown} is not the folder of a finished evaluation: it has no {name}') from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not valid JSON'
        raise DataError(f'cannot read {display_path(path)}: {reason}') from None
