"""entrypoint.sh as the image runs it, with programs in place of centernet, nvidia-smi and df that say what
they were asked."""

import os
import shutil
import stat
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

pytestmark = pytest.mark.skipif(
    shutil.which('bash') is None or not sys.platform.startswith('linux'),
    reason='entrypoint.sh is for bash on Linux',
)

T4 = '0, Tesla T4, 7.5'
A100 = '1, NVIDIA A100-SXM4-40GB, 8.0'


class Container:
    """A folder that looks to the entry point like the image's working directory."""

    def __init__(self, folder):
        self.folder = folder
        self.programs = folder / 'bin'
        for name in ('bin', 'output', 'models', 'data'):
            (folder / name).mkdir()
        self.driver = folder / 'driver'
        with open(os.path.join(ROOT, 'entrypoint.sh'), encoding='utf-8') as file:
            script = file.read()
        assert 'DRIVER=/proc/driver/nvidia/version\n' in script
        (folder / 'entrypoint.sh').write_text(
            script.replace('DRIVER=/proc/driver/nvidia/version', f'DRIVER={self.driver}')
        )
        self.program(
            'centernet', 'echo "centernet $*"\necho "CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-unset}"'
        )
        self.program('df', 'printf "Avail\\n1048576\\n"')

    def program(self, name, script):
        path = self.programs / name
        path.write_text('#!/bin/bash\n' + script + '\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def gpus(self, *lines):
        self.program('nvidia-smi', 'cat <<END\n{}\nEND'.format('\n'.join(lines)))

    def run(self, *arguments, **variables):
        environment = {'PATH': f'{self.programs}:/usr/bin:/bin', 'CENTERNET_CUDA': '10.0'}
        environment.update(variables)
        return subprocess.run(
            ['bash', str(self.folder / 'entrypoint.sh')] + list(arguments),
            cwd=str(self.folder),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=60,
        )


@pytest.fixture
def container(tmp_path):
    return Container(tmp_path)


def test_a_service_is_a_command_with_its_own_output_folder(container):
    run = container.run('eval-pth', '--limit', '10')
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0] == 'centernet eval-pth --output output/eval-pth --limit 10'
    assert 'weights: of the built-in sample; data: the built-in sample\n' in run.stderr
    assert 'device: CPU; no NVIDIA driver is loaded on this machine\n' in run.stderr


def test_variables_stand_for_flags_and_flags_win(container):
    (container.folder / 'models' / 'a.pth').touch()
    (container.folder / 'models' / 'b.pth').touch()
    variables = {'WEIGHTS': 'models/a.pth', 'DATA': 'data'}
    run = container.run(
        'eval-pth', '--weights=models/b.pth', '--output', 'output/mine', '--device', 'cpu', **variables
    )
    assert (
        run.stdout.splitlines()[0]
        == 'centernet eval-pth --weights models/a.pth --data data --output output/mine '
        '--weights=models/b.pth --output output/mine --device cpu'
    )
    assert 'weights: models/b.pth; data: data\n' in run.stderr
    assert 'into output/mine\n' in run.stderr
    run = container.run('export', **variables)
    assert (
        run.stdout.splitlines()[0]
        == 'centernet export --weights models/a.pth --target all --output output/export'
    )


def test_fetch_and_reproduce_put_things_where_the_other_services_look(container):
    run = container.run('fetch', 'weights', DATA='data/coco')
    assert run.stdout.splitlines()[0] == 'centernet fetch --data data/coco weights'
    assert 'into models and data\n' in run.stderr
    run = container.run('reproduce', '--sample', DEVICE='cpu')
    assert run.stdout.splitlines()[0] == 'centernet reproduce --device cpu --output output/reproduce --sample'
    assert (container.folder / 'output' / 'reproduce').is_dir()


def test_any_other_command_runs_as_given(container):
    run = container.run('echo', '--output', 'a b')
    assert (run.returncode, run.stdout, run.stderr) == (0, '--output a b\n', '')


def test_help_needs_nothing(container):
    (container.folder / 'output').rmdir()
    assert container.run('verify', '--help').stdout.splitlines()[0] == 'centernet verify --help'


