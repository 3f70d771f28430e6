"""What the user asked for, and what it takes to do it: the network, the data set and the record of a run."""

import logging
from typing import Any, List, Optional, Tuple

import attr

from ..coco import CocoData
from ..networks.network import Network
from ..networks.runtimes import open_network
from ..options.protocol import Protocol
from ..options.selection import DataOptions, Loading, NetworkOptions, Selection
from ..sample import SAMPLE_WEIGHTS, sample_folder
from ..system.errors import OptionError
from ..system.files import display_path
from ..system.precision import FP32
from .evaluate import record_of
from .normalization_check import better_normalization
from .record import Record

_log = logging.getLogger(__name__)


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class Plan:
    """An evaluation as the user asked for it. ``file``: of the network."""

    file: str
    network: NetworkOptions = attr.ib(factory=NetworkOptions)
    data: DataOptions = attr.ib(factory=DataOptions)
    protocol: Protocol = attr.ib(factory=Protocol)
    selection: Selection = attr.ib(factory=Selection)
    loading: Loading = attr.ib(factory=Loading)


def open_network_of(options: NetworkOptions, path: Optional[str] = None) -> Network:
    """Open ``path``, or else the checkpoint of the options."""
    names = ('device', 'threads', 'arch', 'weights_key', 'precision')
    return open_network(path or options.weights, **{name: getattr(options, name) for name in names})


def open_data(options: DataOptions, sample_parent: str, need_images: bool = True) -> CocoData:
    """Read the data set, or the built-in sample, which is written into ``sample_parent`` if it is missing.

    Raises:
        DataError, OptionError: it is missing, or cannot be read.
    """
    if options.given:
        return CocoData.load(options.data, options.annotations, options.images, need_images)
    if options.images:
        raise OptionError('--images needs --data or --annotations, which describe the images')
    return CocoData.load(sample_folder(sample_parent), need_images=need_images)


def match_data(
    options: DataOptions, data: CocoData, name: str, info: Any, any_classes: bool = False
) -> CocoData:
    """Match the categories of the data set to a network's classes.

    Args:
        data: from :func:`open_data`.
        name: of the network's file, for messages.
        info: of the network (``classes``, ``class_names``).
        any_classes: whether the images serve a network of other classes, too. The data set then has no
            channels, and a note says why.

    Raises:
        OptionError: the sample has other classes, or the categories cannot be matched.
    """
    if not options.given:
        if not any_classes and info.classes != len(data.categories):
            raise OptionError(f'no --data: {name} has {info.classes} classes, unlike the sample')
        _log.info("no --data: using the built-in sample's images")
    if not info.classes:  # a network without hm, whose heads alone are compared
        return data.with_channels(())
    try:
        return data.matched(info.classes, info.class_names, options.categories)
    except OptionError as error:
        if any_classes and options.categories is None:
            why = str(error) if options.given else f'{name} has other classes than the built-in sample'
            return data.with_channels((), [f'classes: the annotations do not count: {why}'])
        raise OptionError(f'cannot evaluate {name} on {data.annotations}: {error}') from error


def prepare(plan: Plan, sample_parent: str) -> Tuple[Network, CocoData, Record]:
    """Open the network and the data of a plan, and describe the evaluation. ``sample_parent``: where the
    built-in sample is written, if it is needed."""
    network = open_network_of(plan.network, plan.file)
    data = match_data(plan.data, open_data(plan.data, sample_parent), network.info.file, network.info)
    record = record_of(
        network, data, plan.protocol, plan.selection, plan.loading, not plan.data.given, plan.data.categories
    )
    return network, data, record


def headline(record: Record, wanted: Protocol, data: Any) -> List[str]:
    """The lines before the results: network, data, what was assumed, protocol and device.

    Args:
        record: of the run.
        wanted: the protocol as the user gave it.
        data: what it runs on: a data set, or text.
    """
    info, loading = record.network, record.loading
    shown = [data] if isinstance(data, str) else [display_path(data.annotations), *data.notes]
    epoch = '' if info.epoch is None else f', epoch {info.epoch}'
    precision = '' if info.precision == FP32 else f', {info.precision}'
    threads = '' if info.threads is None else f', {info.threads} thread{"s" * (info.threads != 1)}'
    workers = f'{loading.workers or "no"} loader process{"es" * (loading.workers != 1)}'
    return [
        f'network: {info.arch} ({display_weights(info.file)}){epoch}',
        'data: ' + '\n'.join(shown),
        *info.notes,
        f'input: {record.protocol.describe(info, wanted)}',
        f'device: {info.device} ({info.device_name or "unknown"}){precision}{threads}, batches of'
        f' {loading.batch_size}, {workers}',
        '',
    ]


def display_weights(path: str) -> str:
    """A network's file as it is shown to people."""
    return 'the built-in sample' if path == SAMPLE_WEIGHTS else display_path(path)


def weights_or_sample(weights: Optional[str], data: Optional[str] = None) -> str:
    """The checkpoint, or the built-in sample's where no data are given either.

    Raises:
        OptionError: there are data, but no weights.
    """
    if weights:
        return weights
    if data:
        raise OptionError(f"no --weights: the sample's checkpoint does not know the classes of {data}")
    _log.info("no --weights: using the built-in sample's checkpoint")
    return SAMPLE_WEIGHTS


def warn_of_normalization(network: Network, data: CocoData, record: Record) -> None:
    """Log a warning if another normalization clearly fits the network's first layers better."""
    ids = record.selection.of(data.image_ids, data.annotations)
    spec = record.protocol.input
    better = better_normalization(network.first_layers(), data, ids, spec)
    if better:
        name = display_weights(network.info.file)
        _log.warning(
            f'warning: the first layer of {name} does not fit the normalization {spec.normalization}:'
            f' try --normalization {better}'
        )
