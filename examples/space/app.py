"""The page of `auss web` as a Space. README.md says what goes into the Space's repository."""

import os
import threading
from pathlib import Path

from auss.hub.shipped_model import chosen_model
from auss.web.server import load_models, served_page
from auss.web.settings import MEGABYTE, Limits, PageSettings

OWN_MODEL = Path(os.environ.get("AUSS_MODEL", Path(__file__).resolve().parent / "model"))
LIMITS = Limits(
    seconds=float(os.environ.get("AUSS_MAX_SECONDS", "60")),
    bytes=round(MEGABYTE * float(os.environ.get("AUSS_MAX_MEGABYTES", "100"))),
)


def main() -> None:
    """Serves the page until the Space stops. A Space tells by GRADIO_SERVER_NAME where it listens."""
    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    # Without a model of one's own, the small one that comes with auss is used.
    models = load_models([chosen_model(OWN_MODEL if OWN_MODEL.exists() or "AUSS_MODEL" in os.environ else None)])
    with served_page(models, PageSettings(limits=LIMITS), host, port) as address:
        print(f"The page is at {address}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
