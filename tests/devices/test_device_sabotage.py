"""Every claim that eval-outputs makes about a difference, by a device that has the mistake.

Mistakes of the input are made on the device's side of the input, from the pixels of the pictures; mistakes
inside the network are made in the ONNX graph, not in the network that the references are computed with.
"""

import os
import re

import numpy as np
import pytest
from devices import stand_in

from centernet.detection import COCO
from centernet.devices.explain import explain
from centernet.devices.manifest import read_manifest
from centernet.devices.mistakes import WORDS
from centernet.devices.reference import read_references
from centernet.onnxfile import graph
from centernet.onnxfile.graph import Node

MEANS, STDS = (np.array(part, np.float32).reshape(1, 3, 1, 1) for part in COCO)


def pixels(images):
    """The pixels of normalised images, whole numbers from 0 to 255."""
    return np.round((images * STDS + MEANS) * 255)


def normalised(values):
    return (values / 255 - MEANS) / STDS


# inside the network


def offsets(model):
    """The convolutions that predict offsets and masks, in the graph of the portable file: 27 channels."""
    found = [
        node
        for node in model.nodes
        if node.op_type == 'Conv' and len(model.initializers[node.inputs[1]]) == 27
    ]
    assert len(found) == 16
    return found


def gather_offsets(model, order):
    """Let every deformable convolution read its 18 offsets in another order."""
    for node in offsets(model):
        taken = model.fresh('taken')
        chosen = model.constant('order', np.array([*order, *range(18, 27)]))
        read = Node('Gather', [node.outputs[0], chosen], [taken], {'axis': 1}, taken)
        for user in model.nodes:
            user.inputs = [taken if name == node.outputs[0] else name for name in user.inputs]
        read.inputs[0] = node.outputs[0]
        model.nodes.insert(model.nodes.index(node) + 1, read)


def exchange_x_and_y(model):
    gather_offsets(model, [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14, 17, 16])


def read_as_blocks(model):
    gather_offsets(model, [0, 9, 1, 10, 2, 11, 3, 12, 4, 13, 5, 14, 6, 15, 7, 16, 8, 17])


def without_offsets(model):
    for node in offsets(model):
        for name in node.inputs[1:]:
            model.initializers[name] = np.concatenate(
                [np.zeros_like(model.initializers[name][:18]), model.initializers[name][18:]]
            )


def without_masks(model):
    for name in [node.outputs[0] for node in model.nodes if node.op_type == 'Sigmoid']:
        one, product, mask = model.constant('one', np.float32(1)), model.fresh('product'), model.fresh('mask')
        zero = model.constant('zero', np.float32(0))
        place = next(place for place, node in enumerate(model.nodes) if node.outputs[0] == name)
        for user in model.nodes:
            user.inputs = [mask if given == name else given for given in user.inputs]
        model.nodes.insert(place + 1, Node('Mul', [name, zero], [product], {}, product))
        model.nodes.insert(place + 2, Node('Add', [product, one], [mask], {}, mask))


def ordinary(model):
    without_offsets(model)
    without_masks(model)


def round_weights(model):
    for name, array in model.initializers.items():
        if array.dtype == np.float32 and array.ndim == 4:
            model.initializers[name] = array.astype(np.float16).astype(np.float32)


def use_weights_of_another_epoch(model):
    random = np.random.RandomState(0)
    for name, array in model.initializers.items():
        if array.ndim == 4:
            changed = array * (1 + 0.01 * random.standard_normal(array.shape))
            model.initializers[name] = changed.astype(np.float32)


def exchange_x_and_y_once(model):
    everything = list(model.nodes)
    exchange_x_and_y(model)
    gathers = [node for node in model.nodes if all(node is not other for other in everything)]
    for node in gathers[1:]:
        model.nodes.remove(node)
        model.replace_value(node.outputs[0], node.inputs[0])


# behind the network