@pytest.mark.parametrize('flag', ['--weights', '--data'])
def test_a_path_of_the_host_is_explained(container, flag):
    run = container.run('eval-pth', flag, '/home/me/model')
    assert run.returncode == 2
    assert run.stdout == ''
    assert run.stderr.startswith('eval-pth: error: there is no /home/me/model in the container')
    assert run.stderr.count('\n') == 1


def test_an_output_folder_that_cannot_be_made_is_one_line(container):
    run = container.run('eval-pth', '--output', 'output/file/below')
    assert run.returncode == 0, 'it is made where it can be'
    (container.folder / 'output' / 'taken').touch()
    run = container.run('eval-pth', '--output', 'output/taken')
    assert run.returncode == 2
    assert (
        run.stderr
        == f'eval-pth: error: the output folder output/taken cannot be written by uid {os.getuid()}: File'
        ' exists. On the host, change its owner or mode, or name another folder with OUTPUT_DIR\n'
    )
    assert list((container.folder / 'output').glob('**/.probe*')) == []


# eval-onnx and verify


def test_without_a_file_the_export_is_taken(container):
    exported = container.folder / 'output' / 'export'
    exported.mkdir()
    for end in ('', '_tensorrt', '_onnx', '_portable'):
        (exported / f'dla_tiny{end}.onnx').touch()
    run = container.run('eval-onnx', '--limit', '5')
    assert (
        run.stdout.splitlines()[0]
        == 'centernet eval-onnx --output output/eval-onnx output/export/dla_tiny_portable.onnx --limit 5'
    )
    run = container.run('verify', '--limit', '5')
    assert [line for line in run.stdout.splitlines() if line.startswith('centernet')] == [
        f'centernet verify output/export/dla_tiny{end}.onnx --limit 5 --output output/verify/dla_tiny{end}'
        for end in ('', '_tensorrt', '_onnx', '_portable')
    ]


def test_without_a_file_and_an_export_it_is_made_first(container):
    (container.folder / 'models' / 'mine.pth').touch()
    run = container.run('eval-onnx', WEIGHTS='models/mine.pth')
    assert [line for line in run.stdout.splitlines() if line.startswith('centernet')] == [
        'centernet export --target all --output output/export --weights models/mine.pth',
        'centernet eval-onnx --output output/eval-onnx output/export/mine_portable.onnx',
    ]
    assert 'exporting it first' in run.stderr


def test_a_file_that_is_named_is_taken(container):
    run = container.run('verify', 'models/x.onnx', '--no-metrics')
    assert run.stdout.splitlines()[0] == 'centernet verify --output output/verify models/x.onnx --no-metrics'


def test_verify_fails_when_one_file_does(container):
    exported = container.folder / 'output' / 'export'
    exported.mkdir()
    for end in ('', '_onnx', '_portable'):
        (exported / f'dla_tiny{end}.onnx').touch()
    container.program('centernet', 'echo "centernet $*"\n[[ $2 != *_onnx.onnx ]]')
    run = container.run('verify')
    assert run.returncode == 1
    assert run.stdout.count('centernet verify') == 3


def test_a_signal_ends_a_step_and_the_script(container):
    exported = container.folder / 'output' / 'export'
    exported.mkdir()
    (exported / 'dla_tiny.onnx').touch()
    container.program(
        'centernet', 'trap "echo ended; exit 143" TERM\necho ready\nfor _ in {1..200}; do sleep 0.05; done'
    )
    process = subprocess.Popen(
        ['bash', str(container.folder / 'entrypoint.sh'), 'verify'],
        cwd=str(container.folder),
        env={'PATH': f'{container.programs}:/usr/bin:/bin', 'CENTERNET_CUDA': 'none'},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        universal_newlines=True,
    )
    for line in iter(process.stdout.readline, 'ready\n'):
        assert line, 'it ended too early'
    process.terminate()
    assert process.stdout.read() == 'ended\n'
    assert process.wait(timeout=10) == 143


# GPUs


def test_a_gpu_that_is_served_is_named(container):
    container.gpus(T4)
    run = container.run('eval-pth')
    assert run.returncode == 0, run.stderr
    assert 'device: Tesla T4, compute capability 7.5\n' in run.stderr
    assert run.stdout.endswith('CUDA_VISIBLE_DEVICES=unset\n')


