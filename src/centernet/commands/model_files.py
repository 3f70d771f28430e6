"""The files that ``export`` writes by default, which verify and eval-onnx take when no file is named."""

import logging
import os
from typing import List, Optional, Sequence

from ..export.targets import TARGETS, file_name
from ..files import display_path
from . import options, setup

_log = logging.getLogger(__name__)


def stem_of(weights: str) -> str:
    """The default name of a checkpoint's files: its own without the last extension."""
    return os.path.splitext(os.path.basename(weights))[0]


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
        Their paths, in the order of ``targets``.
    """
    from ..checkpoint import load_model
    from ..export.exporter import export
    from ..runners.input_limits import limits_of
    from ..sample import SAMPLE_WEIGHTS

    weights = weights or os.environ.get('WEIGHTS') or SAMPLE_WEIGHTS
    folder = options.default_output('export')
    files = [os.path.join(folder, file_name(stem_of(weights), TARGETS[name])) for name in targets]
    missing = [name for name, path in zip(targets, files) if not os.path.exists(path)]
    if missing:
        first = display_path(files[targets.index(missing[0])])
        _log.info(
            'no model is given and %s is missing: exporting %s first', first, setup.display_weights(weights)
        )
        loaded = load_model(weights, arch, weights_key=weights_key)
        export(loaded, folder, stem_of(weights), missing, size=limits_of(loaded).stored or (512, 512))
    return files
