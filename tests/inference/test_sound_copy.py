"""Sound goes into another file as it is, or is encoded anew, and stays in its place."""

import av

from auss.inference.container_formats import container_format
from auss.inference.decoding import Damage
from auss.inference.sound_copy import SoundCopy
from auss.inference.video_reader import VideoReader


def test_sound_follows_the_picture(make_video, tmp_path):
    info = VideoReader(make_video("in.mp4", seconds=3.0)).info
    target = tmp_path / "out.mkv"
    with av.open(str(target), "w") as container:
        sound = SoundCopy(container, info, container_format(target), Damage())
        assert sound.copied
        sound.write(1.0)
        assert 1.0 < sound._next[0] < 1.1
        sound.write(float("inf"))
        assert sound._next is None