def test_a_gpu_that_is_too_new_is_refused_by_name(container):
    container.gpus(A100)
    for arguments, variables in (
        (['--device', 'cuda'], {}),
        (['--device=cuda:0'], {}),
        ([], {'DEVICE': 'cuda'}),
    ):
        run = container.run('eval-pth', *arguments, **variables)
        assert run.returncode == 2, run.stderr
        assert run.stdout == ''
        last = run.stderr.splitlines()[-1]
        assert 'NVIDIA A100-SXM4-40GB (compute capability 8.0) cannot be used' in last
        assert 'make eval-pth' in last and '--device cpu' in last


def test_without_asking_for_a_gpu_the_cpu_is_used_in_place_of_one_too_new(container):
    container.gpus(A100)
    run = container.run('eval-pth')
    assert run.returncode == 0
    assert 'device: CPU; GPU 1, NVIDIA A100-SXM4-40GB (compute capability 8.0) cannot be used' in run.stderr
    assert run.stdout.endswith('CUDA_VISIBLE_DEVICES=\n')


def test_of_several_gpus_those_that_are_served_are_seen(container):
    container.gpus(
        '0, NVIDIA H100, 9.0', '1, Tesla V100, 7.0', '2, NVIDIA GeForce RTX 5090, 12.0', '3, Tesla T4, 7.5'
    )
    run = container.run('eval-pth', '--device', 'cuda')
    assert run.returncode == 0, run.stderr
    assert (
        'GPU 0, NVIDIA H100 (compute capability 9.0), GPU 2, NVIDIA GeForce RTX 5090 (compute capability'
        ' 12.0) cannot be used' in run.stderr
    )
    assert 'device: Tesla V100, compute capability 7.0\n' in run.stderr
    assert run.stdout.endswith('CUDA_VISIBLE_DEVICES=1,3\n')


def test_a_driver_that_does_not_know_the_question_is_no_obstacle(container):
    container.program(
        'nvidia-smi',
        '[[ $1 != *compute_cap* ]] || { echo "Field compute_cap is not a valid field to query." && exit 2;'
        ' }\necho "0, Tesla T4"',
    )
    run = container.run('eval-pth')
    assert run.returncode == 0
    assert 'device: Tesla T4; its driver is too old to say its compute capability\n' in run.stderr


def reason(run):
    """What one line says about a run that wanted a GPU."""
    assert run.returncode == 2
    lines = [line for line in run.stderr.splitlines() if 'error' in line]
    assert len(lines) == 1
    return lines[0]


def test_missing_driver(container):
    assert 'no NVIDIA driver is loaded on this machine. To go on without it: --device cpu' in reason(
        container.run('eval-pth', '--device', 'cuda')
    )


def test_missing_runtime(container):
    container.driver.write_text('NVRM version: 535')
    text = reason(container.run('eval-pth', '--device', 'cuda'))
    assert (
        'no GPU was given to this container' in text
        and 'docker/compose.gpu.yml' in text
        and '--gpus all' in text
    )


def test_failing_driver(container):
    container.program(
        'nvidia-smi', 'echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18'
    )
    assert 'nvidia-smi fails: Failed to initialize NVML: Driver/library version mismatch' in reason(
        container.run('eval-pth', '--device', 'cuda')
    )


def test_image_without_cuda(container):
    container.gpus(T4)
    assert 'this image is built without CUDA' in reason(
        container.run('eval-pth', '--device', 'cuda', CENTERNET_CUDA='none')
    )
    run = container.run('eval-pth', CENTERNET_CUDA='none')
    assert run.stdout.endswith('CUDA_VISIBLE_DEVICES=\n')


def test_small_shared_memory_is_one_line(container):
    container.program('df', 'printf "1K-blocks\\n65536\\n"')
    run = container.run('eval-pth')
    assert run.returncode == 0
    assert [line for line in run.stderr.splitlines() if '/dev/shm' in line] == [
        'eval-pth: warning: /dev/shm has 64 MB, and loader processes may end with a bus error: give it more'
        ' (docker run --shm-size 1g), or use --workers 0'
    ]


def test_without_tests_in_the_image_it_says_which_has_them(container):
    if os.path.isdir('/opt/tests/checkout'):
        pytest.skip('this is the image that has them')
    run = container.run('test')
    assert run.returncode == 2
    assert 'docker compose run --rm test' in run.stderr
