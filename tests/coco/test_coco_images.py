import io

import cv2
import numpy as np
import pytest
from PIL import Image

from centernet.coco import read_image
from centernet.system.errors import DataError

#: the loss of JPEG at quality 95 on these pictures; a wrong channel order or orientation differs far more
LOSSY = 8


@pytest.fixture
def photo():
    """A smooth RGB picture, 60 high and 80 wide, which JPEG hardly changes."""
    small = np.random.RandomState(3).randint(0, 256, (4, 5, 3)).astype(np.uint8)
    return cv2.resize(small, (80, 60), interpolation=cv2.INTER_CUBIC)


def distance(image, rgb):
    """Return the largest difference between a BGR image and an RGB one."""
    assert image.dtype == np.uint8 and image.shape == rgb.shape
    return np.abs(image[:, :, ::-1].astype(int) - rgb).max()


def jpeg(rgb, **options):
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, 'JPEG', quality=95, subsampling=0, **options)
    return file.getvalue()


def read_bytes(tmp_path, data, name='image.jpg'):
    (tmp_path / name).write_bytes(data)
    return read_image(str(tmp_path / name))


def fails(path):
    with pytest.raises(DataError) as caught:
        read_image(str(path))
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)
    return str(caught.value)


def written(tmp_path, image, suffix, **options):
    path = str(tmp_path / ('image' + suffix))
    image.save(path, **options)
    return read_image(path)


@pytest.mark.parametrize('suffix, loss', [('.jpg', LOSSY), ('.png', 0)])
def test_colour_and_grey_scale(tmp_path, photo, suffix, loss):
    grey = photo[:, :, 0]
    for values, expected in ((photo, photo), (grey, np.dstack([grey] * 3))):
        image = written(tmp_path, Image.fromarray(values), suffix, quality=95, subsampling=0)
        assert distance(image, expected) <= loss


def test_cmyk_alpha_and_palette(tmp_path, photo):
    cmyk = Image.fromarray(photo).convert('CMYK')
    assert distance(written(tmp_path, cmyk, '.jpg', quality=95), photo) <= LOSSY
    alpha = Image.fromarray(np.dstack([photo, np.full((60, 80), 5, np.uint8)]), 'RGBA')
    assert distance(written(tmp_path, alpha, '.png'), photo) == 0
    palette = Image.fromarray(photo).convert('P')
    assert distance(written(tmp_path, palette, '.png'), np.array(palette.convert('RGB'))) == 0


@pytest.mark.parametrize('shape', [(60, 80), (20, 30, 3)])
def test_16_bit_png_keeps_the_upper_byte(tmp_path, shape):
    values = np.random.RandomState(0).randint(0, 65536, shape).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / 'deep.png'), values[..., ::-1] if len(shape) == 3 else values)
    upper = (values >> 8) if len(shape) == 3 else np.dstack([values >> 8] * 3)
    assert distance(read_image(str(tmp_path / 'deep.png')), upper) == 0


def test_exif_orientation_is_applied(tmp_path, photo):
    exif = Image.fromarray(photo).getexif()
    exif[0x0112] = 6  # show it rotated by 90 degrees clockwise
    turned = read_bytes(tmp_path, jpeg(photo, exif=exif))
    assert distance(turned, np.rot90(photo, -1)) <= LOSSY


@pytest.mark.parametrize('height, width', [(1, 1), (1, 400), (30, 900), (900, 30)])
def test_one_pixel_and_long_images(tmp_path, height, width):
    rgb = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(str(tmp_path / 'a.png'))
    assert distance(read_image(str(tmp_path / 'a.png')), rgb) == 0


def test_equals_imread(tmp_path, photo):
    exif = Image.fromarray(photo).getexif()
    exif[0x0112] = 8
    for number, data in enumerate(
        [jpeg(photo), jpeg(photo, progressive=True), jpeg(photo, exif=exif), jpeg(photo[:, :, 0])]
    ):
        image = read_bytes(tmp_path, data, f'{number}.jpg')
        assert np.array_equal(image, cv2.imread(str(tmp_path / f'{number}.jpg'), cv2.IMREAD_COLOR))


def test_missing_and_unreadable_files(tmp_path):
    assert 'No such' in fails(tmp_path / 'none.jpg')
    assert 'cannot read' in fails(tmp_path)  # a folder
    (tmp_path / 'empty.jpg').write_bytes(b'')
    assert '0 bytes' in fails(tmp_path / 'empty.jpg')
    (tmp_path / 'page.jpg').write_bytes(b'<html>not found</html>')
    assert 'cannot decode' in fails(tmp_path / 'page.jpg')


def test_too_many_pixels_for_opencv(tmp_path):
    header = bytearray(jpeg(np.zeros((8, 8, 3), np.uint8)))
    at = header.index(b'\xff\xc0')
    header[at + 5 : at + 9] = b'\xff\xff\xff\xff'  # claims 65535 x 65535
    (tmp_path / 'huge.jpg').write_bytes(bytes(header))
    assert 'cannot decode' in fails(tmp_path / 'huge.jpg')


@pytest.mark.parametrize('progressive', [False, True])
def test_truncated_jpeg(tmp_path, photo, progressive):
    whole = jpeg(photo, progressive=progressive)
    for length in (3, 200, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        (tmp_path / 'cut.jpg').write_bytes(whole[:length])
        fails(tmp_path / 'cut.jpg')
    assert 'truncated' in fails(tmp_path / 'cut.jpg')


def test_truncated_jpeg_with_a_complete_preview_in_its_header(tmp_path, photo):
    preview = jpeg(photo[::4, ::4])
    segment = b'\xff\xe1' + (len(preview) + 2).to_bytes(2, 'big') + preview
    whole = jpeg(photo)
    data = whole[:2] + segment + whole[2:]
    assert distance(read_bytes(tmp_path, data), photo) <= LOSSY
    (tmp_path / 'cut.jpg').write_bytes(data[:-500])
    assert 'truncated' in fails(tmp_path / 'cut.jpg')


@pytest.mark.parametrize(
    'more',
    [b'\x00', b'\r\n', b'\xff' * 7, b'trailing bytes of a camera' * 100],
    ids=['zero', 'newline', 'padding', 'text'],
)
def test_bytes_after_a_jpegs_end_are_ignored(tmp_path, photo, more):
    assert distance(read_bytes(tmp_path, jpeg(photo) + more), photo) <= LOSSY
    padded = jpeg(photo)[:-2] + b'\xff' * 5 + b'\xff\xd9'  # any marker may be padded
    assert distance(read_bytes(tmp_path, padded), photo) <= LOSSY


def test_truncated_png(tmp_path, photo):
    Image.fromarray(photo).save(str(tmp_path / 'a.png'))
    whole = (tmp_path / 'a.png').read_bytes()
    for length in (4, 60, len(whole) // 2, len(whole) - 100):
        (tmp_path / 'cut.png').write_bytes(whole[:length])
        assert 'cannot decode' in fails(tmp_path / 'cut.png')
