"""Videos and masks of the user's own, made for these tests."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ...small_videos import write_video

SIZE = (48, 64)  # height and width of the videos


def square(left: int, top: int = 10, side: int = 20, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask (H, W) of a square."""
    mask = np.zeros(size, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def save_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


@pytest.fixture(scope="session")
def one_video(tmp_path_factory) -> Path:
    """Six seconds of 10 frames a second, in which every frame carries its number, with a tone."""
    return write_video(tmp_path_factory.mktemp("video") / "dog.mp4", seconds=6.0, size=SIZE)


@pytest.fixture
def videos(tmp_path, one_video) -> Path:
    """A folder of four videos of the same picture. Their files differ in one byte, which no reader looks at."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(("dog", "cat", "cow", "hen")):
        # An unknown box at the end of an mp4 is passed over.
        (folder / f"{name}.mp4").write_bytes(one_video.read_bytes() + b"\0\0\0\x09free" + bytes([number]))
    return folder
