"""Whole networks on the CPU, one image at a time: ours, plain torch, onnxruntime and OpenVINO.

    python benchmarks/network.py [--arch dla_34] [--threads 1 2] [--rounds 10] [--json]

Every implementation is a process of its own, pinned to the first cores that this one may use, as many as it
has threads (``taskset`` chooses others). All are alive together, and in each round one after the other runs
the same image while the others wait. They have the same random weights, with offsets of about 1.5 pixels. The
difference is the largest of any head from plain torch in float32 with the reference of the deformable
convolution, as a fraction of the head's largest value. What cannot run is listed with the reason.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time

import numpy as np
from network_workers import HEADS, IMPLEMENTATIONS, prepare, serve

ARCHITECTURES = ('dla_34', 'resdcn_18', 'res_18', 'hourglass')
WARM_UP = 2
#: threads of a library may spin for a while after its turn
PAUSE = 0.03
FLAGS = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_tile', 'amx_bf16', 'asimd', 'bf16')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--arch', nargs='+', default=ARCHITECTURES, help=f'default: {" ".join(ARCHITECTURES)}'
    )
    parser.add_argument('--threads', nargs='+', type=int, default=[1, 2], help='default: 1 2')
    parser.add_argument('--rounds', type=int, default=10, help=f'after {WARM_UP} of warm-up (default: 10)')
    parser.add_argument('--size', type=int, default=512, help='height and width (default: 512)')
    parser.add_argument('--json', action='store_true', help='print JSON')
    options = parser.parse_args()
    name, flags = processor()
    found = {
        'processor': name,
        'flags': flags,
        'size': options.size,
        'rounds': options.rounds,
        'load_before': os.getloadavg(),
        'results': [],
        'missing': [],
    }
    cores = physical_cores()
    for arch in options.arch:
        with tempfile.TemporaryDirectory() as folder:
            Worker(prepare, arch, options.size, folder).answer()
            for threads in options.threads:
                if threads > len(cores):
                    reason = f'this process may use {len(cores)} core(s)'
                    found['missing'].append(row_of(arch, threads, 'all', reason=reason))
                    continue
                print(f'{arch}, {threads} thread(s)', file=sys.stderr)
                measure(found, arch, folder, threads, cores[:threads])
    found['load_after'] = os.getloadavg()
    print(json.dumps(found, indent=1) if options.json else table(found))


def row_of(arch, threads, implementation, **more):
    return dict({'arch': arch, 'threads': threads, 'implementation': implementation}, **more)


def measure(found, arch, folder, threads, cores):
    """Add the results of all implementations for a network and a number of threads."""
    workers, notes, seconds = {}, {}, {}
    for name in IMPLEMENTATIONS:
        worker = Worker(serve, name, folder, threads, cores)
        try:
            notes[name] = worker.answer()
            workers[name], seconds[name] = worker, []
        except RuntimeError as error:
            found['missing'].append(row_of(arch, threads, name, reason=str(error)))
    for turn in range(WARM_UP + found['rounds']):
        for name, worker in workers.items():
            elapsed = worker.ask('run')
            if turn >= WARM_UP:
                seconds[name].append(elapsed)
            time.sleep(PAUSE)
    with np.load(os.path.join(folder, 'data.npz')) as data:
        expected = {name: data[name] for name in HEADS}
    baseline = min(seconds.get('ours fp32', [float('nan')]))
    for name, worker in workers.items():
        heads = worker.ask('heads')
        worker.stop()
        found['results'].append(
            row_of(
                arch,
                threads,
                name,
                note=notes[name],
                min=min(seconds[name]),
                median=statistics.median(seconds[name]),
                times_ours=min(seconds[name]) / baseline,
                difference=max(
                    float(np.abs(heads[head] - expected[head]).max() / np.abs(expected[head]).max())
                    for head in HEADS
                ),
                seconds=seconds[name],
            )
        )


class Worker:
    """A new process that calls ``function(pipe, *arguments)``; what it raises, :meth:`answer` raises."""

    def __init__(self, function, *arguments):
        context = multiprocessing.get_context('spawn')
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=call, args=(theirs, function, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def answer(self):
        try:
            problem, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f'its process ended with status {self._process.exitcode}') from None
        if problem:
            raise RuntimeError(problem)
        return value

    def ask(self, what):
        self._pipe.send(what)
        return self.answer()

    def stop(self):
        self._pipe.send(None)
        self._process.join()


def call(pipe, function, arguments):
    try:
        function(pipe, *arguments)
    except Exception as error:  # the libraries' own kinds, which have no common base
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        pipe.send((f'{type(error).__name__}: {" ".join(lines)[:300]}', None))


def physical_cores():
    """The logical processors that this process may use, one of each core."""
    cores = {}
    for number in sorted(os.sched_getaffinity(0)):
        try:
            with open(f'/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list') as file:
                core = file.read()
        except OSError:
            core = number
        cores.setdefault(core, number)
    return list(cores.values())


def processor():
    """The processor's name and what it has of FLAGS."""
    with open('/proc/cpuinfo') as file:
        lines = file.read().split('\n\n')[0].splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(':') for line in lines)}
    flags = facts.get('flags', facts.get('Features', '')).split()
    return facts.get('model name', 'unknown processor'), [flag for flag in FLAGS if flag in flags]


def table(found):
    layout = '{:<10} {:>7}  {:<23} {:>8} {:>8} {:>10} {:>10}  {}'
    lines = [
        '{}, {}; one image of {size} x {size}, {rounds} rounds'.format(
            found['processor'], ' '.join(found['flags']) or 'no vector flags', **found
        ),
        'load average {:.2f} before, {:.2f} after\n'.format(found['load_before'][0], found['load_after'][0]),
        layout.format('network', 'threads', '', 'min s', 'median s', 'times ours', 'difference', ''),
    ]
    for row in found['results']:
        numbers = [f'{row[key]:.4f}' for key in ('min', 'median')]
        numbers += ['{:.2f}'.format(row['times_ours']), '{:.1e}'.format(row['difference'])]
        lines.append(layout.format(row['arch'], row['threads'], row['implementation'], *numbers, row['note']))
    for row in found['missing']:
        lines.append('{arch}, {threads} thread(s): {implementation} is missing: {reason}'.format(**row))
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
