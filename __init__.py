"""Audio-visual segmentation for Transformers: a network that marks the pixels of a video that make the sound.

Importing `auss` registers its classes with the Auto classes of Transformers. `AutoModel.from_pretrained` and the other
Auto classes can then load an auss checkpoint. Each public name below is imported when it is first used.
"""

import importlib
import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Type checkers and editors read these imports. At run time, `__getattr__` imports the names instead.
    from .configuration.configuration_auss import AussAudioConfig, AussConfig
    from .demo.shipped_demo import sample_video
    from .hub.exported_model import ExportedAuss
    from .hub.shipped_model import default_model
    from .inference.live.live_segmenter import LiveMask, LiveSegmenter
    from .inference.media.video_reader import VideoReader
    from .inference.results.animation import save_animation
    from .inference.results.mask_files import save_masks
    from .inference.results.mask_pictures import draw_masks, plot_masks
    from .inference.results.run_lengths import decode_rle, encode_rle
    from .inference.results.separate_objects import separate_objects
    from .inference.results.sounding_times import summarise
    from .inference.results.timeline import plot_timeline
    from .modeling_auss.modeling_auss import AussForAudioVisualSegmentation, AussModel
    from .modeling_auss.published_weights.audio_weights import load_audio_weights
    from .modeling_auss.published_weights.backbone_weights import load_backbone_weights
    from .processing.feature_extraction_auss import AussFeatureExtractor
    from .processing.processing_auss import AussProcessor
    from .processing.video_processing_auss import AussVideoProcessor
    from .train.data.avsbench import load_avsbench
    from .train.data.collator import AussDataCollator
    from .train.evaluation.metric_modules import AussTrainerMetrics, metric_path
    from .train.loop.trainer_callback import AussConfidenceCallback

__version__ = "0.1.0"
__all__ = [
    "AussAudioConfig",
    "AussConfidenceCallback",
    "AussConfig",
    "AussDataCollator",
    "AussFeatureExtractor",
    "AussForAudioVisualSegmentation",
    "AussModel",
    "AussProcessor",
    "AussTrainerMetrics",
    "AussVideoProcessor",
    "ExportedAuss",
    "LiveMask",
    "LiveSegmenter",
    "VideoReader",
    "__version__",
    "decode_rle",
    "default_model",
    "draw_masks",
    "encode_rle",
    "load_audio_weights",
    "load_avsbench",
    "load_backbone_weights",
    "metric_path",
    "plot_masks",
    "plot_timeline",
    "sample_video",
    "save_animation",
    "save_masks",
    "separate_objects",
    "summarise",
]

# Public name -> the module that defines it.
_PUBLIC_NAMES = {
    "AussConfig": ".configuration.configuration_auss",
    "AussAudioConfig": ".configuration.configuration_auss",
    "AussModel": ".modeling_auss.modeling_auss",
    "AussForAudioVisualSegmentation": ".modeling_auss.modeling_auss",
    "AussFeatureExtractor": ".processing.feature_extraction_auss",
    "AussVideoProcessor": ".processing.video_processing_auss",
    "ExportedAuss": ".hub.exported_model",
    "AussProcessor": ".processing.processing_auss",
    "AussDataCollator": ".train.data.collator",
    "AussTrainerMetrics": ".train.evaluation.metric_modules",
    "AussConfidenceCallback": ".train.loop.trainer_callback",
    "LiveMask": ".inference.live.live_segmenter",
    "LiveSegmenter": ".inference.live.live_segmenter",
    "load_audio_weights": ".modeling_auss.published_weights.audio_weights",
    "load_avsbench": ".train.data.avsbench",
    "load_backbone_weights": ".modeling_auss.published_weights.backbone_weights",
    "metric_path": ".train.evaluation.metric_modules",
    "VideoReader": ".inference.media.video_reader",
    "default_model": ".hub.shipped_model",
    "decode_rle": ".inference.results.run_lengths",
    "draw_masks": ".inference.results.mask_pictures",
    "encode_rle": ".inference.results.run_lengths",
    "plot_masks": ".inference.results.mask_pictures",
    "plot_timeline": ".inference.results.timeline",
    "sample_video": ".demo.shipped_demo",
    "save_animation": ".inference.results.animation",
    "save_masks": ".inference.results.mask_files",
    "separate_objects": ".inference.results.separate_objects",
    "summarise": ".inference.results.sounding_times",
}

