"""Pictures as grey pixels of a given size."""

import numpy as np
import pytest

from pynn.io.images import read_image

Image = pytest.importorskip("PIL.Image")


def test_areas_are_averaged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (12, 8)), pixels)
    means = pixels.reshape(3, 4, 4, 2).mean(axis=(1, 3))
    found = read_image(tmp_path / "a.png", (3, 4))
    assert found.dtype == np.uint8 and found.shape == (3, 4)
    assert np.abs(found - means).max() <= 1
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (24, 16)), np.kron(pixels, np.ones((2, 2))))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_every_kind_of_pixel(tmp_path, mode):
    pixels = np.zeros((6, 6), np.uint8)
    pixels[1:3] = 255
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (6, 6)), pixels)


def test_16_bits_are_scaled(tmp_path):
    pixels = np.arange(36, dtype=np.uint8).reshape(6, 6) * 7
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (6, 6)), pixels)


def test_what_is_transparent_is_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255  # opaque black above, transparent black below
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", (2, 1)).tolist() == [[0], [255]]


def test_a_photograph_is_turned_upright(tmp_path):
    pixels = np.zeros((16, 8), np.uint8)
    pixels[:8] = 255
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    picture.save(tmp_path / "a.jpg", exif=exif, quality=100)
    assert (read_image(tmp_path / "a.jpg", (1, 2)) > 128).tolist() == [[False, True]]


def test_what_is_no_picture_is_a_clear_error(tmp_path, monkeypatch):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "a.bmp")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "damaged.png").write_bytes(content[:100] + bytes(50) + content[150:])
    (tmp_path / "empty.png").touch()
    for name, message in (
        ("a.bmp", "a.bmp: expected an image in PNG or JPEG format"),
        ("empty.png", "empty.png: expected an image"),
        ("cut.png", "cut.png: a damaged image"),
        ("damaged.png", "damaged.png: a damaged image"),
    ):
        with pytest.raises(ValueError, match=message):
            read_image(tmp_path / name, (8, 8))
    for limit in (3000, 1000):  # Pillow warns above the limit, and refuses above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=f"a.png: too large, at most {limit} pixels"):
            read_image(tmp_path / "a.png", (8, 8))
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png", (8, 8))
