"""Hostile input for the readers of checkpoints, annotations and ONNX files. Exit status 1 where something is
found."""

import argparse
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]  # fuzz_*.py and support


def main():
    from support.fuzzing import fuzz, run_cases
    from targets import NAMES, load_target

    parser = argparse.ArgumentParser(prog='python tests/fuzz', description=__doc__)
    parser.add_argument('--target', metavar='NAME', help='one of {} (default: all)'.format(', '.join(NAMES)))
    parser.add_argument(
        '--seconds',
        type=float,
        default=float(os.environ.get('FUZZ_SECONDS', 180)),
        metavar='N',
        help='time for all targets together (default: FUZZ_SECONDS, else 180)',
    )
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='other cases (default: 0)')
    parser.add_argument('--only', type=int, metavar='N', help='the case of this number alone')
    parser.add_argument('--child', nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        with tempfile.TemporaryDirectory() as folder:
            run_cases(
                load_target(arguments.target), arguments.seed, arguments.child[0], arguments.child[1], folder
            )
        return 0
    names = [arguments.target] if arguments.target else NAMES
    status = 0
    for name in names:
        if arguments.only is not None:
            outcome = fuzz(name, arguments.seed, 600, first=arguments.only, most=1)
        else:
            outcome = fuzz(name, arguments.seed, arguments.seconds / len(names))
        print(
            f'{name}: {outcome.cases} cases, {outcome.refused} refused, {len(outcome.findings)} findings',
            flush=True,
        )
        for finding in outcome.findings:
            print(f'  {finding}', flush=True)
            status = 1
    return status


if __name__ == '__main__':
    sys.exit(main())
