"""`AussConfidenceCallback` adds the step of AUSS that the loop of `Trainer` lacks."""

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ...files.errors import InputError
from ...modeling_auss.modeling_auss import AussForAudioVisualSegmentation


class AussConfidenceCallback(TrainerCallback):
    """
    Changes delta of Eq. 22 with the steps of a `Trainer`, as `auss train` does by itself. Delta is the least
    confidence of the queries that AQDL and AQML use. Without this callback delta stays at its first value, 0.55.

    ```python
    Trainer(model=model, callbacks=[AussConfidenceCallback()], ...)
    ```

    Raises:
        ValueError: training begins and the model is no `AussForAudioVisualSegmentation`.
    """

    def __init__(self):
        self._model: AussForAudioVisualSegmentation | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        models = kwargs["model"].modules()  # the model may lie inside a wrapper: data parallelism, LoRA
        self._model = next((module for module in models if isinstance(module, AussForAudioVisualSegmentation)), None)
        if self._model is None:
            raise InputError(
                f"AussConfidenceCallback needs an AussForAudioVisualSegmentation, got {type(kwargs['model']).__name__}"
            )

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        assert self._model is not None  # `on_train_begin` has set it
        self._model.set_training_progress(min(1.0, state.global_step / state.max_steps))


__all__ = ["AussConfidenceCallback"]