if not TYPE_CHECKING:  # a type checker that saw `__getattr__` would accept every misspelt name

    def __getattr__(name: str):
        if name not in _PUBLIC_NAMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_PUBLIC_NAMES[name], __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _read_results(folder: Path):
    """
    Returns the results that `auss train` and `auss evaluate` recorded in a model's folder. `train/` is imported only
    when this function is called.
    """
    from .train.recorded_results import read_recorded_results

    return read_recorded_results(folder)


def _register() -> None:
    """
    Registers the auss classes and the pipeline's task with Transformers. Registers with auss itself the functions that
    write a model repository for `save_pretrained`, and the function that reads a model's results for the model card.
    A second call does no harm.
    """
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor, AutoVideoProcessor

    from .configuration.configuration_auss import AussConfig
    from .files.repository_saving import register_repository_writer
    from .hub.card_facts import register_results_reader
    from .hub.repository import push_repository, save_repository
    from .hub.shipped_model import PipelineDefault
    from .inference.pipeline import register_pipeline
    from .modeling_auss.modeling_auss import AussForAudioVisualSegmentation, AussModel
    from .processing.feature_extraction_auss import AussFeatureExtractor
    from .processing.processing_auss import AussProcessor
    from .processing.video_processing_auss import AussVideoProcessor

    AutoConfig.register(AussConfig.model_type, AussConfig, exist_ok=True)
    # `AutoModel` chooses between these two classes by the `architectures` of the checkpoint.
    AutoModel.register(AussConfig, (AussModel, AussForAudioVisualSegmentation), exist_ok=True)
    AutoFeatureExtractor.register(AussConfig, AussFeatureExtractor, exist_ok=True)
    AutoVideoProcessor.register(AussConfig, AussVideoProcessor, exist_ok=True)
    AutoProcessor.register(AussConfig, AussProcessor, exist_ok=True)
    register_pipeline(PipelineDefault())
    register_repository_writer(save_repository, push_repository)
    register_results_reader(_read_results)


def _is_command_line() -> bool:
    """Whether this process is the command line: `auss ...`, `python -m auss ...` or `python -m auss.train ...`."""
    script, started = sys.argv[0] if sys.argv else "", sys.orig_argv
    if script == "-m":  # the interpreter sets this while it looks for the module
        module = started[started.index("-m") + 1] if "-m" in started[:-1] else ""
        return module.partition(".")[0] == __name__
    # `multiprocessing` gives a child process its parent's `sys.argv`. `sys.orig_argv` says how the child was started.
    if script not in started or os.path.splitext(os.path.basename(script))[0] != __name__:
        return False
    # pip puts console scripts into these folders. A user's own script may also be called `auss`, but lies elsewhere.
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    folders = [os.path.realpath(sysconfig.get_path("scripts", scheme)) for scheme in schemes]
    return os.path.dirname(os.path.realpath(script)) in folders


# The Auto classes and `pipeline` of Transformers find a class only if it is registered, and they register classes, not
# names of classes. Importing auss therefore registers its classes at once. Registering imports Transformers and torch,
# which takes seconds. A library user needs both packages anyway. The command line does not need them to show its help
# or to refuse a wrong argument, so it registers in `cli.load_command`, after the arguments were checked. To register
# later for library users too, auss would need a hook on Python's import system, and the hook would meet modules of
# auss that are half imported. If `_is_command_line` misses a way to start the command line, the command still works
# and only starts more slowly.
if not _is_command_line():
    _register()
