"""preprocess: values, geometry, odd sizes, errors."""

import pickle

import cv2
import numpy as np
import pytest

from centernet.detection import COCO, InputSpec, mirror, preprocess
from centernet.system.errors import DataError, OptionError

MEAN, STD = (np.array(part, np.float32) for part in COCO)

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)


def denormalise(planes):
    """Return the pixel values of ``planes``, float64 [H, W, 3]."""
    return ((planes.astype(np.float64).transpose(1, 2, 0) * STD) + MEAN) * 255


def random_image(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3), dtype=np.uint8)


def test_values_are_normalised_per_channel_exactly():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[..., 0] = np.arange(64 * 64).reshape(64, 64) % 256
    image[..., 1] = 255 - image[..., 0]
    image[..., 2] = image[..., 0] // 2
    planes, _ = preprocess(image, InputSpec(64, 64))
    expected = np.empty((3, 64, 64), dtype=np.float32)
    for channel in range(3):
        for row in range(64):
            for column in range(64):
                value = (float(image[row, column, channel]) / 255 - float(MEAN[channel])) / float(
                    STD[channel]
                )
                expected[channel, row, column] = value
    assert planes.dtype == np.float32 and planes.flags['C_CONTIGUOUS']
    assert np.array_equal(planes, expected)


@pytest.mark.parametrize('scale', SCALES)
def test_fix_res_puts_every_pixel_where_the_formula_says(scale):
    # Channels increase with x and y, so the values of the input tell the point of the image.
    width, height, side = 240, 160, 96
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, np.newaxis]
    image[..., 2] = 255
    planes, geometry = preprocess(image, InputSpec(side, side), scale)
    values = denormalise(planes)
    rows, columns = np.mgrid[:side, :side]
    resized = (int(width * scale), int(height * scale))
    # In the resized image, around its centre, scaled by the longer side of the original.
    x = (columns - side / 2) * max(width, height) / side + resized[0] / 2
    y = (rows - side / 2) * max(width, height) / side + resized[1] / 2
    # cv2.resize aligns the pixels' areas, not their centres.
    x, y = (x + 0.5) * width / resized[0] - 0.5, (y + 0.5) * height / resized[1] - 0.5
    inside = (x > 3) & (x < width - 4) & (y > 3) & (y < height - 4)
    assert inside.sum() > 500
    assert np.abs(values[..., 0] - x)[inside].max() < 1
    assert np.abs(values[..., 1] - y)[inside].max() < 1
    outside = (x < -4) | (x > width + 3) | (y < -4) | (y > height + 3)
    assert outside.any() == (scale < 1.5)  # at 1.5 the shorter side also fills the input
    assert (np.abs(values[outside]) < 1e-3).all()
    assert geometry.input_size == (side, side) and geometry.output_size == (side // 4, side // 4)
    assert geometry.test_scale == scale


@pytest.mark.parametrize('pad, size', [(31, (128, 96)), (127, (128, 128))])
def test_keep_res_centres_the_image_without_resampling(pad, size):
    image = random_image(90, 101)
    planes, geometry = preprocess(image, InputSpec(keep_res=True, pad=pad))
    assert geometry.input_size == size and planes.shape == (3, size[1], size[0])
    left, top = size[0] // 2 - 101 // 2, size[1] // 2 - 90 // 2
    expected = np.zeros((size[1], size[0], 3))
    expected[top : top + 90, left : left + 101] = image
    assert np.abs(denormalise(planes) - expected).max() < 1e-3


def test_keep_res_adds_a_border_to_a_side_that_fits_already():
    _, geometry = preprocess(random_image(64, 96), InputSpec(keep_res=True))
    assert geometry.input_size == (128, 96)


def test_keep_res_resizes_by_the_test_scale():
    image = random_image(90, 101)
    planes, geometry = preprocess(image, InputSpec(keep_res=True), 1.5)
    width, height = 151, 135
    assert geometry.input_size == (160, 160) and geometry.centre == (75.0, 67.0)
    resized = cv2.resize(image, (width, height))
    found = denormalise(planes)[80 - 67 : 80 - 67 + height, 80 - 75 : 80 - 75 + width]
    assert np.abs(found - resized).max() < 1e-3


@pytest.mark.parametrize('keep_res', [False, True])
@pytest.mark.parametrize('height, width', [(1, 1), (1, 2), (1, 700), (700, 1), (9, 400), (300, 7), (20, 20)])
def test_tiny_and_long_images(height, width, keep_res):
    image = np.full((height, width, 3), 200, dtype=np.uint8)
    for scale in SCALES:
        planes, geometry = preprocess(image, InputSpec(64, 96, keep_res), scale)
        assert planes.shape == (3,) + geometry.input_size[::-1]
        assert planes.flags['C_CONTIGUOUS']
        assert np.isfinite(planes).all()
        # The image itself is somewhere in the input, and nothing is brighter than it.
        values = denormalise(planes)
        assert 1 < values.max() < 200.001
        if keep_res:
            assert all(side % 32 == 0 for side in geometry.input_size)


def test_geometry_passes_between_processes():
    _, geometry = preprocess(random_image(30, 40), InputSpec(64, 64), 0.75)
    assert pickle.loads(pickle.dumps(geometry)) == geometry


def test_the_image_is_not_changed():
    image = random_image(30, 40)
    before = image.copy()
    preprocess(image, InputSpec(64, 64), 1.25)
    assert np.array_equal(image, before)


def test_mirror():
    batch = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    mirrored = mirror(batch)
    assert mirrored.flags['C_CONTIGUOUS'] and mirrored.dtype == np.float32
    assert mirrored[1, 2].tolist() == batch[1, 2].tolist()[::-1]
    assert np.array_equal(mirror(mirrored), batch)


@pytest.mark.parametrize('scale', [0, -1.0, float('nan'), float('inf')])
def test_a_test_scale_must_be_positive(scale):
    with pytest.raises(OptionError, match='test scale'):
        preprocess(random_image(8, 8), InputSpec(64, 64), scale)


@pytest.mark.parametrize('keep_res', [False, True])
def test_an_image_too_long_to_warp_is_the_users_error(keep_res):
    image = np.zeros((1, 32766, 3), dtype=np.uint8)
    if not keep_res:
        assert preprocess(image, InputSpec(32, 32))[0].shape == (3, 32, 32)
    with pytest.raises(DataError, match='32766'):
        preprocess(np.zeros((1, 32767, 3), dtype=np.uint8), InputSpec(32, 32, keep_res))
    with pytest.raises(DataError, match='test scale 2'):
        preprocess(image, InputSpec(32, 32, keep_res), 2.0)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_only_colour_images_of_bytes(image):
    with pytest.raises(ValueError, match='uint8 image'):
        preprocess(image, InputSpec(32, 32))
