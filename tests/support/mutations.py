"""Changes to bytes."""

#: lengths, counts and indices at which readers go wrong
NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 62) - 1,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def mutated(draw, data, others=()):
    """``data`` with one to eight changes.

    Args:
        draw: random.Random.
        data: bytes.
        others: more bytes to take parts from.
    """
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        change = draw.randrange(8)
        at = draw.randrange(len(data) + 1)
        # the interesting parts lie at the ends of most formats
        at = min(at, draw.choice((len(data), 64, 512))) if draw.random() < 0.5 else at
        at = max(0, len(data) - 1 - draw.randrange(256)) if draw.random() < 0.15 else at
        size = draw.choice((1, 2, 4, 8, draw.randrange(1, 200)))
        if change == 0 and at < len(data):
            data[at] ^= 1 << draw.randrange(8)
        elif change == 1 and at < len(data):
            data[at] = draw.randrange(256)
        elif change == 2:
            del data[at : at + size]
        elif change == 3:
            data[at:at] = bytes(draw.getrandbits(8) for _ in range(size))
        elif change == 4:
            data[at:at] = data[at : at + size] * draw.choice((1, 2, 50))
        elif change == 5:
            width = draw.choice((1, 2, 4, 8))
            number = (draw.choice(NUMBERS) + draw.randrange(-2, 3)) & ((1 << 8 * width) - 1)
            data[at : at + width] = number.to_bytes(width, draw.choice(('little', 'big')))
        elif change == 6 and draw.random() < 0.3:
            del data[at:]
        elif change == 7:
            other = draw.choice(tuple(others) or (data,))
            start = draw.randrange(len(other) + 1)
            data[at : at + draw.choice((0, size))] = other[start : start + size]
    return bytes(data)
