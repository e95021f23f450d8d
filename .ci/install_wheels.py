"""Installs what setup.cfg requires, with the named extras, into the environment of the Python that runs this.

pip unpacks one package after the other, and the libraries of CUDA that belong to torch have five gigabytes, so one
core works for minutes. Here pip downloads everything first, and one process a core unpacks its share. `pip install`
installs whatever is missing afterwards, so it does not matter if this fails. For example:
`python .ci/install_wheels.py test,quality`.
"""

import configparser
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PIP = [sys.executable, "-m", "pip"]
SETTINGS = Path(__file__).resolve().parent.parent / "setup.cfg"


def requirements(extras: list[str]) -> list[str]:
    config = configparser.ConfigParser()
    config.read(SETTINGS, encoding="utf-8")
    wanted = [config["options"]["install_requires"], *(config["options.extras_require"][name] for name in extras)]
    lines = [line.strip() for text in wanted for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def shares(files: list[Path], count: int) -> list[list[Path]]:
    """Divides the files among `count` processes, so that all have about as many bytes."""
    parts: list[list[Path]] = [[] for _ in range(count)]
    sizes = [0] * count
    for file in sorted(files, key=lambda file: -file.stat().st_size):
        least = sizes.index(min(sizes))
        parts[least].append(file)
        sizes[least] += file.stat().st_size
    return [part for part in parts if part]


def main(extras: list[str]) -> int:
    if importlib.util.find_spec("torch"):  # what is installed would be downloaded again
        return 0
    with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
        subprocess.run([*PIP, "download", "--progress-bar", "off", "-d", folder, *requirements(extras)], check=True)
        install = [*PIP, "install", "--quiet", "--no-deps", "--no-compile", "--no-warn-conflicts"]
        parts = shares(list(Path(folder).iterdir()), os.cpu_count() or 1)
        running = [subprocess.Popen([*install, *map(str, part)]) for part in parts]
        return max([process.wait() for process in running], default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].split(",")))
