"""Data sets, videos, model folders and names of an attacker, through the commands: what they reach for is not reached.

Python tells of every file that it opens, every connection and every program that it starts, through its audit hooks.
FFmpeg does not, so a server of this machine counts who comes to it.
"""

import ast
import http.server
import json
import os
import pickle
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from auss import cli
from auss.hub.card_facts import CardFacts, Score
from auss.hub.model_card import card_text
from auss.processing.processing_auss import AussProcessor
from auss.train.data.parquet_writer import SplitFacts
from auss.train.data.parquet_writer import data_card_text as data_card
from auss.train.evaluation.score_tables import format_markdown

from ..fuzzing.sources import Sources, copy_of, rewrite
from ..small_videos import write_video

STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
CONNECTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
seen: list[tuple[str, str]] | None = None


def note(event: str, arguments: tuple) -> None:
    if seen is not None and (event == "open" or event in STARTS or event in CONNECTS):
        seen.append((event, str(arguments[:2])))


sys.addaudithook(note)  # which cannot be taken away again


@contextmanager
def watched(*secrets: Path):
    """Fails if, meanwhile, a program is started, an address looked up, or one of the files opened."""
    global seen
    seen = []
    try:
        yield
        reached = [
            (event, words)
            for event, words in seen
            if event != "open" or any(str(secret) in words or os.path.realpath(secret) in words for secret in secrets)
        ]
    finally:
        seen = None
    assert reached == []


