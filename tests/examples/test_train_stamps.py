"""The scripts of `examples/train_stamps/`, on small packages, resource files and sound fonts that are made here."""

import hashlib
import importlib
import io
import json
import struct
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

import auss
from auss.cli import parse_arguments
from auss.train.arguments import read_config
from auss.train.composer.object_library import ObjectLibrary

FOLDER = Path(auss.__file__).resolve().parent / "examples" / "train_stamps"
MODULES = ("packages", "sound_fonts", "make_objects", "model_card", "make_model")


@pytest.fixture
def scripts(monkeypatch):
    """The scripts as modules, as if one of them had been started from the command line."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


def debian_package(files):
    """A .deb with these files, path -> content."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    package = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data.getvalue())):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        package += head + content + b"\n" * (len(content) % 2)
    return package


def test_a_package_is_fetched_checked_and_unpacked_once(scripts, tmp_path, monkeypatch):
    packages = scripts["packages"]
    content = debian_package({"usr/share/a.txt": b"hello"})
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.deb").write_bytes(content)
    monkeypatch.setattr(packages, "MIRROR", (tmp_path / "mirror").as_uri())
    monkeypatch.setattr(packages, "fetch_from_apt", lambda *_: None)
    good = packages.Package("a.deb", len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(packages, "PACKAGES", {"a": good, "b": good._replace(sha256="0" * 64)})
    assert (packages.fetch_package("a", tmp_path) / "usr/share/a.txt").read_bytes() == b"hello"
    (tmp_path / "mirror" / "a.deb").write_bytes(b"another")
    assert packages.fetch_package("a", tmp_path) == tmp_path / "a"
    with pytest.raises(ValueError, match="is not the expected file: it has 7 bytes"):
        packages.fetch_package("b", tmp_path)
    assert not (tmp_path / "b").exists()
    with pytest.raises(ValueError, match="must be an ar archive"):
        packages.unpack(b"PK", tmp_path)


def resource_file(names, contents, nodes):
    """A Qt resource file of version 3 of these parts."""
    table, places = b"", []
    for name in names:
        places.append(len(table))
        table += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    data, offsets = b"", []
    for content in contents:
        offsets.append(len(data))
        data += struct.pack(">I", len(content)) + content
    tree = b""
    for name, flags, first, second in nodes:
        third = offsets[second] if not flags & 2 else second
        tree += struct.pack(">IHIIQ", places[name] if name is not None else 0, flags, first, third, 0)
    begin = 24
    head = struct.pack(">4s5I", b"qres", 3, begin, begin + len(tree), begin + len(tree) + len(data), 0)
    return head + tree + data + table


def test_resource_files_are_read_with_their_folders(scripts, tmp_path):
    packed = struct.pack(">I", 5) + zlib.compress(b"meoww")
    nodes = [(None, 2, 2, 1), (0, 0, 0, 0), (1, 2, 1, 3), (2, 1, 0, 1)]
    (tmp_path / "a.rcc").write_bytes(resource_file(["dog.ogg", "cats", "cat.ogg"], [b"woof", packed], nodes))
    read = scripts["packages"].read_resources
    assert read(tmp_path / "a.rcc") == {"dog.ogg": b"woof", "cats/cat.ogg": b"meoww"}
    (tmp_path / "b.rcc").write_bytes(b"RIFF" + bytes(40))
    with pytest.raises(ValueError, match=r"b\.rcc is no Qt resource file"):
        read(tmp_path / "b.rcc")


def chunk(name, content):
    return name.encode() + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


@pytest.fixture
def font(scripts, tmp_path):
    """A sound font with a program 5: a sine of 440 Hz at 22,050 Hz, recorded as A4, which loops."""
    records = scripts["sound_fonts"].RECORDS
    wave = np.int16(20_000 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050))
    # 50 waves of 440 Hz are 2505.7 samples long; 440 of them are exactly a second, so the loop is the whole recording.
    rows = {
        "phdr": [(b"Sine", 5, 0, 0, b""), (b"EOP", 0, 0, 1, b"")],
        "pbag": [(0, 0), (1, 0)],
        "pgen": [(41, 0)],
        "inst": [(b"Sine", 0), (b"EOI", 1)],
        "ibag": [(0, 0), (3, 0)],
        "igen": [(43, 127 << 8), (54, 1), (53, 0)],
        "shdr": [(b"A4", 0, 22_050, 0, 22_050, 22_050, 69, 0, 0, 1), (b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)],
    }
    tables = b"".join(
        chunk(name, np.array(values, np.dtype(records[name])).tobytes()) for name, values in rows.items()
    )
    lists = chunk("LIST", b"sdta" + chunk("smpl", wave.tobytes())) + chunk("LIST", b"pdta" + tables)
    (tmp_path / "font.sf2").write_bytes(chunk("RIFF", b"sfbk" + lists))
    return scripts["sound_fonts"].SoundFont(tmp_path / "font.sf2")


