"""A folder of videos: how videos are shared, left out and recorded, and which files remain."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from auss import cli
from auss.inference import segment_folder
from auss.inference.media.video_reader import VideoReader
from auss.inference.segment import segment_video
from auss.inference.segment_folder import FolderJob, list_videos, segment_one


@pytest.fixture
def videos(make_video, tmp_path):
    """Makes two videos, one of them in a subfolder, and files that are no videos."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    make_video("in/short.mp4", seconds=0.5)
    make_video("in/deep/long.webm", seconds=1.0, size=(64, 96))
    (tmp_path / "in" / "notes.txt").write_text("mine")
    (tmp_path / "in" / ".hidden.mp4").write_text("hidden")
    return tmp_path / "in"


@pytest.fixture
def run(model_folder, videos, capsys):
    """Runs the command on the videos and returns its status and its output."""

    def call(*options, output=None):
        output = output or videos.parent / "out"
        command = ["segment-folder", str(videos), "-o", str(output), "--model", str(model_folder)]
        status = cli.main([*command, "--fps", "2", *map(str, options)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def stamps(folder):
    return {name: (folder / name).stat().st_mtime_ns for name in files(folder)}


def test_each_video_gets_a_folder_of_its_own(run, videos, tmp_path, tiny_model, tiny_processor):
    status, printed, _ = run("--write", "video", "masks")
    out = tmp_path / "out"
    assert status == 0 and "2 made, 0 there already, 0 failed" in printed
    assert [name for name in files(out) if "/masks/" not in name] == [
        "deep/long.webm/marked.mp4",
        "deep/long.webm/record.json",
        "short.mp4/marked.mp4",
        "short.mp4/record.json",
    ]
    assert len(list(VideoReader(out / "short.mp4" / "marked.mp4").frames())) == 5
    expected = list(segment_video(videos / "deep" / "long.webm", tiny_model, tiny_processor, fps=2))
    saved = sorted((out / "deep" / "long.webm" / "masks").iterdir())
    assert len(saved) == len(expected) == 2
    for path, mask in zip(saved, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), mask.segmentation * 255)


def test_what_is_done_is_passed_over_and_what_failed_is_tried_again(run, videos, make_video, tmp_path):
    cut = make_video("in/cut.mkv", seconds=4.0, size=(96, 128))
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    (videos / "text.mov").write_text("no video")
    status, printed, errors = run()
    out = tmp_path / "out"
    assert status == 1 and "2 made, 0 there already, 2 failed" in printed
    assert "failed  cut.mkv: video " in printed and "is damaged" in printed and "failed  text.mov: " in printed
    assert "DamagedVideoError" in (out / "cut.mkv.error.txt").read_text()
    assert "cannot be opened" in (out / "text.mov.error.txt").read_text()
    assert {path.name for path in out.iterdir()} == {"deep", "short.mp4", "cut.mkv.error.txt", "text.mov.error.txt"}

    before = stamps(out)
    cut.write_bytes(whole)
    status, printed, _ = run()
    assert status == 1 and "1 made, 2 there already, 1 failed" in printed
    assert not (out / "cut.mkv.error.txt").exists() and (out / "cut.mkv" / "marked.mp4").is_file()
    after = stamps(out)
    assert all(after[name] == before[name] for name in before if "error" not in name)
    (videos / "text.mov").unlink()
    status, printed, _ = run()
    assert status == 0 and "0 made, 3 there already, 0 failed" in printed


def test_a_run_that_is_stopped_leaves_whole_results_only(run, videos, tmp_path, monkeypatch):
    original = segment_folder.reader_masks

    def masks_then_stop(reader, *arguments, **options):
        yield from original(reader, *arguments, **options)
        if reader.info.path.name == "short.mp4":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(segment_folder, "reader_masks", masks_then_stop)
        status, _, _ = run("--write", "masks")
    out = tmp_path / "out"
    assert status == cli.INTERRUPTED
    assert [path.name for path in out.iterdir()] == ["deep"]  # the larger file comes first
    # This is what a killed process leaves.
    (out / ".short.mp4.partial").mkdir()
    (out / ".short.mp4.partial" / "marked.mp4").touch()
    status, printed, _ = run("--write", "masks")
    assert status == 0 and "1 made, 1 there already" in printed
    assert "short.mp4/marked.mp4" not in files(out) and not list(out.glob(".*"))


@pytest.mark.parametrize(
    ("options", "named"), [(["--threshold", "0.4"], "threshold"), (["--write", "masks"], "write")]
)
def test_results_of_other_options_are_neither_taken_nor_replaced_unasked(run, tmp_path, options, named):
    run()
    out = tmp_path / "out"
    before = stamps(out)
    status, _, error = run(*options)
    assert status == 2 and stamps(out) == before
    assert f"was made with other {named}: choose another folder, or allow it with --overwrite" in error
    assert run(*options, "--batch-size", "3", "--overwrite")[0] == 0
    record = json.loads((out / "short.mp4" / "record.json").read_text())
    assert record[named] == {"threshold": 0.4, "write": ["masks"]}[named]
    # After a stop, the next run counts replaced results as done.
    assert "0 made, 2 there already" in run(*options, "--overwrite")[1]


def test_a_changed_video_is_another(run, videos, make_video, tmp_path):
    run()
    make_video("in/short.mp4", seconds=0.7)
    assert "short.mp4 was made with other bytes" in run()[2]
    assert "1 made, 1 there already" in run("--overwrite")[1]


def test_files_of_others_are_left_alone(run, tmp_path):
    (tmp_path / "out" / "short.mp4").mkdir(parents=True)
    (tmp_path / "out" / "short.mp4" / "thesis.txt").write_text("mine")
    status, _, error = run("--overwrite")
    assert status == 2 and "holds no results of this command" in error
    assert files(tmp_path / "out") == ["short.mp4/thesis.txt"]


def test_videos_are_found_by_ending_the_largest_first_without_results(videos, tmp_path):
    (videos / "out" / "x.mp4").mkdir(parents=True)
    (videos / "out" / "x.mp4" / "marked.mp4").write_text("result")
    assert list_videos(videos, videos / "out") == ["deep/long.webm", "short.mp4"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no video: no file in it ends in .3g2, .3gp, .asf, .avi"):
        list_videos(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(NotADirectoryError, match="folder must be a folder of videos, got .*nowhere"):
        list_videos(tmp_path / "nowhere", tmp_path / "out")
    for output in (videos, tmp_path):
        with pytest.raises(ValueError, match="output must be another folder than the videos' and not hold it"):
            list_videos(videos, output)


def test_endings_of_cameras_and_broadcasts_are_known_and_others_are_counted(tmp_path, caplog):
    names = ["00001.M2TS", "MVI.mxf", "VTS_01_1.VOB", "tape.dv", "call.3g2"]
    for name in [*names, "a.srt", "b.srt", "README", ".hidden.txt"]:
        (tmp_path / name).write_text("x")
    assert list_videos(tmp_path, tmp_path / "out") == sorted(names)
    assert [record.getMessage() for record in caplog.records] == [
        "files without a video's ending are passed over: .srt (2), no ending (1)"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "0"], "batch_size must be"),
        (["--threshold", "2"], "threshold must be"),
        (["--window", "6"], "window must be"),
        (["--model", "nowhere"], "nowhere is no folder with a trained model"),
    ],
)
def test_what_is_wrong_for_all_is_refused_once(run, tmp_path, options, message):
    status, _, error = run(*options)
    assert status == 2 and message in error.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_one_video_of_a_known_network(videos, tmp_path, red_sounds, tiny_processor):
    options = {"fps": 2.0, "batch_size": 4, "window": 5.0, "stride": 5.0, "threshold": 0.5}
    job = FolderJob(videos, tmp_path / "out", frozenset({"masks"}), False, options, "digest")
    segment_one(job, "short.mp4", red_sounds, tiny_processor)
    (mask,) = (tmp_path / "out" / "short.mp4" / "masks").iterdir()
    found = np.asarray(Image.open(mask)) > 0
    # The red part is the lower left quarter.
    assert found[30:, :28].all() and not found[:18].any() and not found[:, 36:].any()


