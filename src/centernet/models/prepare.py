"""Prepare a network for inference on the CPU: the same arithmetic, to rounding, in fewer and faster steps.

The network is run once with stand-ins for its tensors, which records what its layers do. Every BatchNorm is
folded into the layer before it, and residuals and ReLU become a part of the layer that they follow; what
remains are the compiled layers of :mod:`centernet.dcn.layers`.
"""

from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import nn

from ..dcn import DCN, layers
from .heads import Concatenate


class _Unsupported(Exception):
    """The network does something that has no step here."""


class _Value:
    """Stands for a tensor while a network is recorded."""

    def __init__(self, record: '_Record') -> None:
        self.record = record

    def __add__(self, other: '_Value') -> '_Value':
        return self.record.add(None, (self, other)) if isinstance(other, _Value) else NotImplemented

    __iadd__ = None  # would change a value that may have other uses


class _Step:
    """What a layer does: ``module`` of ``inputs`` gives ``output``; then ``norm``, ``residual`` and ReLU.

    A module of None is a sum.
    """

    def __init__(self, module: Optional[nn.Module], inputs: Tuple[_Value, ...], output: _Value) -> None:
        self.module, self.inputs, self.output = module, list(inputs), output
        self.norm: Optional[nn.BatchNorm2d] = None
        self.residual: Optional[_Value] = None
        self.relu = False

    def all_inputs(self) -> List[_Value]:
        return self.inputs + ([] if self.residual is None else [self.residual])


_LEAVES = (
    nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Upsample, DCN, Concatenate
)  # fmt: skip
_NORMALIZED = (nn.Conv2d, nn.ConvTranspose2d, DCN)
_WITH_RESIDUAL = (nn.Conv2d, nn.ConvTranspose2d, nn.Upsample)


class _Record:
    """The steps of a network, in order, and its outputs by name."""

    def __init__(self, model: nn.Module) -> None:
        self.steps: List[_Step] = []
        self.input = _Value(self)
        # a derived class may do something else
        leaves = [module for module in model.modules() if type(module) in _LEAVES]
        try:
            for leaf in leaves:
                leaf.forward = self._recorder(leaf)
            self.outputs: Dict[str, _Value] = model(self.input)
        except Exception as error:  # whatever a layer makes of a stand-in
            raise _Unsupported(str(error)) from error
        finally:
            for leaf in leaves:
                vars(leaf).pop('forward', None)
        values = self.outputs.values() if isinstance(self.outputs, dict) else [None]
        _expect(all(isinstance(value, _Value) for value in values), 'the outputs are not a dict of tensors')

    def _recorder(self, module: nn.Module) -> Callable[..., _Value]:
        def forward(*inputs: Any) -> _Value:
            if isinstance(module, DCN):
                return self.add(module, (*inputs, module.conv_offset_mask(*inputs)))
            if isinstance(module, Concatenate):
                inputs = tuple(inputs[0])
            return self.add(module, inputs)

        return forward

    def add(self, module: Optional[nn.Module], inputs: Tuple[_Value, ...]) -> _Value:
        output = _Value(self)
        self.steps.append(_Step(module, inputs, output))
        return output


def _fuse(record: _Record) -> List[_Step]:
    """Return fewer steps with the same outputs."""
    uses: Dict[_Value, int] = {}
    for value in [value for step in record.steps for value in step.inputs] + list(record.outputs.values()):
        uses[value] = uses.get(value, 0) + 1
    fused: List[_Step] = []

    def maker_of(value: _Value) -> Optional[_Step]:
        """The step that makes a value that nothing else needs."""
        makers = [step for step in fused if step.output is value]
        return makers[0] if makers and uses[value] == 1 else None

    for step in record.steps:
        if step.output not in uses:
            continue
        in_place = getattr(step.module, 'inplace', False)
        _expect(not in_place or uses[step.inputs[0]] == 1, 'a value that is changed in place has other uses')
        makers = [maker_of(value) for value in step.inputs]
        first = makers[0]
        if isinstance(step.module, nn.BatchNorm2d):
            follows = first and isinstance(first.module, _NORMALIZED) and not first.norm
            if not (follows and not first.relu and first.residual is None):
                raise _Unsupported('a BatchNorm that does not follow a convolution')
            _expect(step.module.running_var is not None, 'a BatchNorm without statistics')
            first.norm, first.output = step.module, step.output
        elif isinstance(step.module, nn.ReLU) and first and not first.relu and _takes_relu(first):
            first.relu, first.output = True, step.output
        elif step.module is None and any(maker and _takes_residual(maker) for maker in makers):
            # the last of them, and only now: by then the other operand is there
            maker = max((m for m in makers if m and _takes_residual(m)), key=fused.index)
            maker.residual = step.inputs[1 - makers.index(maker)]
            maker.output = step.output
            fused.remove(maker)
            fused.append(maker)
        else:
            fused.append(step)
    return fused


def _takes_relu(step: _Step) -> bool:
    return step.module is None or isinstance(step.module, (*_NORMALIZED, nn.Upsample))


def _takes_residual(step: _Step) -> bool:
    return isinstance(step.module, _WITH_RESIDUAL) and step.residual is None and not step.relu


def _single(value: Any) -> int:
    """The one number that an option is given as, or twice."""
    numbers = {value} if isinstance(value, int) else set(value)
    if len(numbers) != 1:
        raise _Unsupported(f'{value} differs by axis')
    return numbers.pop()


