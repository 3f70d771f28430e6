"""Conversion between protocol buffers and plain Python: attributes, tensors, values, and a model's bytes."""

from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

#: ONNX's number of an element type -> numpy's dtype
_TYPES = {
    getattr(TensorProto, name.upper()): np.dtype(name)
    for name in ('float16', 'int64', 'int32', 'int8', 'uint8', 'bool')
}
_TYPES.update({TensorProto.FLOAT: np.dtype(np.float32), TensorProto.DOUBLE: np.dtype(np.float64)})
_ELEMENTS = {dtype: number for number, dtype in _TYPES.items()}


class Value(NamedTuple):
    """An input or output of a graph.

    ``dtype`` is None if numpy has none. Sizes are int, str (the name of an open size) or None (unknown);
    ``shape`` is None if the rank is unknown.
    """

    name: str
    dtype: Optional[np.dtype]
    shape: Optional[Tuple[Union[int, str, None], ...]]


def element_type(dtype: Any) -> int:
    """ONNX's number for a numpy dtype."""
    return _ELEMENTS[np.dtype(dtype)]


def array_of(tensor: TensorProto) -> np.ndarray:
    """Convert a tensor.

    Raises:
        ValueError: a size is negative, which numpy takes as one to find out, and old runtimes crash at.
    """
    if min(tensor.dims, default=0) < 0:
        raise ValueError(f'the tensor {tensor.name[:80]!r} has the sizes {list(tensor.dims)[:16]}')
    return numpy_helper.to_array(tensor)


def tensor_proto(name: str, array: np.ndarray) -> TensorProto:
    """The reverse of :func:`array_of`."""
    # ascontiguousarray turns a scalar into one dimension
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name)


def attribute_value(entry: AttributeProto) -> Any:
    """Convert an attribute to int, float, str, list of these, or numpy array; other kinds are returned as
    they are."""
    if entry.type == AttributeProto.STRING:
        return entry.s.decode('utf-8')
    if entry.type == AttributeProto.STRINGS:
        return [text.decode('utf-8') for text in entry.strings]
    if entry.type == AttributeProto.TENSOR:
        return array_of(entry.t)
    if entry.type in (AttributeProto.INT, AttributeProto.FLOAT):
        return helper.get_attribute_value(entry)
    if entry.type in (AttributeProto.INTS, AttributeProto.FLOATS):
        return list(helper.get_attribute_value(entry))
    return entry


def attribute_protos(attributes: Dict[str, Any]) -> List[AttributeProto]:
    """The reverse of :func:`attribute_value` for a node's attributes, sorted by name."""
    protos = []
    for name, value in sorted(attributes.items()):
        if isinstance(value, np.ndarray):
            value = tensor_proto('', value)
        if isinstance(value, AttributeProto):
            protos.append(value)
        elif value == []:
            protos.append(AttributeProto(name=name, type=AttributeProto.INTS))
        else:
            protos.append(helper.make_attribute(name, value))
    return protos


def subgraph_reads(values: Iterable[Any]) -> List[str]:
    """The names that the graphs among attribute values read."""
    graphs = [value.g for value in values if isinstance(value, AttributeProto)]
    return [name for graph in graphs for node in graph.node for name in node.input if name]


def value_of(proto: onnx.ValueInfoProto) -> Value:
    """Convert the description of a value."""
    kind, shape = proto.type.tensor_type, None
    if kind.HasField('shape'):
        shape = tuple(
            dim.dim_value if dim.HasField('dim_value') else dim.dim_param or None for dim in kind.shape.dim
        )
    return Value(proto.name, _TYPES.get(kind.elem_type), shape)


def value_proto(value: Value) -> onnx.ValueInfoProto:
    """The reverse of :func:`value_of`."""
    element = TensorProto.UNDEFINED if value.dtype is None else element_type(value.dtype)
    return helper.make_tensor_value_info(value.name, element, value.shape)


def byte_parts(frame: onnx.ModelProto, initializers: Dict[str, np.ndarray]) -> Iterator[bytes]:
    """The bytes, part by part, of the model ``frame`` with ``initializers`` (name -> array) in its graph.

    A model's bytes are its fields one after another, and so are those of the graph in it. So the weights can
    be appended to the frame one by one, without a second copy of them all in memory.
    """
    sizes = [tensor_proto(*item).ByteSize() for item in initializers.items()]
    starts = [_start(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, size) for size in sizes]
    head = onnx.ModelProto()
    head.CopyFrom(frame)
    head.ClearField('graph')
    body = frame.graph.SerializeToString(deterministic=True)
    yield head.SerializeToString(deterministic=True)
    yield _start(onnx.ModelProto.GRAPH_FIELD_NUMBER, len(body) + sum(sizes) + sum(map(len, starts)))
    yield body
    for start, item in zip(starts, initializers.items()):
        yield start
        yield tensor_proto(*item).SerializeToString(deterministic=True)


def _start(field, size):
    """What is before a length-delimited field of ``size`` bytes: its number and kind, and the size, both as
    integers of variable length."""
    out = bytearray()
    for number in (field << 3 | 2, size):
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)
