import re

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.onnx_files import detector

from centernet.errors import ModelError, OptionError
from centernet.export import rules
from centernet.export.targets import TARGETS
from centernet.onnxfile.graph import of_model

SIZE = (32, 48)
GOOD = {
    'ascend': dict(spelling='ascend', batch=2, opset=11),
    'tensorrt': dict(spelling='tensorrt', batch=1, outputs=('hm', 'reg', 'wh'), opset=9),
    'onnx': dict(spelling='onnx', batch='N', metadata=[('target', 'onnx')]),
    'portable': dict(spelling=None, batch='N', opset=11, metadata=[('target', 'portable')]),
}


def good(target, **changed):
    return detector(**dict(dict(GOOD[target], size=SIZE), **changed))


def with_opset(target, opset):
    model = good(target)
    model.opset_import[0].version = opset
    return model


def check(model, target=None):
    return rules.check_graph(of_model(model), target)


def broken(model, target=None):
    """(rule, node) of every violation."""
    return [(item.rule, item.node) for item in check(model, target).violations]


def dcn(model):
    return next(node for node in model.graph.node if node.name == 'dcn')


def set_attribute(model, key, value):
    node = dcn(model)
    for attribute in list(node.attribute):
        if attribute.name == key:
            node.attribute.remove(attribute)
    if value is not None:
        node.attribute.append(helper.make_attribute(key, value))


@pytest.mark.parametrize('target', sorted(GOOD))
def test_a_good_file_keeps_every_rule(target, tmp_path):
    path = str(tmp_path / 'model.onnx')
    onnx.save(good(target), path)
    found = rules.check(path)
    assert found, found.violations
    assert found.target == target
    expected = set(TARGETS[target].rules)
    if target == 'onnx' and onnx.defs.onnx_opset_version() < 19:
        expected.remove('checker')  # onnx 1.8.1 does not know this opset
    assert set(found.checked) == expected


@pytest.mark.parametrize('key', ['strides', 'pads', 'dilations'])
@pytest.mark.parametrize(
    'value, words',
    [
        (1, 'is the number 1.*ATC skips'),
        ([1] * 4, r'\[1, 1, 1, 1\].*list of two'),
        (None, 'missing'),
        ([1], 'list of two'),
        ([1.0, 1.0], 'integers'),
    ],
)
def test_ascend_takes_lists_of_two(key, value, words):
    model = good('ascend')
    set_attribute(model, key, value)
    (violation,) = [item for item in check(model).violations if item.rule == 'attributes']
    assert violation.node == 'dcn'
    assert violation.message.startswith(key)
    assert re.search(words, violation.message)


@pytest.mark.parametrize(
    'key, value',
    [
        ('groups', None),
        ('groups', 0),
        ('groups', 2),
        ('groups', [1]),
        ('deformable_groups', None),
        ('deformable_groups', 0),
        ('deformable_group', 1),
        ('kernel_shape', [3, 3]),
    ],
)
def test_ascend_takes_groups_as_they_are_written(key, value):
    model = good('ascend')
    set_attribute(model, key, value)
    assert ('attributes', 'dcn') in broken(model)


@pytest.mark.parametrize('opset, kept', [(8, False), (9, True), (11, True), (16, True), (17, False)])
def test_ascend_reads_some_opsets(opset, kept):
    assert (('opset', '') not in broken(with_opset('ascend', opset))) == kept


def test_newer_opsets_than_a_runtime_knows_are_named():
    assert broken(with_opset('portable', 14)) == [('opset', '')]
    assert ('opset', '') in broken(with_opset('onnx', 18))


@pytest.mark.parametrize('target', ['ascend', 'tensorrt', 'onnx'])
@pytest.mark.parametrize('channels', [-9, 9])
def test_offsets_have_a_channel_for_every_tap(target, channels):
    model = good(target)
    for tensor in model.graph.initializer:
        if tensor.name in ('predict.weight.place', 'predict.bias.place'):
            array = numpy_helper.to_array(tensor)
            array = array[:channels] if channels < 0 else np.concatenate([array, array[:channels]])
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    found = [item for item in check(model).violations if item.rule == 'offsets']
    assert [item.node for item in found] == ['dcn']
    assert (
        '{} channels; 9 taps in 1 deformable groups need {}'.format(
            (27 if target == 'ascend' else 18) + channels, 27 if target == 'ascend' else 18
        )
        in found[0].message
    )


def test_offsets_have_the_size_of_the_output():
    model = good('ascend')
    for node in model.graph.node:
        if node.name in ('place', 'logit'):
            del node.attribute[:]
            node.attribute.extend(
                [helper.make_attribute('pads', [0] * 4), helper.make_attribute('kernel_shape', [3, 3])]
            )
    (violation,) = check(model).violations
    assert violation.rule == 'offsets' and re.search('6 x 10.* 8 x 12', violation.message)


@pytest.mark.parametrize(
    'target, batch, kept',
    [
        ('ascend', 'N', False),
        ('ascend', 4, True),
        ('tensorrt', 'N', False),
        ('tensorrt', 2, False),
        ('onnx', 'N', True),
    ],
)
def test_batches(target, batch, kept):
    assert (('batch', '') not in broken(good(target, batch=batch))) == kept


