"""Tests of the command line `auss`: its arguments, the files it writes, its exit status and its one-line errors."""

import re
import resource
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import auss
from auss import cli
from auss.files.errors import DivergedError, InputError, MissingPackageError
from auss.inference.media.sound.audio_track import AudioTrack
from auss.inference.media.video_reader import VideoReader


@pytest.fixture
def segment(model_folder):
    def run(video, output, *options):
        return cli.main(["segment", str(video), "-o", str(output), "--model", str(model_folder), *map(str, options)])

    return run


def test_help_imports_no_command(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("segment", "compose", "train", "evaluate", "demo"))


def test_version_and_module():
    command = [sys.executable, "-m", "auss", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"auss {auss.__version__}\n"


HEAVY = {"torch", "transformers", "torchvision", "timm", "datasets", "accelerate", "huggingface_hub", "numpy", "av"}


def heavy_imports(report):
    return HEAVY & {line.rpartition("|")[2].strip() for line in report.splitlines()}


def imported_by(*words, start=("-m", "auss"), status=0):
    """Returns the heavy packages that a command line imports, as `python -X importtime` reports them."""
    done = subprocess.run([sys.executable, "-X", "importtime", *start, *words], capture_output=True, text=True)
    assert done.returncode == status, done.stderr[-2000:]
    return heavy_imports(done.stderr)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_help_imports_no_heavy_package(name):
    assert imported_by(name, "--help") == set()


@pytest.mark.parametrize(
    ("start", "words", "status"),
    [
        (("-m", "auss"), ("--help",), 0),
        (("-m", "auss"), ("--version",), 0),
        (("-m", "auss"), ("segmentt",), 2),
        (("-m", "auss"), ("segment", "a.mp4"), 2),
        (("-m", "auss"), ("segment", "a.mp4", "-o", "b.mp4", "--model", "m", "--threshold", "2"), 2),
        (("-m", "auss"), ("train", "--data", "d", "--output", "o", "--steps", "0"), 2),
        (("-m", "auss.train"), ("--steps", "many"), 2),
        (("-m", "auss.inference"), ("--help",), 0),
    ],
)
def test_wrong_arguments_import_no_heavy_package(start, words, status):
    assert imported_by(*words, start=start, status=status) == set()


def test_the_console_script_imports_no_heavy_package(tmp_path):
    """The test writes the script that pip would write, into the folder where pip would put it."""
    venv.create(tmp_path, with_pip=False)
    site_packages = tmp_path / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site_packages / "auss").symlink_to(Path(auss.__file__).parent)
    (site_packages / "others.pth").write_text("\n".join(path for path in sys.path if path) + "\n")
    script = tmp_path / "bin" / "auss"
    script.write_text("import sys\nfrom auss.cli import main\nsys.exit(main())\n")
    command = [str(tmp_path / "bin" / "python"), "-X", "importtime", str(script), "segment", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "usage: auss segment" in done.stdout and heavy_imports(done.stderr) == set()


@pytest.mark.parametrize(
    ("script", "started", "expected"),
    [
        ("SCRIPTS/auss", ["python", "SCRIPTS/auss", "segment"], True),
        ("-m", ["python", "-X", "dev", "-m", "auss", "segment"], True),
        ("-m", ["python", "-u", "-m", "auss.train"], True),
        # Every other program that imports auss needs the Auto classes: a test, a script, a process that a command
        # starts.
        ("-m", ["python", "-m", "aussie", "-m", "auss"], False),
        ("-m", ["python", "-m", "pytest", "auss"], False),
        ("", ["python"], False),
        ("-c", ["python", "-c", "import auss"], False),
        ("SCRIPTS/auss", ["python", "-c", "from multiprocessing.spawn import spawn_main"], False),
        ("SCRIPTS/jupyter", ["python", "SCRIPTS/jupyter"], False),
        ("/home/me/auss", ["python", "/home/me/auss"], False),
        ("/home/me/auss/__main__.py", ["python", "/home/me/auss/__main__.py"], False),
    ],
)
def test_who_is_the_command_line(monkeypatch, script, started, expected):
    scripts = sysconfig.get_path("scripts")
    monkeypatch.setattr(sys, "argv", [script.replace("SCRIPTS", scripts)])
    monkeypatch.setattr(sys, "orig_argv", [word.replace("SCRIPTS", scripts) for word in started])
    assert auss._is_command_line() is expected


def test_the_called_commands_module_is_imported_to_run_alone(monkeypatch):
    imported = []
    original = cli.load_command
    monkeypatch.setattr(cli, "load_command", lambda name: imported.append(name) or original(name))
    for words in (["segment", "--help"], ["--help"]):
        with pytest.raises(SystemExit):
            cli.main(words)
    assert cli.main(["presets", "--size", "8"]) == 2 and imported == []
    assert cli.main(["presets", "auss-nowhere"]) == 2 and imported == ["presets"]


@pytest.mark.parametrize("name", ["in.mp4", "in.webm", "in.mkv"])
def test_segment(segment, make_video, media, tmp_path, capsys, name):
    video, output, masks = make_video(name, seconds=6.0, channels=2), tmp_path / "out" / "out.mp4", tmp_path / "masks"
    assert segment(video, output, "--masks", masks, "--fps", 2, "--batch-size", 3) == 0
    captured = capsys.readouterr()
    assert "60 frames, 6.0 s" in captured.out and "12 masks" in captured.out and "6.0/6.0 s of video" in captured.err
    times = [frame.time for frame in VideoReader(output).frames()]
    np.testing.assert_allclose(times, np.arange(60) / 10, atol=0.001)
    saved = sorted(masks.iterdir())
    assert [path.name for path in saved[:3]] == [f"mask_{5 * i:06d}_0000{i / 2:.3f}s.png" for i in range(3)]
    assert Image.open(saved[0]).size == (64, 48)
    sounds = [AudioTrack(path, VideoReader(path).info.origin).window(0, 6)[0] for path in (video, output)]
    lag, match = media.lag_and_match(*sounds, 48_000)
    assert abs(lag) < 0.002 and match > 0.99


def test_masks_are_drawn(segment, make_video, media, tmp_path, red_sounds, tiny_processor, monkeypatch):
    from auss.inference import segment as module

    monkeypatch.setattr(module, "load_model", lambda *_: (red_sounds, tiny_processor))
    video, output, masks = make_video("in.mp4", seconds=2.0), tmp_path / "out.mp4", tmp_path / "masks"
    assert segment(video, output, "--masks", masks, "--fps", "every") == 0
    pictures = [[frame.picture for frame in VideoReader(path).frames()] for path in (video, output)]
    assert [media.number_of(picture) for picture in pictures[1]] == list(range(20))
    before, after = (each[7].astype(int) for each in pictures)
    mask = np.asarray(Image.open(sorted(masks.iterdir())[0])) > 0
    assert mask[30:, :28].all() and len(list(masks.iterdir())) == 20
    changed = np.abs(after - before).mean(axis=-1)
    assert changed[32:44, 4:24].mean() > 15 > 8 > changed[:18].mean()


def test_url_and_overlapping_windows(segment, make_video, serve, tmp_path):
    path, output = make_video("in.mp4", seconds=6.0), tmp_path / "out.mp4"
    output.touch()
    url = serve(path.parent) + "/in.mp4"
    options = ["--window", 4, "--stride", 2, "--threshold", 0.4, "--overwrite"]
    assert segment(url, output, *options) == 0
    found = VideoReader(output)
    assert found.info.has_audio and len(list(found.frames())) == 60
    assert segment(path, tmp_path / "same.mp4", *options) == 0
    assert (tmp_path / "same.mp4").read_bytes() == output.read_bytes()


def test_no_sound_track_warns(segment, make_video, tmp_path, caplog):
    assert segment(make_video("mute.mkv", sound=False), tmp_path / "out.mp4") == 0
    assert "has no sound track: it is taken as silent, so nothing in it sounds" in caplog.text


def test_damaged_video_gives_what_there_is_and_status_1(segment, make_video, tmp_path, capsys):
    path = make_video("cut.mkv", seconds=8.0, size=(96, 128))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert segment(path, tmp_path / "out.mp4") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "cut.mkv is damaged: " in error and error.endswith("The output holds what could be read.")
    assert 20 < len(list(VideoReader(tmp_path / "out.mp4").frames())) < 75


def test_existing_output_is_refused_unless_told(segment, make_video, tmp_path, capsys):
    video, output, masks = make_video("in.mp4", seconds=1.0), tmp_path / "out.mp4", tmp_path / "masks"
    assert segment(video, output, "--masks", masks) == 0
    content = output.read_bytes()
    assert segment(video, output) == 2
    assert "out.mp4 exists: choose another name, or allow it with --overwrite" in capsys.readouterr().err
    assert output.read_bytes() == content
    assert segment(video, tmp_path / "other.mp4", "--masks", masks) == 2
    assert "is not empty" in capsys.readouterr().err and not (tmp_path / "other.mp4").exists()
    assert segment(video, output, "--masks", masks, "--overwrite") == 0
    assert segment(video, video, "--overwrite") == 2
    assert "is the video itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("video", "options", "message"),
    [
        ("nowhere.mp4", [], "auss segment: video: no such file: "),
        ("text.mp4", [], "auss segment: video .* cannot be opened"),
        ("sound.mp4", [], "holds only sound: a file with a moving picture is needed"),
        ("in.mp4", ["--batch-size", "0"], "batch_size must be a whole number of frames, at least 1, got 0"),
        ("in.mp4", ["--threshold", "2"], "threshold must be a number from 0 to 1, got 2.0"),
        ("in.mp4", ["-o", "out.avi"], "output must end in .mp4, .mkv, .webm, got 'out.avi'"),
        ("in.mp4", ["--model", "no-model"], "no-model is no folder with a trained model"),
    ],
)
def test_errors_are_one_line_and_status_2(segment, make_video, tmp_path, capsys, video, options, message):
    make_video("sound.mp4", picture=False)
    make_video("in.mp4", seconds=0.5)
    (tmp_path / "text.mp4").write_text("no video")
    assert segment(tmp_path / video, tmp_path / "out.mp4", *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and re.search(message, lines[0])
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", "6"], "window must be .* at most the 5 s that the model takes.*, got 6.0"),
        (["--window", "3", "--stride", "4"], "stride must be .* at most window=3 s.*, got 4.0"),
    ],
)
def test_what_the_model_does_not_take_is_refused_before_anything_is_written(
    segment, make_video, tmp_path, capsys, options, message
):
    assert segment(make_video("in.mp4", seconds=0.5), tmp_path / "out.mp4", "--masks", tmp_path / "out", *options) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("place", [0, 1, 2, 4, 6])
