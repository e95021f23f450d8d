"""Audio-visual segmentation for Transformers: given a video, the masks of what is making the sound.

Importing `auss` makes the Auto classes of Transformers know it, so that `AutoModel.from_pretrained` and its kin load
an auss checkpoint. The public names below are imported when they are first used.
"""

import importlib

__version__ = "0.1.0"

# Public name -> the module that defines it.
_PUBLIC_NAMES = {
    "AussConfig": ".configuration.configuration_auss",
    "AussAudioConfig": ".configuration.configuration_auss",
    "AussModel": ".modeling_auss.modeling_auss",
    "AussForAudioVisualSegmentation": ".modeling_auss.modeling_auss",
    "AussFeatureExtractor": ".processing.feature_extraction_auss",
    "AussVideoProcessor": ".processing.video_processing_auss",
    "AussProcessor": ".processing.processing_auss",
    "AussDataCollator": ".train.collator",
    "AussTrainerMetrics": ".train.metric_modules",
    "AussConfidenceCallback": ".train.trainer_callback",
    "load_avsbench": ".train.avsbench",
    "metric_path": ".train.metric_modules",
}

__all__ = ["__version__", *_PUBLIC_NAMES]


def __getattr__(name: str):
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC_NAMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register() -> None:
    """Tells Transformers which auss class answers an `AussConfig`, and the pipeline's task."""
    import transformers

    from .inference.pipeline import register_pipeline

    config_class = __getattr__("AussConfig")
    transformers.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    # Of the two `AutoModel` takes the one that the checkpoint's `architectures` names.
    models = (__getattr__("AussModel"), __getattr__("AussForAudioVisualSegmentation"))
    transformers.AutoModel.register(config_class, models, exist_ok=True)
    for auto_name, name in (
        ("AutoFeatureExtractor", "AussFeatureExtractor"),
        ("AutoVideoProcessor", "AussVideoProcessor"),
        ("AutoProcessor", "AussProcessor"),
    ):
        getattr(transformers, auto_name).register(config_class, __getattr__(name), exist_ok=True)
    register_pipeline()


# At import, not at first use: `AutoModel` and `pipeline` ask nobody before they look up what is registered. The
# modules that this imports are the ones that any use of a model needs; the rest, `train/` above all, waits.
_register()