def test_the_sound_track_is_chosen_for_all_videos(tmp_path, make_tracks, red_sounds, tiny_processor):
    tone = (0.3 * np.sin(np.arange(48_000) / 5))[None].astype(np.float32)
    videos = make_tracks("two.mkv", [0 * tone, tone]).parent
    options = {"fps": 1.0, "batch_size": 4, "window": 5.0, "stride": 5.0, "threshold": 0.5}
    records = []
    for audio_track, sounds in ((None, True), (1, False), (2, True)):
        out = tmp_path / f"out{audio_track}"
        job = FolderJob(videos, out, frozenset({"masks"}), False, options, "digest", audio_track)
        segment_one(job, "two.mkv", red_sounds, tiny_processor)
        masks = [np.asarray(Image.open(path)) for path in (out / "two.mkv" / "masks").iterdir()]
        assert any(mask.any() for mask in masks) == sounds
        records.append(job.record("two.mkv"))
    # Results from before the option --audio-track stay valid.
    assert "audio_track" not in records[0] and [record["audio_track"] for record in records[1:]] == [1, 2]


def test_shards_share_the_videos(run, tmp_path):
    made = []
    for share in ("2/2", "1/2"):
        status, printed, _ = run("--shard", share)
        assert status == 0 and "1 made, 0 there already, 0 failed" in printed
        made.append({name for name in files(tmp_path / "out") if name.endswith("marked.mp4")})
    assert made == [{"short.mp4/marked.mp4"}, {"short.mp4/marked.mp4", "deep/long.webm/marked.mp4"}]
    assert "1 made, 0 there already" not in run("--shard", "1/2")[1]
    assert "0 made, 0 there already, 0 failed" in run("--shard", "7/9")[1]  # fewer videos than shares
    assert "0 made, 2 there already, 0 failed" in run()[1]  # results do not depend on the share


