"""The protocol: what decides the detections of an image, besides the network."""

import math
from typing import Any, List, Optional, Sequence, Tuple

import attr

from ..system.errors import OptionError
from .fields import RUN, each, option, whole
from .normalization import COCO, InputSpec, Normalization, parse_normalization


def _input(protocol: 'Protocol') -> str:
    return 'original size' if protocol.keep_res else f'{protocol.input_width} x {protocol.input_height}'


def _side(name: str) -> Any:
    text = f"{name} of the network's input (default: fixed by or stored in its file, else 512)"
    return whole(text, RUN, metavar='PIXELS')


def _scales(text: str) -> Tuple[float, ...]:
    return each(text.split(','), float, 'scales are numbers such as 0.5,1,1.5')


def _check_scales(_: Any, __: Any, scales: Sequence[float]) -> None:
    if not scales or not all(scale > 0 and math.isfinite(scale) for scale in scales):
        raise OptionError(f'--test-scales: {list(scales)} are not positive numbers')


@attr.s(frozen=True, auto_attribs=True, kw_only=True)
class Protocol:
    """What decides the detections of an image, besides the network.

    ``input_height``, ``input_width`` and ``normalization`` are None until :meth:`for_network` chooses them.
    ``pad``: 31 pads images that keep their size to multiples of 32, 127 to multiples of 128.
    """

    keep_res: bool = option(
        False,
        'keep the size of each image, padded, instead of fitting it into a fixed input',
        RUN,
        row='input',
        show=_input,
    )
    input_height: Optional[int] = _side('height')
    input_width: Optional[int] = _side('width')
    normalization: Optional[Normalization] = option(
        None,
        'of the pixels, as in training: coco, pascal, half (0.5/1), unit (0/1), or mean and standard'
        ' deviation as B,G,R/B,G,R (default: as stored in the file, else coco)',
        RUN,
        row='normalization',
        show=lambda protocol: str(protocol.normalization),
        word=str,
        dump=lambda used: {'name': used.name, 'mean': list(used.mean), 'std': list(used.std)},
        load=lambda found: Normalization(*(tuple(map(float, found[key])) for key in ('mean', 'std'))),
        type=parse_normalization,
        metavar='NAME',
    )
    flip_test: bool = option(False, 'average with the mirrored image', RUN, row='flip test')
    test_scales: Tuple[float, ...] = option(
        (1.0,),
        'evaluate at several scales and merge with soft-NMS, such as 0.5,0.75,1,1.25,1.5 (default: 1)',
        RUN,
        row='test scales',
        check=_check_scales,
        type=_scales,
        metavar='LIST',
    )
    nms: bool = option(False, 'apply soft-NMS at a single scale, too', RUN, row='soft-NMS')
    max_detections: int = whole(
        'keep the N best detections of each image; the COCO metrics look at 100 (default: 100)',
        RUN,
        default=100,
        row='detections per image',
        show=lambda protocol: f'up to {protocol.max_detections}',
    )
    pad: int = option(31, means=RUN)

    @property
    def input(self) -> InputSpec:
        """How images are fitted to the network's input; after :meth:`for_network`."""
        return InputSpec(
            self.input_height or 512,
            self.input_width or 512,
            self.keep_res,
            self.pad,
            self.normalization or COCO,
        )

    def for_network(self, facts: Any, name: str) -> 'Protocol':
        """Choose what is open: the size that the network is fixed to, else that of the options, else the one
        that its file records, else 512; the normalization of the options, else the recorded one, else COCO's.

        Args:
            facts: what its file says of its input (``step``, ``fixed``, ``stored``, ``normalization``).
            name: of the file, for messages.

        Raises:
            OptionError: the network does not take that size.
        """
        given = (self.input_height, self.input_width)
        sides: List[Optional[int]] = [None, None]
        if self.keep_res:
            keeps = '--keep-res keeps the size of each image'
            if facts.fixed:
                raise OptionError(f'{keeps}, but {name} is fixed to {facts.fixed[1]} x {facts.fixed[0]}')
            if any(given):
                raise OptionError(f'{keeps}: omit --input-height and --input-width')
        else:
            for place, side in enumerate(('height', 'width')):
                usual = (facts.fixed or facts.stored or (512, 512))[place]
                pixels = sides[place] = given[place] or usual
                if facts.fixed and pixels != usual:
                    raise OptionError(f'--input-{side} {pixels}: {name} is fixed to {usual}')
                if pixels % facts.step:
                    raise OptionError(f'--input-{side} {pixels}: {name} takes multiples of {facts.step}')
        return attr.evolve(
            self,
            input_height=sides[0],
            input_width=sides[1],
            normalization=self.normalization or facts.normalization or COCO,
            nms=self.nms or len(self.test_scales) > 1,
            pad=facts.step - 1,
        )

    def describe(self, facts: Any, wanted: 'Protocol') -> str:
        """This protocol in words, with what nobody named marked as assumed.

        Args:
            facts: as for :meth:`for_network`.
            wanted: the protocol before it.
        """
        known = self.keep_res or facts.fixed or facts.stored or wanted.input_height or wanted.input_width
        parts = [_input(self) + ('' if known else ' (assumed)')]
        stored = facts.normalization
        note = '' if wanted.normalization or stored else ' (assumed)'
        if stored and not stored.same(self.normalization):
            note = f' (the file records the normalization {stored})'
        parts.append(f'normalization {self.normalization}{note}')
        if self.test_scales != (1.0,):
            parts.append('scales ' + ' '.join(f'{scale:g}' for scale in self.test_scales))
        parts += ['flip test'] * self.flip_test + ['soft-NMS'] * self.nms
        if self.max_detections != 100:
            parts.append(f'up to {self.max_detections} detections')
        return ', '.join(parts)
