"""The page of `auss web`: what stands on it, and what happens when a visitor does something."""

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes import Default
from starlette.middleware import Middleware

from ..files.errors import AussError
from ..files.outside_text import markdown_text
from ..hub.shipped_model import SHIPPED_NAME, has_default_model, known_categories, known_in_words
from .jobs import CancelledError, Job, Jobs, Page
from .settings import Limits, PageSettings
from .upload import Model, found_lines, segment_upload, shown_mask, visible_text
from .visitors import COOKIE, OwnFilesOnly, Visitors

logger = logging.getLogger(__name__)

TITLE = "auss: what in a video makes the sound?"
INTRODUCTION = (
    "# What in a video makes the sound?\n"
    "Drop a video or record one. The page marks what sounds in it, and gives you video, masks and their times. "
)
DOWNLOADS = {"video": "Video", "masks": "Masks (zip)", "times": "Times (JSON)"}
EVERY_FRAME = "every frame"
RATES = (1.0, 2.0, 5.0, 10.0)
FRESH = "Choose a video, then press **Segment**."
PROGRESS = gr.Progress()  # Gradio gives a progress bar to functions that have such a default
CLEANING_SECONDS, KEPT_SECONDS = 600, 6 * 3600  # all files that are older than this are deleted
FOLDER = Path(__file__).parent
# The fonts of the visitor's system. Gradio's themes would fetch theirs from another server.
FONTS, MONOSPACED_FONTS = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")


def rate_choices(fps: float | None) -> list[str]:
    """The choices of masks a second, with the given one among them."""
    rates = sorted({*RATES, *([fps] if fps is not None else [])})
    return [*(f"{rate:g}" for rate in rates), EVERY_FRAME]


