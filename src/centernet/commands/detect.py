"""``centernet detect``: objects on pictures and videos of one's own."""

import argparse
import os
import shlex
from typing import Any, List, Optional, Tuple

from ..errors import DataError, OptionError
from ..files import display_path
from . import eval_shared, options, setup

NAME = 'detect'
HELP = 'detect objects on your own pictures and videos'
DESCRIPTION = """
Detects objects on pictures and videos, which need no annotations. Writes into the output folder:

  detections.json   in COCO's format, with the detections as annotations
  detections.csv    the same as a table
  pictures/         the pictures with boxes, and videos, with their names

Pictures are turned as their EXIF orientation says, and boxes are those of the turned picture. Without SOURCE,
the built-in sample's pictures are taken.

exit status: 0 success; 1 some files could not be read, or a loader process died; 2 invalid input or options;
130 or 143 interrupted (the files have what is finished)"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        'source',
        nargs='*',
        metavar='SOURCE',
        default=_split(os.environ.get('SOURCE') or ''),
        help='pictures, videos, folders with their subfolders, patterns such as "photos/*.jpg", or @FILE with'
        " one of these per line (default: SOURCE, else the sample's pictures)",
    )
    group = parser.add_argument_group('network')
    options.add_weights(group, "the built-in sample's")
    group.add_argument(
        '--names',
        metavar='FILE',
        help="the classes' names, one per line (default: those in the file, else COCO's for 80 classes)",
    )
    options.add_size(group, 'as stored in the file, else 512')
    options.add_normalization(group)
    options.add_device(group)
    options.add_precision(group)
    options.add_threads(group)
    eval_shared.add_protocol(parser, '; more make no difference above --score')
    _add_detections(parser)
    options.add_loading(parser)
    options.add_shard(parser, 'files')
    group = options.add_output(parser, NAME, 'detections')
    group.add_argument(
        '--save',
        choices=('pictures', 'video', 'none'),
        help='draw only videos, or the frames of videos as pictures, too, or nothing (default: pictures of'
        ' pictures and videos of videos)',
    )
    eval_shared.add_on_bad_image(group, 'files')
    options.add_json(group)


def run(arguments: Any) -> int:
    """Detect; returns the exit status."""
    from ..coco.coco_classes import COCO_CLASSES
    from ..detect import DetectOptions, detect_files, find_sources
    from ..runners import open_runner

    threads = setup.start(arguments)
    found_sources = find_sources(_words(arguments))
    sources = setup.chosen_shard(arguments).of(found_sources)
    if not sources:
        raise OptionError(f'--shard {arguments.shard}: there are only {len(found_sources)} files')
    weights = _weights(arguments)
    is_onnx = weights.lower().endswith('.onnx')
    precision = arguments.precision
    runner = open_runner(
        weights, arguments.device, threads, arguments.arch, is_onnx, arguments.weights_key, precision
    )
    if runner.no_boxes:
        raise OptionError(f'{runner.path} makes no boxes: {runner.no_boxes}')
    coco = list(COCO_CLASSES) if runner.classes == len(COCO_CLASSES) else None
    names = _names(arguments.names, runner.classes) or runner.class_names or coco
    names = names or [f'class {index}' for index in range(runner.classes)]
    chosen = DetectOptions(
        eval_shared.eval_options(arguments, runner),
        arguments.score,
        _channels(arguments.classes, names),
        arguments.save,
        arguments.fps,
    )
    stream = setup.text_stream(arguments)
    print(
        '\n'.join(eval_shared.headline(arguments, runner, _files(sources), [], chosen.evaluation)),
        file=stream,
    )
    about = {'network': runner.describe(), 'score': arguments.score}
    found = detect_files(
        runner, sources, names, chosen, arguments.output, about, progress=not arguments.no_progress
    )
    counts = ', '.join(f'{count} {name}' for name, count in found.counts.items()) or 'none'
    objects, pictures = len(found.document.annotations), len(found.document.images)
    print(f'{_count(objects, "object")} on {_count(pictures, "picture")}: {counts}', file=stream)
    for name, reason in found.failed.items():
        print(f'could not be read: {name}: {reason}', file=stream)
    print(file=stream)
    drawn = [os.path.join(arguments.output, 'pictures') + os.sep] if found.drawn else []
    setup.print_files(found.files + drawn, stream)
    if arguments.json:
        setup.print_json({'objects': found.counts, 'pictures': pictures, 'failed': found.failed})
    return 1 if found.failed and arguments.on_bad_image == 'fail' else 0


def _add_detections(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('detections')
    group.add_argument(
        '--score',
        type=options.share,
        default=0.3,
        metavar='S',
        help='keep detections with at least this score, 0 to 1 (default: 0.3)',
    )
    group.add_argument(
        '--classes',
        type=options.parse_categories,
        metavar='LIST',
        help='keep these classes only, by name: person,car or @FILE with one per line (default: all)',
    )
    group.add_argument(
        '--fps',
        type=options.rate,
        metavar='N',
        help='take N frames per second of videos (default: all)',
    )


def _split(text: str) -> List[str]:
    """The words of SOURCE: one file or folder, or several in the shell's notation."""
    return [text] if os.path.exists(text) else shlex.split(text)


def _words(arguments: Any) -> List[str]:
    from ..sample import sample_folder

    if arguments.source:
        return arguments.source
    if arguments.weights:
        raise OptionError(
            "no SOURCE: name pictures, videos or folders; the sample's have the sample's classes"
        )
    return [os.path.join(sample_folder(arguments.output), 'val2017')]


def _weights(arguments: Any) -> str:
    arguments.data = arguments.annotations = None
    return setup.weights_or_sample(arguments)


def _files(sources: Any) -> str:
    videos = sum(source.is_video for source in sources)
    parts = [(len(sources) - videos, 'picture'), (videos, 'video')]
    return ', '.join(_count(count, noun) for count, noun in parts if count)


def _count(number: int, noun: str) -> str:
    return f'{number} {noun}{"" if number == 1 else "s"}'


def _names(path: Optional[str], count: int) -> Optional[List[str]]:
    if path is None:
        return None
    try:
        with open(path, encoding='utf-8') as file:
            names = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else 'it is not UTF-8 text'
        raise DataError(f'cannot read the names in {display_path(path)}: {reason}') from None
    if len(names) != count:
        raise OptionError(f'{display_path(path)} has {len(names)} names, but the network has {count} classes')
    return names


def _channels(wanted: Optional[Tuple[str, ...]], names: List[str]) -> Optional[Tuple[int, ...]]:
    if wanted is None:
        return None
    places = {name.lower(): channel for channel, name in enumerate(names)}
    unknown = [name for name in wanted if name.lower() not in places]
    if unknown:
        raise OptionError("--classes: no class '{}'; there are: {}".format(unknown[0], ', '.join(names)))
    return tuple(places[name.lower()] for name in wanted)
