"""The services as documented in docs/container.md, on the sample and on mounted data and weights.

The figures of eval-pth must equal those of the pinned stack outside the container. test_image.py checks that
the services have no network, no writable root file system and almost no capabilities.
"""

import json
import os
import shutil

import pytest
from support.engine import ROOT, STACK

SAMPLE_WEIGHTS = os.path.join(ROOT, 'src', 'centernet', 'sample', 'dla_tiny.pth')
#: tolerance of the twelve figures between the pinned stack inside and outside the container
FIGURES = 0.0005


def document_of(folder):
    with open(os.path.join(str(folder), 'metrics.json'), encoding='utf-8') as file:
        return json.load(file)


def test_eval_pth(compose, outside):
    run = compose.run('eval-pth', '--no-progress')
    lines = run.stderr.splitlines()
    assert [line for line in lines if 'CUDA=none' in line and 'CPU' in line], (
        'the choice of the CPU is unexplained'
    )
    assert 'warning' not in run.stderr.lower()
    assert '/workspace/' not in run.stdout + run.stderr, 'that path does not exist on the host'
    found, expected = document_of(compose.output / 'eval-pth'), document_of(outside)
    assert found['metrics'] == pytest.approx(expected['metrics'], abs=FIGURES)
    assert found['metrics']['AP'] >= 0.6
    torch, python = {'pinned': ('1.0.0', '3.6.'), 'modern': ('2.', '3.11.')}[STACK]
    assert found['record']['environment']['torch'].startswith(torch)
    assert found['record']['environment']['python'].startswith(python)
    assert found['record']['environment']['git'] == '0123abc'


def test_export_then_eval_onnx_and_verify_what_it_wrote(compose):
    compose.run('export')
    names = {path.name for path in (compose.output / 'export').iterdir()}
    assert names == {
        'dla_tiny.onnx',
        'dla_tiny_atc.sh',
        'dla_tiny_tensorrt.onnx',
        'dla_tiny_onnx.onnx',
        'dla_tiny_portable.onnx',
    }
    run = compose.run('eval-onnx', '--no-progress')
    assert 'export' not in run.stderr, 'it was exported again'
    assert document_of(compose.output / 'eval-onnx')['metrics']['AP'] >= 0.6
    run = compose.run('verify', '--no-progress', '--limit', '16')
    assert run.stdout.count('\nthe same model\n') == 4


def test_verify_exports_what_is_missing(compose):
    run = compose.run('verify', '--no-progress', '--limit', '8')
    assert run.stdout.count('\nthe same model\n') == 4
    assert (compose.output / 'export' / 'dla_tiny.onnx').exists()


