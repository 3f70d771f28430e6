"""The editable graph: what it reads it writes, the same graph always in the same bytes."""

import numpy as np
import onnx
import pytest

from centernet.onnxfile import graph as graphs
from centernet.onnxfile.graph import Graph, Node, Value
from centernet.system.errors import ModelError

F32 = np.dtype(np.float32)


def small_graph():
    """y = Relu(Conv(x)) + x, with an attribute of every kind on the way."""
    graph = Graph(11)
    graph.inputs = [Value('x', F32, ('n', 2, 4, 4))]
    graph.outputs = [Value('y', F32, ('n', 2, 4, 4))]
    graph.initializers.update(
        w=np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1), shape=np.array([0, 2, 4, 4])
    )
    graph.nodes = [
        Node(
            'Conv',
            ['x', 'w'],
            ['c'],
            [('kernel_shape', [1, 1]), ('auto_pad', 'NOTSET')],
            'first',
            doc_string='a note',
        ),
        Node('LeakyRelu', ['c'], ['r'], [('alpha', 0.5)]),
        Node('Constant', [], ['k'], [('value', np.array(3, np.float32))]),
        Node('Reshape', ['r', 'shape'], ['s']),
        Node('Clip', ['s', '', 'k'], ['t']),
        Node('Add', ['t', 'x'], ['y']),
    ]
    graph.metadata['who'] = 'me'
    graph.producer = ('tests', '1')
    return graph


def test_a_file_holds_the_graph(tmp_path):
    graph = small_graph()
    graph.save(str(tmp_path / 'a.onnx'))
    onnx.checker.check_model(onnx.load(str(tmp_path / 'a.onnx')))
    again = graphs.load(str(tmp_path / 'a.onnx'))
    assert [(node.name, node.inputs, node.outputs) for node in again.nodes] == [
        (node.name, node.inputs, node.outputs) for node in graph.nodes
    ]
    assert [dict(node.attributes) for node in again.nodes] == [dict(node.attributes) for node in graph.nodes]
    assert again.nodes[0].doc_string == 'a note'
    assert (again.inputs, again.outputs, again.opset, again.metadata, again.producer) == (
        graph.inputs,
        graph.outputs,
        11,
        graph.metadata,
        graph.producer,
    )
    for name, array in graph.initializers.items():
        assert again.initializers[name].dtype == array.dtype and np.array_equal(
            again.initializers[name], array
        )


def test_the_file_is_the_model_in_memory_and_always_the_same(tmp_path):
    graph = small_graph()
    for name in 'ab':
        graph.save(str(tmp_path / name))
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
    assert onnx.load(str(tmp_path / 'a')) == graph.to_model()


def test_a_file_of_two_gibibytes_is_refused(tmp_path):
    graph = small_graph()
    graph.initializers['w'] = np.broadcast_to(np.float32(0), (1 << 29,))  # takes no memory
    with pytest.raises(ModelError, match='2 GiB'):
        graph.save(str(tmp_path / 'a.onnx'))
    assert not (tmp_path / 'a.onnx').exists()


@pytest.mark.parametrize('content', [b'', b'no model at all', b'\x08\x04'])
def test_files_that_are_no_model_are_named(tmp_path, content):
    path = tmp_path / 'a.onnx'
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r'a\.onnx'):
        graphs.load(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r'not found.*a\.onnx'):
        graphs.load(str(tmp_path / 'a.onnx'))


def test_nodes_are_ordered_as_the_outputs_need_them():
    graph = small_graph()
    expected = [node.op_type for node in graph.nodes]
    graph.nodes = graph.nodes[::-1] + [Node('Abs', ['x'], ['unused'])]
    assert [node.op_type for node in graph.sorted_nodes()] == [
        'Conv',
        'LeakyRelu',
        'Reshape',
        'Constant',
        'Clip',
        'Add',
        'Abs',
    ]
    graph.remove_dead()
    assert sorted(node.op_type for node in graph.nodes) == sorted(expected)


def test_a_cycle_is_refused():
    graph = small_graph()
    graph.nodes[0].inputs[0] = 't'
    with pytest.raises(ModelError, match='cycle'):
        graph.sorted_nodes()


def test_what_only_a_subgraph_reads_is_kept():
    graph = small_graph()
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node('Identity', ['w'], ['i'])],
        'inner',
        [],
        [onnx.helper.make_tensor_value_info('i', 1, None)],
    )
    branch = onnx.helper.make_attribute('then_branch', inner)
    graph.initializers['yes'] = np.array(True)
    graph.nodes = [Node('If', ['yes'], ['y'], [('then_branch', branch), ('else_branch', branch)])]
    graph.remove_dead()
    assert set(graph.initializers) == {'w', 'yes'}
    assert graphs.of_model(graph.to_model()).nodes[0].attributes['then_branch'].g == inner


def test_renaming_reaches_nodes_inputs_and_outputs():
    graph = small_graph()
    for old in ('x', 'y', 'w', 'c'):
        graph.rename_value(old, old + '_new')
    assert graph.nodes[0].inputs == ['x_new', 'w_new'] and graph.nodes[0].outputs == ['c_new']
    assert (
        graph.inputs[0].name == 'x_new'
        and graph.output_names() == ['y_new']
        and 'w_new' in graph.initializers
    )
    onnx.checker.check_model(graph.to_model())


def test_fresh_names_are_in_use_nowhere():
    graph = small_graph()
    assert [graph.fresh('c'), graph.fresh('c'), graph.fresh('new')] == ['c_2', 'c_3', 'new']
    graph.rename_value('t', 'other')
    assert graph.fresh('other') == 'other_2'
    graph.nodes.append(Node('Abs', ['x'], ['later']))
    graph.forget_names()
    assert graph.fresh('later') == 'later_2'


def test_a_copy_is_independent():
    graph = small_graph()
    twin = graph.copy()
    twin.nodes[0].attributes['kernel_shape'] = [3, 3]
    twin.nodes[0].inputs[0] = 'other'
    twin.initializers['w'] = None
    assert graph.nodes[0].attributes['kernel_shape'] == [1, 1] and graph.nodes[0].inputs[0] == 'x'
    assert graph.initializers['w'] is not None
