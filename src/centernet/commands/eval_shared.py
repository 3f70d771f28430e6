"""What eval-pth and eval-onnx do alike: the evaluation, and what is printed of it."""

import json
import sys

from ..device import available_cpus


def read_options(arguments, spec, device_type, batch_size=None):
    """The EvalOptions that flags ask for.

    Args:
        arguments: parsed flags.
        spec: the InputSpec.
        device_type: ``'cpu'`` or ``'cuda'``, for which what the flags leave open is chosen.
        batch_size: what the network is fixed to, or None.
    """
    from ..evaluation import EvalOptions

    chosen, workers = default_loading(device_type, spec)
    return EvalOptions(
        input=spec,
        flip_test=arguments.flip_test,
        test_scales=arguments.test_scales,
        nms=arguments.nms,
        image_ids=arguments.ids,
        limit=arguments.limit,
        batch_size=arguments.batch_size if arguments.batch_size is not None else batch_size or chosen,
        workers=workers if arguments.workers is None else arguments.workers,
        on_bad_image=arguments.on_bad_image,
        save_images=arguments.save_images,
    )


def default_loading(device_type, spec):
    """(batch size, workers) for a device and an input size.

    On a GPU 8 images at once fill it, and up to 4 processes keep up with it. On a CPU the network itself uses
        the cores: a batch
    only pays while images are small, up to as many pixels as one of 512 x 512 has, and one process loads
    ahead.
    """
    cpus = available_cpus()
    if device_type == 'cuda':
        return 8, min(4, max(1, cpus))
    pixels = 512 * 512 if spec.keep_res else spec.height * spec.width
    return max(1, min(16, 512 * 512 // pixels)), 0 if cpus == 1 else 1


def run_evaluation(runner, data, options, arguments, headline):
    """Evaluate a runner and print what was found.

    Args:
        runner, data, options: of :func:`centernet.evaluation.evaluate`.
        arguments: parsed flags (output, resume, json, no_progress).
        headline: text about what is evaluated.

    Returns:
        The exit status.
    """
    from ..evaluation import Interrupted, evaluate, format_report

    say = sys.stderr if arguments.json else sys.stdout
    print(headline, file=say)
    try:
        found = evaluate(
            runner,
            data,
            options,
            arguments.output,
            resume=arguments.resume,
            progress=not arguments.no_progress,
        )
    except Interrupted as error:
        print(f'centernet: {error}', file=sys.stderr)
        if isinstance(error.__cause__, KeyboardInterrupt):
            return 130
        return error.__cause__.code if isinstance(error.__cause__, SystemExit) else 1
    print(format_report(found.metrics, found.timings, found.failed), file=say)
    print('\n'.join(['', 'written:'] + ['  ' + path for path in found.files]), file=say)
    if arguments.json:
        json.dump(found.document, sys.stdout, indent=2)
        print()
    return found.exit_status


def describe_options(options, about):
    """Two lines: the protocol, and from a runner's ``describe()`` what it runs on.

    Args:
        options: an EvalOptions.
        about: dict with device and device_name, on a CPU also threads.
    """
    spec = options.input
    protocol = ["the image's own size" if spec.keep_res else f'{spec.width} x {spec.height}']
    if options.test_scales != (1.0,):
        protocol.append('scales ' + ' '.join(f'{scale:g}' for scale in options.test_scales))
    if options.flip_test:
        protocol.append('flip test')
    if options.nms or len(options.test_scales) > 1:
        protocol.append('soft-NMS')
    where = '{} ({})'.format(about['device'], about['device_name'])
    if 'threads' in about:
        where += ', {} thread{}'.format(about['threads'], '' if about['threads'] == 1 else 's')
    return 'input: {}\non {}, batches of {}, {} loader process{}\n'.format(
        ', '.join(protocol),
        where,
        options.batch_size,
        options.workers or 'no',
        '' if options.workers == 1 else 'es',
    )
