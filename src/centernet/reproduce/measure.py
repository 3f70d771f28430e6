"""Measure every claim: AP by the published protocols, and each export against its checkpoint."""

import os
import platform
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import attr
import onnx
import onnxruntime
import torch

from ..coco import CocoData
from ..exporting.exporter import export
from ..exporting.targets import TARGETS
from ..kernels import compiled
from ..networks.checkpoint import load_model
from ..networks.runtimes import open_network
from ..networks.runtimes.torch_runtime import TorchNetwork
from ..options.normalization import COCO
from ..options.protocol import Protocol
from ..options.selection import Loading, Selection
from ..runs.evaluate import evaluate, record_of
from ..system.device import describe_device
from ..system.errors import ArchitectureError, CheckpointError, Interrupted, ModelError, OptionError
from ..system.files import display_path, remove_file, sha256
from ..system.versions import versions
from ..verification import document, record_of_both, verify
from ..verification.summary import write_verification
from ..verification.tolerances import FLOAT32, TABLE
from ..verification.verify import same_run
from .claims import PROTOCOLS, Claims

HOLDS, FAILS, NOT_COMPARABLE = 'holds', 'fails', 'not comparable'
#: the files of a finished reproduction
REPORTS = ('report.md', 'report.json')


class Settings(NamedTuple):
    """What to measure with, and how.

    ``folder``: the output folder. ``device``: of torch. ``targets``: the exports to verify.
    """

    data: CocoData
    folder: str
    device: torch.device
    threads: Optional[int] = None
    selection: Selection = Selection()
    loading: Loading = Loading()
    targets: Tuple[str, ...] = tuple(TARGETS)
    progress: bool = True


class Row(NamedTuple):
    """A claim and what was measured.

    ``expected``: an AP or a SHA-256. ``tolerance``:
    None if the two must be equal. ``verdict``: ``holds``, ``fails`` or ``not comparable`` (AP of fewer images
    than the claim is about).
    """

    network: Optional[str]
    claim: str
    expected: Any = None
    measured: Any = None
    tolerance: Optional[float] = None
    verdict: str = FAILS
    note: str = ''

    @property
    def difference(self) -> Optional[float]:
        """Return the measured AP minus the expected one; None for other rows."""
        numbers = isinstance(self.measured, float) and isinstance(self.expected, float)
        return self.measured - self.expected if numbers else None