def test_traceback_anywhere_on_the_command_line(tmp_path, place):
    words = ["segment", str(tmp_path / "no.mp4"), "-o", "o.mp4", "--model", "m"]
    with pytest.raises(FileNotFoundError):
        cli.main([*words[:place], "--traceback", *words[place:]])


@pytest.mark.parametrize("error", [MemoryError("9 GiB"), torch.OutOfMemoryError("CUDA out of memory")])
def test_too_little_memory_is_the_users_to_mend(monkeypatch, capsys, error):
    def fail(_):
        raise error

    monkeypatch.setattr(cli, "load_command", lambda _: SimpleNamespace(run=fail))
    assert cli.main(["presets"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("auss presets: there is not enough memory: ") and message.count("\n") == 1


def test_traceback_may_be_the_name_of_a_file(tmp_path, capsys):
    assert cli.main(["segment", "-o", "o.mp4", "--model", "m", "--", "--traceback"]) == 2
    assert "auss segment: video: no such file: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-o", "-x.mp4", "in.mp4"], {"output": "-x.mp4", "video": "in.mp4"}),
        (["--output", "-x.mp4", "in.mp4"], {"output": "-x.mp4", "video": "in.mp4"}),
        (["in.mp4", "-o", "-1"], {"output": "-1", "video": "in.mp4"}),
        (["-o", "o.mp4", "--masks", "-m", "--", "-in.mp4"], {"masks": "-m", "video": "-in.mp4"}),
        (["in.mp4", "-o", "a b", "--device", "-x=y"], {"output": "a b", "device": "-x=y"}),
    ],
)
def test_values_that_begin_with_a_dash(words, expected):
    arguments = cli.parse_arguments(["segment", "--model", "m", *words])
    assert {name: str(getattr(arguments, name)) for name in expected} == expected