def test_verify_of_another_model_fails(compose):
    compose.run('export', '--target', 'portable')
    script = (
        'import centernet.sample, torch; model = torch.load(centernet.sample.SAMPLE_WEIGHTS); state = {name:'
        ' value.float() * (1.01 if name.startswith("hm") else 1) for name, value in'
        ' model["state_dict"].items()}; torch.save(dict(model, state_dict=state), "output/other.pth")'
    )
    compose.run('eval-pth', 'python', '-c', script, options=['--entrypoint', 'entrypoint.sh'])
    run = compose.run(
        'verify',
        'output/export/dla_tiny_portable.onnx',
        '--weights',
        'output/other.pth',
        '--no-progress',
        '--no-metrics',
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert 'NOT the same model' in run.stdout


def test_fetch_reports_what_is_missing(compose):
    run = compose.run('fetch', '--verify-only', '--json', check=False)
    assert run.returncode == 1, run.stderr
    assert 'ctdet_coco_dla_2x.pth' in run.stdout
    assert not list(compose.models.iterdir())


def test_reproduce_on_the_sample(compose):
    compose.run('reproduce', '--sample', '--target', 'portable', '--no-progress')
    with open(str(compose.output / 'reproduce' / 'report.json'), encoding='utf-8') as file:
        report = json.load(file)
    assert report['reproduced'] is True, report
    assert (compose.output / 'reproduce' / 'report.md').is_file()


def test_doctor(compose):
    run = compose.run('doctor', '--json')
    assert json.loads(run.stdout)


def test_the_test_suite_runs_inside(compose):
    # by default a part, with what depends on the image: all of it runs outside, on the same packages
    part, least = ['tests/kernels', 'tests/models', 'tests/doctor', 'tests/test_device.py'], 300
    if os.environ.get('CENTERNET_WHOLE_SUITE'):
        part, least = [], 1000
    run = compose.run('test', '-q', *part)
    last = run.stdout.rstrip().splitlines()[-1]
    assert ' passed' in last and ' failed' not in last
    assert int(last.split(' passed')[0].split()[-1]) > least


def test_dump_inputs_and_eval_outputs(compose):
    """With the checkpoint in place of a device."""
    compose.run('dump-inputs', '--limit', '16', '--no-progress')
    script = (
        'import glob, os, numpy as np; from centernet.networks.runtimes import open_network;'
        ' from centernet.sample import SAMPLE_WEIGHTS;'
        ' network = open_network(SAMPLE_WEIGHTS, "cpu"); os.makedirs("output/outputs");'
        ' [values.numpy().tofile("output/outputs/%s_%d.bin" % (os.path.basename(path)[:-4], number))'
        ' for path in glob.glob("output/dump-inputs/inputs/*.bin") for number, values in'
        ' enumerate(network.outputs(np.fromfile(path, np.float32).reshape(1, 3, 128, 128)).values())]'
    )
    compose.run('eval-pth', 'python', '-c', script, options=['--entrypoint', 'entrypoint.sh'])
    run = compose.run('eval-outputs', '--no-progress')
    assert '\nthe same model, in float32\n' in run.stdout
    compose.run('eval-pth', '--no-progress', '--limit', '16')
    expected = document_of(compose.output / 'eval-pth')['metrics']
    assert document_of(compose.output / 'eval-outputs')['metrics'] == expected


def test_detect(compose):
    """Pictures of one's own, and a video; the sample's without any."""
    compose.run('detect', '--save', 'none', '--no-progress')
    with open(str(compose.output / 'detect' / 'detections.json')) as file:
        assert len(json.load(file)['images']) == 200
    pictures = sorted((compose.output / 'detect' / 'sample' / 'val2017').iterdir())[:4]
    for picture in pictures:
        shutil.copy(str(picture), str(compose.input))
    script = (
        'import cv2, glob; paths = sorted(glob.glob("input/*"));'
        ' frames = [cv2.resize(cv2.imread(path), (128, 128)) for path in paths];'
        ' video = cv2.VideoWriter("output/clip.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (128, 128));'
        ' [video.write(frame) for frame in frames]; video.release()'
    )
    compose.run('detect', 'python', '-c', script, options=['--entrypoint', 'entrypoint.sh'])
    shutil.move(str(compose.output / 'clip.avi'), str(compose.input))
    shutil.copy(SAMPLE_WEIGHTS, str(compose.models / 'sample.pth'))
    run = compose.run('detect', 'input', '--weights', 'models/sample.pth', '--no-progress')
    assert 'data: 4 pictures, 1 video' in run.stdout
    drawn = {path.name for path in (compose.output / 'detect' / 'pictures').iterdir()}
    assert drawn == {'clip.avi', *(picture.name for picture in pictures)}


def test_report(compose):
    compose.run('eval-pth', '--limit', '8', '--no-progress')
    run = compose.run('report')
    assert 'output/report/report.html' in run.stdout
    page = (compose.output / 'report' / 'report.html').read_text(encoding='utf-8')
    assert '--limit 8' in page and page.count('<image ') > 0


def test_mounted_data_and_weights(compose):
    compose.run(
        'eval-pth',
        'centernet',
        'sample',
        '--output',
        'output/sample',
        '--limit',
        '40',
        options=['--entrypoint', 'entrypoint.sh'],
    )
    (compose.output / 'sample').rename(compose.data / 'shapes')
    shutil.copy(SAMPLE_WEIGHTS, str(compose.models / 'mine.pth'))

    run = compose.run('eval-pth', '--weights', 'models/mine.pth', '--data', 'data/shapes', '--no-progress')
    assert 'models/mine.pth' in run.stdout and 'data/shapes' in run.stdout
    by_flags = document_of(compose.output / 'eval-pth')
    assert by_flags['images'] == 40
    variables = {'WEIGHTS': 'models/mine.pth', 'DATA': 'data/shapes'}
    compose.run('eval-pth', '--output', 'output/again', '--no-progress', **variables)
    assert document_of(compose.output / 'again')['metrics'] == by_flags['metrics']

    compose.run('export', **variables)
    assert (compose.output / 'export' / 'mine_portable.onnx').exists()
    compose.run('eval-onnx', '--no-progress', **variables)
    assert document_of(compose.output / 'eval-onnx')['metrics'] == pytest.approx(
        by_flags['metrics'], abs=FIGURES
    )
    run = compose.run('verify', '--no-progress', '--limit', '8', **variables)
    assert run.stdout.count('\nthe same model\n') == 4


def test_flags_are_passed_on(compose):
    compose.run('eval-pth', '--limit', '12', '--keep-res', '--flip-test', '--no-progress')
    document = document_of(compose.output / 'eval-pth')
    assert document['images'] == 12
    assert document['record']['protocol']['flip_test'] is True
    assert document['record']['protocol']['keep_res'] is True


def test_a_mistake_is_one_line_and_status_2(compose):
    run = compose.run('eval-pth', '--data', 'data', '--no-progress', check=False)
    assert run.returncode == 2
    assert '--weights' in run.stderr
    assert 'Traceback' not in run.stderr


@pytest.mark.parametrize('flag', ['--weights', '--data'])
def test_a_path_of_the_host_is_explained(compose, flag):
    shutil.copy(SAMPLE_WEIGHTS, str(compose.models / 'a.pth'))
    flags = {'--weights': 'models/a.pth', '--data': 'data', flag: '/home/me/mine'}
    run = compose.run('eval-pth', *[word for item in flags.items() for word in item], check=False)
    assert run.returncode == 2
    assert '/home/me/mine' in run.stderr and 'MODELS_DIR' in run.stderr and 'DATA_DIR' in run.stderr
    assert 'Traceback' not in run.stderr


def test_a_gpu_is_refused_with_the_reason(compose):
    run = compose.run('eval-pth', '--device', 'cuda', check=False)
    assert run.returncode == 2
    assert 'CUDA=none' in run.stderr and '--device cpu' in run.stderr
    assert compose.run('eval-pth', check=False, DEVICE='cuda').returncode == 2


def test_mounted_folders_are_read_only(compose):
    compose.output.chmod(0o777)
    script = 'for folder in data models; do ! touch "$folder/x" 2>/dev/null || exit 1; done'
    compose.run('eval-pth', 'bash', '-c', script, options=['--entrypoint', 'entrypoint.sh'])
