"""Every kind of picture file becomes uint8 RGB, and every broken one a sentence."""

import numpy as np
import pytest
from on_disk import picture
from PIL import Image

from effdet_lab.data.pictures import PictureFiles, check_pictures, picture_size, read_picture
from effdet_lab.errors import DataError

HEIGHT, WIDTH = 30, 50


@pytest.fixture
def photo() -> Image.Image:
    """A smooth picture, so that JPEG keeps it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return Image.fromarray(np.stack([4 * x, 6 * y, 100 + x + y], axis=-1).astype(np.uint8))


def rgb(path) -> np.ndarray:
    return read_picture(path).permute(1, 2, 0).numpy()


def test_a_jpeg_reads_as_pil_reads_it(tmp_path, photo):
    photo.save(tmp_path / "a.jpg")
    assert np.array_equal(rgb(tmp_path / "a.jpg"), np.asarray(Image.open(tmp_path / "a.jpg")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_turns_the_picture_and_its_size(tmp_path, photo, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    photo.save(path, exif=exif, **({"quality": 98} if suffix == "jpg" else {}))
    upright = {
        1: photo,
        2: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: photo.transpose(Image.Transpose.ROTATE_180),
        4: photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: photo.transpose(Image.Transpose.TRANSPOSE),
        6: photo.transpose(Image.Transpose.ROTATE_270),
        7: photo.transpose(Image.Transpose.TRANSVERSE),
        8: photo.transpose(Image.Transpose.ROTATE_90),
    }[orientation]
    pixels = rgb(path)
    assert pixels.shape[:2] == picture_size(path) == (upright.height, upright.width)
    assert np.abs(pixels.astype(int) - np.asarray(upright)).mean() < 3


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *[("jpg", mode) for mode in ("RGB", "L", "CMYK")],
        *[("png", mode) for mode in ("RGB", "L", "P", "1")],
        *[("tif", mode) for mode in ("RGB", "L", "P", "1", "CMYK")],
        *[("bmp", mode) for mode in ("RGB", "L", "P", "1")],
        ("webp", "RGB"),
    ],
)
def test_every_colour_mode_becomes_rgb(tmp_path, photo, suffix, mode):
    path = tmp_path / f"a.{suffix}"
    photo.convert(mode).save(path)
    assert rgb(path).shape == (HEIGHT, WIDTH, 3)
    if mode not in ("1", "P"):
        expected = np.asarray(photo.convert("L").convert("RGB") if mode == "L" else photo, dtype=int)
        assert np.abs(rgb(path) - expected).mean() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(tmp_path, mode):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((10, 10, 10, 255), (0, 0, 2, 4))
    if mode == "P":
        palette = Image.new("P", (4, 4), 1)
        palette.putpalette([10, 10, 10, 0, 0, 0])
        palette.paste(0, (0, 0, 2, 4))
        palette.save(tmp_path / "a.png", transparency=1)
    else:
        image.convert(mode).save(tmp_path / "a.png")
    pixels = rgb(tmp_path / "a.png")
    assert (pixels[:, 2:] == 255).all()
    assert (pixels[:, :2] == 10).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_become_eight(tmp_path, suffix):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 256 + 99
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(rgb(tmp_path / f"a.{suffix}")[..., 0].ravel(), np.arange(256))


def test_fractions_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: cannot be read \(its pixels are 32-bit fractions"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif"])
def test_a_file_cut_short_is_refused_by_reading_and_by_the_check(tmp_path, suffix):
    path = picture(tmp_path / f"a.{suffix}", (200, 300))
    path.write_bytes(path.read_bytes()[:-2000])
    for look in (read_picture, picture_size):
        with pytest.raises(DataError, match=rf"a\.{suffix}: cannot be read"):
            look(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"<html>", "not a picture"), (b"\xff\xd8junk", "not a picture")],
)
def test_what_is_no_picture_is_refused_with_its_reason(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    for look in (read_picture, picture_size):
        with pytest.raises(DataError, match=rf"a\.jpg: {reason}"):
            look(tmp_path / "a.jpg")


def test_the_check_finds_every_problem_and_every_size(tmp_path):
    picture(tmp_path / "good.jpg", (20, 30))
    picture(tmp_path / "large.jpg", (20, 31))
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    pictures = PictureFiles.of(tmp_path, ["good.jpg", "large.jpg", "bad.jpg", "gone.jpg", "good.jpg"])
    said = np.array([[20, 30], [20, 30], [20, 30], [0, 0], [0, 0]])
    sizes_I2, problems = check_pictures(pictures, said)
    assert sizes_I2[[0, 4]].tolist() == [[20, 30], [20, 30]]
    assert set(problems) == {1, 2, 3}
    assert "is 31x20 as it is shown, but annotated as 30x20" in problems[1]
    assert "gone.jpg: no such file" in problems[3]


def test_names_in_any_alphabet_survive(tmp_path):
    picture(tmp_path / "Zähler 数.png", (5, 6))
    pictures = PictureFiles.of(tmp_path, ["x.jpg", "Zähler 数.png"])
    assert pictures.read(1).shape == (3, 5, 6)
    assert pictures.select(np.array([False, True])).path(0) == str(tmp_path / "Zähler 数.png")
