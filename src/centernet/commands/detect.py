"""Detect objects on your own pictures and videos.

Detects objects on pictures and videos, which need no annotations. Writes into the output folder:

  detections.json   in COCO's format, with the detections as annotations
  detections.csv    the same as a table
  pictures/         the pictures with boxes, and videos, with their names
  journal.jsonl     the finished pictures, for --resume

Pictures are turned as their EXIF orientation says, and boxes are those of the turned picture. Without SOURCE,
the built-in sample's pictures are taken.

exit status: 0 success; 1 some files could not be read, or a loader process died; 2 invalid input or options;
130 or 143 interrupted (the files have what is finished; --resume continues)
"""

import argparse
import os
import shlex
from typing import Any, List, Optional, Tuple

from ..options.detect import DetectOptions
from ..options.fields import add_flags, read_flags, read_list
from ..options.selection import Loading
from ..system.errors import OptionError
from ..system.files import display_path
from . import arguments as groups
from . import setup


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'source',
        nargs='*',
        metavar='SOURCE',
        help='pictures, videos, folders with their subfolders, patterns such as "photos/*.jpg", or @FILE'
        " with one of these per line (default: SOURCE, else the sample's pictures)",
    )
    group = groups.add_network(parser, *groups.CHECKPOINT, 'precision')
    group.add_argument(
        '--names', metavar='FILE', help='class names, one per line (default: those in the file)'
    )
    groups.add_protocol(parser)
    group = parser.add_argument_group('detections')
    add_flags(group, DetectOptions, 'score', 'fps')
    group.add_argument(
        '--classes',
        metavar='LIST',
        help='keep these classes only, by name: person,car or @FILE with one per line (default: all)',
    )
    groups.add_loading(parser)
    groups.add_shard(parser)
    group = groups.add_output(parser, 'detect', 'detections')
    add_flags(group, DetectOptions, 'save')
    groups.add_resume(group)
    add_flags(group, Loading, 'on_bad_image')
    groups.add_json(group)


def run(arguments: Any) -> int:
    """Detect; returns the exit status."""
    setup.start(arguments)
    from ..pictures.detect import PICTURES_NAME, detect_files
    from ..pictures.source import PictureSource
    from ..runs.plan import headline, open_network_of, weights_or_sample
    from ..runs.record import Record

    files = _files(arguments)
    plan = setup.read_plan(arguments, weights_or_sample(arguments.weights))
    network = open_network_of(plan.network, plan.file)
    names = _class_names(arguments.names, network.info)
    options = read_flags(DetectOptions, arguments, channels=_channels(arguments.classes, names))
    source = PictureSource(files, names, options.fps)
    protocol = plan.protocol.for_network(network.info, plan.file)
    loading = plan.loading.for_network(network.info, protocol, source.total or 16)
    record = Record.of(network, source.describe(), protocol, plan.selection, loading)
    stream = setup.text_stream(arguments)
    counts = [(len(source.pictures), 'picture'), (len(source.videos), 'video')]
    shown = ', '.join(setup.counted(count, noun) for count, noun in counts if count)
    print('\n'.join(headline(record, plan.protocol, shown)), file=stream)
    progress = not arguments.no_progress
    found = detect_files(network, source, record, options, arguments.output, arguments.resume, progress)
    objects = setup.counted(len(found.document.annotations), 'object')
    pictures = len(found.document.images)
    counted = ', '.join(f'{count} {name}' for name, count in found.counts.items()) or 'none'
    print(f'{objects} on {setup.counted(pictures, "picture")}: {counted}', file=stream)
    for name, reason in found.failed.items():
        print(f'could not be read: {name}: {reason}', file=stream)
    print(file=stream)
    drawn = [os.path.join(arguments.output, PICTURES_NAME) + os.sep] if found.drawn else []
    setup.print_files(found.files + drawn, stream)
    if arguments.json:
        setup.print_json({'objects': found.counts, 'pictures': pictures, 'failed': found.failed})
    return 1 if found.failed and arguments.on_bad_image == 'fail' else 0


def _files(arguments: Any) -> Any:
    """The pictures and videos of this shard, without those that an earlier run in the output folder has
    drawn."""
    from ..pictures.find import find_files
    from ..runs.run import Run
    from ..sample import sample_folder

    words = arguments.source or _split(os.environ.get('SOURCE') or '')
    if not words:
        if arguments.weights:
            raise OptionError('no SOURCE: name pictures, videos or folders for --weights')
        words = [os.path.join(sample_folder(arguments.output), 'val2017')]
    made = Run.made_in(arguments.output)
    files = [file for file in find_files(words) if os.path.abspath(file.path) not in made]
    found = arguments.shard.of(files)
    if not found:
        raise OptionError(
            f'--shard {arguments.shard}: there are only {len(files)} files that it did not draw'
        )
    return found


def _split(text: str) -> List[str]:
    """The words of SOURCE: one file or folder, or several in the shell's notation."""
    try:
        return [text] if os.path.exists(text) else shlex.split(text)
    except ValueError:  # a quote that is not closed
        return [text]


def _class_names(path: Optional[str], info: Any) -> List[str]:
    """The names of a network's classes: those in a file, else those that it records, else COCO's or
    numbers."""
    from ..coco import COCO_CLASSES

    if path is None:
        coco = list(COCO_CLASSES) if info.classes == len(COCO_CLASSES) else None
        return info.class_names or coco or [f'class {index}' for index in range(info.classes)]
    lines = read_list(path, 'names').splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != info.classes:
        raise OptionError(f'{display_path(path)} has {len(names)} names, the network {info.classes} classes')
    return names


def _channels(wanted: Optional[str], names: List[str]) -> Optional[Tuple[int, ...]]:
    if wanted is None:
        return None
    from ..options.selection import parse_categories

    places = {name.lower(): channel for channel, name in enumerate(names)}
    entries = parse_categories(wanted)
    unknown = [name for name in entries if name.lower() not in places]
    if unknown:
        raise OptionError("--classes: no class '{}'; there are: {}".format(unknown[0], ', '.join(names)))
    return tuple(places[name.lower()] for name in entries)
