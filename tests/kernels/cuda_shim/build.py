"""Compile the operator with these headers in place of CUDA's: build.py FOLDER [SOURCE].

Writes one library per kind of atomics: ``cuda_350.so`` adds float64 by compare-and-swap, as GPUs before
Pascal have to; ``cuda_600.so`` by atomicAdd. Both have AddressSanitizer in them, and cuda.cu also
UndefinedBehaviorSanitizer. SOURCE takes the place of cuda.cu and names the libraries; objects that are in
FOLDER already are not compiled again.
"""

import os
import re
import subprocess
import sys
import sysconfig
import warnings

with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # the imp module of Python 3.6
    import torch
    from torch.utils.cpp_extension import include_paths

HERE = os.path.dirname(os.path.abspath(__file__))
CSRC = os.path.join(HERE, '..', '..', '..', 'src', 'centernet', 'kernels', 'csrc')
CUDA_SOURCE = os.path.join(CSRC, 'cuda.cu')
ARCHITECTURES = (350, 600)
#: kernel<...><<<blocks, threads, shared memory, stream>>>(columns, items)
LAUNCH = re.compile(r'(kernel<[^;<>]*>)<<<([^,;]*), ([^,;]*), [^;]*?>>>\(([^,;]*), (.*)\);')


def translate(source):
    """Return cuda.cu with its launches as function calls."""
    text, count = LAUNCH.subn(r'shim_launch(\2, \3, \5, [&] { \1(\4, \5); });', source)
    assert count == 2 and '<<<' not in text, 'the launches in cuda.cu look different from what is expected'
    return text


def main(folder, source=CUDA_SOURCE):
    flags = [
        '-std=c++11' if torch.__version__.startswith('1.0.') else '-std=c++20',
        *['-O0', '-g1', '-fPIC', '-fopenmp', '-mf16c', '-w', '-fsanitize=address', '-fno-omit-frame-pointer'],
        f'-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}',
        '-DTORCH_API_INCLUDE_EXTENSION_H',
        *('-include', os.path.join(HERE, 'shim.h'), '-I' + HERE, '-I' + CSRC),
        *('-isystem' + path for path in [*include_paths(), sysconfig.get_paths()['include']]),
    ]
    stem = os.path.splitext(os.path.basename(source))[0]
    translated = os.path.join(folder, stem + '.translated.cpp')
    with open(source) as file, open(translated, 'w') as target:
        target.write('#line 1 "cuda.cu"\n' + translate(file.read()))
    common, commands = [], []
    for name in sorted(os.listdir(CSRC)) + ['shim.cpp']:
        if name.endswith('.cpp'):
            path = os.path.join(HERE if name == 'shim.cpp' else CSRC, name)
            common.append(os.path.join(folder, name + '.o'))
            if not os.path.exists(common[-1]):
                commands.append(['-DTORCH_EXTENSION_NAME=operator', path, '-o', common[-1]])
    for architecture in ARCHITECTURES:
        more = [f'-D__CUDA_ARCH__={architecture}', '-D__CUDACC__', '-O1', '-fsanitize=address,undefined']
        commands.append([*more, translated, '-o', os.path.join(folder, f'{stem}_{architecture}.o')])
    running = []
    for command in commands:  # two at a time
        if len(running) == 2 and running.pop(0).wait():
            sys.exit('g++ failed')
        running.append(subprocess.Popen(['g++', '-c', *flags, *command]))
    for process in running:
        if process.wait():
            sys.exit('g++ failed')
    libraries = os.path.join(os.path.dirname(torch.__file__), 'lib')
    for architecture in ARCHITECTURES:
        name = os.path.join(folder, f'{stem}_{architecture}')
        link = ['g++', '-shared', '-fsanitize=address,undefined', '-o', name + '.so', *common, name + '.o']
        subprocess.check_call([*link, '-L' + libraries, *torch_libraries(libraries)])


def torch_libraries(folder):
    names = ('c10', 'torch_cpu', 'torch', 'caffe2', 'torch_python')
    return [f'-l{name}' for name in names if os.path.exists(os.path.join(folder, f'lib{name}.so'))]


if __name__ == '__main__':
    main(*sys.argv[1:])
