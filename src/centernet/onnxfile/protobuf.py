"""Conversion between protocol buffers and plain Python: attributes, tensors, values, and a model's bytes."""

from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

_TYPES = {
    TensorProto.FLOAT: 'float32',
    TensorProto.DOUBLE: 'float64',
    TensorProto.FLOAT16: 'float16',
    TensorProto.INT64: 'int64',
    TensorProto.INT32: 'int32',
    TensorProto.INT8: 'int8',
    TensorProto.UINT8: 'uint8',
    TensorProto.BOOL: 'bool',
}
_ELEMENTS = {np.dtype(name): number for number, name in _TYPES.items()}


def element_type(dtype: Any) -> int:
    """ONNX's number for a numpy dtype."""
    return _ELEMENTS[np.dtype(dtype)]


def dtype_of(element: int) -> Optional[np.dtype]:
    """The numpy dtype for ONNX's number of an element type, None if numpy has none."""
    return np.dtype(_TYPES[element]) if element in _TYPES else None


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
        if isinstance(value, AttributeProto):
            protos.append(value)
        elif isinstance(value, np.ndarray):
            protos.append(AttributeProto(name=name, type=AttributeProto.TENSOR, t=tensor_proto('', value)))
        elif isinstance(value, list) and not value:
            protos.append(AttributeProto(name=name, type=AttributeProto.INTS))
        else:
            protos.append(helper.make_attribute(name, value))
    return protos


def subgraph_reads(values: Iterable[Any]) -> List[str]:
    """The names that the graphs among attribute values read."""
    graphs = [
        value.g
        for value in values
        if isinstance(value, AttributeProto) and value.type == AttributeProto.GRAPH
    ]
    return [name for graph in graphs for node in graph.node for name in node.input if name]


def value_parts(
    proto: onnx.ValueInfoProto,
) -> Tuple[str, Optional[np.dtype], Optional[Tuple[Union[int, str, None], ...]]]:
    """The fields of :class:`~centernet.onnxfile.graph.Value`."""
    kind = proto.type.tensor_type
    dtype = dtype_of(kind.elem_type)
    if not kind.HasField('shape'):
        return proto.name, dtype, None
    return (
        proto.name,
        dtype,
        tuple(
            dim.dim_value if dim.HasField('dim_value') else dim.dim_param or None for dim in kind.shape.dim
        ),
    )


def value_proto(
    name: str, dtype: Optional[np.dtype], shape: Optional[Tuple[Union[int, str, None], ...]]
) -> onnx.ValueInfoProto:
    """The reverse of :func:`value_parts`."""
    return helper.make_tensor_value_info(
        name, TensorProto.UNDEFINED if dtype is None else element_type(dtype), shape
    )


# A model's bytes are its fields one after another, and so are those of the graph in it. So the weights can be
# appended to the frame one by one, without a second copy of them all in memory.


def byte_parts(frame: onnx.ModelProto, initializers: Dict[str, np.ndarray]) -> Iterator[bytes]:
    """The bytes, part by part, of the model ``frame`` with ``initializers`` (name -> array) in its graph."""
    sizes = [tensor_proto(*item).ByteSize() for item in initializers.items()]
    head = onnx.ModelProto()
    head.CopyFrom(frame)
    head.ClearField('graph')
    body = frame.graph.SerializeToString(deterministic=True)
    yield head.SerializeToString(deterministic=True)
    yield _tag(onnx.ModelProto.GRAPH_FIELD_NUMBER) + _varint(len(body) + sum(map(_framed_size, sizes)))
    yield body
    for size, item in zip(sizes, initializers.items()):
        yield _tag(onnx.GraphProto.INITIALIZER_FIELD_NUMBER) + _varint(size)
        yield tensor_proto(*item).SerializeToString(deterministic=True)


def _framed_size(size):
    """The bytes of a part of ``size`` bytes with its tag (one byte for every field used here) and length."""
    return 1 + len(_varint(size)) + size


def _tag(number):
    return _varint(number << 3 | 2)  # 2: length-delimited


def _varint(number):
    """A protocol buffer's variable-length integer."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
