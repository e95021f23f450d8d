"""The ending of a file decides how it is written. An unknown ending is refused."""

from pathlib import Path

import av
import pytest

from auss.inference.media.containers.container_formats import CONTAINER_FORMATS, container_format


@pytest.mark.parametrize("suffix", CONTAINER_FORMATS)
def test_everything_named_is_installed(suffix):
    form = container_format(Path("out" + suffix.upper()))
    assert form is CONTAINER_FORMATS[suffix]
    assert av.ContainerFormat(form.muxer, "w").is_output
    for name in (form.video_codec, form.audio_codec):
        assert av.Codec(name, "w").is_encoder


@pytest.mark.parametrize("name", ["out.avi", "out", "mp4", ".mp4"])
def test_unknown_endings_are_refused(name):
    with pytest.raises(ValueError, match=r"output must end in .mp4, .mkv, .webm, got '"):
        container_format(Path(name))
