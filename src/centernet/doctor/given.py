"""Weights, data and the output folder: what was asked for, or else what is found."""

import glob
import os
import tempfile

from .findings import MISSING, OK, WARNING, Finding
from .machine import folders, in_units

#: as in :mod:`centernet.sample`, which imports other packages
_SAMPLE_WEIGHTS = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'sample', 'dla_tiny.pth'
)


def check_weights(path, places=None):
    """path: --weights, or None; then checkpoints are looked for in ``places``."""
    if path is None:
        found = _list(folders('models') if places is None else places, '*.pth')
        sample = os.path.isfile(_SAMPLE_WEIGHTS)
        text = (
            "the built-in sample's"
            if sample
            else f"the built-in sample's checkpoint {_SAMPLE_WEIGHTS} is missing"
        )
        if found:
            text += (
                '; there are '
                + ', '.join(found[:5])
                + (f' and {len(found) - 5} more' if len(found) > 5 else '')
            )
        return [
            Finding(
                'weights',
                OK if sample else WARNING,
                text,
                None if sample else 'install this package anew',
                {'sample': sample, 'found': found},
            )
        ]
    problem = None
    if not os.path.exists(path):
        problem = f'no such file: {path}'
    elif not os.path.isfile(path):
        problem = f'{path} is no file'
    elif not os.access(path, os.R_OK):
        problem = f'{path} may not be read by user {os.getuid()}'
    elif not os.path.getsize(path):
        problem = f'{path} is empty'
    if problem:
        return [Finding('--weights', MISSING, problem, details={'path': path})]
    return [
        Finding(
            '--weights',
            OK,
            f'{path}, {in_units(os.path.getsize(path))}',
            details={'path': path, 'bytes': os.path.getsize(path)},
        )
    ]


def check_data(asked, probe, places=None):
    """asked: whether --data, --annotations or --images was given; probe: the probe ``data`` if so, else None,
    and annotations are looked for in ``places``."""
    if not asked:
        files = _list(folders('data') if places is None else places, os.path.join('annotations', '*.json'))
        text = 'the built-in sample, drawn when it is needed'
        if files:
            text += '; there are ' + ', '.join(files[:5])
        return [Finding('data', OK, text, details={'found': files})]
    found, failed = probe.finish()
    if 'data' not in found:
        return [
            Finding('--data', MISSING, failed.get('data') or failed.get('start') or 'it could not be read')
        ]
    details = found['data']
    if details['count'] is None:
        text = '{}, {}: too large to be read here'.format(
            details['annotations'], in_units(os.path.getsize(details['annotations']))
        )
    else:
        text = '{}: {} images in {}'.format(details['annotations'], details['count'], details['images'])
    return [Finding('--data', OK, text, details=details)]


def check_output(path, asked):
    """path: the folder for results; asked: whether it was named. It is not made here."""
    topic, level = ('--output', MISSING) if asked else ('output', WARNING)
    nearest = os.path.abspath(path)
    while not os.path.exists(nearest):
        nearest = os.path.dirname(nearest)
    problem = None
    if not os.path.isdir(nearest):
        problem = f'{nearest} is a file'
    else:
        try:
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            problem = f'{nearest}: {error.strerror}'
    there = os.path.isdir(path)
    details = {'path': path, 'exists': there, 'writable': problem is None}
    if problem:
        return [
            Finding(
                topic,
                level,
                '{} cannot be {}: {}'.format(path, 'written' if there else 'made', problem),
                'name another folder with --output',
                details,
            )
        ]
    return [
        Finding(
            topic, OK, '{}, {}'.format(path, 'can be written' if there else 'can be made'), details=details
        )
    ]


def _list(places, pattern):
    return sorted(name for place in places for name in glob.glob(os.path.join(glob.escape(place), pattern)))