def test_notes_of_a_font_have_their_pitch_and_length(scripts, font):
    zones = font.zones(5)
    assert [(zone.lowest, zone.highest, zone.root, zone.loops) for zone in zones] == [(0, 127, 69, True)]
    for key, frequency in ((69, 440), (81, 880), (57, 220)):
        note = font.note(zones, key, 2.0, plucked=False)
        assert len(note) == 32_000 and 0.5 < np.abs(note[16_000:24_000]).max() < 0.65  # the loop goes on
        assert np.abs(np.fft.rfft(note)).argmax() / 2 == pytest.approx(frequency, rel=0.002)
    plucked = font.note(zones, 69, 2.0, plucked=True)
    assert np.abs(plucked[24_000:]).max() < 0.2 * np.abs(plucked[:8000]).max()
    with pytest.raises(ValueError, match="the font has no program 6 in bank 0"):
        font.zones(6)


def test_melodies_differ_and_keep_to_their_range(scripts, font):
    play = scripts["sound_fonts"].play_melody
    instrument = {"programs": [5], "lowest": 60, "highest": 72}
    first, second = (play(font, instrument, np.random.default_rng(seed)) for seed in (0, 1))
    assert len(first) == len(second) == 96_000 and not np.array_equal(first, second)
    spectrum = np.abs(np.fft.rfft(first)) ** 2
    frequencies = np.fft.rfftfreq(len(first), 1 / 16_000)
    inside = (frequencies > 240) & (frequencies < 560)  # notes 60 to 72 are 262 to 523 Hz
    assert spectrum[inside].sum() > 0.95 * spectrum.sum()


def test_specks_are_cleaned_off_and_the_rest_is_cropped(scripts):
    pixels = np.zeros((60, 80, 4), np.uint8)
    pixels[10:40, 20:60] = (200, 10, 10, 255)
    pixels[50:52, 2:4] = (0, 0, 0, 255)
    cleaned = scripts["make_objects"].clean_cut_out(Image.fromarray(pixels))
    assert cleaned.size == (40, 30)
    assert np.asarray(cleaned.getchannel("A")).min() == 255


def test_the_catalogue_holds_out_what_it_says(scripts):
    catalogue = yaml.safe_load((FOLDER / "catalogue.yaml").read_text(encoding="utf-8"))
    parts = {"pictures", "sounds", "held out pictures", "held out sounds"}
    used = {"train": [], "test": []}
    for name, entry in catalogue["categories"].items():
        assert entry["pictures"] and entry.keys() <= parts, name
        for part in ("pictures", "sounds"):
            held_out, trained = entry.get(f"held out {part}", []), entry.get(part, [])
            # Melodies are played with one font for training and with another one for tests.
            assert not {one for one in held_out if not one.startswith("font/")} & set(trained), name
            used["train"] += [(part, one) for one in trained if not one.startswith("font/")]
            used["test"] += [(part, one) for one in held_out if not one.startswith("font/")]
        fonts = {one.removeprefix("font/") for one in entry.get("sounds", []) if one.startswith("font/")}
        assert fonts <= catalogue["fonts"].keys()
    heard = {name for name, entry in catalogue["categories"].items() if "sounds" in entry}
    assert set(scripts["make_model"].DEMO_THINGS) <= heard
    assert not set(used["train"]) & set(used["test"])
    assert len(used["train"]) == len(set(used["train"])), "two categories share a file"
    assert not set(catalogue["noises"]["train"]) & set(catalogue["noises"]["test"])


