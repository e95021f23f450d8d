"""Executes the notebooks of this folder from beginning to end, and saves what they show.

`python examples/notebooks/run.py` executes all of them in temporary folders and saves them with their outputs, so that
they can be read without being run. Pictures are saved as small JPEGs. Three frames are saved in place of a video, and
progress bars are left out, so that a notebook stays under `MOST_BYTES`.
"""

import argparse
import base64
import io
import os
import re
import sys
import sysconfig
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from PIL import Image

import auss

FOLDER = Path(__file__).resolve().parent
NAMES = ("segment_a_video", "fine_tune_on_your_clips", "reproduce_a_row")
MOST_BYTES = 400_000
# The largest width of a picture in pixels, and JPEG's quality. The first pair that makes it small enough is taken.
PICTURE_SIZES = ((900, 70), (900, 45), (700, 45), (500, 45))
PICTURE_BYTES = 100_000
STRIP_FRAMES = 3
PARAMETERS, ADDED = "parameters", "added"  # tags of cells; `ADDED` marks those that are never saved
# Progress bars; tqdm's warning that it shows them as text where ipywidgets is missing; torch's that there is no GPU.
NOISE = re.compile(r"\d+%\|.*\||TqdmWarning|import tqdm as notebook_tqdm|'pin_memory'|super\(\).__init__\(loader\)")
TRAINER_BAR = re.compile(r"<div>\s*<progress.*?</div>", flags=re.DOTALL)
PACKAGE = str(Path(auss.__file__).resolve().parent)
PICTURES = ("image/png", "image/jpeg", "image/gif")


def read_notebook(
    name: str, parameters: Mapping[str, Any] | None = None, left_out: Collection[str] = ()
) -> NotebookNode:
    """
    Reads a notebook without outputs, and adds cells that are not saved: the given parameters, and a check of the exit
    status after each command, which Jupyter itself ignores.

    Args:
        name: one of `NAMES`.
        parameters: values for names that the notebook's parameters cell sets, in place of those.
        left_out: the ids of cells that are left out.

    Raises:
        ValueError: the parameters cell does not set such a name.
    """
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    cells = []
    for cell in notebook.cells:
        if cell.id in left_out:
            continue
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        cell.outputs = []
        if PARAMETERS in cell.metadata.get("tags", ()) and parameters:
            unknown = [key for key in parameters if not re.search(rf"^{key} = ", cell.source, flags=re.MULTILINE)]
            if unknown:
                raise ValueError(f"{name} has no parameter {', '.join(unknown)}")
            source = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
            cells.append(new_code_cell(source, metadata={"tags": [ADDED]}))
        if re.search(r"^!", cell.source, flags=re.MULTILINE):
            cells.append(new_code_cell("assert _exit_code == 0, _exit_code", metadata={"tags": [ADDED]}))
    notebook.cells = cells
    return notebook


def execute(notebook: NotebookNode, folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """
    Executes a notebook's cells in a new kernel of this interpreter, and puts their outputs into the notebook.

    Args:
        folder: the working directory of the kernel.
        environment: more environment variables for the kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell or a command failed.
    """
    # Notebooks call the command `auss`, which lies beside this interpreter, even if that folder is not on the path.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, "PATH": path, **(environment or {})})


def as_jpeg(picture: Image.Image) -> str:
    """Returns a picture as a small JPEG in base64."""
    picture = picture.convert("RGBA")
    page = Image.new("RGB", picture.size, "white")
    page.paste(picture, mask=picture.getchannel("A"))
    content = b""
    for width, quality in PICTURE_SIZES:
        if page.width > width:
            page = page.resize((width, round(page.height * width / page.width)), Image.Resampling.LANCZOS)
        memory = io.BytesIO()
        page.save(memory, format="JPEG", quality=quality, optimize=True)
        content = memory.getvalue()
        if len(content) <= PICTURE_BYTES:
            break
    return base64.b64encode(content).decode()


def film_strip(video: bytes) -> Image.Image:
    """Returns evenly spread frames of a video side by side."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        path.write_bytes(video)
        pictures = [frame.picture for frame in auss.VideoReader(path).frames()]
    chosen = [pictures[(2 * index + 1) * len(pictures) // (2 * STRIP_FRAMES)] for index in range(STRIP_FRAMES)]
    return Image.fromarray(np.concatenate(chosen, axis=1))


def small_output(output: NotebookNode) -> NotebookNode | None:
    """Returns an output of a cell as it is saved, or None if nothing is left of it."""
    if output.output_type == "stream":
        lines = [line for line in output.text.splitlines(keepends=True) if not NOISE.search(line)]
        output.text = "".join(lines).replace(PACKAGE, "auss")  # where it lies on this machine is nobody's concern
        return output if output.text.strip() else None
    data = output.get("data", {})
    found = next((kind for kind in PICTURES if kind in data), None)
    video = re.search(r'<video.*?src="data:video/\w+;base64,([^"]*)"', data.get("text/html", ""), flags=re.DOTALL)
    if found:
        picture = as_jpeg(Image.open(io.BytesIO(base64.b64decode(data[found])), formats=["PNG", "JPEG"]))
    elif video:
        picture = as_jpeg(film_strip(base64.b64decode(video[1])))
    else:
        if TRAINER_BAR.search(data.get("text/html", "")):
            data["text/html"] = TRAINER_BAR.sub("", data["text/html"]).strip()
            return output if data["text/html"] else None
        return output
    output.data = NotebookNode({"image/jpeg": picture, "text/plain": data.get("text/plain", "")})
    output.metadata = NotebookNode()  # it has the size of the picture before
    return output


def tidy(notebook: NotebookNode) -> None:
    """Leaves in an executed notebook what is saved: its own cells, without counts, and small outputs."""
    notebook.cells = [cell for cell in notebook.cells if ADDED not in cell.metadata.get("tags", ())]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [small for output in cell.outputs if (small := small_output(output)) is not None]
            cell.execution_count = None
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = None
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = NotebookNode(kernelspec=kernel, language_info={"name": "python"})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(NAMES)}; default all of them")
    names = parser.parse_args().names or NAMES
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        parser.error(f"there is no notebook {', '.join(unknown)}")
    for name in names:
        print(f"{name} ...", flush=True)
        began = time.monotonic()
        notebook = read_notebook(name)
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, Path(folder))
        tidy(notebook)
        text = nbformat.writes(notebook) + "\n"
        if len(text.encode()) > MOST_BYTES:
            sys.exit(
                f"{name} takes {len(text.encode())} bytes with its outputs, more than {MOST_BYTES}; nothing saved"
            )
        (FOLDER / f"{name}.ipynb").write_text(text, encoding="utf-8")
        print(f"{name}: {time.monotonic() - began:.0f} s, saved in {len(text.encode()) / 1000:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