def exchange_heads(found, _):
    return dict(found, wh=found['reg'], reg=found['wh'])


def turn(found, _):
    return {name: array.swapaxes(2, 3) for name, array in found.items()}


def logistic(values):
    return (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)


def repeat_the_first(found, _):
    return {name: array[[0] * len(array)] for name, array in found.items()}


def repeat_in_the_second_place(found, _):
    return {name: array[[0, 0, 2, 3]] for name, array in found.items()}


def exchange_two(found, _):
    return {name: array[[0, 2, 1, 3]] for name, array in found.items()}


def exchange_planes(head):
    return lambda found, _: dict(found, **{head: found[head][:, ::-1]})


def sigmoid_once(found, _):
    return dict(found, hm=logistic(found['hm']))


def sigmoid_twice(found, _):
    return dict(found, hm=logistic(logistic(found['hm'])))


def one_late():
    outputs = []

    def change(found, number):
        outputs.append(found)
        return outputs[max(0, number - 1)]

    return change


def rgb(images):
    return normalised(pixels(images)[:, ::-1])


def nhwc(images):
    return images.reshape(len(images), *images.shape[2:], 3).transpose(0, 3, 1, 2)


UNKNOWN = 'no mistake that is known here explains the difference'
OTHER_EPOCH = UNKNOWN + ', .* times what float16 would; .* weights of another epoch'
LIKE_FLOAT16 = 'the outputs differ as float16 would'
#: what the device does (options of the stand-in; "graph" changes its network; "words" are for eval-outputs),
#: the exit status, and what is said: mistakes (by their names, or in words) and remarks (patterns)
SABOTAGE = [
    (dict(feed=rgb), 1, ['rgb']),
    (dict(feed=rgb, dtype='float16'), 1, ['rgb']),
    (dict(feed=lambda images: images[:, ::-1]), 1, ['rgb_after']),
    (dict(feed=lambda images: (pixels(images) / 255 - MEANS[:, ::-1]) / STDS[:, ::-1]), 1, ['rgb_numbers']),
    (dict(feed=lambda images: (images - MEANS) / STDS), 1, ['twice']),
    (dict(feed=normalised), 1, ['twice_scaled']),
    (dict(feed=lambda images: pixels(images) / 255), 1, ['unit']),
    (dict(feed=pixels), 1, ['pixels']),
    (dict(feed=nhwc), 1, ['nhwc']),
    (dict(graph=exchange_x_and_y), 1, ['offsets_xy']),
    (dict(graph=read_as_blocks), 1, ['offsets_blocks']),
    (dict(graph=without_offsets), 1, ['no_offsets']),
    (dict(graph=without_masks), 1, ['no_masks']),
    (dict(graph=ordinary), 1, ['ordinary']),
    (dict(graph=exchange_x_and_y_once), 1, [], UNKNOWN),
    (dict(graph=use_weights_of_another_epoch), 1, [], OTHER_EPOCH),
    (dict(graph=round_weights, dtype='float16'), 0, [], LIKE_FLOAT16),
    (dict(graph=round_weights, dtype='float16', words=('--precision', 'float32')), 1, [], LIKE_FLOAT16),
    (dict(layout='trtexec', change=exchange_heads), 1, ['exchanged']),
    (dict(words=('--order', 'hm,reg,wh')), 1, ['exchanged']),
    (dict(outputs=('reg', 'hm', 'wh')), 0, []),
    (dict(change=exchange_planes('wh')), 1, ['wh']),
    (dict(change=exchange_planes('reg')), 1, ['reg']),
    (dict(change=turn), 1, ['turned']),
    (dict(change=sigmoid_once), 0, [], 'hm has been through a sigmoid'),
    (dict(change=sigmoid_twice), 1, ['hm has been through a sigmoid twice']),
    (dict(layout='trtexec', feed=rgb, change=exchange_heads), 1, ['rgb', 'exchanged']),
    (dict(batch=2, change=repeat_the_first), 1, ['image 2 of each batch has the outputs of image 1']),
    (
        dict(batch=4, change=repeat_in_the_second_place),
        1,
        ['image 2 of each batch of 4 has the outputs of image 1'],
    ),
    (
        dict(batch=4, change=repeat_the_first),
        1,
        [f'image {place} of each batch of 4 has the outputs of image 1' for place in (2, 3, 4)],
    ),
    (dict(batch=4, change=exchange_two), 1, ['images 2 and 3 of each batch of 4 are exchanged']),
    (dict(change=one_late()), 1, ['every image has the outputs of the image before it']),
]