def test_every_command_of_the_script_is_one_that_auss_takes(scripts, tmp_path):
    make = scripts["make_model"]
    commands = [words for _, words in make.commands(tmp_path, make.Sizes(steps=7))]
    assert {words[0] for words in commands} == {"compose", "pretrain-audio", "train", "evaluate"}
    for words in commands:
        arguments = parse_arguments(words)
        if "check" in arguments:
            arguments.check(arguments)
    settings = read_config(FOLDER / "recipe.yaml")
    assert settings["name"] == "ms3" and settings["preset"] == "auss-demo"


def test_a_command_is_done_when_its_last_file_is_there(scripts, tmp_path, monkeypatch):
    """A composition or a training that was killed leaves folders and some files."""
    make, ran = scripts["make_model"], []
    for name in ("objects", "auss-stamps", "data/train/.auss-0", "data/test/Single-source", "model"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data/test/annotations.json", "model/model.safetensors"):
        (tmp_path / name).touch()
    monkeypatch.setattr(make, "auss_command", lambda words: ran.append(words) or 0)
    monkeypatch.setattr(make, "write_stamps_card", lambda *_: None)
    make.make_model(tmp_path, make.Sizes())
    composed = [Path(words[1]).name for words in ran if words[0] == "compose"]
    assert composed == ["train", "test_noises", "unseen_pictures", "unseen_sounds", "unseen"]
    assert sum(words[0] == "train" for words in ran) == 1


def test_what_the_last_steps_need_is_checked_first(scripts, tmp_path, monkeypatch):
    make = scripts["make_model"]
    make.check_before(None)
    make.check_before(FOLDER.parents[1])
    with pytest.raises(SystemExit, match="must be a clone of auss"):
        make.check_before(tmp_path)
    monkeypatch.setattr(make, "EFFICIENTNET_PACKAGE", "no-such-package")
    with pytest.raises(SystemExit, match="pip install no-such-package"):
        make.check_before(None)


def test_the_card_has_the_scores_and_what_the_model_hears(scripts, tmp_path):
    (tmp_path / "scores" / "test").mkdir(parents=True)
    (tmp_path / "scores" / "test" / "s4-test-own.json").write_text(json.dumps({"M_J": 0.71234, "M_F": 0.8}))
    settings = {"steps": 9, "batch_size": 2, "image_size": 96, "preset": "auss-demo"}
    (tmp_path / "arguments.json").write_text(json.dumps(settings))
    for path in ("train/big_drum/a.wav", "train/big_drum/b.wav", "train/cat/a.wav", "unseen/cat/a.wav"):
        (tmp_path / "objects" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "objects" / path).touch()
    scripts["model_card"].write_stamps_card(tmp_path, tmp_path / "scores", tmp_path, tmp_path / "objects")
    card = (tmp_path / "README.md").read_text()
    assert "| new compositions, one object sounds | 0.712 | 0.800 |  |  |" in card
    assert "the 2 things below" in card and "big drum, cat." in card and "9 steps of 2 clips at 96 x 96" in card
    assert "both of\n1, so these rows" in card


def test_the_model_is_halved_and_installed_with_the_things_of_the_demo(
    scripts, tiny_model, tiny_processor, tmp_path, monkeypatch
):
    make, out, clone = scripts["make_model"], tmp_path / "out", tmp_path / "clone"
    tiny_model.save_pretrained(out / "model", with_code=False)
    tiny_processor.save_pretrained(out / "model", with_code=False)
    for name in make.DEMO_THINGS:
        pixels = np.zeros((500, 400, 4), np.uint8)
        pixels[50:450, 50:350] = 255
        folder = out / "objects" / "train" / name
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "one.png")
        soundfile.write(folder / "one.wav", 0.3 * np.sin(np.arange(9000) / 5), 16_000)
    monkeypatch.setattr(make, "MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match="the weights take .* bytes, more than 10000"):
        make.ship(out)
    monkeypatch.setattr(make, "MOST_BYTES", 12_000_000)
    make.ship(out)
    make.install(out, clone)
    make.install(out, clone)  # in place of the earlier one
    known = json.loads((clone / "hub" / "stamps" / "categories.json").read_text())
    assert known == sorted(make.DEMO_THINGS)
    library = ObjectLibrary(clone / "demo" / "things")
    library.check()
    assert list(library.sounding) == known and not library.messages
    assert max(Image.open(clone / "demo/things/cow/one.png").size) == 320
