"""Audio-visual segmentation for Transformers: given a video, the masks of what is making the sound.

Importing `auss` makes the Auto classes of Transformers know it, so that `AutoModel.from_pretrained` and its kin load
an auss checkpoint. The public names below are imported when they are first used.
"""

import importlib
import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The public names as type checkers and editors see them; at run time `__getattr__` imports them.
    from .configuration.configuration_auss import AussAudioConfig, AussConfig
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
    "__version__",
    "load_audio_weights",
    "load_avsbench",
    "load_backbone_weights",
    "metric_path",
]

# Public name -> the module that defines it.
_PUBLIC_NAMES = {
    "AussConfig": ".configuration.configuration_auss",
    "AussAudioConfig": ".configuration.configuration_auss",
    "AussModel": ".modeling_auss.modeling_auss",
    "AussForAudioVisualSegmentation": ".modeling_auss.modeling_auss",
    "AussFeatureExtractor": ".processing.feature_extraction_auss",
    "AussVideoProcessor": ".processing.video_processing_auss",
    "AussProcessor": ".processing.processing_auss",
    "AussDataCollator": ".train.data.collator",
    "AussTrainerMetrics": ".train.evaluation.metric_modules",
    "AussConfidenceCallback": ".train.loop.trainer_callback",
    "load_audio_weights": ".modeling_auss.published_weights.audio_weights",
    "load_avsbench": ".train.data.avsbench",
    "load_backbone_weights": ".modeling_auss.published_weights.backbone_weights",
    "metric_path": ".train.evaluation.metric_modules",
}

if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt name for one of ours

    def __getattr__(name: str):
        if name not in _PUBLIC_NAMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_PUBLIC_NAMES[name], __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _read_results(folder: Path):
    """The results that `auss train` and `auss evaluate` recorded in a model's folder. Imports `train/` when needed."""
    from .train.recorded_results import read_recorded_results

    return read_recorded_results(folder)


def _register() -> None:
    """
    Tells Transformers which auss classes belong to an `AussConfig`, and the pipeline's task. Tells `save_pretrained`
    which functions write a model repository, and the model card which function reads a model's results. It
    may be called again.
    """
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor, AutoVideoProcessor

    from .configuration.configuration_auss import AussConfig
    from .files.repository_saving import register_repository_writer
    from .hub.card_facts import register_results_reader
    from .hub.repository import push_repository, save_repository
    from .inference.pipeline import register_pipeline
    from .modeling_auss.modeling_auss import AussForAudioVisualSegmentation, AussModel
    from .processing.feature_extraction_auss import AussFeatureExtractor
    from .processing.processing_auss import AussProcessor
    from .processing.video_processing_auss import AussVideoProcessor

    AutoConfig.register(AussConfig.model_type, AussConfig, exist_ok=True)
    # Of the two `AutoModel` takes the one that the checkpoint's `architectures` names.
    AutoModel.register(AussConfig, (AussModel, AussForAudioVisualSegmentation), exist_ok=True)
    AutoFeatureExtractor.register(AussConfig, AussFeatureExtractor, exist_ok=True)
    AutoVideoProcessor.register(AussConfig, AussVideoProcessor, exist_ok=True)
    AutoProcessor.register(AussConfig, AussProcessor, exist_ok=True)
    register_pipeline()
    register_repository_writer(save_repository, push_repository)
    register_results_reader(_read_results)


def _is_command_line() -> bool:
    """Whether this process is the command line: `auss ...`, `python -m auss ...` or `python -m auss.train ...`."""
    script, started = sys.argv[0] if sys.argv else "", sys.orig_argv
    if script == "-m":  # as long as the interpreter looks for the module
        module = started[started.index("-m") + 1] if "-m" in started[:-1] else ""
        return module.partition(".")[0] == __name__
    # A process that `multiprocessing` starts has its parent's `sys.argv`, but was itself started otherwise.
    if script not in started or os.path.splitext(os.path.basename(script))[0] != __name__:
        return False
    # Where pip puts console scripts: a user's own script may have the name of ours, but not in these folders.
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    folders = [os.path.realpath(sysconfig.get_path("scripts", scheme)) for scheme in schemes]
    return os.path.dirname(os.path.realpath(script)) in folders


# Transformers' Auto classes and `pipeline` look up registered classes without asking anybody, and they take classes,
# not names. So importing auss registers at once, which imports Transformers and torch and takes seconds. A library
# user needs both anyway. The command line does not need them to show its help or to refuse a wrong argument: it
# registers in `cli.main`, when the arguments are right and the command runs. Registering later for everybody would
# need a hook on Python's import system, which would find modules of auss half imported. If `_is_command_line` misses a
# way to start the command line, then the command only starts more slowly.
if not _is_command_line():
    _register()
