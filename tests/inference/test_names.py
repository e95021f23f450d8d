"""Names that look like URLs, options, patterns or commands, and files whose content does not fit their name."""

import os

import pytest

from auss import cli
from auss.inference import segment_folder
from auss.inference.media.containers.decoding import file_address, open_media
from auss.inference.media.video_reader import VideoReader

# Names without their ending. FFmpeg, argparse, a shell or Python has taken each of them for something else.
NAMES = [
    "rec:1",
    "http:",
    "file:etc",
    "pipe:0",
    "data:x",
    "concat:a|b",
    "subfile,,start,0,end,9,,:x",
    "C:\\x",
    "a%03d",
    "%2F..%2F",
    "-x",
    "--model",
    ".hidden",
    "a b\n[c]*?{d}$(e)",
    "a" * 251,
    os.fsdecode(b"caf\xe9"),
    "é" * 125,
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Makes an empty folder the current folder, so that tests use bare names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def known_network(monkeypatch, red_sounds, tiny_processor):
    from auss.inference import segment

    for module in (segment, segment_folder):
        monkeypatch.setattr(module, "load_model", lambda *_: (red_sounds, tiny_processor))
    monkeypatch.setattr(segment_folder, "weights_digest", lambda _: "digest")


def write(make_video, name, **settings):
    """Writes the video under another name first, since the helper passes names to FFmpeg unchanged."""
    made = make_video("made.mp4", seconds=0.3, **settings)
    os.rename(made, name)
    return name


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(here, make_video, known_network, capsys, name):
    video, masks = write(make_video, f"{name}.mp4"), f"{name[:60]}-masks"
    status = cli.main(["segment", "-o", f"{name}.mkv", "--masks", masks, "--model", "m", "--", video])
    assert status == 0, capsys.readouterr().err
    assert set(os.listdir(here)) == {video, f"{name}.mkv", masks}
    assert len(list(VideoReader(os.path.join(".", f"{name}.mkv")).frames())) == 3
    assert len(os.listdir(masks)) == 2
    assert capsys.readouterr().out.count("\n") == 4  # whatever is in the name


def test_a_folder_of_all_of_them(here, make_video, known_network, capsys):
    content = make_video("made.mp4", seconds=0.3).read_bytes()
    os.remove("made.mp4")
    os.makedirs("http:/localhost/deep")
    visible = [f"{name}.mp4" for name in NAMES if not name.startswith(".")]
    names = [*visible, "http:/localhost/deep/x.mp4"]
    for name in [*names, ".hidden.mp4"]:
        with open(os.path.join(".", name), "wb") as file:
            file.write(content)
    assert cli.main(["segment-folder", ".", "-o", "out", "--model", "m", "--fps", "2"]) == 0
    assert f"{len(names)} made, 0 there already, 0 failed" in capsys.readouterr().out
    for name in names:
        assert sorted(os.listdir(os.path.join("out", name))) == ["marked.mp4", "record.json"]
    assert cli.main(["segment-folder", ".", "-o", "out", "--model", "m", "--fps", "2"]) == 0
    assert f"0 made, {len(names)} there already, 0 failed" in capsys.readouterr().out


def test_no_file_ends_the_run(here, make_video, known_network, capsys, monkeypatch):
    os.makedirs("in/folder.mp4")
    make_video("in/folder.mp4/good.mp4", seconds=0.3)
    os.mkfifo("in/pipe.mp4")
    os.symlink("nowhere", "in/dangling.mp4")
    os.symlink("circle.mp4", "in/circle.mp4")
    open("in/empty.mp4", "wb").close()
    long = "b" * 251 + ".mp4"
    for name in (long, "vanishes.mp4", "grows.mp4"):
        with open(f"in/{name}", "wb") as file:
            file.write(b"no video" if name == long else make_video("made.mp4", seconds=0.3).read_bytes())
    original = segment_folder.VideoReader

    def disturbed(path, audio_track=None):
        if path.name == "vanishes.mp4":
            path.unlink()
        reader = original(path, audio_track)
        if path.name == "grows.mp4":
            with open(path, "ab") as file:
                file.write(b"more")
        return reader

    monkeypatch.setattr(segment_folder, "VideoReader", disturbed)
    assert cli.main(["segment-folder", "in", "-o", "out", "--model", "m"]) == 1
    captured = capsys.readouterr()
    assert "1 made, 0 there already, 7 failed" in captured.out and "Traceback" not in captured.err
    for name in ("pipe.mp4", "dangling.mp4", "circle.mp4", "empty.mp4", "vanishes.mp4", "grows.mp4"):
        assert f"failed  {name}: " in captured.out and os.path.isfile(f"out/{name}.error.txt"), name
    assert "failed  grows.mp4: video in/grows.mp4 was written to while it was read" in captured.out
    reports = [name for name in os.listdir("out") if name.startswith("bbb")]
    assert len(reports) == 1 and reports[0].endswith(".error.txt") and len(reports[0]) == 255
    # The run also goes on if a report cannot be written.
    monkeypatch.setattr(segment_folder, "write_whole", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    os.mkfifo("in/another.mp4")
    assert cli.main(["segment-folder", "in", "-o", "out", "--model", "m"]) == 1
    assert "0 made, 1 there already, 7 failed" in capsys.readouterr().out


def test_two_runs_on_one_output_folder(here, make_video, known_network, capsys, monkeypatch):
    """The second run starts while the first one works on its first video. The second run does only the other video."""
    os.mkdir("in")
    make_video("in/large.mp4", seconds=0.5)
    make_video("in/small.mp4", seconds=0.3)
    command = ["segment-folder", "in", "-o", "out", "--model", "m", "--fps", "2"]
    original, outcomes = segment_folder.write_results, []

    def with_another_run(job, name, *rest):
        if not outcomes:
            outcomes.append(None)
            outcomes[0] = cli.main(command)
        original(job, name, *rest)

    monkeypatch.setattr(segment_folder, "write_results", with_another_run)
    assert cli.main(command) == 0 and outcomes == [0]
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["out: 1 made, 0 there already, 0 failed", "1 more are being made by another run"]
    assert printed[2] == "out: 2 made, 0 there already, 0 failed"
    assert {name: sorted(os.listdir(f"out/{name}")) for name in os.listdir("out")} == {
        name: ["marked.mp4", "record.json"] for name in ("large.mp4", "small.mp4")
    }


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile {}\n",
        PLAYLIST,
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        '<Representation id="1" mimeType="video/mp4" bandwidth="1"><BaseURL>{}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
    ],
)
def test_a_playlist_opens_nothing(here, make_video, serve, content):
    clip = make_video("clip.mp4", seconds=0.3)
    for place in ("clip.mp4", str(clip), "../clip.mp4", serve(here) + "/clip.mp4"):
        for name in ("list.m3u8", "list.mp4", "list.ffconcat"):
            (here / name).write_text(content.format(place))
            with pytest.raises(ValueError, match=f"video {name} cannot be opened: it is a playlist of other files"):
                open_media(name)