def test_shards_are_about_equal(tmp_path):
    """The sizes are those of a thousand files, the largest a hundred times the smallest."""
    (tmp_path / "in").mkdir()
    for number in range(1000):
        (tmp_path / "in" / f"{number}.mp4").write_bytes(bytes(10 + number))
    job = FolderJob(tmp_path / "in", tmp_path / "out", frozenset({"masks"}), False, {}, "digest")
    shares = [segment_folder.plan_work(replace(job, shard=(share, 7)))[0] for share in range(1, 8)]
    assert sorted(name for share in shares for name in share) == sorted(os.listdir(tmp_path / "in"))
    sizes = [sum((tmp_path / "in" / name).stat().st_size for name in share) for share in shares]
    assert max(sizes) < 1.02 * min(sizes)
    assert [share[0] for share in shares] == [f"{number}.mp4" for number in range(999, 992, -1)]


@pytest.mark.slow
def test_processes_share_the_videos(videos, make_video, model_folder, tmp_path):
    """Two processes share an odd number of videos, and one video fails."""
    (videos / "text.mov").write_text("no video")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "auss.inference"]
    command += [str(videos), "-o", str(tmp_path / "out"), "--model", str(model_folder), "--fps", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stdout.count("2 made, 0 there already, 1 failed") == 1, done.stdout
    assert done.stdout.count("failed  text.mov") == 1
    results = [name for name in files(tmp_path / "out") if name.endswith(("marked.mp4", ".txt"))]
    assert results == ["deep/long.webm/marked.mp4", "short.mp4/marked.mp4", "text.mov.error.txt"]

    (videos / "text.mov").unlink()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("0 made, 2 there already, 0 failed") == 1
