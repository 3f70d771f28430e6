"""Verify exported files against one checkpoint."""

import logging
import os
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from ..networks.runtimes import find_runtime, open_network
from ..report import load_run, write_report
from ..report.write import PAGE_NAME
from ..runs.plan import Plan, display_weights, match_data, open_data, open_network_of, warn_of_normalization
from ..system.errors import OptionError
from ..system.files import display_path, ensure_folder, remove_file
from .metrics import ANNOTATIONS
from .stages import Verification
from .summary import VERIFICATION_NAME, document, format_verification, write_verification
from .verify import facts_of_both, record_of_both, verify

_log = logging.getLogger(__name__)


class Verified(NamedTuple):
    """What became of several files. ``documents``: path as it is shown -> content of its verification.json.
    ``written``: paths of the files that were written."""

    documents: Dict[str, Any]
    written: List[str]

    @property
    def same(self) -> int:
        """How many files are the same model as the checkpoint."""
        return sum(item['same'] for item in self.documents.values())


def verify_files(
    files: Sequence[str],
    plan: Plan,
    folder: str,
    say: Callable[[str], None],
    pages: bool = False,
    progress: bool = True,
    **options: Any,
) -> Verified:
    """Verify files against one checkpoint, each in a folder of its name.

    Args:
        files: their paths.
        plan: the checkpoint, the data, and how they are evaluated.
        folder: the output folder; the checkpoint's own evaluation in it is shared.
        say: gets the results as text for people.
        pages: also make report.html about what differs, for each file.
        progress: show bars on stderr.
        options: ``compare_images``, ``metrics`` and ``target``, see :func:`.verify`.

    Raises:
        UserError: two files have the same name, a file cannot be read or does not take the input size, or the
            data do not fit.
    """
    names = [os.path.splitext(os.path.basename(path))[0] for path in files]
    if len(set(names)) < len(names):
        raise OptionError('two of the files have the same name; verify them separately')
    network = plan.network
    reference = open_network_of(network, plan.file)
    data = match_data(plan.data, open_data(plan.data, folder), plan.file, reference.info, any_classes=True)
    for note in [*reference.info.notes, *data.notes]:
        say(note)
    for path in files:
        if find_runtime(path).command == 'eval-pth':
            raise OptionError(f'{display_path(path)} is not an ONNX model: verify takes exported files')
    shared, checked = os.path.join(folder, 'reference'), set()
    found = Verified({}, [])
    for name, path in zip(names, files):
        place = ensure_folder(os.path.join(folder, name))
        for made in (VERIFICATION_NAME, PAGE_NAME):  # an interrupted run must leave none
            remove_file(os.path.join(place, made))
        model = open_network(path, network.device, network.threads)
        asked = (plan.protocol, plan.selection, plan.loading, not plan.data.given, plan.data.categories)
        record = record_of_both(reference, model, data, *asked)
        if record.protocol.normalization not in checked:
            warn_of_normalization(reference, data, record)
            checked.add(record.protocol.normalization)
        fed = record.protocol.describe(facts_of_both(reference, model), plan.protocol)
        say(f'{display_path(path)} against {display_weights(plan.file)}, input {fed}')
        options.update(progress=progress, reference_folder=shared, reuse=bool(found.documents))
        one = verify(reference, model, data, place, record, **options)
        content = found.documents[display_path(path)] = document(one)
        found.written.append(write_verification(place, content))
        found.written.extend(_page(one, shared, place) if pages else [])
        say(format_verification(one) + '\n')
    return found


def _page(found: Verification, shared: str, folder: str) -> List[str]:
    """Make the page about what differs between the checkpoint's evaluation and a file's; returns the paths.
    Where there is nothing to show, a line says why."""
    ground_truth = found.stage('metrics').facts.get('ground_truth')
    if ground_truth is None:
        _log.info('no report: the file was not evaluated')
    elif ground_truth != ANNOTATIONS:
        _log.info('no report: the metrics are not measured against the annotations')
    else:
        return write_report(folder, load_run(shared), load_run(os.path.join(folder, 'model')))
    return []
