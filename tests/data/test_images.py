"""Image and mask files as they are met in real life."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from wsss.data.images import check_image, check_mask, read_image, read_mask
from wsss.data.palette import VOC_PALETTE, decode_colours, write_mask
from wsss.errors import WsssError

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)
TURNS = {  # what the viewer has to see for stored pixels a, by EXIF orientation (EXIF 2.3, section 4.6.4)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


def saved(path, image, **options):
    image.save(path, **options)
    assert check_image(path.read_bytes()) == read_image(path).shape[:2]
    return read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_exif_turns(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[274] = orientation
    lossless = {"lossless": True} if suffix == "webp" else {}
    read = saved(tmp_path / f"a.{suffix}", Image.fromarray(RGB), exif=exif, **lossless)
    np.testing.assert_array_equal(read, TURNS[orientation](RGB))


def test_exif_turns_jpeg(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    read = saved(tmp_path / "a.jpg", Image.new("RGB", (64, 32)), exif=exif)
    assert read.shape == (64, 32, 3)


@pytest.mark.parametrize("name", ["blank in it.png", "Vögel – 鳥.png", "UPPER.PNG"])
def test_names(tmp_path, name):
    np.testing.assert_array_equal(saved(tmp_path / name, Image.fromarray(RGB)), RGB)


def test_grey(tmp_path):
    np.testing.assert_array_equal(saved(tmp_path / "a.png", Image.fromarray(GREY)), np.stack([GREY] * 3, 2))


def test_black_and_white(tmp_path):
    read = saved(tmp_path / "a.png", Image.fromarray(GREY > 100))
    np.testing.assert_array_equal(read[..., 0], np.where(GREY > 100, 255, 0))


def test_transparent_is_laid_over_white(tmp_path):
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[0] = 0
    for mode, pixels in (("RGBA", np.dstack([RGB, alpha])), ("LA", np.dstack([GREY, alpha]))):
        read = saved(tmp_path / f"{mode}.png", Image.fromarray(pixels))
        assert (read[0] == 255).all()
        np.testing.assert_array_equal(read[1:, :, 0], GREY[1:])


def test_palette(tmp_path):
    image = Image.fromarray(GREY)
    image.putpalette(VOC_PALETTE.tobytes())
    np.testing.assert_array_equal(saved(tmp_path / "a.png", image), VOC_PALETTE[GREY])
    image.save(tmp_path / "b.png", transparency=10)
    read = read_image(tmp_path / "b.png")
    assert (read[GREY == 10] == 255).all() and (read[GREY == 20] == VOC_PALETTE[20]).all()


def test_cmyk(tmp_path):
    read = saved(tmp_path / "a.jpg", Image.new("CMYK", (40, 30), (255, 0, 0, 0)), quality=95)
    assert read.shape == (30, 40, 3)
    assert np.abs(read.astype(int) - (0, 255, 255)).max() < 8


def test_16_bits_are_scaled_by_their_range(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    for suffix in ("png", "tif"):
        read = saved(tmp_path / f"a.{suffix}", Image.fromarray(deep))
        np.testing.assert_array_equal(read, np.stack([GREY] * 3, 2))


@pytest.mark.parametrize("factor", [1 / 255, 1.0, 257.0])
def test_floats(tmp_path, factor):
    read = saved(tmp_path / "a.tif", Image.fromarray((GREY * factor).astype(np.float32)))
    np.testing.assert_array_equal(read[..., 2], GREY)


def test_floats_out_of_range(tmp_path):
    Image.fromarray(GREY.astype(np.float32) - 50).save(tmp_path / "a.tif")
    with pytest.raises(WsssError, match=r"a\.tif: .*from -50 to 180"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="from -50 to 180"):
        check_image((tmp_path / "a.tif").read_bytes())


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_truncated(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(WsssError, match=rf"a\.{suffix}: cannot be read"):
        read_image(path)
    with pytest.raises(ValueError):
        check_image(path.read_bytes())


def test_no_image(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(WsssError, match="not an image of a known kind"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(WsssError, match="no such image"):
        read_image(tmp_path / "b.jpg")
    with pytest.raises(ValueError, match="known kind"):
        check_image(b"")


def test_mask_round_trip(tmp_path):
    mask = np.array([[0, 1, 2], [20, 254, 255]], np.uint8)
    write_mask(tmp_path / "deeper" / "a.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "deeper" / "a.png"), mask)
    with Image.open(tmp_path / "deeper" / "a.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), VOC_PALETTE[mask])
    with pytest.raises(ValueError):
        write_mask(tmp_path / "b.png", mask.astype(np.int64))


def test_other_masks():
    def encoded(pixels):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    np.testing.assert_array_equal(check_mask(encoded(GREY)), GREY)
    np.testing.assert_array_equal(check_mask(encoded(GREY.astype(np.uint16))), GREY)
    np.testing.assert_array_equal(check_mask(encoded(GREY > 100)), GREY > 100)
    with pytest.raises(ValueError, match="0..255"):
        check_mask(encoded(GREY.astype(np.uint16) * 257))
    with pytest.raises(ValueError, match="colour mode RGB"):
        check_mask(encoded(RGB))


def test_mask_errors_name_the_file(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(WsssError, match=r"a\.png: .*colour mode RGB.*palette PNG"):
        read_mask(tmp_path / "a.png")
    with pytest.raises(WsssError, match=r"b\.png: no such mask"):
        read_mask(tmp_path / "b.png")


def test_palette_is_that_of_voc():
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for index, colour in {**known, 255: (224, 224, 192)}.items():
        assert tuple(VOC_PALETTE[index]) == colour
    assert len({tuple(colour) for colour in VOC_PALETTE}) == 256


def test_palette_slow_twin():
    for index in range(256):
        colour, rest = [0, 0, 0], index
        for shift in range(7, -1, -1):
            for channel in range(3):
                colour[channel] |= (rest & 1) << shift
                rest >>= 1
        assert VOC_PALETTE[index].tolist() == colour


def test_decode_colours():
    mask = np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8)
    np.testing.assert_array_equal(decode_colours(VOC_PALETTE[mask]), mask)
    strange = VOC_PALETTE[mask].copy()
    strange[0, 0] = (1, 2, 3)
    with pytest.raises(WsssError, match=r"\(1, 2, 3\).*1 pixels"):
        decode_colours(strange)
