"""decode: against a slow loop over cells; ties, borders, the flip test, batches, few cells."""

import importlib
import math
from collections import Counter

import pytest
import torch

from centernet.detection import Heads, decode
from centernet.detection.heads import ONE_SIZE, SIDES, SIZE_PER_CLASS, of_outputs, size_layout, why_no_boxes
from centernet.system.errors import ModelError


def random_heads(images, classes, height, width, seed=0, levels=None):
    torch.manual_seed(seed)
    hm = torch.randn(images, classes, height, width) * 2 - 2
    if levels:
        hm = torch.round(hm * levels) / levels
    return Heads(hm, torch.rand(images, 2, height, width) * 10, torch.rand(images, 2, height, width))


def peaks(plane):
    """Return all (score, row, column) of one class plane (a list of lists) that no neighbour exceeds."""
    found = []
    for row in range(len(plane)):
        for column in range(len(plane[0])):
            around = [line[max(0, column - 1) : column + 2] for line in plane[max(0, row - 1) : row + 2]]
            if plane[row][column] == max(map(max, around)):
                found.append((plane[row][column], row, column))
    return found


def slow_decode(probabilities, wh, reg, k):
    """Return the k best boxes of one image as (score, class, x1, y1, x2, y2), sorted by descending score."""
    found = []
    for label, plane in enumerate(probabilities.tolist()):
        for score, row, column in peaks(plane):
            width, height = wh[0, row, column].item(), wh[1, row, column].item()
            x, y = column + reg[0, row, column].item(), row + reg[1, row, column].item()
            found.append((score, label, x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return sorted(found, key=lambda box: -box[0])[:k]


def as_tuples(raw, image):
    return [
        (score, label) + tuple(box)
        for box, score, label in zip(
            raw.boxes[image].tolist(), raw.scores[image].tolist(), raw.classes[image].tolist()
        )
    ]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert ours[1] == theirs[1]
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize('shape', [(2, 3, 24, 17), (1, 1, 9, 40), (3, 5, 13, 13)])
def test_boxes_are_those_of_a_loop_over_cells(shape):
    heads = random_heads(*shape)
    raw = decode(heads, k=20)
    assert raw.boxes.shape == (shape[0], 20, 4) and raw.scores.shape == (shape[0], 20)
    assert raw.boxes.dtype == torch.float32 and raw.classes.dtype == torch.int64
    for image in range(shape[0]):
        expected = slow_decode(torch.sigmoid(heads.hm[image]), heads.wh[image], heads.reg[image], 20)
        assert_same(as_tuples(raw, image), expected)


@pytest.mark.parametrize('seed', range(4))
def test_equal_scores_all_count_as_peaks(seed):
    # With few levels there are plateaus and ties everywhere: any of them may be selected.
    heads = random_heads(1, 3, 12, 12, seed, levels=1)
    raw = decode(heads, k=60)
    everything = slow_decode(torch.sigmoid(heads.hm[0]), heads.wh[0], heads.reg[0], None)
    found = as_tuples(raw, 0)
    assert [box[0] for box in found] == pytest.approx([box[0] for box in everything[:60]])
    rounded = Counter(tuple(round(v, 3) for v in box) for box in everything)
    assert all(rounded[tuple(round(v, 3) for v in box)] for box in found)
    assert len(set(found)) == len(found)


def test_a_flat_heat_map_gives_k_boxes():
    heads = Heads(torch.zeros(1, 2, 16, 16), torch.ones(1, 2, 16, 16), torch.zeros(1, 2, 16, 16))
    raw = decode(heads, k=100)
    assert raw.scores.tolist() == [[0.5] * 100]
    assert len(set(map(tuple, raw.boxes[0].tolist()))) >= 50


def test_peaks_in_the_corners():
    hm = torch.full((1, 1, 8, 10), -5.0)
    corners = [(0, 0), (0, 9), (7, 0), (7, 9)]
    for rank, (row, column) in enumerate(corners):
        hm[0, 0, row, column] = 4.0 - rank
    raw = decode(Heads(hm, torch.full((1, 2, 8, 10), 2.0), torch.full((1, 2, 8, 10), 0.5)), k=4)
    expected = [[column - 0.5, row - 0.5, column + 1.5, row + 1.5] for row, column in corners]
    assert raw.boxes[0].tolist() == expected
    assert raw.scores[0].tolist() == pytest.approx(
        [1 / (1 + math.exp(rank - 4.0)) for rank in range(4)], abs=1e-6
    )


def test_a_cell_beside_a_higher_one_scores_nothing():
    hm = torch.full((1, 1, 8, 8), -8.0)
    hm[0, 0, 3, 3], hm[0, 0, 4, 4] = 3.0, 2.9
    raw = decode(Heads(hm, torch.ones(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)), k=2)
    assert raw.scores[0, 0].item() == pytest.approx(1 / (1 + math.exp(-3.0)))
    assert raw.scores[0, 1].item() < 0.001


def test_batch_and_single_images_agree(monkeypatch):
    heads = random_heads(5, 4, 16, 24)
    whole = decode(heads, k=30)
    # Pairs, and one more image. The package's attribute ``decode`` is the function, hence import_module.
    monkeypatch.setattr(importlib.import_module('centernet.detection.decode'), '_CPU_GROUP', 2 * 4 * 16 * 24)
    pairs = decode(heads, k=30)
    for image in range(5):
        alone = decode(Heads(*(head[image : image + 1] for head in heads)), k=30)
        for part, pair, single in zip(whole, pairs, alone):
            assert torch.equal(part[image], single[0])
            assert torch.equal(pair[image], single[0])


def test_flip_averages_heat_and_size_and_keeps_the_offset():
    heads, other = random_heads(2, 3, 16, 20, seed=1), random_heads(2, 3, 16, 20, seed=2)
    raw = decode(heads, other, k=15)
    back = torch.arange(19, -1, -1)
    for image in range(2):
        heat = (torch.sigmoid(heads.hm[image]) + torch.sigmoid(other.hm[image])[:, :, back]) / 2
        size = (heads.wh[image] + other.wh[image][:, :, back]) / 2
        assert_same(as_tuples(raw, image), slow_decode(heat, size, heads.reg[image], 15))


def test_flip_with_perfectly_mirrored_heads_changes_nothing():
    heads = random_heads(2, 3, 16, 20)
    mirrored = Heads(*(torch.flip(head, [3]) for head in heads))
    for one, two in zip(decode(heads, k=15), decode(heads, mirrored, k=15)):
        assert torch.equal(one, two)


@pytest.mark.parametrize('classes, expected', [(1, 64), (2, 100), (80, 100)])
def test_fewer_cells_than_boxes(classes, expected):
    # An image of one pixel at keep_res: 32 x 32 pixels of input, 8 x 8 cells.
    heads = random_heads(2, classes, 8, 8)
    raw = decode(heads, k=100)
    assert (
        raw.boxes.shape == (2, expected, 4)
        and raw.scores.shape == (2, expected)
        and raw.classes.shape == (2, expected)
    )
    for image in range(2):
        best = slow_decode(torch.sigmoid(heads.hm[image]), heads.wh[image], heads.reg[image], 100)
        assert_same(as_tuples(raw, image)[: len(best)], best)
        rest = raw.scores[image, len(best) :].tolist()
        assert rest == [0] * (expected - len(best))  # not peaks


def test_heads_are_not_changed_and_no_graph_is_kept():
    heads = random_heads(1, 3, 8, 8)
    heads.hm.requires_grad_()
    copies = [head.detach().clone() for head in heads]
    raw = decode(heads, heads, k=10)
    assert not any(part.requires_grad for part in raw)
    assert all(torch.equal(head, copy) for head, copy in zip(heads, copies))


def test_half_precision_heads():
    heads = random_heads(1, 3, 8, 8)
    half = Heads(*(head.half() for head in heads))
    widened = Heads(*(head.float() for head in half))
    for one, two in zip(decode(half, k=10), decode(widened, k=10)):
        assert one.dtype in (torch.float32, torch.int64) and torch.equal(one, two)


# Other layouts of the heads


def reference(heads, flipped=None, per_class=False):
    """The boxes of every class and cell, by loops over what the layout says, [C, h, w, 4]."""
    wh = heads.wh if flipped is None else (heads.wh + torch.flip(flipped.wh, [3])) / 2
    found = torch.zeros(heads.hm.shape[1], *heads.hm.shape[2:], 4)
    for c in range(heads.hm.shape[1]):
        for row in range(heads.hm.shape[2]):
            for column in range(heads.hm.shape[3]):
                width, height = wh[0, (2 * c if per_class else 0) :, row, column][:2]
                dx, dy = (0.5, 0.5) if heads.reg is None else heads.reg[0, :, row, column]
                x, y = column + dx, row + dy
                found[c, row, column] = torch.tensor(
                    [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
                )
    return found


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('offsets', [False, True])
@pytest.mark.parametrize('classes', [1, 3])
def test_a_size_for_each_class_and_no_offsets(classes, offsets, flip):
    torch.manual_seed(4)

    def draw():
        return Heads(
            torch.randn(1, classes, 5, 6),
            torch.rand(1, 2 * classes, 5, 6) * 9,
            torch.rand(1, 2, 5, 6) if offsets else None,
        )

    heads, flipped = draw(), draw() if flip else None
    raw = decode(heads, flipped, k=12)
    expected = reference(heads, flipped, per_class=True).view(classes, 30, 4)
    heat = torch.sigmoid(heads.hm)
    if flip:
        heat = (heat + torch.flip(torch.sigmoid(flipped.hm), [3])) / 2
    for box, score, index in zip(raw.boxes[0], raw.scores[0], raw.classes[0]):
        if score == 0:
            continue
        cell = int((heat[0, index].view(-1) == score).nonzero()[0])
        assert torch.allclose(box, expected[index, cell], atol=1e-6)


def test_four_distances_are_a_size_and_an_offset():
    torch.manual_seed(5)
    outputs = {'hm': torch.randn(1, 3, 5, 6), 'wh': torch.rand(1, 4, 5, 6) * 9, 'reg': torch.rand(1, 2, 5, 6)}
    raw = decode(of_outputs(outputs), k=10)
    heat = torch.sigmoid(outputs['hm'])[0].view(3, -1)
    for box, score, index in zip(raw.boxes[0], raw.scores[0], raw.classes[0]):
        cell = int((heat[index] == score).nonzero()[0])
        row, column = divmod(cell, 6)
        left, top, right, bottom = outputs['wh'][0, :, row, column]
        x, y = column + outputs['reg'][0, 0, row, column], row + outputs['reg'][0, 1, row, column]
        assert torch.allclose(box, torch.stack([x - left, y - top, x + right, y + bottom]), atol=1e-5)


def test_layouts_of_sizes():
    assert size_layout(80, 2) == size_layout(1, 2) == ONE_SIZE
    assert size_layout(80, 160) == size_layout(2, 4) == SIZE_PER_CLASS
    assert size_layout(1, 4) == size_layout(80, 4) == size_layout(2, 4, ('hm', 'wh', 'id')) == SIDES
    assert size_layout(80, 3) is size_layout(3, 5) is None


@pytest.mark.parametrize(
    'heads, reason',
    [
        ({'hm_t': 80, 'reg_t': 2}, 'the outputs lack hm and wh; they are hm_t, reg_t'),
        ({'hm': 3, 'dep': 1}, 'lack wh'),
        ({'hm': 3, 'wh': 3}, 'wh has 3 channels'),
        ({'hm': 3, 'wh': 2, 'reg': 3}, 'reg of 3 channels'),
    ],
)
def test_heads_that_make_no_boxes(heads, reason):
    assert reason in why_no_boxes(heads)
    with pytest.raises(ModelError, match='cannot detect'):
        of_outputs({name: torch.zeros(1, channels, 2, 2) for name, channels in heads.items()})


def test_probabilities_are_taken_as_they_are():
    """Also 0 and 1, to which a sigmoid can be rounded."""
    hm = torch.rand(1, 2, 4, 4)
    hm[0, 0, 1, 1], hm[0, 1, 2, 2] = 1, 0
    outputs = {'hm': hm, 'wh': torch.ones(1, 2, 4, 4), 'reg': torch.zeros(1, 2, 4, 4)}
    heads = of_outputs(outputs, is_probability=True)
    assert torch.allclose(torch.sigmoid(heads.hm.float()), hm, atol=2e-7, rtol=0)
    assert float(decode(heads, k=1).scores) == 1
