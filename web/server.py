"""`auss web`: serves the page until Ctrl-C."""

import argparse
import importlib.util
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..files.errors import InputError, MissingPackageError
from ..files.file_names import printable
from ..hub.shipped_model import SHIPPED_FOLDER, SHIPPED_NAME, chosen_model
from ..hub.trained_model import load_model
from ..inference.arguments import mask_options
from ..inference.parameters import window_and_stride
from ..inference.sound_windows import window_seconds
from .arguments import DEFAULT_HOST, DEFAULT_PORT, upload_limits
from .jobs import Jobs
from .settings import PageSettings
from .upload import Model
from .visitors import Visitors

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


def check_gradio() -> None:
    """Raises ImportError if Gradio is not installed."""
    if importlib.util.find_spec("gradio") is None:
        raise MissingPackageError("the web page needs Gradio: pip install 'gradio>=6'")


def model_names(folders: Sequence[Path]) -> list[str]:
    """Names for models on the page: the names of their folders, with the folder above where two are equal."""
    names = [SHIPPED_NAME if folder == SHIPPED_FOLDER else Path(os.path.abspath(folder)).name for folder in folders]
    repeated = {name for name in names if names.count(name) > 1}
    return [
        f"{Path(os.path.abspath(folder)).parent.name}/{name}" if name in repeated else name
        for name, folder in zip(names, folders, strict=True)
    ]


def load_models(
    folders: Sequence[Path], device: str = "auto", threads: int | None = None, trust_remote_code: bool = False
) -> dict[str, Model]:
    """
    Loads all models of the page, by their names. `device`, `threads` and `trust_remote_code` are as `load_model` takes
    them.

    Raises:
        FileNotFoundError, ValueError: as `load_model`; or two folders have the same name on the page.
    """
    folders = list(dict.fromkeys(folders))
    names = model_names(folders)
    if len(set(names)) < len(names):
        raise InputError(f"the models' folders must have different names, got {', '.join(map(printable, names))}")
    return {
        name: load_model(folder, device, threads, trust_remote_code)
        for name, folder in zip(names, folders, strict=True)
    }


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder for all files of the visitors, which only this user can read. It is deleted at the end."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="auss-web-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


@contextmanager
def served_page(
    models: Mapping[str, Model],
    settings: PageSettings | None = None,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
) -> Iterator[str]:
    """
    Serves the page during a `with` statement, which gets its address.

    Args:
        models: the models by the names that the page shows.
        settings: what the page starts with; `None` for the defaults.
        host, port: where the page answers.

    Raises:
        OSError: the port is taken, or there is no such host.
    """
    check_gradio()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio would send what is used
    from .page import build_page, launch_page

    with private_folder() as folder:
        visitors = Visitors(folder)
        jobs = Jobs(visitors)
        settings = settings if settings is not None else PageSettings()
        page = build_page(models, settings, visitors, jobs)
        try:
            address = launch_page(page, host, port, settings.limits, visitors)
        except OSError as error:
            if "empty port" in str(error):
                raise OSError(
                    f"the page cannot answer at {host}, port {port}: the port is taken, or this machine does not have "
                    "that address. Choose others with --host and --port"
                ) from error
            raise
        try:
            yield address
        finally:
            jobs.stop_all()
            page.close(verbose=False)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command until Ctrl-C or SIGTERM."""
    check_gradio()
    folders = [chosen_model(arguments.model), *arguments.more_models]
    models = load_models(folders, arguments.device, arguments.threads, arguments.trust_remote_code)
    options = mask_options(arguments)
    for network, _ in models.values():  # a window that a model does not take is refused now, not at each upload
        window_and_stride(window_seconds(network), options["window"], options["stride"])
    settings = PageSettings(
        options.pop("fps"), options.pop("threshold"), options, arguments.audio_track, upload_limits(arguments)
    )
    with served_page(models, settings, arguments.host, arguments.port) as address:
        print(f"auss web: {address} shows the page. Ctrl-C ends it.", flush=True)
        if arguments.host not in LOOPBACK:
            print("Other machines reach the page, and it has no password.", flush=True)
        threading.Event().wait()
    return 0


__all__ = ["load_models", "run", "served_page"]