@pytest.mark.parametrize('case', SABOTAGE, ids=lambda case: '-'.join(case[2]) or (case[3:] and case[3][:30]))
def test_what_a_device_does_differently_is_named(case, dumped, device, judge, model, expected, tmp_path):
    options, status, mistakes, *remarks = case
    options = dict(options)
    words, layout = options.pop('words', ()), options.pop('layout', 'ais')
    if 'graph' in options:
        changed = graph.load(model)
        options.pop('graph')(changed)
        options['model'] = str(tmp_path / 'changed.onnx')
        changed.save(options['model'])
    folder = dumped('--layout', layout)
    write = stand_in.ais_bench if layout == 'ais' else stand_in.trtexec
    out = write(device(**options), os.path.join(folder, 'inputs'), str(tmp_path / 'out'))
    found_status, found, err = judge(out, folder, '--no-metrics', *words)
    comparison = found['comparison']
    mistakes = [WORDS.get(name, name) for name in mistakes]
    assert comparison['explanation']['mistakes'] == mistakes
    assert len(comparison['explanation']['remarks']) == len(remarks)
    assert all(map(re.match, remarks, comparison['explanation']['remarks']))
    assert all(f'difference: {words}' in err for words in mistakes)
    assert (found_status, comparison['same']) == (status, not status)
    assert ('heads' in comparison['failures']) is bool(status)
    assert bool(comparison['repeated']) is ('has the outputs' in ''.join(mistakes))
    assert sorted(comparison['order']['heads'].values()) == ['hm', 'reg', 'wh']
    if not status:
        assert found['metrics']['AP'] == pytest.approx(
            expected['AP'], abs=5e-3 if 'dtype' in options else 1e-3
        )


def test_two_files_under_each_others_names(dumped, device, judge, tmp_path):
    folder = dumped('--layout', 'ais')
    out = stand_in.ais_bench(device(), os.path.join(folder, 'inputs'), str(tmp_path / 'out'), summary=False)
    first, second = (read_manifest(folder).files[place].stem for place in (1, 4))
    for number in range(3):
        paths = [os.path.join(out, 'run', f'{stem}_{number}.bin') for stem in (first, second)]
        os.rename(paths[0], str(tmp_path / 'aside'))
        os.rename(paths[1], paths[0])
        os.rename(str(tmp_path / 'aside'), paths[1])
    status, _, err = judge(out, folder, '--no-metrics')
    assert status == 1
    assert 'difference: reference images 2 and 5 are exchanged' in err


def test_a_network_that_overflows_in_float16(dumped):
    references = read_references(read_manifest(dumped('--layout', 'ais')))
    plain = references.outputs['plain']
    device = {number: {name: array[number] for name, array in plain.items()} for number in range(2)}
    infinite = {name: np.full_like(array[:2], np.inf) for name, array in plain.items()}
    overflowing = references._replace(outputs=dict(references.outputs, float16=infinite, ordinary=infinite))
    found = explain(device, overflowing)
    assert (found.precision, found.remarks) == ('float32', ['this network overflows in float16'])
    device = {
        number: {name: array + 0.3 for name, array in heads.items()} for number, heads in device.items()
    }
    found = explain(device, overflowing)
    assert found.precision is None and found.mistakes == [] and len(found.remarks) == 2
