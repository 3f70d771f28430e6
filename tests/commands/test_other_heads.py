"""Networks with other heads, by the commands: the unchanged sample's figures."""

import pytest
import torch
from support.changed_sample import (
    AP,
    centred,
    four_sides,
    renamed_heads,
    save_changed,
    size_per_class,
    with_head,
    without_offsets,
)

from centernet import cli
from centernet.exporting.targets import TARGETS
from centernet.onnxfile import graph


def ap(document):
    return document['metrics']['AP']


@pytest.mark.parametrize(
    'changes, said',
    [
        ([size_per_class], 'wh has 8 channels: a size for each class'),
        ([four_sides], 'wh has 4 channels: distances to the four sides'),
        ([with_head('hps', 34), with_head('hm_hp', 17)], 'heads that are not used: hps, hm_hp'),
    ],
)
def test_other_heads_with_the_same_boxes_give_the_same_figure(changes, said, run, tmp_path):
    weights = save_changed(tmp_path / 'net.pth', *changes)
    status, document, err = run('eval-pth', '--weights', weights)
    assert status == 0 and ap(document) == pytest.approx(AP, abs=1e-3) and said in err


def test_no_reg_is_reg_of_a_half(run, tmp_path):
    found = []
    for change in (centred, without_offsets):
        status, document, err = run(
            'eval-pth', '--weights', save_changed(tmp_path / 'net.pth', change), '--flip-test'
        )
        assert status == 0
        found.append(document['metrics'])
    assert found[0] == found[1] and 'no head reg: centres are in the middle of their cells' in err


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes, omitted',
    [
        ([size_per_class], 'tensorrt'),
        ([without_offsets], 'tensorrt'),
        ([with_head('hps', 34), with_head('hm_hp', 17)], 'tensorrt'),
        ([with_head('tracking', 2), with_head('dep', 1)], 'tensorrt'),
    ],
)
def test_every_head_is_exported_under_its_name_and_proved(changes, omitted, run, tmp_path, capsys):
    weights = save_changed(tmp_path / 'net.pth', *changes)
    assert cli.main(['export', '--weights', weights, '--output', str(tmp_path / 'files')]) == 0
    assert f'target {omitted} is omitted' in capsys.readouterr().err
    files = sorted(str(path) for path in (tmp_path / 'files').glob('*.onnx'))
    assert len(files) == len(TARGETS) - 1
    status, document, err = run('verify', *files, '--weights', weights, '--compare-images', '2', limit=6)
    assert status == 0, err
    heads = set(torch.load(weights)['state_dict'])
    for found in document.values():
        assert set(found['stages']['heads']['heads']) == {
            name.split('.')[0] for name in heads if '.2.bias' in name
        }
        assert [stage['outcome'] for stage in found['stages'].values()] == ['passed'] * 4
    with pytest.raises(AssertionError):
        assert cli.main(['export', '--weights', weights, '--target', omitted, '--output', str(tmp_path)]) == 0
    assert 'reads hm, wh (2) and reg (2) only' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes', [[size_per_class], [without_offsets], [four_sides], [size_per_class, without_offsets]]
)
def test_the_decoder_in_the_file_is_right_for_other_boxes(changes, run, tmp_path):
    weights = save_changed(tmp_path / 'net.pth', *changes)
    words = f'export --weights {weights} --target portable --with-decode --output {tmp_path}'
    assert cli.main(words.split()) == 0
    path = str(tmp_path / 'net_portable.onnx')
    assert graph.load(path).output_names() == ['boxes', 'scores', 'classes']
    status, document, err = run('verify', path, '--weights', weights, '--compare-images', '4', limit=8)
    (found,) = document.values()
    assert status == 0 and found['stages']['detections']['matched'] == 400, err


def test_the_decoder_is_refused_where_it_would_lose_heads(run, tmp_path, capsys):
    weights = save_changed(tmp_path / 'net.pth', with_head('hps', 34))
    words = f'export --weights {weights} --target portable --with-decode --output {tmp_path}'
    assert cli.main(words.split()) == 2 and 'would lose the heads hps' in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_without_boxes_is_exported_and_its_heads_are_proved(run, tmp_path, capsys):
    names = {'hm': 'hm_t', 'wh': 'reg_t', 'reg': 'reg_l'}
    weights = save_changed(tmp_path / 'net.pth', renamed_heads(**names))
    assert (
        cli.main(
            ['export', '--weights', weights, '--target', 'ascend', 'portable', '--output', str(tmp_path)]
        )
        == 0
    )
    files = [str(tmp_path / name) for name in ('net.onnx', 'net_portable.onnx')]
    assert graph.load(files[0]).output_names() == list(names.values())
    capsys.readouterr()
    status, document, _ = run('verify', *files, '--weights', weights, '--compare-images', '2', limit=4)
    assert status == 0
    for found in document.values():
        outcomes = {name: stage['outcome'] for name, stage in found['stages'].items()}
        expected = {'rules': 'passed', 'heads': 'passed', 'detections': 'skipped', 'metrics': 'skipped'}
        assert outcomes == expected
    for words in (['eval-pth', '--weights', weights], ['eval-onnx', files[1]]):
        status, _, err = run(*words)
        assert status == 2 and 'lack hm' in err and 'hm_t' in err


@pytest.mark.parametrize('name', ['classes', 'boxes', 'image'])
def test_a_head_with_the_name_of_another_output_is_refused(name, tmp_path, capsys):
    weights = save_changed(tmp_path / 'net.pth', with_head(name, 2))
    assert cli.main(['export', '--weights', weights, '--output', str(tmp_path)]) == 2
    assert f'a head cannot be called {name}' in capsys.readouterr().err
