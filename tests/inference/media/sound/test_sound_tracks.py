"""A track that sounds is chosen rather than a silent one. One warning tells the choice."""

import logging

import av
import numpy as np
import pytest
from av.stream import Disposition

from auss.inference.media.sound import sound_tracks
from auss.inference.media.sound.sound_tracks import choose_track, list_tracks

RATE = 16_000


@pytest.fixture
def tone(media):
    return media.tone(3.0, RATE)


def chosen_number(path, caplog, number=None):
    """The number of the chosen track and the warnings."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        track = choose_track(path, number)
    return track.number if track is not None else None, [record.getMessage() for record in caplog.records]


def test_the_only_track_is_chosen_without_a_word(make_tracks, tone, caplog):
    assert chosen_number(make_tracks("one.mkv", [tone]), caplog) == (1, [])
    assert chosen_number(make_tracks("silent.mkv", [0 * tone]), caplog) == (1, [])


def test_a_silent_track_gives_way_to_one_that_sounds(make_tracks, tone, caplog):
    path = make_tracks("two.mov", [0 * tone, tone], languages=("eng", "fra"))
    number, warnings = chosen_number(path, caplog)
    assert number == 2 and len(warnings) == 1
    assert "has 2 sound tracks: 1 (pcm_f32le, 16000 Hz, mono, eng); 2 (pcm_f32le, 16000 Hz, mono, fra)" in warnings[0]
    assert "Track 1, which a player would choose, is silent, so track 2 is heard" in warnings[0]


def test_several_sounding_tracks_are_named_once(make_tracks, tone, caplog):
    number, warnings = chosen_number(make_tracks("two.mkv", [tone, 0.5 * tone]), caplog)
    assert number == 1 and len(warnings) == 1 and warnings[0].endswith("Track 1 is heard")


@pytest.mark.parametrize("flag", ["comment", "hearing_impaired", "visual_impaired"])
def test_a_commentary_is_heard_only_without_another_track(make_tracks, tone, caplog, flag):
    side, plain = Disposition[flag], Disposition(0)
    path = make_tracks("side.mkv", [tone, tone], flags=(side | Disposition.default, plain))
    number, warnings = chosen_number(path, caplog)
    assert number == 2 and f", {flag}); 2 (" in warnings[0]
    path = make_tracks("default.mkv", [tone, tone, tone], flags=(side, plain, Disposition.default))
    assert chosen_number(path, caplog)[0] == 3
    assert chosen_number(make_tracks("sides.mkv", [tone, tone], flags=(side, side)), caplog)[0] == 1
    assert chosen_number(make_tracks("silent.mkv", [tone, 0 * tone], flags=(side, plain)), caplog)[0] == 1


@pytest.mark.parametrize("floor", [1e-4, 0.3], ids=["converter noise", "offset"])
def test_noise_of_a_converter_and_an_offset_are_silent(make_tracks, tone, caplog, floor):
    silent = np.full_like(tone, floor)
    if floor < 0.01:
        silent *= np.random.default_rng(0).uniform(-1, 1, tone.shape).astype(np.float32)
    assert chosen_number(make_tracks("two.mkv", [silent, tone]), caplog)[0] == 2


def test_a_long_silence_at_the_start_does_not_mislead(make_tracks, tone, caplog):
    late = np.zeros_like(tone)
    late[:, -4000:] = tone[:, -4000:]
    assert chosen_number(make_tracks("two.mkv", [late, tone]), caplog)[0] == 1


def test_of_quiet_tracks_the_loudest_is_heard(make_tracks, tone, caplog):
    assert chosen_number(make_tracks("quiet.mkv", [1e-5 * tone, 1e-3 * tone, 0 * tone]), caplog)[0] == 2
    number, warnings = chosen_number(make_tracks("silent.mkv", [0 * tone, 0 * tone]), caplog)
    assert number == 1 and warnings[0].endswith("Track 1 is heard")


def test_a_number_chooses_and_a_wrong_one_lists_the_tracks(make_tracks, make_video, tone, caplog):
    path = make_tracks("two.mkv", [0 * tone, tone])
    assert chosen_number(path, caplog, 1) == (1, [])
    assert chosen_number(path, caplog, 2) == (2, [])
    with pytest.raises(
        ValueError, match=r"sound track of .*two.mkv, got 3; it has 1 \(pcm_f32le, .*\); 2 \(pcm_f32le,"
    ):
        choose_track(path, 3)
    with pytest.raises(ValueError, match="got 1; it has none"):
        choose_track(make_video("mute.mp4", sound=False), 1)


@pytest.mark.parametrize("name", ["empty.mkv", "empty.mp4"])
def test_a_track_without_packets_is_none(make_tracks, tone, caplog, name):
    codec = {"codec": "aac", "rate": 48_000} if name.endswith("mp4") else {}
    number, warnings = chosen_number(make_tracks(name, [None], **codec), caplog)
    if warnings:  # FFmpeg's mp4 muxer leaves such a track out
        assert number is None and len(warnings) == 1
        assert "sound track 1" in warnings[0] and "has no packets, so it counts as no sound track" in warnings[0]
    else:
        assert number is None and name.endswith("mp4")
    number, warnings = chosen_number(make_tracks("both.mkv", [None, tone]), caplog)
    assert number == 2 and len(warnings) == 1


def test_a_track_that_cannot_be_decoded_is_none(make_video, caplog):
    path = make_video("broken.mkv", codecs=("libx264", "aac"))
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [content.find(bytes(packet)) for packet in container.demux(audio=0) if packet.size > 20]
        sizes = [packet.size for packet in av.open(str(path)).demux(audio=0) if packet.size > 20]
    for place, size in zip(places, sizes, strict=True):
        assert place > 0
        content[place : place + size] = b"\xff" * size
    path.write_bytes(content)
    number, warnings = chosen_number(path, caplog)
    assert number is None and "holds nothing that can be decoded" in warnings[-1]


def test_a_track_of_nan_is_refused_or_another_is_heard(make_tracks, tone, caplog):
    with pytest.raises(
        ValueError, match=r"nan.mkv: its sound track 1 .* has 48000 of 48000 samples that are NaN, inf"
    ):
        choose_track(make_tracks("nan.mkv", [np.full_like(tone, np.nan)]))
    with pytest.raises(ValueError, match="far beyond full scale, so it is no sound"):
        choose_track(make_tracks("scale.mkv", [32768 * np.sign(tone + 1e-9)]))
    number, warnings = chosen_number(make_tracks("both.mkv", [np.full_like(tone, np.inf), tone]), caplog)
    assert number == 2 and "samples that are NaN" in warnings[0]


def test_a_track_without_a_decoder_is_no_silence(make_tracks, tone, caplog, monkeypatch):
    original = list_tracks

    def without_first(container):
        first, *others = original(container)
        return [sound_tracks.SoundTrack(1, first.index, "", 0, "1 (no decoder is installed)"), *others]

    monkeypatch.setattr(sound_tracks, "list_tracks", without_first)
    with pytest.raises(ValueError, match="no decoder is installed for its sound"):
        choose_track(make_tracks("one.mkv", [tone]))
    number, warnings = chosen_number(make_tracks("two.mkv", [tone, tone]), caplog)
    assert number == 2 and "has no decoder" in warnings[0]
    with pytest.raises(ValueError, match="no track that an installed decoder reads holds any sound"):
        choose_track(make_tracks("silent.mkv", [tone, 0 * tone]))


def test_of_a_url_only_the_beginning_is_fetched(make_tracks, serve, tone, caplog, monkeypatch):
    late = np.zeros_like(tone)
    late[:, -4000:] = tone[:, -4000:]
    url = serve(make_tracks("two.mkv", [late, tone]).parent) + "/two.mkv"
    assert chosen_number(url, caplog)[0] == 1
    monkeypatch.setattr(sound_tracks, "URL_SECONDS", 1.0)
    number, warnings = chosen_number(url, caplog)
    assert number == 2 and "is silent in its first 1 s, so track 2 is heard" in warnings[0]
