import json

import attr
import numpy as np
import onnx
import pytest
import torch
from support.onnx_files import CHANNELS, detector, weights
from support.painted import PaintNetwork
from support.random_weights import save_checkpoint
from support.runs import record, run

from centernet.coco import CocoData
from centernet.exporting.exporter import export
from centernet.kernels import DCN
from centernet.networks.checkpoint import load_model
from centernet.networks.runtimes import open_network
from centernet.networks.runtimes.torch_runtime import TorchNetwork
from centernet.onnxfile import graph
from centernet.options.protocol import Protocol
from centernet.options.selection import Loading, Selection
from centernet.sample import sample_folder
from centernet.system.errors import OptionError
from centernet.verification import document, format_verification, record_of_both, verify
from centernet.verification.metrics import OWN_DETECTIONS
from centernet.verification.verify import same_run


class Small(torch.nn.Module):
    """The network of onnx_files.detector in torch."""

    def __init__(self):
        super().__init__()
        values = weights()
        self.stem = torch.nn.Conv2d(3, 8, 4, 4, bias=False)
        self.dcn = DCN(8, 8)
        self.heads = torch.nn.ModuleDict(
            {name: torch.nn.Conv2d(8, channels, 1) for name, channels in CHANNELS.items()}
        )
        state = {
            'stem.weight': values['stem.weight'],
            'dcn.weight': values['dcn.weight'],
            'dcn.bias': values['dcn.bias'],
            'dcn.conv_offset_mask.weight': values['predict.weight'],
            'dcn.conv_offset_mask.bias': values['predict.bias'],
        }
        for name, channels in CHANNELS.items():
            state[f'heads.{name}.weight'] = values[name + '.weight']
            state[f'heads.{name}.bias'] = values.get(name + '.bias', np.zeros(channels, np.float32))
        self.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})

    def forward(self, x):
        x = self.dcn(torch.relu(self.stem(x)))
        return {name: self.heads[name](x) for name in CHANNELS}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return CocoData.load(sample_folder(str(tmp_path_factory.mktemp('data')), 6))


@pytest.fixture
def check(data, tmp_path):
    def run(model, network=None, classes=4, size=64, batch_size=1, keep_res=False, **flags):
        if not isinstance(model, str):
            onnx.save(model, str(tmp_path / 'model.onnx'))
            model = str(tmp_path / 'model.onnx')
        heads = {'hm': classes, 'wh': 2, 'reg': 2}
        reference = TorchNetwork(network or Small(), torch.device('cpu'), heads, sha256='a' * 64)
        found, side = open_network(model, 'cpu', 1), None if keep_res else size
        protocol = Protocol(input_height=side, input_width=side, keep_res=keep_res)
        loading = Loading(batch_size=batch_size, workers=0)
        record = record_of_both(reference, found, data, protocol, Selection(), loading)
        return verify(reference, found, data, str(tmp_path / 'out'), record, progress=False, **flags)

    return run


def outcomes(found):
    return {stage.name: stage.outcome for stage in found.stages}


@pytest.mark.parametrize('spelling', ['ascend', 'tensorrt', 'onnx'])
def test_the_same_network_passes(check, spelling):
    found = check(detector(spelling, batch=1, size=(64, 64), outputs=('hm', 'reg', 'wh')))
    assert found.passed
    assert set(outcomes(found).values()) == {'passed'}
    text = format_verification(found)
    assert text.endswith('the same model')
    assert '600 of 600 matched in 6 images' in text


def test_a_broken_rule_is_reported_apart_from_the_values(check):
    found = check(detector('ascend', batch='N', size=(64, 64)))
    assert not found.passed
    assert outcomes(found) == {
        'rules': 'failed',
        'heads': 'passed',
        'detections': 'passed',
        'metrics': 'passed',
    }
    assert 'NOT verified' in format_verification(found).splitlines()[-1]


def test_every_broken_rule_is_reported_however_often_another_is_broken(check):
    model = detector('ascend', batch='N', size=(64, 64))
    node = next(node for node in model.graph.node if node.name == 'dcn')
    del node.attribute[:]
    node.attribute.extend(onnx.helper.make_attribute(key, 1) for key in ('strides', 'pads', 'dilations'))
    text = format_verification(check(model, metrics=False))
    assert 'attributes at dcn: ' in text
    assert 'attributes: and ' in text
    assert 'batch: ' in text


def test_another_target_can_be_requested(check):
    found = check(detector('onnx', size=(64, 64)), target='portable', metrics=False)
    assert [item.rule for item in found.stage('rules').facts['violations']][:1] == ['opset']


def test_another_network_does_not_pass(check):
    found = check(detector('ascend', weights(seed=4), batch=1, size=(64, 64)))
    assert not found.passed
    assert outcomes(found) == {
        'rules': 'passed',
        'heads': 'failed',
        'detections': 'failed',
        'metrics': 'failed',
    }
    assert 'NOT the same model: heads and detections and metrics' in format_verification(found)


