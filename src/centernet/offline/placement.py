"""Does every image have its own outputs? Batches that repeat an image, and files under another's name."""

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

# The outputs of another image must fit at most this share as badly as its own.
_CLEARLY = 0.3


def placement(
    device: Mapping[int, Mapping[str, np.ndarray]], expected: Mapping[str, np.ndarray]
) -> Tuple[Dict[int, int], List[str]]:
    """Find the image whose outputs each image has, by the heat maps.

    Args:
        device: number of the reference image -> head -> [channels, h, w].
        expected: head -> [n, channels, h, w].

    Returns:
        number -> number of the image whose outputs it has; and what is wrong, in words.
    """
    hm = expected['hm']
    where = {}
    for number, heads in device.items():
        distances = [
            float(np.sqrt(np.mean((heads['hm'] - other) ** 2, dtype=np.float64)))
            if heads['hm'].shape == other.shape
            else np.inf
            for other in hm
        ]
        best = int(np.argmin(distances))
        where[number] = best if distances[best] < _CLEARLY * distances[number] else number
    return where, _describe(where)


def _describe(where: Mapping[int, int]) -> List[str]:
    numbers = sorted(where)
    if all(where[number] == number for number in numbers):
        return []
    displaced = [number for number in numbers if where[number] != number]
    if len(displaced) > 2 and all(where[number] == number - 1 for number in numbers if number):
        return ['every image has the outputs of the image before it']
    for batch in range(2, len(numbers) // 2 + 1):
        pattern = _pattern(where, numbers, batch)
        if pattern is not None:
            return _in_words(pattern, 'of each batch' if batch == 2 else f'of each batch of {batch}', 'image')
    return _in_words(where, '', 'reference image')


def _pattern(where: Mapping[int, int], numbers: Sequence[int], batch: int) -> Optional[Dict[int, int]]:
    """place in a batch -> place of the image whose outputs it has; None if batches differ."""
    pattern: Dict[int, int] = {}
    for number in numbers:
        start = number - number % batch
        if pattern.setdefault(number % batch, where[number] - start) != where[number] - start:
            return None
    return pattern if all(0 <= place < batch for place in pattern.values()) else None


def _in_words(where: Mapping[int, int], which: str, noun: str) -> List[str]:
    words, done = [], set()
    for number in sorted(where):
        source = where[number]
        if source == number or number in done:
            continue
        tail = f' {which}' if which else ''
        if where.get(source) == number:
            done.add(source)
            words.append(f'{noun}s {number + 1} and {source + 1}{tail} are exchanged')
        elif where.get(source) == source:
            words.append(f'{noun} {number + 1}{tail} repeats {noun} {source + 1}')
        else:
            words.append(f'{noun} {number + 1}{tail} has the outputs of {noun} {source + 1}')
    return words
