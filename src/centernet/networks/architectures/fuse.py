"""Fuse a network for inference on the CPU: the same arithmetic, to rounding, in fewer and faster steps.

The network is run once with stand-ins for its tensors, which records what its layers do. Every BatchNorm is
folded into the layer before it, and residuals and ReLU become a part of the layer that they follow; what
remains are the compiled layers of :mod:`centernet.kernels.layers`.
"""

from collections import Counter
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import nn
from torch.nn import functional as F

from ...kernels import DCN, layers
from .heads import Concatenate, Detector


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

    def takes_norm(self) -> bool:
        return isinstance(self.module, _NORMALIZED) and not (self.norm or self.residual or self.relu)

    def takes_residual(self) -> bool:
        return isinstance(self.module, _WITH_RESIDUAL) and not (self.residual or self.relu)

    def takes_relu(self) -> bool:
        return not self.relu and (self.module is None or isinstance(self.module, _WITH_RELU))


_NORMALIZED = (nn.Conv2d, nn.ConvTranspose2d, DCN)
_WITH_RESIDUAL = (nn.Conv2d, nn.ConvTranspose2d, nn.Upsample)
_WITH_RELU = (*_NORMALIZED, nn.Upsample)
_LEAVES = (*_WITH_RELU, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, Concatenate)


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

    def _recorder(self, module: nn.Module) -> Callable[..., _Value]:
        def forward(*inputs: Any) -> _Value:
            if isinstance(module, DCN):
                inputs = (*inputs, module.conv_offset_mask(*inputs))
            return self.add(module, tuple(inputs[0]) if isinstance(module, Concatenate) else inputs)

        return forward

    def add(self, module: Optional[nn.Module], inputs: Tuple[_Value, ...]) -> _Value:
        self.steps.append(_Step(module, inputs, _Value(self)))
        return self.steps[-1].output


def _joined(record: _Record) -> List[_Step]:
    """Return fewer steps with the same outputs."""
    uses = Counter(value for step in record.steps for value in step.inputs)
    uses.update(record.outputs.values())
    joined: List[_Step] = []

    def maker_of(value: _Value) -> Optional[_Step]:
        """The step that makes a value that nothing else needs."""
        return next((step for step in joined if step.output is value and uses[value] == 1), None)

    for step in record.steps:
        if not uses[step.output]:
            continue
        makers = [maker_of(value) for value in step.inputs]
        first = makers[0]
        if isinstance(step.module, nn.BatchNorm2d):
            if not (first and first.takes_norm()):
                raise _Unsupported('a BatchNorm that does not follow a convolution')
            first.norm, first.output = step.module, step.output
        elif isinstance(step.module, nn.ReLU) and first and first.takes_relu():
            first.relu, first.output = True, step.output
        elif step.module is None and any(maker and maker.takes_residual() for maker in makers):
            # the last of them, and only now: by then the other operand is there
            maker = max((m for m in makers if m and m.takes_residual()), key=joined.index)
            maker.residual = step.inputs[1 - makers.index(maker)]
            maker.output = step.output
            joined.remove(maker)
            joined.append(maker)
        else:
            joined.append(step)
    return joined


def _pair(value: Any) -> Tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _folded(step: _Step, outputs_at: int = 0) -> Tuple[torch.Tensor, torch.Tensor]:
    """The weight and the bias of a step with its BatchNorm; ``outputs_at``: the weight's axis of outputs."""
    weight, bias, norm = step.module.weight.detach(), step.module.bias, step.norm
    bias = weight.new_zeros(weight.shape[outputs_at]) if bias is None else bias.detach()
    if norm is None:
        return weight, bias
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = (bias.double() - norm.running_mean.double()) * scale + norm.bias.detach().double()
    shape = [1] * weight.dim()
    shape[outputs_at] = -1
    return weight * scale.float().view(shape), bias.float()


def _concatenate(*images: torch.Tensor) -> torch.Tensor:
    return torch.cat(images, 3)


def _add_and_rectify(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return F.relu(one + other)


def _make_layer(step: _Step, bf16: bool) -> Callable[..., torch.Tensor]:
    module = step.module
    if module is None:
        return _add_and_rectify if step.relu else torch.add
    if isinstance(module, Concatenate):
        return _concatenate
    if isinstance(module, nn.ReLU):
        return F.relu
    if isinstance(module, nn.Upsample):
        factor = int(module.scale_factor)
        return layers.Spread(torch.ones(1, 1, factor, factor), factor, (0, 0), step.relu)
    stride, padding = _pair(module.stride)[0], _pair(module.padding)
    if isinstance(module, nn.MaxPool2d):
        return layers.MaxPool(_pair(module.kernel_size), stride, padding)
    if isinstance(module, DCN):
        groups = module.deformable_groups
        return layers.DeformableConvolution(*_folded(step), stride, padding, 1, groups, step.relu, bf16)
    if isinstance(module, nn.Conv2d):
        return layers.Convolution(*_folded(step), stride, padding, step.relu, bf16)
    if module.groups == 1:
        return layers.TransposedConvolution(*_folded(step, 1), stride, padding, step.relu, bf16)
    return layers.Spread(module.weight.detach(), stride, padding, step.relu)


class FusedNetwork:
    """A network as a list of compiled layers: float32 [N, 3, H, W] on the CPU -> head name to raw output."""

    def __init__(self, record: _Record, bf16: bool) -> None:
        steps = _joined(record)
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


def fuse(model: nn.Module, bf16: bool = False) -> Optional[FusedNetwork]:
    """Fuse a network.

    Args:
        model: a float32 network on the CPU, in evaluation mode. Its layers have the options that those of
            :func:`centernet.networks.architectures.create_model` have: no dilation, no groups but for
            upsampling, the same stride on both axes.
        bf16: round the factors of products to bfloat16, see :func:`centernet.kernels.layers.why_no_bf16`.

    Returns:
        The fused network, which does not share parameters with the model; None if the layers are not
        compiled, or the network has others.
    """
    if not isinstance(model, Detector) or not layers.available():
        return None
    try:
        return FusedNetwork(_Record(model), bf16)
    except _Unsupported:
        return None
