import re

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.onnx_files import detector

from centernet.exporting import rules
from centernet.exporting.targets import TARGETS
from centernet.onnxfile.graph import of_model
from centernet.system.errors import ModelError, OptionError

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


def normalised(model, after, width):
    """Insert a BatchNormalization ``bn`` behind a value."""
    for node in model.graph.node:
        node.input[:] = ['normalised' if name == after else name for name in node.input]
    parameters = ['scale', 'shift', 'mean', 'variance']
    model.graph.initializer.extend(
        numpy_helper.from_array(np.ones(width, np.float32), name) for name in parameters
    )
    place = ([list(node.output) for node in model.graph.node] + [[after]]).index([after]) + 1
    node = helper.make_node('BatchNormalization', [after, *parameters], ['normalised'], 'bn')
    model.graph.node.insert(place % (len(model.graph.node) + 1), node)
    return model


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
@pytest.mark.parametrize('value', [1, [1] * 4, None, [1], [1.0, 1.0]])
def test_ascend_takes_lists_of_two(key, value):
    model = good('ascend')
    set_attribute(model, key, value)
    (violation,) = [item for item in check(model).violations if item.rule == 'attributes']
    assert violation.node == 'dcn' and re.search(key, violation.message)


@pytest.mark.parametrize(
    'target, key, value',
    [('ascend', 'groups', value) for value in (None, 0, 2, [1])]
    + [('ascend', 'deformable_groups', value) for value in (None, 0)]
    + [('ascend', 'deformable_group', 1), ('ascend', 'kernel_shape', [3, 3])]
    + [('tensorrt', key, [1, 1]) for key in ('stride', 'padding', 'dilation', 'groups', 'deformable_group')]
    + [('tensorrt', 'stride', None), ('tensorrt', 'deformable_groups', 1)],
)
def test_attributes_have_the_form_of_the_reader(target, key, value):
    model = good(target)
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
    assert ('folded', 'bn') in broken(normalised(good(target), after, 8))


def test_batch_normalization_elsewhere_and_in_other_peoples_files_is_let_be():
    assert broken(normalised(good('portable'), 'image', 3)) == []
    model = normalised(good('onnx', metadata=()), 'stem', 8)
    assert check(model).target == 'onnx' and broken(model) == []


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
