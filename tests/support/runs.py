"""Evaluations of painted pictures."""

from typing import Any, Dict, Optional

import attr

from centernet.coco import CocoData
from centernet.options.protocol import Protocol
from centernet.options.selection import Loading, Selection
from centernet.runs.evaluate import evaluate, record_of
from centernet.runs.record import Record
from centernet.runs.score import Score

from .painted import PaintNetwork


def record(data: CocoData, network: Optional[PaintNetwork] = None, **options: Any) -> Record:
    """The record of an evaluation; ``options``: fields of Protocol, Selection and Loading."""
    if not options.get('keep_res'):
        options = dict({'input_height': 64, 'input_width': 64}, **options)
    options = dict({'batch_size': 2, 'workers': 0}, **options)
    taken: Dict[Any, Dict[str, Any]] = {}
    for kind in (Protocol, Selection, Loading):
        names = attr.fields_dict(kind)
        taken[kind] = {name: options.pop(name) for name in list(options) if name in names}
    assert not options, options
    return record_of(network or PaintNetwork(), data, *(kind(**values) for kind, values in taken.items()))


def run(
    data: CocoData, folder: Any, network: Optional[PaintNetwork] = None, resume: bool = False, **options: Any
) -> Score:
    """Evaluate painted pictures; ``options`` as for :func:`record`."""
    network = network or PaintNetwork()
    return evaluate(network, data, record(data, network, **options), str(folder), resume, progress=False)
