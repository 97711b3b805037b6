"""Pictures as grey pixels."""

from __future__ import annotations

import os
import warnings

import numpy as np


def read_image(path: str | os.PathLike[str], size: tuple[int, int]) -> np.ndarray:
    """A PNG or JPEG file as uint8 (height, width) = `size`: turned upright, grey, resized by the means of areas.

    What is transparent becomes white. ImportError that says how to get Pillow where it is missing, ValueError that
    names the file where it is neither PNG nor JPEG, damaged, or larger than Pillow's limit; OSError where it cannot be
    read.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise ImportError("PNG and JPEG files need Pillow: pip install 'pynn-native[cli]'") from None

    path = os.fspath(path)
    height, width = size
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=("PNG", "JPEG")) as stored:
                picture = ImageOps.exif_transpose(stored)
                if picture.has_transparency_data:
                    picture = picture.convert("RGBA")
                    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
                if picture.mode.startswith("I"):  # 16 bits, which conversion would cut off at 255
                    picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
                grey = picture.convert("L")
        except UnidentifiedImageError:
            raise ValueError(f"{path}: expected an image in PNG or JPEG format") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise ValueError(f"{path}: too large, at most {Image.MAX_IMAGE_PIXELS} pixels are read") from None
        except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files
            raise ValueError(f"{path}: a damaged image: {error}") from None
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX))
