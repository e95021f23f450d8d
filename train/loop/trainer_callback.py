"""`AussConfidenceCallback`: what `Trainer` must do for AUSS beside its own loop."""

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ...files.errors import InputError
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation


class AussConfidenceCallback(TrainerCallback):
    """
    Moves delta of Eq. 22, the confidence that AQDL and AQML ask of a query, with the steps of a `Trainer`, as
    `auss train` does by itself. Without it delta stays where it begins, at 0.55.

    ```python
    Trainer(model=model, callbacks=[AussConfidenceCallback()], ...)
    ```

    Raises:
        ValueError: when training begins, for a model that is no `AussForAudioVisualSegmentation`.
    """

    def __init__(self):
        self._model: AussForAudioVisualSegmentation | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        models = kwargs["model"].modules()  # inside whatever wraps it: data parallelism, LoRA
        self._model = next((module for module in models if isinstance(module, AussForAudioVisualSegmentation)), None)
        if self._model is None:
            raise InputError(
                f"AussConfidenceCallback needs an AussForAudioVisualSegmentation, got {type(kwargs['model']).__name__}"
            )

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        assert self._model is not None  # since training has begun
        self._model.set_training_progress(min(1.0, state.global_step / state.max_steps))


__all__ = ["AussConfidenceCallback"]
