"""Serves the page with a small model, and calls it as the browser does, for tests."""

import json
import socket
import uuid
from pathlib import Path

import torch

from auss.modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from auss.processing.feature_extraction_auss import AussFeatureExtractor
from auss.processing.processing_auss import AussProcessor
from auss.processing.video_processing_auss import AussVideoProcessor
from auss.web.server import served_page


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def tiny_page(make_config, settings=None):
    """A `with` statement that serves the page with the network of the tests; it gets the address."""
    torch.manual_seed(0)
    processor = AussProcessor(
        feature_extractor=AussFeatureExtractor(),
        video_processor=AussVideoProcessor(size={"height": 32, "width": 32}),
    )
    model = AussForAudioVisualSegmentation(make_config()).eval()
    return served_page({"tiny": (model, processor)}, settings, port=free_port())


class PageClient:
    """A visitor with a cookie and an open page, without a browser."""

    def __init__(self, address: str):
        import httpx

        self.http = httpx.Client(base_url=address, timeout=60)
        self.session = uuid.uuid4().hex
        self.calls = {one["api_name"]: one["id"] for one in self.http.get("/config").json()["dependencies"]}

    def upload(self, path: Path) -> dict:
        """Uploads a file and returns it as an argument of a call."""
        with path.open("rb") as content:
            answer = self.http.post("/gradio_api/upload", files={"files": (path.name, content)})
        answer.raise_for_status()
        return {"path": answer.json()[0], "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def join(self, name: str, *values):
        """Starts a call and returns the answer."""
        body = {"data": values, "fn_index": self.calls[name], "session_hash": self.session, "trigger_id": 1}
        return self.http.post("/gradio_api/queue/join", json=body)

    def messages(self):
        """Yields what the server says of this page's calls, until all of them are done."""
        asked = {"session_hash": self.session}
        with self.http.stream("GET", "/gradio_api/queue/data", params=asked) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line.removeprefix("data:"))
                    if message["msg"] == "close_stream":
                        return
                    yield message

    def call(self, name: str, *values) -> list:
        """Makes a call and returns its outputs."""
        self.join(name, *values).raise_for_status()
        (done,) = (one for one in self.messages() if one["msg"] == "process_completed")
        assert done["success"], done
        return done["output"]["data"]

    def file(self, path: str):
        """Asks for a file of the server."""
        return self.http.get(f"/gradio_api/file={path}")


__all__ = ["PageClient", "tiny_page"]
