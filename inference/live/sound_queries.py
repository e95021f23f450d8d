"""The windows of sound that live frames are seen with, and the queries that A2U makes of them."""

import math
from collections import OrderedDict
from typing import Any

import numpy as np
import torch

from ...modeling_auss.modeling_auss import AussModel
from ...processing.log_mel import NUM_EXAMPLE_FRAMES
from ..media.sound.audio_track import INAUDIBLE_PEAK
from ..sound_changes import change_scores, peaks
from ..sound_windows import CHANGE_MARGIN
from .sound_memory import ROWS_PER_SECOND, SoundMemory

STEP_ROWS = NUM_EXAMPLE_FRAMES // 4  # 0.24 s: from one window to the next
# A frame may be heard with sound up to half an example after it. It is then in the middle of its own example.
AHEAD_SECONDS = 0.48
# Sound that is later than this behind a frame does not tell what sounds in it. The frame then counts as silent.
LATEST_SECONDS = 1.0
# Sound that comes before its frames is kept for this time beyond a window.
EARLY_SECONDS = 5.0
MOST_WINDOWS = 8  # windows whose queries are kept: frames of 2 s
MOST_EXAMPLES = 64  # encoded examples that are kept


class SoundQueries:
    """
    Makes the audio queries of live frames. Every stretch of sound is worked on once.

    - A window ends at a multiple of 0.24 s and reaches back over T examples of 0.96 s, 4.8 s for most models. So a new
      window begins only when 0.24 s of new sound have come, and all frames until then use its queries again.
    - The log-mel rows of a window come from `SoundMemory`, which computes each row once. The examples of a window are
      counted back from its end. Four windows later they are examples of that window too. So a new window encodes one
      new example, and A2U runs once on the T encoded examples.
    - If the sound changes within the window, only the sound after the last change is used, as in `SoundWindows`. If it
      is shorter than T examples, its examples are repeated. Sound of less than one example is repeated to fill it.
      A change is noticed 0.5 s after it.
    - The window of a frame is the newest one that ends at most 0.48 s after the frame. If the newest sound is more
      than 1 s older than the frame, or if the window is silent, the frame is silent.

    Args:
        model: an `AussForAudioVisualSegmentation`; or an object with `config`, `device`, `dtype` and
            `auss.frame_queries`, as `LiveSegmenter` describes. Such an object gets the whole window each time.
    """

    def __init__(self, model: Any):
        self.model = model
        self.num_examples: int = model.config.num_audio_examples
        self.window_rows = self.num_examples * NUM_EXAMPLE_FRAMES
        self.memory = SoundMemory(self.window_rows / ROWS_PER_SECOND + EARLY_SECONDS, STEP_ROWS)
        self.num_encoded = 0  # examples that the audio encoder has seen
        self._windows: OrderedDict[tuple[int, int], torch.Tensor | None] = OrderedDict()
        self._encoded: OrderedDict[tuple[int, int, int], torch.Tensor] = OrderedDict()
        self._deaf: torch.Tensor | None = None  # the queries of a model that does not hear

    def at(self, time: float) -> torch.Tensor | None:
        """Returns the queries (N, e) for a frame at `time`, in seconds; None if the frame is silent."""
        if not self.model.config.audio_input:
            if self._deaf is None:
                rows = np.zeros((self.num_examples, NUM_EXAMPLE_FRAMES, 64))
                self._deaf = self._whole_window(rows, 0)
            return self._deaf
        last = self.window_end(time)
        if last is None:
            return None
        key = (self.memory.restarts, last)
        if key not in self._windows:
            self._windows[key] = self._queries(last)
            if len(self._windows) > MOST_WINDOWS:
                self._windows.popitem(last=False)
        return self._windows[key]

    def window_end(self, time: float) -> int | None:
        """Returns the row before which the window of a frame at `time` ends; None if there is no sound for it."""
        memory = self.memory
        if memory.origin is None or memory.num_rows < STEP_ROWS:
            return None
        wanted = math.floor((time + AHEAD_SECONDS - memory.origin) * ROWS_PER_SECOND)
        if wanted < 0 or memory.end is None or memory.end < time - LATEST_SECONDS:
            return None
        oldest = -(-memory.first_row // STEP_ROWS) * STEP_ROWS + STEP_ROWS
        last = min(wanted, memory.num_rows) // STEP_ROWS * STEP_ROWS
        return min(max(last, oldest), memory.num_rows // STEP_ROWS * STEP_ROWS)

    def heard_rows(self, last: int) -> tuple[int, bool]:
        """
        Returns the first row of the sound that the window before row `last` hears, and whether it is audible. The
        sound begins after the last change of sound within the window.
        """
        first = max(self.memory.first_row, last - self.window_rows)
        changes = peaks(change_scores(self.memory.rows(first, last)))
        start = first + int(changes[-1]) if len(changes) else first
        # Changes are not found exactly, so the sound next to a change may belong to its other side.
        margin = min(round(CHANGE_MARGIN * ROWS_PER_SECOND), (last - start) // 4) if start > first else 0
        return start, self.memory.peak(start + margin, last) >= INAUDIBLE_PEAK

    def _queries(self, last: int) -> torch.Tensor | None:
        first, audible = self.heard_rows(last)
        if not audible:
            return None
        count = min(self.num_examples, (last - first) // NUM_EXAMPLE_FRAMES)
        ends = [last - NUM_EXAMPLE_FRAMES * back for back in reversed(range(count))]
        starts = [end - NUM_EXAMPLE_FRAMES for end in ends]
        if not count:  # the sound is shorter than one example
            starts, ends, count = [first], [last], 1
        spans = list(zip(starts, ends, strict=True))
        repeated = [spans[place % count] for place in range(self.num_examples)]
        if isinstance(getattr(self.model, "auss", None), AussModel):
            return self._from_features(torch.stack([self._encode(*span) for span in repeated])[None], count - 1)
        return self._whole_window(np.stack([self._example(*span) for span in repeated]), count - 1)

    def _example(self, first: int, last: int) -> np.ndarray:
        """The log-mel of an example, (96, 64). Fewer rows are repeated."""
        rows = self.memory.rows(first, last)
        return np.resize(rows, (NUM_EXAMPLE_FRAMES, rows.shape[1]))

    def _encode(self, first: int, last: int) -> torch.Tensor:
        """Encodes the example of some rows, once: (e_0,)."""
        key = (self.memory.restarts, first, last)
        if key not in self._encoded:
            example = torch.from_numpy(self._example(first, last))[None, None]
            example = example.to(self.model.device, torch.float32)
            self._encoded[key] = self.model.auss.audio_encoder(example.to(self.model.dtype))[0, 0]
            self.num_encoded += 1
            if len(self._encoded) > MOST_EXAMPLES:
                self._encoded.popitem(last=False)
        return self._encoded[key]

    def _from_features(self, features: torch.Tensor, own: int) -> torch.Tensor:
        valid = features.new_ones(features.shape[:2])
        examples = torch.full((1, 1), own, device=features.device)
        return self.model.auss.queries_of_features(1, features, valid, frame_examples=examples)[1][0, 0]

    def _whole_window(self, examples: np.ndarray, own: int) -> torch.Tensor:
        """The queries of a window whose T examples (T, 96, 64) all go through the model."""
        features = torch.from_numpy(examples)[None].to(self.model.device, self.model.dtype)
        mask = torch.ones(features.shape[:2], dtype=torch.int64, device=features.device)
        places = torch.arange(self.num_examples, device=features.device)[None]
        queries = self.model.auss.frame_queries(
            self.num_examples, input_features=features, input_features_mask=mask, frame_examples=places
        )[1]
        self.num_encoded += self.num_examples
        return queries[0, own]


__all__ = ["STEP_ROWS", "SoundQueries"]
