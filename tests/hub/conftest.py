"""Fixtures: a stand-in for the Hub on this machine, and a Python environment without auss."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import sysconfig
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, constants


class StandInHub:
    """Repositories in memory. Writing needs the token.

    `commits` holds the commits of each repository, the oldest first; a commit is a dict of file name -> contents.
    `branches` holds the branches of each repository: branch name -> index of the branch's last commit.
    """

    token = "hf_stand_in"

    def __init__(self):
        self.commits: dict[str, list[dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, int]] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[str] = []  # "METHOD path"
        self.url = ""

    def commit_hash(self, repo_id: str, revision: str = "main") -> str:
        return f"{self.branches[repo_id][revision]:040x}" if revision in self.branches[repo_id] else revision

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        return self.commits[repo_id][int(self.commit_hash(repo_id, revision), 16)]

    def create(self, repo_id: str) -> bool:
        """Creates a repository with one empty commit. Returns False if the repository exists already."""
        if repo_id in self.commits:
            return False
        self.commits[repo_id], self.branches[repo_id] = [{}], {"main": 0}
        return True

    def info(self, repo_id: str, revision: str = "main") -> dict:
        files = self.files(repo_id, revision)
        card = ModelCard(files["README.md"].decode()).data if "README.md" in files else None
        return {
            "id": repo_id,
            "sha": self.commit_hash(repo_id, revision),
            "siblings": [{"rfilename": name} for name in files],
            "tags": card.tags if card else [],
            "pipeline_tag": card.pipeline_tag if card else None,
            "library_name": card.library_name if card else None,
        }

    def preupload(self, payload: dict) -> dict:
        """Answers that weights are uploaded as large files. The .gitattributes of the real Hub say the same."""
        modes = {True: "lfs", False: "regular"}
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": modes[file["path"].endswith(".safetensors")],
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in payload["files"]
            ]
        }

    def batch(self, payload: dict) -> dict:
        objects = []
        for wanted in payload["objects"]:
            action = {"upload": {"href": f"{self.url}/large-files/{wanted['oid']}"}}
            objects.append({**wanted, **({} if wanted["oid"] in self.large_files else {"actions": action})})
        return {"transfer": "basic", "objects": objects}

    def commit(self, repo_id: str, branch: str, lines: list[dict]) -> dict:
        files = dict(self.files(repo_id, branch))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large_files[value["oid"]]
                assert len(files[value["path"]]) == value["size"]
            else:
                assert line["key"] == "header", line
        self.branches[repo_id][branch] = len(self.commits[repo_id])
        self.commits[repo_id].append(files)
        oid = self.commit_hash(repo_id, branch)
        return {
            "success": True,
            "commitOid": oid,
            "commitUrl": f"{self.url}/{repo_id}/commit/{oid}",
            "pullRequestUrl": f"{self.url}/{repo_id}/discussions/1",
        }


class StandInHandler(BaseHTTPRequestHandler):
    """The part of the Hub's HTTP interface that pushing and loading use; see hf_api.py of huggingface_hub."""

    hub: StandInHub
    protocol_version = "HTTP/1.1"
    log_message = staticmethod(lambda *_: None)

    def answer(self, content: dict | bytes = b"", status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        """Returns the body of the request, which was sent as a whole or in chunks."""
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def parts(self) -> list[str]:
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        return path.strip("/").split("/")

    def do_POST(self):
        parts, body, hub = self.parts(), self.body(), self.hub
        if parts == ["api", "validate-yaml"]:
            return self.answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.answer(status=401)
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            repo_id = f"{asked['organization']}/{asked['name']}"
            return self.answer({"url": f"{hub.url}/{repo_id}"}, status=200 if hub.create(repo_id) else 409)
        if parts[2:] == ["info", "lfs", "objects", "batch"]:
            return self.answer(hub.batch(json.loads(body)))
        repo_id, action, branch = "/".join(parts[2:4]), parts[4], parts[5]
        if action == "branch":
            hub.branches[repo_id][branch] = hub.branches[repo_id]["main"]
            return self.answer({})
        if action == "preupload":
            return self.answer(hub.preupload(json.loads(body)))
        assert action == "commit", self.path
        if "create_pr=1" in self.path:
            hub.branches[repo_id]["refs/pr/1"] = hub.branches[repo_id][branch]
            branch = "refs/pr/1"
        return self.answer(hub.commit(repo_id, branch, [json.loads(line) for line in body.splitlines()]))

    def do_PUT(self):
        kind, digest = self.parts()
        body = self.body()
        assert kind == "large-files" and hashlib.sha256(body).hexdigest() == digest
        self.hub.large_files[digest] = body
        self.answer()

    def do_GET(self):
        parts, hub = self.parts(), self.hub
        is_interface = parts[:2] == ["api", "models"]
        repo_id, *rest = ["/".join(parts[2:4]), *parts[4:]] if is_interface else ["/".join(parts[:2]), *parts[2:]]
        if repo_id not in hub.commits:
            return self.answer(status=404, X_Error_Code="RepoNotFound")
        if is_interface and rest[:1] in ([], ["revision"]):
            return self.answer(hub.info(repo_id, *rest[1:]))
        if is_interface or rest[0] != "resolve":
            return self.answer(status=404, X_Error_Code="EntryNotFound")
        revision, name = rest[1], "/".join(rest[2:])
        commit = {"X_Repo_Commit": hub.commit_hash(repo_id, revision)}
        content = hub.files(repo_id, revision).get(name)
        if content is None:
            return self.answer(status=404, X_Error_Code="EntryNotFound", **commit)
        return self.answer(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', **commit)

    do_HEAD = do_GET


@pytest.fixture
def hub():
    """A `StandInHub` that listens on this machine."""
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (StandInHandler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def at_hub(hub, monkeypatch, tmp_path):
    """Makes huggingface_hub use the stand-in instead of the Hub."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    resolve = socket.getaddrinfo

    def resolve_here(host, *args, **kwargs):
        assert host == "127.0.0.1", f"{host} was asked, not the stand-in"
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # this object remembers the real Hub
    return hub


class Stranger:
    """An environment with the packages that are installed here, except auss. A package's name must start with one of
    `prefixes`."""

    def __init__(self, folder: Path, prefixes: tuple[str, ...] = ("",), with_pip: bool = False):
        venv.create(folder / "venv", with_pip=with_pip)
        self.python = folder / "venv" / "bin" / "python"
        # Link each installed package, not the whole folder. The folder may hold auss too, or a .pth file that leads to
        # auss. Python follows the .pth files only of its own folder.
        installed = Path(sysconfig.get_path("purelib"))
        links = folder / "dependencies"
        links.mkdir()
        for path in installed.iterdir():
            if path.name.startswith(prefixes) and "auss" not in path.name.lower() and path.suffix != ".pth":
                (links / path.name).symlink_to(path)
        (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site_packages / "dependencies.pth").write_text(f"{links}\n")

    def run(self, program: str, folder: Path, **environment: str) -> str:
        """Runs a program and returns its output. `folder` is its working directory and holds its caches."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "HF_"))}
        threads = str(torch.get_num_threads())  # other counts round sums in another order
        done = subprocess.run(
            [str(self.python), "-c", program],
            env={**inherited, "OMP_NUM_THREADS": threads, "HF_HOME": str(folder / "cache"), **environment},
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout


@pytest.fixture
def bare_stranger(tmp_path):
    """An environment with pip. Of the packages installed here it has only torch, whose download takes gigabytes."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    return Stranger(folder, ("torch", "functorch", "nvidia", "cuda", "triton"), with_pip=True)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    return Stranger(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def processor(tiny_processor):
    return tiny_processor


@pytest.fixture
def clip():
    """Two seconds of frames and sound, in the form that the pipeline takes."""
    random = np.random.default_rng(0)
    return {
        "frames": random.integers(0, 255, (4, 24, 32, 3), dtype=np.uint8),
        "audio": random.normal(0, 0.1, 32_000).astype(np.float32),
        "sampling_rate": 16_000,
    }