def test_the_watch_sees(tmp_path):
    (tmp_path / "secret").touch()
    for reach in (lambda: (tmp_path / "secret").read_text(), lambda: os.system("true")):
        with pytest.raises(AssertionError), watched(tmp_path / "secret"):
            reach()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    import datasets

    folder = tmp_path_factory.mktemp("sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        yield Sources(folder)


@pytest.fixture
def server():
    """Counts the requests that come to it, as `server.requests`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            counted.requests += 1
            self.send_error(404)

        def log_message(self, *_):
            pass

    counted = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    counted.requests = 0
    threading.Thread(target=counted.serve_forever, daemon=True).start()
    yield counted
    counted.shutdown()
    counted.server_close()


class Planted:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def run(*words) -> int:
    return cli.main([str(word) for word in words])


def test_names_of_files_contact_nobody_and_open_no_other_file(sources, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    port = server.server_address[1]
    secret = write_video(tmp_path / "secret.mp4", seconds=0.3)
    content = secret.read_bytes()
    names = [
        f"http:/127.0.0.1:{port}/a.mp4",
        f"tcp:/127.0.0.1:{port}/b.mp4",
        f"file:{secret.name}",
        "concat:secret.mp4",
    ]
    for name in names:
        path = Path("in", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if name.startswith("http") else b"no video at all")
    with watched(secret):
        assert run("segment-folder", "in", "-o", "out", "--model", sources.model) == 1
    assert Path("out", names[0], "marked.mp4").is_file() and server.requests == 0
    # The others hold no video, which none of them would have noticed that had opened what their names say.
    assert len(list(Path("out").rglob("*.error.txt"))) == 3


@pytest.mark.parametrize("form", ["ffconcat", "m3u8"])
def test_playlists_open_and_contact_nothing(sources, server, tmp_path, form, capsys):
    secret = write_video(tmp_path / "secret.mp4", seconds=0.3)
    for place in (secret, f"http://127.0.0.1:{server.server_address[1]}/a.mp4", "../../../../etc/passwd"):
        video = tmp_path / "list.mp4"
        head = "ffconcat version 1.0\nfile '{}'\n"
        video.write_text((head if form == "ffconcat" else "#EXTM3U\n#EXTINF:1,\n{}\n").format(place))
        assert run("segment", video, "-o", tmp_path / "o.mp4", "--model", sources.model) == 2
        assert "list.mp4 cannot be opened: it is a playlist" in capsys.readouterr().err
    assert server.requests == 0 and not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize("command", ["compose", "prepare", "evaluate"])
def test_eps_in_a_png_starts_no_program(sources, tmp_path, command):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    if command == "compose":
        folder = copy_of(sources.objects, tmp_path / "in")
        rewrite(folder / "dog" / "cut-out.png", eps)
        words = ["compose", tmp_path / "out", "--objects", folder, "--s4", 1, 0, 0, "--ms3", 0, 0, 0, "--size", 64]
    else:
        folder = copy_of(sources.data, tmp_path / "in")
        rewrite(sorted((folder / "Single-source/s4_data/visual_frames/test").rglob("*.png"))[0], eps)
        words = ["prepare", folder, tmp_path / "out"]
        if command == "evaluate":
            words = ["evaluate", "--model", sources.model, "--data", folder, "--output", tmp_path / "out"]
    with watched():
        assert run(*words) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../secret", "{}/secret", "..", "a/../../secret", "\\\\host\\share"])
def test_names_in_a_table_do_not_lead_out_of_the_folder(sources, tmp_path, name):
    secret = tmp_path / "secret"
    secret.mkdir()
    Image.new("RGB", (24, 16)).save(secret / "secret_1.png")
    folder = copy_of(sources.data, tmp_path / "in")
    table = folder / "Single-source" / "s4_meta_data.csv"
    rewrite(table, table.read_bytes() + f"{name.format(tmp_path)},0,dog,test\n".encode())
    with watched(secret):
        assert run("prepare", folder, tmp_path / "out") == 2
        assert run("evaluate", "--model", sources.model, "--data", folder, "--output", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def change_json(path: Path, **values) -> None:
    rewrite(path, json.dumps(json.loads(path.read_bytes()) | values).encode())


KINDS = [
    *("timm of the Hub", "attention of the Hub", "index", "code", "pickle"),
    *("adapter", "audio tokenizer", "audio tokenizer's file", "other weights"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_folder_reaches_for_nothing(sources, tmp_path, kind):
    folder, mark = copy_of(sources.model, tmp_path / "model"), tmp_path / "ran"
    secret = copy_of(sources.model, tmp_path / "secret") / "model.safetensors"
    if kind == "timm of the Hub":
        change_json(folder / "config.json", backbone_config={"model_type": "timm_backbone", "backbone": "hf-hub:a/b"})
    elif kind == "attention of the Hub":
        change_json(folder / "config.json", attn_implementation="somebody/kernels")
    elif kind == "index":
        (folder / "model.safetensors").unlink()
        index = {"metadata": {}, "weight_map": {"a": "../secret/model.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif kind == "code":
        (folder / "evil.py").write_text(f"import os; os.mkdir({str(mark)!r})\nclass Evil: pass\n")
        change_json(folder / "processor_config.json", processor_class="Evil", auto_map={"AutoProcessor": "evil.Evil"})
    elif kind == "adapter":
        adapter = {
            "peft_type": "LORA",
            "base_model_name_or_path": str(secret.parent),
            "target_modules": ["class_head"],
        }
        (folder / "adapter_config.json").write_text(json.dumps(adapter))
    elif kind.startswith("audio tokenizer"):
        tokenizer = {"audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": str(secret.parent)}
        if kind == "audio tokenizer":
            change_json(folder / "processor_config.json", audio_tokenizer=tokenizer)
        else:
            (folder / "audio_tokenizer_config.json").write_text(json.dumps(tokenizer))
        with watched(secret), pytest.raises(ValueError, match="'AutoModel', which is no part of AussProcessor"):
            AussProcessor.from_pretrained(folder)
    elif kind == "other weights":
        change_json(folder / "config.json", transformers_weights="../secret/model.safetensors")
    else:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Planted(mark)))
    with watched(secret):
        assert run("segment", sources.short_video, "-o", tmp_path / "o.mp4", "--model", folder) == 2
        assert run("evaluate", "--model", folder, "--data", sources.data, "--output", tmp_path / "e") == 2
        assert run("train", "--init-from", folder, "--data", sources.data, "--output", tmp_path / "t") == 2
    assert not mark.exists() and not (tmp_path / "o.mp4").exists()


def test_pickles_and_yaml_run_nothing(sources, tmp_path):
    mark = tmp_path / "ran"
    folder = copy_of(sources.data, tmp_path / "in")
    for pickled in folder.rglob("*.pkl"):
        rewrite(pickled, pickle.dumps(Planted(mark)))
    assert run("prepare", folder, tmp_path / "out") == 0
    torch.save({"a": Planted(mark)}, tmp_path / "weights.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Planted(mark)))
    (tmp_path / "config.yaml").write_text(f"steps: !!python/object/apply:os.mkdir ['{mark}']\n")
    train = sources.train_command(tmp_path / "t")
    for option in ("--backbone-weights", "--audio-weights"):
        for file in ("weights.pth", "raw.pth"):
            assert run(*train, option, tmp_path / file) == 2
    assert run(*train, "--config", tmp_path / "config.yaml") == 2
    assert not mark.exists()


def test_links_are_not_written_through(sources, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("o.mp4", ".o.partial.mp4", "mask_000000_00000.000s.png"):
        (out / name).symlink_to(precious)
    words = ["segment", sources.short_video, "-o", out / "o.mp4", "--model", sources.model, "--overwrite"]
    assert run(*words) == 0
    assert run(*words, "--masks", out) == 2  # a link has the name of a mask
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "s4-test-own.json").symlink_to(precious)
    words = ["evaluate", "--model", sources.model, "--data", sources.data, "--output", evaluation, "--overwrite"]
    assert run(*words) == 0
    assert precious.read_text() == "mine" and not (evaluation / "s4-test-own.json").is_symlink()


NAME = 'a"); import os; os.system("touch ran") #</script>|`$(id)`\n# b'


def test_text_from_outside_is_text_in_cards_and_tables():
    config = {"id2label": {"0": "silent", "1": NAME}, "backbone_config": {"backbone": NAME}, "num_queries": NAME}
    card = card_text(CardFacts(NAME, config, scores=[Score("data", NAME, NAME, 0.5, 0.5)], training={}))
    data = data_card([SplitFacts("s4", "train", 1, 1, 1)], "/nowhere", NAME)
    results = {"categories": {NAME: {"clips": 1, "M_J": 0.5, "M_F": 0.5}}, "clips": 1, "M_J": 0.5, "M_F": 0.5}
    table = format_markdown(results, NAME)
    for text in (card, data, table):
        body = text.rpartition("\n---\n")[2]  # what follows the YAML
        prose = "".join(body.split("```")[::2])  # without code
        assert "<" not in prose.partition("<!-- auss wrote")[0] and "\n# b" not in body
        rows = [line for line in body.splitlines() if line.startswith("| ") and NAME[:3] in line]
        assert all(line.replace("\\|", "").count("|") in (3, 5, 6) for line in rows)
    for text in (card, data):
        code = text.partition("```python\n")[2].partition("```")[0]
        strings = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
        calls = {
            node.func.attr
            for node in ast.walk(ast.parse(code))
            if isinstance(node, ast.Call) and hasattr(node.func, "attr")
        }
        assert any(isinstance(one, str) and NAME in one for one in strings) and "system" not in calls


def test_a_sound_or_frame_that_a_row_names_by_an_address_is_not_fetched(server, segmenter):
    url = f"http://127.0.0.1:{server.server_address[1]}/a.wav"
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    with watched(), pytest.raises((ValueError, OSError), match="audio"):
        segmenter({"frames": frames, "audio": {"path": url, "bytes": None}})
    with watched(), pytest.raises((ValueError, OSError), match="frame"):
        segmenter({"frames": [{"path": url, "bytes": None}], "audio": np.zeros(16_000), "sampling_rate": 16_000})
    assert server.requests == 0


def test_a_wav_of_a_data_set_does_not_lead_elsewhere(sources, tmp_path):
    """libsndfile takes no names out of a file; a wav that is a text with a path in it is no sound."""
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, np.zeros(16_000), 16_000)
    folder = copy_of(sources.data, tmp_path / "in")
    rewrite(sorted(folder.rglob("test_0.wav"))[0], f"{secret}\n".encode())
    with watched(secret):
        assert run("prepare", folder, tmp_path / "out") == 2
