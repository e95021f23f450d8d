import os
import socket
from pathlib import Path

import pytest

from auss.cli import main
from auss.files.errors import InputError, MissingPackageError
from auss.hub.shipped_model import SHIPPED_FOLDER
from auss.web import server


def test_models_are_named_by_their_folders_and_by_the_folder_above_if_two_are_equal():
    folders = [Path("a/model"), Path("b/model"), Path("c/piano"), SHIPPED_FOLDER]
    assert server.model_names(folders) == ["a/model", "b/model", "piano", "auss-stamps"]


def test_models_that_cannot_be_told_apart_are_refused():
    with pytest.raises(InputError, match="different names"):
        server.load_models([Path("x/a/model"), Path("y/a/model")])


def test_a_model_that_is_given_twice_is_loaded_once(monkeypatch):
    monkeypatch.setattr(server, "load_model", lambda *given: given)
    assert server.load_models([Path("m"), Path("m")], "cpu", 2) == {"m": (Path("m"), "cpu", 2, False)}


def test_the_visitors_files_are_private_and_deleted(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    with server.private_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "video.mp4").touch()
    assert not folder.exists() and os.environ["GRADIO_TEMP_DIR"] == "before"
    monkeypatch.delenv("GRADIO_TEMP_DIR")
    with server.private_folder():
        pass
    assert "GRADIO_TEMP_DIR" not in os.environ


def test_a_window_that_the_model_does_not_take_is_refused_at_the_start(model_folder, capsys):
    pytest.importorskip("gradio")
    assert main(["web", "--model", str(model_folder), "--device", "cpu", "--window", "100"]) == 2
    assert "auss web: window must be a positive number of seconds" in capsys.readouterr().err


def test_without_gradio_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install"), server.served_page({}):
        pass


def test_a_taken_port_is_an_error_that_names_the_option(tiny_model, tiny_processor):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(OSError, match=f"{port}.*--port"),
            server.served_page({"tiny": (tiny_model, tiny_processor)}, port=port),
        ):
            pass