def test_values_that_begin_with_a_dash_among_grouped_options(tmp_path):
    arguments = cli.parse_arguments(["train", "--data", "-d", "--output", "-o", "--tracker", "wandb", "--resume"])
    assert (arguments.data, arguments.output, arguments.tracker, arguments.resume) == ("-d", "-o", ["wandb"], True)


def test_an_option_is_not_the_value_of_another(capsys):
    with pytest.raises(SystemExit):
        cli.parse_arguments(["segment", "in.mp4", "-o", "--masks", "m", "--model", "m"])
    assert "argument -o/--output: expected one argument" in capsys.readouterr().err


def test_interrupt(monkeypatch, capsys, segment, make_video, tmp_path):
    from auss.inference import segment as module

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "predict", stopped)
    assert segment(make_video("in.mp4"), tmp_path / "out.mp4") == 130
    assert capsys.readouterr().err.endswith("auss segment: stopped\n")
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_constant_memory(segment, make_video, tmp_path):
    """Segmenting six minutes takes hardly more memory than segmenting twenty seconds before that."""
    videos = [make_video(f"{seconds}.mp4", seconds=seconds, size=(144, 192)) for seconds in (20, 360)]
    peaks = []
    for video in videos:
        assert segment(video, tmp_path / f"out-{video.name}", "--fps", 1) == 0
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB, the highest value so far
    assert peaks[1] - peaks[0] < 30_000


