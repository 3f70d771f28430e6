"""Print, as JSON, how torch 1.0.0 behaves in cases that its patches change, and in others.

python observe.py [module=file]...      load the module from that file instead of the installed one
"""

import importlib.util
import io
import json
import sys
import warnings

FILES = dict(word.split('=', 1) for word in sys.argv[1:])


class _FromFiles:
    @staticmethod
    def find_spec(name, _path=None, _target=None):
        return importlib.util.spec_from_file_location(name, FILES[name]) if name in FILES else None


sys.meta_path.insert(0, _FromFiles)

import numpy as np  # noqa: E402  after the finder is installed
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
import torch.onnx.symbolic  # noqa: E402
from torch import nn  # noqa: E402
from torch.autograd import NestedIOFunction  # noqa: E402


class Inner(nn.Module):
    def forward(self, layers, first, second):
        return layers[second] * 2 + layers[first]


class Given(nn.Module):
    """Pass two values to ``Inner``, as CenterNet's dla_34 passes the levels to join to IDAUp."""

    def __init__(self, first, second):
        super().__init__()
        self.inner, self.given = Inner(), (first, second)

    def forward(self, x):
        return self.inner([x.sigmoid(), x.tanh()], *self.given)


class Known(nn.Module):
    """The same as ``Given(0, 1)``, without integers."""

    def forward(self, x):
        return x.tanh() * 2 + x.sigmoid()


class Last(nn.Module):
    def forward(self, *given):
        return given[-1]


class Handed(nn.Module):
    """Pass anything made from the input to a module."""

    def __init__(self, make):
        super().__init__()
        self.last, self.make = Last(), make

    def forward(self, x):
        return self.last(*self.make(x)) * 2


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Nested(NestedIOFunction):
    def forward_extended(self, tensors, number):
        return tensors[0] * number


def exported(module, batch=2):
    """Return the operators of the exported graph, and the largest difference of onnxruntime from torch."""
    torch.manual_seed(0)
    image, file = torch.randn(batch, 3, 4, 6), io.BytesIO()
    torch.onnx.export(module, (image,), file)
    model = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(file.getvalue())
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    wanted = module(image).numpy()
    assert found.shape == wanted.shape
    return {
        'operators': [node.op_type for node in model.graph.node],
        'difference': float(np.abs(found - wanted).max()),
    }


def iterated(name, value):
    return repr(list(getattr(torch.autograd.function, name)(value)))


one = torch.ones(1)
VALUES = {
    'None': None,
    'a tensor': one,
    'nested lists': [one, [None, (one, [])], ()],
    'int': 3,
    'int in a list': [one, [3]],
    'bool': True,
    'bool in a list': [one, [False]],
    'float': 1.5,
    'str': 'a',
    'numpy': np.int64(3),
    'dict': {'a': one},
}
ITERATORS = ('_iter_tensors', '_iter_tensors_permissive', '_iter_None_tensors', '_iter_jit_values')
CASES = {
    'ints': lambda: exported(Given(0, 1)),
    'no ints': lambda: exported(Known()),
    'bools': lambda: exported(Given(False, True)),
    'floats': lambda: exported(Handed(lambda x: (1.5, x))),
    'strings': lambda: exported(Handed(lambda x: ('a', x))),
    'None': lambda: exported(Handed(lambda x: (None, x))),
    'nested lists': lambda: exported(Handed(lambda x: ([x, [None, (x,)]], x))),
    'tensors': lambda: exported(Handed(lambda x: (x, x.exp()))),
    'ints, not traced': lambda: Given(0, 1)(torch.ones(2, 2)).tolist(),
    'bools, not traced': lambda: Given(False, True)(torch.ones(2, 2)).tolist(),
    'nested function': lambda: Nested()((one,), one).tolist(),
    'nested function, int': lambda: Nested()((one,), 3).tolist(),
    'reshape': lambda: exported(Apply(lambda x: x.permute(0, 2, 3, 1).reshape(2, 12, -1))),
    'reshape by size': lambda: exported(Apply(lambda x: x.reshape(x.size(0), x.size(1), -1))),
    'reshape to rows': lambda: exported(Apply(lambda x: x.reshape(2, -1))),
    'reshape_as': lambda: exported(Apply(lambda x: x.exp().reshape_as(x.permute(0, 3, 1, 2)))),
    'view': lambda: exported(Apply(lambda x: x.exp().view(2, 12, -1))),
    'view by size': lambda: exported(Apply(lambda x: x.view(x.size(0), x.size(1), -1))),
    'view to rows': lambda: exported(Apply(lambda x: x.view(2, -1))),
    'flatten': lambda: exported(Apply(lambda x: x.flatten(1))),
    'reciprocal': lambda: exported(Apply(lambda x: x.exp().reciprocal())),
    'cat': lambda: exported(Apply(lambda x: torch.cat([x, x.exp()], 1))),
    'symbolics': lambda: sorted(name for name in vars(torch.onnx.symbolic) if not name.startswith('__')),
    'files': lambda: [torch.autograd.function.__file__, torch.onnx.symbolic.__file__],
}
CASES.update(
    {
        f'{name} of {kind}': lambda name=name, value=value: iterated(name, value)
        for name in ITERATORS
        for kind, value in VALUES.items()
    }
)


def outcome(case):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            return case()
        except Exception as error:
            return f'{type(error).__name__}: {str(error).splitlines()[0]}'


if __name__ == '__main__':
    json.dump({name: outcome(case) for name, case in CASES.items()}, sys.stdout)