class Reproduction(NamedTuple):
    """All rows. ``images``: how many were evaluated."""

    claims: Claims
    rows: List[Row]
    images: int
    settings: Settings
    environment: Dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether no claim fails."""
        return not self.having(FAILS)

    def having(self, verdict: str) -> List[Row]:
        """Return the rows with this verdict."""
        return [row for row in self.rows if row.verdict == verdict]


def reproduce(
    claims: Claims,
    weights: Dict[str, str],
    settings: Settings,
    say: Callable[[str], None],
) -> Reproduction:
    """Measure claims.

    Args:
        claims: what to measure, and what to expect.
        weights: architecture -> path of the checkpoint.
        settings: how to measure. The evaluations of an interrupted reproduction in its folder are resumed
            where they had the same versions, weights, data and device; those of a finished one are not used
            again.
        say: called with each step's name when it begins.

    Raises:
        CheckpointError: a checkpoint cannot be read. (One of another network is a claim that fails.)
        DataError, OutputError: images or files cannot be read or written.
        Interrupted: the run was stopped; calling this again resumes it.
    """
    folder, data = settings.folder, settings.data
    digests = {network.arch: _digest(weights[network.arch]) for network in claims.networks}
    environment = dict(
        versions(),
        onnx=onnx.__version__,
        onnxruntime=onnxruntime.__version__,
        platform=platform.platform(),
        deformable_convolution=compiled.description() or 'plain torch',
        **describe_device(settings.device),
        weights_sha256=digests,
    )
    measured = sha256(data.annotations)
    rows = [_same(None, 'SHA-256 of the annotations', claims.annotations_sha256, measured)]
    images = len(settings.selection.of(data.image_ids, data.annotations))
    found = Reproduction(claims, rows, images, settings, environment)
    resume = not any(os.path.exists(os.path.join(folder, name)) for name in REPORTS)
    for name in REPORTS:
        remove_file(os.path.join(folder, name))
    try:
        for network in claims.networks:
            digest = digests[network.arch]
            rows.append(_same(network.arch, f'SHA-256 of {network.weights}', network.sha256, digest))
            try:
                _measure(found, network, weights[network.arch], resume, say)
            except (ArchitectureError, CheckpointError, ModelError, OptionError) as error:
                rows.append(Row(network.arch, f'runs as {network.arch}', note=str(error)))
    except (Interrupted, KeyboardInterrupt, SystemExit) as error:
        cause = error.__cause__ if isinstance(error, Interrupted) else error
        raise Interrupted(f'interrupted: the same command resumes from {display_path(folder)}') from cause
    return found


def _measure(found, network, path, resume, say):
    """Add the rows of one network."""
    settings = found.settings
    data, selection, loading = settings.data, settings.selection, settings.loading
    loaded = load_model(path, network.arch)
    checkpoint = TorchNetwork.of_checkpoint(loaded, settings.device, path, settings.threads)
    height, width = network.input_size
    fix_res = Protocol(input_height=height, input_width=width, normalization=COCO)

    def begin(name):
        """Say it, and return the step's folder."""
        say(f'{network.arch}, {name}')
        return folder_of(name)

    def folder_of(name):
        return os.path.join(settings.folder, network.arch, name.replace(', ', '_').replace(' ', '_'))

    def is_resumed(folder, record):
        resumed = resume and same_run(folder, record)
        if resumed:
            say(f'resuming the interrupted run in {display_path(folder)}')
        return resumed

    for name, ap in network.ap.items():
        keep_res, flip_test = PROTOCOLS[name]
        protocol = Protocol(keep_res=True, normalization=COCO) if keep_res else fix_res
        record = record_of(checkpoint, data, attr.evolve(protocol, flip_test=flip_test), selection, loading)
        folder = begin(name)
        run = evaluate(checkpoint, data, record, folder, is_resumed(folder, record), settings.progress)
        found.rows.append(_ap_row(found, network, name, ap, run))
    if not settings.targets:
        return
    stem = os.path.splitext(network.weights)[0]
    onnx_device = 'cpu' if settings.device.type == 'cpu' else 'auto'  # onnxruntime may lack what torch has
    files = export(loaded, begin('export'), stem, settings.targets, size=network.input_size)
    for target, file in zip(settings.targets, [path for path in files if path.endswith('.onnx')]):
        row = Row(network.arch, f'AP of the export for {target}', tolerance=FLOAT32.metrics)
        folder = begin('verify ' + target)
        try:
            model = open_network(file, onnx_device, settings.threads)
        except ModelError as error:
            found.rows.append(row._replace(note=str(error)))
            continue
        record = record_of_both(checkpoint, model, data, fix_res, selection, loading)
        resumed = is_resumed(os.path.join(folder, 'model'), record)
        options = {'target': target, 'progress': settings.progress, 'resume': resumed}
        options.update(reference_folder=folder_of('fix_res'), reuse=True)  # the checkpoint's detections
        verified = verify(checkpoint, model, data, folder, record, **options)
        write_verification(folder, document(verified))
        found.rows.append(_export_row(row, verified))


def _ap_row(found, network, name, ap, run) -> Row:
    limit = TABLE[found.claims.tolerance].limit
    row = Row(network.arch, f'AP, {name}', ap, run.metrics.stats['AP'], limit)
    if run.failed:
        return row._replace(note=f'images that could not be read: {len(run.failed)}')
    if found.images != found.claims.images:
        return row._replace(verdict=NOT_COMPARABLE, note=f'{found.images} of {found.claims.images} images')
    # the last binary digit of a decimal number must not decide
    return row._replace(verdict=HOLDS if abs(row.difference) <= limit + 1e-9 else FAILS)


def _export_row(row, verified) -> Row:
    figures = verified.stage('metrics').facts.get('figures')
    if figures is not None:
        row = row._replace(expected=figures[0]['reference'], measured=figures[0]['model'])  # AP
        if verified.passed:
            return row._replace(verdict=HOLDS)
    return row._replace(note='; '.join(f'{stage.name} {stage.outcome}' for stage in verified.stages))


def _digest(path):
    try:
        return sha256(path)
    except OSError as error:
        raise CheckpointError(f'cannot read the checkpoint {path}: {error.strerror}') from error


def _same(network, claim, expected, measured):
    return Row(network, claim, expected, measured, None, HOLDS if expected == measured else FAILS)