def test_the_report_holds_everything_as_json_has_it(check):
    found = check(detector('ascend', weights(seed=4), batch=1, size=(64, 64)), compare_images=2)
    report = json.loads(json.dumps(document(found), allow_nan=False))
    assert report['same'] is False
    assert set(report['stages']) == {'rules', 'heads', 'detections', 'metrics'}
    hm = report['stages']['heads']['heads']['hm']
    assert set(hm) >= {'scale', 'limit', 'absolute', 'relative', 'passed', 'shape', 'correlation'}
    assert set(hm['absolute']) == {'max', 'mean', 'median', 'p99'}
    assert hm['shape'] == [2, 4, 16, 16]
    detections = report['stages']['detections']
    assert (
        detections['matched'] + len([item for item in detections['unmatched'] if item['side'] == 'reference'])
        == 200
    )
    assert set(report['stages']['metrics']['figures']['AP']) == {'reference', 'model', 'difference'}
    assert set(report['tolerances']['heads']) == {'limit', 'unit', 'why'}
    assert report['versions']['onnxruntime'] and report['model']['sha256']


def test_other_classes_are_another_model(check):
    network = Small()
    network.heads['hm'] = torch.nn.Conv2d(8, 7, 1)
    found = check(detector('ascend', batch=1, size=(64, 64)), network, 7)
    assert not found.passed
    assert found.stage('heads').error == (
        'ShapeError',
        'the file has 4 classes, the PyTorch model 7',
    )
    assert outcomes(found) == {
        'rules': 'passed',
        'heads': 'failed',
        'detections': 'skipped',
        'metrics': 'skipped',
    }


def test_values_that_are_not_finite_are_another_model(check):
    values = weights()
    values['wh.weight'][:] = np.nan
    found = check(detector('ascend', values, batch=1, size=(64, 64)), metrics=False)
    assert found.stage('heads').error[0] == 'NotFiniteError'
    assert not found.passed


def test_metadata_that_name_other_weights_are_reported(check):
    model = detector('ascend', batch=1, size=(64, 64), metadata=[('weights_sha256', 'b' * 64)])
    found = check(model, metrics=False)
    assert found.passed  # the values decide
    text = format_verification(found)
    assert 'note: ' in text and 'bbbbbbbbbbbb' in text and 'aaaaaaaaaaaa' in text


def test_a_size_that_the_file_does_not_take_is_an_error(check):
    with pytest.raises(OptionError, match='is fixed to 32'):
        check(detector('ascend', batch=1, size=(32, 64)))


def test_images_of_their_own_sizes(check):
    found = check(detector(None), PlainSmall(), keep_res=True, batch_size=3)
    assert found.passed
    assert outcomes(found) == {
        'rules': 'skipped',
        'heads': 'passed',
        'detections': 'passed',
        'metrics': 'passed',
    }


class PlainSmall(Small):
    """The same with a plain convolution in place of the deformable one."""

    def forward(self, x):
        x = torch.nn.functional.conv2d(torch.relu(self.stem(x)), self.dcn.weight, self.dcn.bias, padding=1)
        return {name: self.heads[name](x) for name in CHANNELS}


@pytest.fixture(scope='module')
def eighty(tmp_path_factory):
    """A network of 80 classes, of which the sample has only 4, and its files."""
    folder = tmp_path_factory.mktemp('eighty')
    loaded = load_model(
        save_checkpoint(folder / 'model.pth', 'dla_tiny', {'hm': 80, 'wh': 2, 'reg': 2}, seed=1)
    )
    export(loaded, str(folder), 'model', ('onnx',), size=(128, 128), batch=None)
    export(loaded, str(folder), 'decoded', ('portable',), size=(128, 128), batch=2, boxes=100)
    return loaded, str(folder / 'model_onnx.onnx'), str(folder / 'decoded_portable.onnx')


@pytest.mark.parametrize('which', [1, 2])
def test_classes_without_annotations_are_measured_against_the_networks_own_detections(eighty, check, which):
    loaded, path = eighty[0], eighty[which]
    found = check(path, loaded.model, 80, size=128, batch_size=2)
    assert found.passed
    metrics = found.stage('metrics').facts
    assert metrics['ground_truth'] == OWN_DETECTIONS
    ap = metrics['figures'][0]
    assert ap['name'] == 'AP' and ap['reference'] > 0.99 and ap['model'] > 0.99
    assert f'measured against {OWN_DETECTIONS}' in format_verification(found)


def test_a_decoder_that_is_wrong_is_caught_by_the_detections(eighty, check, tmp_path):
    """The heads inside the file are correct, so only its boxes can show it."""
    model = graph.load(eighty[2])
    node = next(node for node in model.nodes if node.name.startswith('decode/MaxPool'))
    node.attributes.update(kernel_shape=[1, 1], pads=[0, 0, 0, 0])
    path = str(tmp_path / 'broken.onnx')
    model.save(path)
    found = check(path, eighty[0].model, 80, size=128)
    assert not found.passed
    assert [name for name in ('rules', 'heads', 'detections') if outcomes(found)[name] == 'failed'] == [
        'detections'
    ]


def test_a_run_is_the_same_only_under_the_same_conditions(data_folder, tmp_path):
    data = CocoData.load(str(data_folder))
    folder = str(tmp_path / 'run')
    assert not same_run(folder, record(data))
    run(data, folder, limit=2)
    assert same_run(folder, record(data, limit=3))
    environment = record(data).environment
    others = [
        record(data, flip_test=True),
        record(data, PaintNetwork(sha256='other')),
        attr.evolve(record(data), environment=attr.evolve(environment, torch='0.9')),
        attr.evolve(record(data), environment=attr.evolve(environment, device_name='another')),
    ]
    assert not any(same_run(folder, other) for other in others)
    (tmp_path / 'run' / 'journal.jsonl').write_bytes(b'{}')
    assert not same_run(folder, record(data))