class PageActions:
    """What happens on the page. Gradio calls these methods in threads, several at a time.

    Args:
        models: the models by the names that the page shows.
        settings: the settings of the page.
        visitors: the visitors and their files.
        jobs: the jobs of the open pages.
    """

    def __init__(self, models: Mapping[str, Model], settings: PageSettings, visitors: Visitors, jobs: Jobs):
        self.models, self.settings, self.visitors, self.jobs = models, settings, visitors, jobs

    def page_of(self, request: gr.Request) -> Page:
        """The page from which a request comes. Only requests with a valid cookie reach Gradio."""
        visitor = self.visitors.visitor(request.cookies.get(COOKIE))
        if visitor is None or request.session_hash is None:
            raise gr.Error("This page needs its cookie: allow cookies for it, and load the page again.")
        return visitor, request.session_hash

    def begin(self, request: gr.Request):
        """Before the video waits in the queue: the earlier results go, and the job can be cancelled."""
        self.jobs.begin(self.page_of(request))
        return (
            *self.without_results("Working. Other visitors' videos may come first."),
            gr.Button(interactive=False),
            gr.Button(interactive=True),
        )

    def segment(
        self,
        video: str | None,
        rate: str,
        threshold: float,
        model_name: str,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ):
        """Segments the video. Whatever goes wrong is said on the page."""
        page = self.page_of(request)
        job = self.jobs.of(page) or self.jobs.begin(page)
        if not video:
            return self.without_results("**There is no video yet:** drop a file, or record one.")
        try:
            job.result = self._result(Path(video), rate, threshold, model_name, job, progress)
        except CancelledError:
            return self.without_results("Cancelled. Nothing was kept.")
        except (AussError, OSError) as error:
            return self.without_results(f"**This video cannot be segmented.** {spoken(error, Path(video))}")
        except Exception as error:
            logger.exception("an upload could not be segmented")
            reason = "there is not enough memory" if is_memory_error(error) else "this is a fault of auss"
            return self.without_results(f"**This video cannot be segmented:** {reason}. The server's log says more.")
        return self.with_results(job, model_name)

    def _result(self, video: Path, rate: str, threshold: float, model_name: str, job: Job, progress: gr.Progress):
        options = {
            **self.settings.options,
            "fps": None if rate == EVERY_FRAME else float(rate),
            "threshold": threshold,
        }

        def on_progress(done: float, seconds: float) -> None:
            progress(done / seconds, desc=f"Segmenting: {done:.1f} of {seconds:.1f} s")

        return segment_upload(
            video,
            job,
            self.models[model_name],
            options,
            self.settings.limits,
            on_progress,
            model_name,
            self.settings.audio_track,
        )

    def with_results(self, job: Job, model_name: str):
        """The outputs of a job that is done."""
        result = job.result
        known = known_categories() if model_name == SHIPPED_NAME and has_default_model() else ()
        first, *more = map(sentence, found_lines(result, known))
        lines = [f"**Done:** {result.seconds:.1f} s. {first}", *(f"- {line}" for line in more)]
        lines += [f"- Note: {markdown_text(line)}" for line in result.warnings]
        count = len(result.masks)
        return (
            "\n".join(lines),
            str(result.video),
            gr.Column(visible=True),
            str(result.video),
            str(result.archive),
            str(result.times),
            gr.Slider(maximum=max(count, 2), value=1, interactive=count > 1),
            *self.mask_outputs(job, 1),
        )

    def without_results(self, words: str):
        """The outputs while there is no result."""
        return (
            words,
            None,
            gr.Column(visible=False),
            *(None, None, None),
            gr.Slider(maximum=2, value=1, interactive=False),
            *(None, "", None),
        )

    def mask_outputs(self, job: Job, number: int):
        """A mask, a line about it, and its time. The first mask has the number 1."""
        if job.result is None or not 1 <= number <= len(job.result.masks):
            return None, "", None
        facts = job.result.masks[number - 1]
        line = (
            f"Mask {number} of {len(job.result.masks)}, at {facts.time:.2f} s: "
            f"{facts.share:.0%} of the picture sounds, highest score {facts.score:.2f}"
        )
        return str(shown_mask(job.result, number - 1)), line, facts.time

    def show_mask(self, number: float, request: gr.Request):
        """Shows the mask that the slider points to."""
        job = self.jobs.of(self.page_of(request))
        return self.mask_outputs(job, int(number)) if job is not None else (None, "", None)

    def end(self):
        """After the work: a new video can be started."""
        return gr.Button(interactive=True), gr.Button(interactive=False)

    def stop(self, request: gr.Request):
        """Cancels the job. It may still wait in the queue."""
        self.jobs.stop(self.page_of(request))
        return *self.without_results("Cancelled. Nothing was kept."), *self.end()

    def start_over(self, request: gr.Request):
        """A new video was chosen: the results belong to the earlier one."""
        self.jobs.forget(self.page_of(request))
        return *self.without_results(FRESH), *self.end()

    def leave(self, request: gr.Request) -> None:
        """The page was closed: its job stops and its results are deleted."""
        self.jobs.forget(self.page_of(request))


def spoken(error: Exception, video: Path) -> str:
    """An error's message as Markdown, without the path on the server."""
    return sentence(visible_text(error, video))


def sentence(text: str) -> str:
    """Returns a message of auss as Markdown, with a capital letter at the beginning."""
    return markdown_text(text[:1].upper() + text[1:])


def shipped_note() -> str:
    """A line that says what the shipped model knows."""
    return f"{SHIPPED_NAME} knows {known_in_words()}."


