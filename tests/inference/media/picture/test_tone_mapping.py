"""The curves of high dynamic range have the values of the standards, and FFmpeg can read the tables."""

import av
import numpy as np
import pytest

from auss.inference.media.picture.tone_mapping import (
    BT2020,
    BT2020_TO_BT709,
    HLG,
    KNEE,
    LEAST_WHITE_NITS,
    MOST_WHITE_NITS,
    PQ,
    TABLE_SIZE,
    Range,
    extended_range,
    hlg_nits,
    is_extended,
    ordinary_colours,
    pq_nits,
    pq_signal,
    rolled_off,
    write_table,
)


def test_curves_at_known_values():
    # BT.2408, table 1: a white page is 58 % of PQ and 75 % of HLG; 1000 nits are 75 % of PQ.
    np.testing.assert_allclose(pq_signal(np.array([0.0, 203.0, 1000.0, 10_000.0])), [0, 0.58, 0.7518, 1], atol=1e-3)
    np.testing.assert_allclose(hlg_nits(np.full((1, 3), 0.75)), 203, atol=0.5)
    np.testing.assert_allclose(hlg_nits(np.array([[0.0] * 3, [1.0] * 3])), [[0] * 3, [1000] * 3], atol=0.01)
    nits = np.array([0.01, 1.0, 50.0, 4000.0])
    np.testing.assert_allclose(pq_nits(pq_signal(nits)), nits, rtol=1e-6)


@pytest.mark.parametrize("white", [LEAST_WHITE_NITS, MOST_WHITE_NITS])
def test_what_is_dark_stays_and_what_is_bright_is_compressed(white):
    knee = float(pq_nits(KNEE * pq_signal(np.array(white))))
    nits = np.array([0.0, 1.0, 50.0, 0.99 * knee, white, 500.0, 999.0, 1000.0, 5000.0])
    found = rolled_off(nits, 1000.0, white)
    np.testing.assert_allclose(found[:4], nits[:4], rtol=1e-4, atol=1e-9)
    assert (np.diff(found[:8]) > 0).all() and 0.8 * white < found[4] < white
    np.testing.assert_allclose(found[7:], white, rtol=1e-6)
    np.testing.assert_array_equal(rolled_off(nits, 90.0, white), np.minimum(nits, white))


def in_wide_colour(colours):
    """Converts linear light (..., 3) from BT.709 to BT.2020. The oracle is the inverse of the tested conversion."""
    return np.maximum(colours @ np.linalg.inv(BT2020_TO_BT709).T, 0)


def test_colours_of_ordinary_video_come_back():
    colours = np.array([[200, 30, 30], [30, 160, 30], [30, 30, 170], [128, 128, 128], [180, 140, 90]]) / 255
    light = MOST_WHITE_NITS * np.power(colours, 2.4)
    found = ordinary_colours(pq_signal(in_wide_colour(light)), Range(PQ, wide=True))
    np.testing.assert_allclose(found[:, :], colours, atol=0.025)  # all but the roll-off of what is bright
    wide = np.power(in_wide_colour(np.power(colours, 2.4)), 1 / 2.4)
    np.testing.assert_allclose(ordinary_colours(wide, Range(1, wide=True)), colours, atol=0.003)
    white = ordinary_colours(np.ones((1, 3)), Range(1, wide=True))
    np.testing.assert_allclose(white, 1, atol=1e-3)


def test_hues_of_highlights_stay():
    found = ordinary_colours(pq_signal(in_wide_colour(np.array([900.0, 450.0, 90.0]))), Range(PQ, wide=True))
    light = np.power(found, 2.4)
    assert found.max() > 0.95 and light[1] / light[0] == pytest.approx(0.5, abs=0.01)


def test_table(tmp_path):
    write_table(tmp_path / "t.cube", Range(HLG, wide=True))
    lines = (tmp_path / "t.cube").read_text().splitlines()
    assert lines[0] == f"LUT_3D_SIZE {TABLE_SIZE}" and len(lines) == 1 + TABLE_SIZE**3
    red, green, blue = (np.array(lines[1 + k].split(), float) for k in (16, 16 * 33, 16 * 33 * 33))
    assert red.argmax() == 0 and green.argmax() == 1 and blue.argmax() == 2


def grey_frame(primaries, transfer, nits):
    """A frame of one brightness, in full range."""
    level = round(1023 * float(pq_signal(np.array(nits))))
    frame = av.VideoFrame.from_ndarray(np.full((16, 16), level, np.uint16), format="gray10le")
    frame.color_primaries, frame.color_trc, frame.color_range = primaries, transfer, 2
    return frame


@pytest.mark.parametrize(
    ("primaries", "transfer", "expected"),
    [
        (BT2020, PQ, Range(PQ, True, white=150)),
        (2, PQ, Range(PQ, True, white=150)),
        (1, PQ, Range(PQ, False, white=150)),
        (BT2020, 14, Range(14, True)),
        (1, 1, None),
        (2, 2, None),
        (12, 13, None),
    ],
)
def test_which_frames_need_it(primaries, transfer, expected):
    frame = grey_frame(primaries, transfer, 150)
    found = extended_range(frame)
    assert is_extended(frame) == (expected is not None) == (found is not None)
    if expected is not None:
        assert (found.transfer, found.wide, found.peak) == (expected.transfer, expected.wide, expected.peak)
        assert found.white == pytest.approx(expected.white, rel=0.02)


@pytest.mark.parametrize(("nits", "white"), [(5, 100), (100, 100), (203, 203), (800, 203)])
def test_white_is_measured_within_limits(nits, white):
    assert extended_range(grey_frame(BT2020, PQ, nits)).white == pytest.approx(white, rel=0.02)


def test_white_is_measured_as_luminance():
    """A pure red of 200 nits has a luminance of 53 nits. Neither it nor an error in red or blue counts as white."""
    signal = np.full((20, 20, 3), float(pq_signal(np.array(110.0))))
    signal[:2] = pq_signal(np.array([200.0, 0.0, 0.0]))
    frame = av.VideoFrame.from_ndarray((65535 * signal).astype(np.uint16), format="rgb48le")
    frame.color_primaries, frame.color_trc = BT2020, PQ
    assert extended_range(frame).white == pytest.approx(110, rel=0.02)


MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,50)"


@pytest.mark.parametrize(
    ("metadata", "peak"),
    [("", 1000), (f":master-display={MASTERING}", 4000), (f":master-display={MASTERING}:max-cll=650,200", 650)],
)
def test_the_peak_is_the_one_that_the_file_declares(tmp_path, metadata, peak):
    path = tmp_path / "hdr.hevc"
    with av.open(str(path), "w") as container:
        settings = f"log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc{metadata}"
        stream = container.add_stream("libx265", rate=10, options={"preset": "ultrafast", "x265-params": settings})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p10le")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        found = extended_range(next(container.decode(video=0)))
    assert (found.transfer, found.wide, found.peak) == (PQ, True, peak)