@pytest.mark.parametrize("error", [ValueError("internal"), KeyError("internal"), ImportError("internal")])
def test_a_fault_of_auss_shows_where_it_came_from_and_asks_for_a_report(monkeypatch, capsys, error):
    def faulty(arguments):
        raise error

    monkeypatch.setattr("auss.inference.presets.run", faulty)
    assert cli.main(["presets"]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):" and any("in faulty" in line for line in lines)
    assert lines[-1].startswith(f"auss presets: this is a fault of auss {auss.__version__}, ")
    with pytest.raises(type(error)):
        cli.main(["presets", "--traceback"])


@pytest.mark.parametrize(
    "error", [InputError, MissingPackageError, DivergedError, OSError], ids=lambda error: error.__name__
)
def test_what_the_user_can_mend_is_one_line(monkeypatch, capsys, error):
    def refusing(arguments):
        raise error("what\nis wrong")

    monkeypatch.setattr("auss.inference.presets.run", refusing)
    assert cli.main(["presets"]) == 2
    assert capsys.readouterr().err == "auss presets: what is wrong\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must hold a JSON object"),
        ("{", "cannot be read as JSON"),
        ('{"num_queries": "many"}', "num_queries"),
        ('{"num_queries": -1}', "num_queries"),
        ('{"backbone_config": {"model_type": "nonsense"}}', "nonsense"),
    ],
)
def test_a_damaged_preset_is_one_line(tmp_path, capsys, text, message):
    (tmp_path / "mine.json").write_text(text)
    assert cli.main(["presets", str(tmp_path / "mine.json")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("auss presets: ") and message in lines[0]


@pytest.mark.parametrize(
    "content", [b"steps: [", b"\xff", b"[1]", b'data: "a\\0b"\noutput: o'], ids=["yaml", "utf-8", "list", "nul"]
)
def test_a_damaged_config_file_is_one_line(tmp_path, capsys, content):
    (tmp_path / "run.yaml").write_bytes(content)
    assert cli.main(["train", "--config", str(tmp_path / "run.yaml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("auss train: ")


def test_settings_that_accelerate_refuses_are_one_line(tmp_path, capsys):
    options = ["--data", str(tmp_path), "--output", str(tmp_path / "run"), "--mixed-precision", "fp16"]
    assert cli.main(["train", *options]) == 2
    assert "auss train: " in capsys.readouterr().err


class Broken:
    """A data set whose rows cannot be read. Its error is raised from a second error."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        try:
            raise OSError("truncated")
        except OSError as error:
            raise InputError("clip 'a': frames file a.png\ncannot be decoded: truncated") from error


def test_an_error_of_a_loaders_worker_is_its_message_alone():
    from torch.utils.data import DataLoader

    with pytest.raises(InputError) as caught:
        list(DataLoader(Broken(), num_workers=1))
    assert "Traceback" in str(caught.value)
    assert cli.one_line(caught.value) == "clip 'a': frames file a.png cannot be decoded: truncated"
    assert cli.one_line(ValueError("a: b\nc: d")) == "a: b c: d" and cli.one_line(ValueError()) == "ValueError"
