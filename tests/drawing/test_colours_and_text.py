"""Colours that colour-blind readers can tell apart, and names that a font can show."""

import numpy as np
import pytest
from PIL import ImageFont

from centernet.drawing.colours import class_colour, ink_on
from centernet.drawing.text import drawable, find_font, text_size

#: linear RGB as it looks with a colour blindness (Machado, Oliveira and Fernandes, 2009, severity 1.0)
BLINDNESS = {
    'protanopia': '0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998',
    'deuteranopia': '0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.01182 0.04294 0.968881',
    'tritanopia': '1.255528 -0.076749 -0.178779 -0.078411 0.930809 0.147602 0.004733 0.691367 0.3039',
    'none': '1 0 0 0 1 0 0 0 1',
}


def linear(colour):
    rgb = np.array(colour) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lightness_and_colour(colour, matrix):
    """CIE L*a*b* of an sRGB colour as it looks."""
    seen = np.clip(np.array(matrix.split(), float).reshape(3, 3) @ linear(colour), 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (to_xyz @ seen) / [0.95047, 1, 1.08883]
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize('blindness', BLINDNESS)
def test_the_first_classes_can_be_told_apart(blindness):
    seen = [lightness_and_colour(class_colour(index), BLINDNESS[blindness]) for index in range(7)]
    distances = [np.linalg.norm(one - other) for n, one in enumerate(seen) for other in seen[:n]]
    assert min(distances) > 10  # 2.3 is just noticeable


def test_21_colours_whose_labels_can_be_read():
    colours = [class_colour(index) for index in range(21)]
    assert len(set(colours)) == 21 and class_colour(21) == colours[0]
    for colour in colours:
        one, other = sorted(
            float(linear(item) @ [0.2126, 0.7152, 0.0722]) for item in (colour, ink_on(colour))
        )
        assert (other + 0.05) / (one + 0.05) >= 4.5, colour  # WCAG 2.1, level AA


class Latin1Font:
    """A font that has the characters of Latin-1 alone."""

    def getmask(self, text):
        if not all(ord(letter) < 256 for letter in text):
            return b'missing'
        return text.encode('latin-1')


@pytest.mark.parametrize(
    'name, expected',
    [
        ('dining table', 'dining table'),
        ('Müller', 'Müller'),
        ('café\n', 'café'),
        ('Čapek', 'Capek'),
        ('猫', 'class 7'),
        ('', 'class 7'),
        ('猫 A', '? A'),
        ('a\tb', 'a b'),
        ('ﬁsh', 'fish'),
    ],
)
def test_names_that_a_font_has_in_part(name, expected):
    assert drawable(name, 7, Latin1Font()) == expected


def test_the_font_here_has_accents():
    font = find_font(16)
    if not isinstance(font, ImageFont.FreeTypeFont):
        pytest.skip('this Pillow has no scalable font of its own, and there is none on this machine')
    assert drawable('Fußgänger', 0, font) == 'Fußgänger'
    assert text_size('Fußgänger', font)[0] > text_size('Fuß', font)[0] > 10
    assert text_size('A', find_font(32))[1] > 1.8 * text_size('A', font)[1]