def test_numbered_pictures_are_not_read_by_their_pattern(here):
    from PIL import Image

    for name in ("a1.png", "a%d.png"):
        Image.new("RGB", (64, 48)).save(name)
    with pytest.raises(ValueError, match="cannot be opened"):
        open_media("a%d.png")


def test_a_local_name_reaches_no_server(here, make_video, serve, known_network):
    """FFmpeg itself would take `http:/host/x` for a URL."""
    url = serve(here / "served").replace("//", "/") + "/x.mp4"
    os.makedirs(os.path.dirname(url))
    os.rename(make_video("made.mp4", seconds=0.3), url)  # the server has no file of this name
    assert file_address(url) == f"file:{url}"
    with open_media(url) as container:
        assert len(list(container.decode(video=0))) == 3


def test_no_link_is_written_through(here, make_video, known_network):
    video = make_video("in.mp4", seconds=0.3)
    (here / "precious").write_text("mine")
    for link in (".o.partial.mp4", "o.mp4"):
        (here / link).symlink_to("precious")
    assert cli.main(["segment", str(video), "-o", "o.mp4", "--model", "m"]) == 2  # a link counts as an existing file
    assert cli.main(["segment", str(video), "-o", "o.mp4", "--model", "m", "--overwrite"]) == 0
    assert (here / "precious").read_text() == "mine" and len(list(VideoReader("o.mp4").frames())) == 3
