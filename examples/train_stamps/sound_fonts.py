"""Plays short melodies with the recorded notes of a SoundFont 2 file.

Only what the melodies need is read: which sample a note of an instrument has, its pitch and its loop. Filters,
envelopes and effects of the font are left out.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RATE = 16_000
SECONDS = 6.0
DRUM_BANK = 128
# Generators of SoundFont 2.04, section 8.1.
INSTRUMENT, KEY_RANGE, SAMPLE, LOOPS, ROOT_KEY = 41, 43, 53, 54, 58

RECORDS: dict[str, list[tuple[str, Any]]] = {
    "phdr": [("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("rest", "V12")],
    "pbag": [("generator", "<u2"), ("modulator", "<u2")],
    "pgen": [("kind", "<u2"), ("value", "<u2")],
    "inst": [("name", "S20"), ("bag", "<u2")],
    "ibag": [("generator", "<u2"), ("modulator", "<u2")],
    "igen": [("kind", "<u2"), ("value", "<u2")],
    "shdr": [
        ("name", "S20"),
        ("start", "<u4"),
        ("end", "<u4"),
        ("loop_start", "<u4"),
        ("loop_end", "<u4"),
        ("rate", "<u4"),
        ("key", "u1"),
        ("correction", "i1"),
        ("link", "<u2"),
        ("kind", "<u2"),
    ],
}


class Zone(NamedTuple):
    """A sample of an instrument: number, MIDI notes, the note that it was recorded at, whether it loops."""

    sample: int
    lowest: int
    highest: int
    root: int
    loops: bool


class SoundFont:
    """The samples and instruments of a SoundFont 2 file."""

    def __init__(self, path: Path):
        content = path.read_bytes()
        if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
            raise ValueError(f"{path} is no SoundFont 2 file")
        self.tables: dict[str, np.ndarray] = {}
        place = 12
        while place + 8 <= len(content):
            name, size = (
                content[place : place + 4].decode("latin-1"),
                int.from_bytes(content[place + 4 : place + 8], "little"),
            )
            if name == "LIST":  # its members follow after the name of the list
                place += 12
                continue
            if name == "smpl":
                self.samples = np.frombuffer(content, "<i2", size // 2, place + 8)
            elif name in RECORDS:
                layout = np.dtype(RECORDS[name])
                self.tables[name] = np.frombuffer(content, layout, size // layout.itemsize, place + 8)
            place += 8 + size + size % 2

    def _bags(self, head: str, number: int) -> list[dict[int, int]]:
        """Returns the generators, kind -> value, of every bag of a preset ("p") or an instrument ("i")."""
        heads = self.tables["phdr" if head == "p" else "inst"]
        bags, generators = self.tables[f"{head}bag"], self.tables[f"{head}gen"]
        return [
            {int(one["kind"]): int(one["value"]) for one in generators[int(first) : int(last)]}
            for first, last in zip(
                bags["generator"][heads[number]["bag"] : heads[number + 1]["bag"]],
                bags["generator"][heads[number]["bag"] + 1 : heads[number + 1]["bag"] + 1],
                strict=True,
            )
        ]

    def zones(self, program: int, bank: int = 0) -> list[Zone]:
        """Returns the zones of a preset. ValueError if the font does not have it."""
        presets = self.tables["phdr"]
        (found,) = np.nonzero((presets["program"][:-1] == program) & (presets["bank"][:-1] == bank))
        if not len(found):
            raise ValueError(f"the font has no program {program} in bank {bank}")
        zones = []
        for outer in self._bags("p", int(found[0])):
            if INSTRUMENT not in outer:
                continue
            for inner in self._bags("i", outer[INSTRUMENT]):
                if SAMPLE not in inner:
                    continue
                keys = inner.get(KEY_RANGE, 0x7F00)
                header = self.tables["shdr"][inner[SAMPLE]]
                root = inner.get(ROOT_KEY, int(header["key"]))
                root = int(header["key"]) if root > 127 else root
                zones.append(Zone(inner[SAMPLE], keys & 255, keys >> 8, root, inner.get(LOOPS, 0) & 1 == 1))
        return zones

    def note(self, zones: list[Zone], key: int, seconds: float, plucked: bool) -> np.ndarray:
        """Plays a MIDI note: (samples,) float32. A note without a zone of its own takes the nearest zone."""
        zone = min(zones, key=lambda one: (max(one.lowest - key, key - one.highest, 0), abs(one.root - key)))
        header = self.tables["shdr"][zone.sample]
        start, end = int(header["start"]), int(header["end"])
        wave = self.samples[start:end].astype(np.float32) / 2**15
        semitones = key - zone.root + header["correction"] / 100
        places = np.arange(round(seconds * RATE)) * (2 ** (semitones / 12) * header["rate"] / RATE)
        loop_start, loop_end = int(header["loop_start"]) - start, int(header["loop_end"]) - start
        if zone.loops and 0 <= loop_start < loop_end:
            late = places >= loop_end
            places[late] = loop_start + (places[late] - loop_start) % (loop_end - loop_start)
        played = np.interp(places, np.arange(len(wave)), wave, right=0.0).astype(np.float32)
        time = np.arange(len(played)) / RATE
        played *= np.minimum(1, np.minimum(time / 0.005, (seconds - time) / 0.05))
        return played * np.exp(-time / 0.6).astype(np.float32) if plucked else played


def play_melody(font: SoundFont, instrument: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Plays `SECONDS` of random notes of an instrument of the catalogue: (samples,) float32, at most 0.9."""
    melody = np.zeros(round((SECONDS + 2) * RATE), np.float32)
    kit = instrument.get("kit")
    zones = font.zones(0, DRUM_BANK) if kit else font.zones(int(rng.choice(instrument["programs"])))
    key = None if kit else int(rng.integers(instrument["lowest"], instrument["highest"] + 1))
    beat, place, step = rng.uniform(0.18, 0.45), 0.0, 0
    while place < SECONDS:
        length = beat * (1 if kit else rng.choice([1, 1, 2, 3]))
        if kit:
            note = kit[step % len(kit)] if len(kit) > 3 else int(rng.choice(kit))
            played = font.note([one for one in zones if one.lowest <= note <= one.highest], note, 1.6, False)
            length = beat * (1 if len(kit) > 3 else rng.choice([2, 3]))
        else:
            assert key is not None
            key = int(np.clip(key + rng.integers(-5, 6), instrument["lowest"], instrument["highest"]))
            played = font.note(zones, key, min(1.8, length * 1.1), bool(instrument.get("plucked")))
        begin = round(place * RATE)
        melody[begin : begin + len(played)] += played * np.float32(rng.uniform(0.6, 1))
        place, step = place + length, step + 1
    melody = melody[: round(SECONDS * RATE)]
    return melody * np.float32(0.9 / max(float(np.abs(melody).max()), 1e-6))


__all__ = ["RATE", "SoundFont", "play_melody"]