@pytest.mark.parametrize(
    'outputs, kept', [(('hm', 'reg', 'wh'), True), (('hm', 'wh', 'reg'), False), (('reg', 'hm', 'wh'), False)]
)
def test_tensorrts_decoder_takes_the_outputs_in_its_order(outputs, kept):
    assert broken(detector('tensorrt', batch=1, size=SIZE, outputs=outputs)) == (
        [] if kept else [('outputs', '')]
    )


@pytest.mark.parametrize('key', ['stride', 'padding', 'dilation', 'groups', 'deformable_group'])
@pytest.mark.parametrize('value', [[1, 1], None])
def test_tensorrt_takes_numbers(key, value):
    model = good('tensorrt')
    set_attribute(model, key, value)
    assert ('attributes', 'dcn') in broken(model)


def test_tensorrt_knows_no_plural():
    model = good('tensorrt')
    set_attribute(model, 'deformable_groups', 1)
    assert broken(model) == [('attributes', 'dcn')]


@pytest.mark.parametrize('target', ['ascend', 'tensorrt'])
def test_weights_are_stored_in_the_file(target):
    model = good(target)
    for tensor in list(model.graph.initializer):
        if tensor.name == 'dcn.weight':
            model.graph.initializer.remove(tensor)
            model.graph.node.insert(
                0, helper.make_node('Constant', [], ['dcn.weight'], 'constant', value=tensor)
            )
    assert ('inputs', 'dcn') in broken(model)


def test_weights_are_float32():
    model = good('tensorrt')
    for tensor in model.graph.initializer:
        if tensor.name == 'dcn.bias':
            tensor.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
            )
    assert ('inputs', 'dcn') in broken(model)


@pytest.mark.parametrize('target', ['ascend', 'tensorrt'])
def test_every_input_is_there(target):
    model = good(target)
    del dcn(model).input[2:]
    assert ('inputs', 'dcn') in broken(model)


def test_another_targets_operator_is_no_operator():
    for target in ('onnx', 'portable', 'tensorrt'):
        assert ('operators', 'dcn') in broken(good('ascend'), target)


def test_operators_of_other_domains_and_unknown_ones_are_named():
    model = good('ascend')
    dcn(model).domain = 'npu'
    assert broken(model, 'ascend')[0] == ('operators', 'dcn')
    model = good('portable')
    model.graph.node[1].op_type = 'NoSuchOperator'
    assert ('operators', 'relu') in broken(model)


@pytest.mark.parametrize('target', sorted(GOOD))
@pytest.mark.parametrize('after', ['deformed', 'stem'])
def test_batch_normalization_behind_a_convolution_is_found(target, after):
    model = good(target)
    width = 8
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == after:
                node.input[place] = 'normalised'
    for name in ('scale', 'shift', 'mean', 'variance'):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(width, np.float32), name))
    place = [list(node.output) for node in model.graph.node].index([after]) + 1
    model.graph.node.insert(
        place,
        helper.make_node(
            'BatchNormalization', [after, 'scale', 'shift', 'mean', 'variance'], ['normalised'], 'bn'
        ),
    )
    assert ('folded', 'bn') in broken(model)


def test_batch_normalization_elsewhere_is_let_be():
    model = good('portable')
    for name in ('scale', 'shift', 'mean', 'variance'):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), name))
    model.graph.node[0].input[0] = 'normalised'
    model.graph.node.insert(
        0,
        helper.make_node(
            'BatchNormalization', ['image', 'scale', 'shift', 'mean', 'variance'], ['normalised'], 'bn'
        ),
    )
    assert broken(model) == []


def test_other_peoples_files_need_not_be_folded():
    model = good('onnx', metadata=())
    for name in ('scale', 'shift', 'mean', 'variance'):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(8, np.float32), name))
    model.graph.node[1].input[0] = 'normalised'
    model.graph.node.insert(
        1,
        helper.make_node(
            'BatchNormalization', ['stem', 'scale', 'shift', 'mean', 'variance'], ['normalised'], 'bn'
        ),
    )
    assert check(model).target == 'onnx'
    assert broken(model) == []


@pytest.mark.parametrize('target', ['ascend', 'tensorrt', 'portable'])
def test_onnxs_own_checker_sees_the_rest(target):
    model = good(target)
    model.graph.node[0].input.append('extra')
    model.graph.node[0].input.append('extra')
    assert ('checker', '') in broken(model)


def test_the_metadata_name_the_target():
    plain = detector(None, size=SIZE)
    found = check(plain)
    assert (found.target, found.checked, bool(found)) == (None, (), True)
    assert 'target' in found.why
    assert check(detector(None, size=SIZE, batch=1, metadata=[('target', 'ascend')])).target == 'ascend'
    assert ('batch', '') in broken(detector(None, size=SIZE, batch='N', metadata=[('target', 'ascend')]))
    assert check(plain, 'portable').target == 'portable'


def test_an_unknown_target_is_an_error():
    with pytest.raises(OptionError, match=r'openvino.*ascend, tensorrt, onnx, portable'):
        check(detector(None), 'openvino')


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    with pytest.raises(ModelError, match='not found'):
        rules.check(str(tmp_path / 'none.onnx'))