def _pair(value: Any) -> Tuple[int, int]:
    _expect(not isinstance(value, str), f'padding {value}')
    return (value, value) if isinstance(value, int) else tuple(value)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise _Unsupported(what)


def _folded(step: _Step, outputs_at: int = 0) -> Tuple[torch.Tensor, torch.Tensor]:
    """The weight and the bias of a step with its BatchNorm; ``outputs_at``: the weight's axis of outputs."""
    weight, bias, norm = step.module.weight.detach(), step.module.bias, step.norm
    bias = weight.new_zeros(weight.shape[outputs_at]) if bias is None else bias.detach()
    if norm is None:
        return weight, bias
    scale = 1 / torch.sqrt(norm.running_var.double() + norm.eps)
    if norm.affine:
        scale = scale * norm.weight.detach().double()
    bias = (bias.double() - norm.running_mean.double()) * scale
    if norm.affine:
        bias = bias + norm.bias.detach().double()
    shape = [1] * weight.dim()
    shape[outputs_at] = -1
    return weight * scale.float().view(shape), bias.float()


def _make_layer(step: _Step, bf16: bool) -> Callable[..., torch.Tensor]:
    module = step.module
    if module is None:
        layer = layers.Add()
        layer.relu = step.relu
        return layer
    if isinstance(module, Concatenate):
        return layers.Concatenation()
    if isinstance(module, nn.ReLU):
        return layers.Relu()
    if isinstance(module, nn.MaxPool2d):
        _expect(module.dilation == 1 and not module.ceil_mode and not module.return_indices, str(module))
        return layers.MaxPool(
            _pair(module.kernel_size), _single(module.stride), _pair(module.padding), relu=False
        )
    if isinstance(module, nn.Upsample):
        _expect(module.mode == 'nearest' and module.scale_factor in (2, 3, 4), str(module))
        factor = int(module.scale_factor)
        return _Nearest(factor, step.relu)
    stride, padding = _single(module.stride), _pair(module.padding)
    if isinstance(module, DCN):
        return layers.DeformableConvolution(
            *_folded(step),
            stride,
            padding,
            _single(module.dilation),
            module.deformable_groups,
            step.relu,
            bf16,
        )
    _expect(_single(module.dilation) == 1, f'{module}: dilation')
    _expect(getattr(module, 'padding_mode', 'zeros') == 'zeros', f'{module}: padding')
    if isinstance(module, nn.Conv2d):
        _expect(module.groups == 1, f'{module}: groups')
        _expect(all(p < k for p, k in zip(padding, module.kernel_size)), f'{module}: padding')
        return layers.Convolution(*_folded(step), stride, padding, step.relu, bf16)
    doubles = all(k == stride + 2 * p for k, p in zip(module.kernel_size, padding))
    _expect(doubles and not any(_pair(module.output_padding)), f'{module}: sizes')
    if module.groups == 1:
        return layers.TransposedConvolution(*_folded(step, 1), stride, padding, step.relu, bf16)
    plain = step.norm is None and module.bias is None
    _expect(module.groups == module.in_channels == module.out_channels and plain, f'{module}: groups')
    return layers.Spread(module.weight.detach(), stride, padding, step.relu)


class _Nearest:
    """Upsampling by repetition."""

    def __init__(self, factor: int, relu: bool) -> None:
        self.factor, self.relu = factor, relu
        self.layer: Optional[layers.Spread] = None

    def __call__(self, input: torch.Tensor, residual: Optional[torch.Tensor] = None) -> torch.Tensor:
        if self.layer is None:
            ones = input.new_ones((input.shape[3], 1, self.factor, self.factor))
            self.layer = layers.Spread(ones, self.factor, (0, 0), self.relu)
        return self.layer(input, residual)


class PreparedNetwork:
    """A network as a list of compiled layers: float32 [N, 3, H, W] on the CPU -> head name to raw output."""

    def __init__(self, record: _Record, bf16: bool) -> None:
        steps = _fuse(record)
        number = {record.input: 0}
        for step in steps:
            number[step.output] = len(number)
        self.outputs = {name: number[value] for name, value in record.outputs.items()}
        last = {number[value]: at for at, step in enumerate(steps) for value in step.all_inputs()}
        self.steps = []
        for at, step in enumerate(steps):
            inputs = [number[value] for value in step.all_inputs()]
            ended = [each for each in set(inputs) if last[each] == at and each not in self.outputs.values()]
            self.steps.append((_make_layer(step, bf16), inputs, number[step.output], ended))

    def __call__(self, images: torch.Tensor) -> Dict[str, torch.Tensor]:
        values = {0: images.permute(0, 2, 3, 1).contiguous()}
        for layer, inputs, output, ended in self.steps:
            values[output] = layer(*[values[each] for each in inputs])
            for each in ended:
                del values[each]
        return {name: values[each].permute(0, 3, 1, 2) for name, each in self.outputs.items()}


def prepare(model: nn.Module, bf16: bool = False) -> Optional[PreparedNetwork]:
    """Prepare a network.

    Args:
        model: a float32 network on the CPU, in evaluation mode, such as one from
            :func:`centernet.models.create_model`.
        bf16: round the factors of products to bfloat16, see :func:`centernet.dcn.layers.why_no_bf16`.

    Returns:
        The prepared network, which does not share parameters with the model; None if the layers are not
        compiled, or the network has others, hooks, or forwards that were replaced.
    """
    if not layers.available():
        return None
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return None
    if any('forward' in vars(module) for module in model.modules()):
        return None
    try:
        return PreparedNetwork(_Record(model), bf16)
    except _Unsupported:
        return None