def is_memory_error(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"  # the latter is torch's


def setting_inputs(models: Mapping[str, Model], settings: PageSettings) -> tuple[gr.Radio, gr.Slider, gr.Dropdown]:
    """Puts the inputs for masks a second, threshold and model on the page that is being built."""
    rate = gr.Radio(
        rate_choices(settings.fps),
        value=f"{settings.fps:g}" if settings.fps is not None else EVERY_FRAME,
        label="Masks a second",
    )
    threshold = gr.Slider(
        0.0,
        1.0,
        settings.threshold,
        step=0.01,
        label="Threshold",
        info="A pixel sounds if its score is higher.",
    )
    names = list(models)
    known = shipped_note() if SHIPPED_NAME in names and has_default_model() else None
    model = gr.Dropdown(names, value=names[0], label="Model", info=known, interactive=len(names) > 1)
    return rate, threshold, model


def build_page(models: Mapping[str, Model], settings: PageSettings, visitors: Visitors, jobs: Jobs) -> gr.Blocks:
    """Builds the page. The environment variable GRADIO_TEMP_DIR must name the visitors' folder by then."""
    actions, limits = PageActions(models, settings, visitors, jobs), settings.limits
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(CLEANING_SECONDS, KEPT_SECONDS)) as page:
        gr.Markdown(INTRODUCTION + limits.in_words())
        with gr.Row():
            original = gr.Video(label="Your video", elem_id="original", height=340, min_width=320)
            marked = gr.Video(
                label="What sounds", elem_id="marked", interactive=False, height=340, min_width=320, buttons=[]
            )
        with gr.Row():
            with gr.Column():
                rate, threshold, model = setting_inputs(models, settings)
                with gr.Row():
                    start = gr.Button("Segment", variant="primary", elem_id="segment")
                    cancel = gr.Button("Cancel", interactive=False, elem_id="cancel")
            with gr.Column():
                status = gr.Markdown(FRESH, elem_id="status")
                with gr.Column(visible=False, elem_id="found") as found:
                    with gr.Row():
                        files = [
                            gr.DownloadButton(label, size="sm", min_width=90, elem_id=f"get-{name}")
                            for name, label in DOWNLOADS.items()
                        ]
                    slider = gr.Slider(1, 2, 1, step=1, label="Mask", elem_id="number")
                    line = gr.Markdown(elem_id="facts")
                    mask = gr.Image(
                        show_label=False, interactive=False, type="filepath", elem_id="mask", height=220, buttons=[]
                    )
        seconds = gr.Number(visible="hidden")
        shown = [mask, line, seconds]
        results = [status, marked, found, *files, slider, *shown]
        # Cancelling and looking at masks never wait behind somebody's video.
        at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
        work = start.click(actions.begin, None, [*results, start, cancel], **at_once).then(
            actions.segment,
            [original, rate, threshold, model],
            results,
            concurrency_limit=1,
            concurrency_id="segment",
            show_progress_on=[marked],
        )
        work.then(actions.end, None, [start, cancel], **at_once)
        cancel.click(actions.stop, None, [*results, start, cancel], cancels=[work], **at_once)
        original.change(actions.start_over, None, [*results, start, cancel], cancels=[work], **at_once)
        slider.input(actions.show_mask, slider, shown, trigger_mode="always_last", **at_once)
        seconds.change(None, seconds, None, js="(seconds) => window.aussShowTime(seconds)")
        page.unload(actions.leave)
        page.load(None, js=(FOLDER / "page.js").read_text(encoding="utf-8"))
    page.queue(max_size=limits.waiting, api_open=False)
    return page


def launch_page(page: gr.Blocks, host: str, port: int, limits: Limits, visitors: Visitors) -> str:
    """Serves the page in a thread and returns its address. Nothing of Gradio is on that the page does not need."""
    # Gradio imports this module at the first call, while every visitor waits.
    importlib.import_module("matplotlib.pyplot")
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=False,
        inline=False,
        quiet=True,
        prevent_thread_lock=True,
        show_error=False,
        max_file_size=limits.bytes,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        num_workers=0,
        app_kwargs={"middleware": [Middleware(OwnFilesOnly, visitors=visitors)]},
        theme=Default(font=FONTS, font_mono=MONOSPACED_FONTS),
        css_paths=[FOLDER / "page.css"],
    )
    return address


__all__ = ["PageActions", "build_page", "launch_page"]
