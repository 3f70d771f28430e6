"""What eval-pth and eval-onnx do alike: the evaluation, and what is printed of it."""

import json
import sys


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
        found = evaluate(runner, data, options, arguments.output, resume=arguments.resume, progress=not arguments.no_progress)
    except Interrupted as error:
        print('centernet: {}'.format(error), file=sys.stderr)
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
        about: dict with device and device_name, on a CPU also threads; ``batches_by_threads`` where fewer threads are tried.
    """
    spec = options.input
    protocol = ["the image's own size" if spec.keep_res else '{} x {}'.format(spec.width, spec.height)]
    if options.test_scales != (1.0,):
        protocol.append('scales ' + ' '.join('{:g}'.format(scale) for scale in options.test_scales))
    if options.flip_test:
        protocol.append('flip test')
    if options.nms or len(options.test_scales) > 1:
        protocol.append('soft-NMS')
    where = '{} ({})'.format(about['device'], about['device_name'])
    if 'threads' in about:
        where += ', {}{} thread{}'.format('at most ' if 'batches_by_threads' in about else '', about['threads'],
                                          '' if about['threads'] == 1 else 's')
    return 'input: {}\non {}, batches of {}, {} loader process{}\n'.format(
        ', '.join(protocol), where, options.batch_size, options.workers or 'no', '' if options.workers == 1 else 'es')
