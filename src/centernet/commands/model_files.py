"""The files that ``export`` writes by default, which verify and eval-onnx take when no file is named."""

import logging
import os
from typing import List, Mapping, Optional, Sequence

from ..exporting.targets import TARGETS, file_name, why_not
from ..system.files import display_path
from .arguments import default_output

_log = logging.getLogger(__name__)


def stem_of(weights: str) -> str:
    """The default name of a checkpoint's files: its own without the last extension."""
    return os.path.splitext(os.path.basename(weights))[0]


def suitable(targets: Sequence[str], heads: Mapping[str, int]) -> List[str]:
    """The targets whose readers can use these heads; a line says why each of the others is omitted."""
    found = []
    for name in targets:
        reason = why_not(TARGETS[name], heads)
        if reason:
            _log.info('target %s is omitted: %s', name, reason)
        else:
            found.append(name)
    return found


def exported_files(
    weights: Optional[str],
    targets: Sequence[str],
    arch: Optional[str] = None,
    weights_key: Optional[str] = None,
) -> List[str]:
    """Return the files of a checkpoint in ``output/export``, after exporting those that are missing.

    Args:
        weights: the checkpoint; None takes WEIGHTS of the environment, else the built-in sample's.
        targets: names of targets.
        arch: of a checkpoint that does not name its architecture.
        weights_key: of a checkpoint with several state dicts, the entry to take.

    Returns:
        Their paths, in the order of ``targets``, without those that the network's heads do not suit.
    """
    from ..detection import COCO
    from ..exporting.exporter import export
    from ..networks.checkpoint import load_model
    from ..networks.facts import facts_of_checkpoint
    from ..runs.plan import display_weights
    from ..sample import SAMPLE_WEIGHTS

    weights = weights or os.environ.get('WEIGHTS') or SAMPLE_WEIGHTS
    folder = default_output('export')
    files = [os.path.join(folder, file_name(stem_of(weights), TARGETS[name])) for name in targets]
    missing = [name for name, path in zip(targets, files) if not os.path.exists(path)]
    if missing:
        first = display_path(files[targets.index(missing[0])])
        _log.info('no model is given and %s is missing: exporting %s first', first, display_weights(weights))
        loaded = load_model(weights, arch, weights_key=weights_key)
        facts, missing = facts_of_checkpoint(loaded), suitable(missing, loaded.heads)
        size, normalization = facts.stored or (512, 512), facts.normalization or COCO
        export(loaded, folder, stem_of(weights), missing, size=size, normalization=normalization)
    return [path for path in files if os.path.exists(path)]
