"""Runs a network that `auss export` wrote, on the CPU. It is called like the model it was exported from."""

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from typing_extensions import Self

from ..configuration.configuration_auss import AussConfig, read_json_object
from ..files.errors import InputError, MissingPackageError
from ..files.file_rights import check_readable
from ..modeling_auss.audio_queries import add_own_sounds, spread_frames
from ..modeling_auss.model_inputs import RealFrames, check_inputs
from ..modeling_auss.modeling_auss import AussForAudioVisualSegmentation
from ..modeling_auss.outputs import AussSegmentationOutput
from ..processing.video_frames import frames_per_pass

MANIFEST = "export.json"
# The field of the manifest that describes the two graphs for videos, and the version of this description.
PARTS_FIELD, PARTS_VERSION = "auss", 1
SOUND, FRAMES = "sound", "frames"
PART_SUFFIXES = {"onnx": ".onnx", "int8": ".onnx", "torch-export": ".pt2"}
# The traced networks hold the model as their attribute `model`. `model.pt2` names its weights without that.
WEIGHTS_PREFIX = "model."


def part_file(name: str, file_format: str) -> str:
    """The name of the file that holds the graph `SOUND` or `FRAMES`."""
    return name + PART_SUFFIXES[file_format]


def is_export(folder: str | Path) -> bool:
    """Whether `auss export` wrote a folder."""
    return (Path(folder) / MANIFEST).is_file()


def read_parts(folder: Path) -> tuple[str, tuple[int, int]]:
    """
    Returns the format of an export and the (height, width) of its frames.

    Raises:
        FileNotFoundError: no export is in the folder, or one of its files is missing.
        ValueError: the export holds no graphs for videos, or its description is damaged.
    """
    if not is_export(folder):
        raise FileNotFoundError(f"{folder} is no folder that auss export wrote: it has no {MANIFEST}")
    parts = read_json_object(folder / MANIFEST).get(PARTS_FIELD)
    if parts is None:
        raise InputError(
            f"{folder} was written by an earlier auss export, without the graphs for videos: export the model again"
        )
    known = isinstance(parts, dict) and parts.get("version") == PARTS_VERSION and parts.get("format") in PART_SUFFIXES
    size = parts.get("size") if known else None
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise InputError(
            f"{folder / MANIFEST} must describe the graphs of version {PARTS_VERSION} in its field {PARTS_FIELD!r}, "
            f"got {parts!r}: export the model again, or use a newer auss"
        )
    file_format = parts["format"]
    weights = ["model.pt2"] if file_format == "torch-export" else ["model.onnx.data"]
    for name in (part_file(SOUND, file_format), part_file(FRAMES, file_format), *weights, "config.json"):
        check_readable(folder / name, "model file")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is no whole export: it has no {name}")
    return file_format, (size[0], size[1])


class OnnxGraph:
    """A graph in ONNX Runtime. It is called with tensors by name and returns tensors by name."""

    def __init__(self, path: Path, threads: int):
        # The import is not written as a statement. Transformers would ask for the package before it runs the code of
        # any model repository, also where nothing is exported.
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only
        # Without this setting the threads of a session keep a core busy for a while after each call.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self.session = runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises errors of its own classes
            message = " ".join(str(error).split())
            raise InputError(f"the graph {path} cannot be loaded: {type(error).__name__}: {message}") from error
        self.names = [output.name for output in self.session.get_outputs()]
        # The exporter removes inputs that a graph does not read.
        self.inputs = [one.name for one in self.session.get_inputs()]

    def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        arrays = self.session.run(self.names, {name: inputs[name].contiguous().numpy() for name in self.inputs})
        return {name: torch.from_numpy(array) for name, array in zip(self.names, arrays, strict=True)}


class TorchGraph:
    """A graph of torch.export. It is called like `OnnxGraph`."""

    def __init__(self, path: Path, weights: dict[str, torch.Tensor]):
        try:
            self.module = torch.export.load(path).module()
            # The file holds the graph, and `model.pt2` the weights.
            own = {name: weights[name.removeprefix(WEIGHTS_PREFIX)] for name in self.module.state_dict()}
            self.module.load_state_dict(own, assign=True)
        except Exception as error:  # torch raises errors of many classes
            message = " ".join(str(error).split())
            raise InputError(f"the graph {path} cannot be loaded: {type(error).__name__}: {message}") from error

    def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return self.module(**inputs)


def load_graphs(folder: Path, file_format: str, threads: int) -> dict[str, OnnxGraph | TorchGraph]:
    """Loads the graphs `SOUND` and `FRAMES` of an export. Raises ValueError if a file is damaged."""
    paths = {name: folder / part_file(name, file_format) for name in (SOUND, FRAMES)}
    if file_format != "torch-export":
        return {name: OnnxGraph(path, threads) for name, path in paths.items()}
    try:
        weights = torch.export.load(folder / "model.pt2").state_dict
    except Exception as error:  # torch raises errors of many classes
        raise InputError(f"{folder / 'model.pt2'} cannot be loaded: {' '.join(str(error).split())}") from error
    return {name: TorchGraph(path, weights) for name, path in paths.items()}


class ExportedSound:
    """VGGish and A2U of an exported network. `frame_queries` is that of `AussModel`."""

    def __init__(self, graph: OnnxGraph | TorchGraph):
        self.graph = graph

    def frame_queries(
        self,
        num_frames: int,
        input_features: torch.Tensor,
        input_features_mask: torch.Tensor | None = None,
        frame_examples: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the audio queries (B, N, e) and the queries of each frame (B, F, N, e), as
        `AussModel.frame_queries` does."""
        if input_features_mask is None:
            input_features_mask = torch.ones(input_features.shape[:2])
        valid = input_features_mask.long()
        outputs = self.graph(input_features=input_features.float(), input_features_mask=valid)
        audio_queries, embeddings = outputs["audio_queries"], outputs.get("example_embeddings")
        frame_queries = audio_queries.unsqueeze(1).expand(-1, num_frames, -1, -1)
        if embeddings is not None:
            if frame_examples is None:
                frame_examples = spread_frames(num_frames, valid, frame_mask)
            frame_queries = add_own_sounds(frame_queries, embeddings, frame_examples)
        return audio_queries, frame_queries


class ExportedAuss(nn.Module):
    """
    A network that `auss export` wrote, in place of an `AussForAudioVisualSegmentation` in evaluation mode.

    It is called with the same inputs and returns the same outputs, and the pipeline takes it as its `model`. It runs
    on the CPU, in ONNX Runtime or with torch.export, and it cannot be trained.

    ```python
    model = ExportedAuss.from_pretrained("exported", threads=2)
    processor = AussProcessor.from_pretrained("exported")
    outputs = model(**processor(videos=frames, audio=waveform, sampling_rate=44_100, return_tensors="pt"))
    ```

    Args:
        config: the configuration of the model.
        graphs: the graphs `SOUND` and `FRAMES`.
        size: (height, width) of the frames that the graphs take, in pixels.
        folder: the folder of the export, for messages.
    """

    input_modalities = ["video", "audio"]
    main_input_name = "pixel_values"

    def __init__(
        self, config: AussConfig, graphs: dict[str, OnnxGraph | TorchGraph], size: tuple[int, int], folder: Path
    ):
        super().__init__()
        self.config = config
        self.name_or_path = str(folder)
        self.size = size
        self.auss = ExportedSound(graphs[SOUND])
        self._frames = graphs[FRAMES]
        self.eval()

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, threads: int | None = None, trust_remote_code: bool | None = False, **_: Any
    ) -> Self:
        """
        Loads an export.

        Args:
            folder: a folder that `auss export` wrote.
            threads: the number of CPU threads of ONNX Runtime; those of torch by default. torch.export graphs always
                run with the threads of torch.
            trust_remote_code: True if you trust the source of the files. A torch.export file is a pickle, and reading
                it can run code. An ONNX file cannot.

        Other arguments, which `pipeline` passes to every kind of model, have no effect.

        Raises:
            FileNotFoundError: the folder holds no whole export.
            ImportError: onnxruntime is not installed.
            ValueError: an earlier auss wrote the export; a file is damaged; or the export is one of torch.export, and
                `trust_remote_code` is not set.
        """
        folder = Path(folder)
        file_format, size = read_parts(folder)
        if file_format == "torch-export" and not trust_remote_code:
            raise InputError(
                f"{folder} holds torch.export graphs, which are pickles, and reading a pickle can run code: if you "
                "trust their source, allow it with trust_remote_code=True, on the command line --trust-remote-code"
            )
        if file_format != "torch-export" and importlib.util.find_spec("onnxruntime") is None:
            raise MissingPackageError(
                f"{folder} holds ONNX graphs, which need onnxruntime to run: pip install onnxruntime"
            )
        try:
            config = AussConfig.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # Transformers raises errors of many classes
            raise InputError(f"{folder / 'config.json'} cannot be loaded: {' '.join(str(error).split())}") from error
        graphs = load_graphs(folder, file_format, torch.get_num_threads() if threads is None else threads)
        return cls(config, graphs, size, folder)

    @property
    def device(self) -> torch.device:
        """The device of inputs and outputs, the CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The type of the outputs, float32. Frames and log-mel of another type are converted."""
        return torch.float32

    def train(self, mode: bool = True) -> Self:
        """Raises ValueError if `mode` is True: an exported network cannot be trained."""
        if mode:
            raise InputError(
                f"{self.name_or_path} is an exported network, which cannot be trained: train the model that it was "
                "exported from"
            )
        return super().train(False)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Raises ValueError unless the device is the CPU and the type float32."""
        parse_to: Any = torch._C._nn._parse_to  # pyright: ignore[reportAttributeAccessIssue]
        device, dtype, *_ = parse_to(*args, **kwargs)
        if (device or self.device).type != "cpu" or (dtype or self.dtype) != self.dtype:
            wanted = device or dtype
            raise InputError(
                f"{self.name_or_path} is an exported network: it runs on the cpu in float32, not {wanted}"
            )
        return self

    def can_generate(self) -> bool:
        """False; the pipelines of Transformers ask."""
        return False

    def save_pretrained(self, *_: Any, **__: Any) -> None:
        """Raises ValueError: the folder of the export can be copied."""
        raise InputError(f"{self.name_or_path} is an exported network: copy its folder to save it")

    def _check_size(self, pixel_values: torch.Tensor) -> None:
        if tuple(pixel_values.shape[-2:]) != self.size:
            height, width = self.size
            raise InputError(
                f"pixel_values must be (B, F, 3, {height}, {width}), the size that {self.name_or_path} was exported "
                f"for, got {tuple(pixel_values.shape)}: use the processor of that folder, or export the model with "
                "--size H W"
            )

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        labels: Any = None,
        frame_examples: torch.Tensor | None = None,
        frame_queries: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
    ) -> AussSegmentationOutput:
        """
        Takes the arguments of `AussForAudioVisualSegmentation.forward` except those for training and for single masks.
        A few frames are computed at a time.

        Args:
            pixel_values: (B, F, 3, H, W), H and W as the network was exported.
            input_features: (B, T, 96, 64) log-mel.
            input_features_mask: (B, T), 1 for sound and 0 for padding.
            labels: None.
            frame_examples: (B, F) int64, the number of the sound example of each frame.
            frame_queries: (B, F, N, e) in place of `input_features`.
            frame_mask: (B, F), 1 for the frames of a clip and 0 for padding.

        Returns:
            An `AussSegmentationOutput` with `logits`, `class_queries_logits`, `fused_queries` and, unless
            `frame_queries` are given, `audio_queries`.

        Raises:
            ValueError: shapes do not agree, the frames have another size than the export takes, or there are labels.
        """
        if labels is not None:
            raise InputError(f"labels cannot be given: {self.name_or_path} is an exported network, without its loss")
        check_inputs(
            self.config, pixel_values, input_features, input_features_mask, frame_examples, frame_queries, frame_mask
        )
        self._check_size(pixel_values)
        audio_queries, num_frames = None, pixel_values.shape[1]
        if frame_queries is None:
            assert input_features is not None  # `check_inputs` refuses a call without sound and without queries
            audio_queries, frame_queries = self.auss.frame_queries(
                num_frames, input_features, input_features_mask, frame_examples, frame_mask
            )
        real = RealFrames(frame_mask, frame_queries.shape[:2])
        pictures = RealFrames(frame_mask, pixel_values.shape[:2]).pack(pixel_values).float()
        # (M, V, N, e): all views of a frame follow each other.
        queries = real.pack(frame_queries).float().unflatten(0, (len(pictures), -1))
        step = frames_per_pass(pictures, len(pictures))
        passes = [
            self._frames(pixel_values=few, frame_queries=own)
            for few, own in zip(pictures.split(step), queries.split(step), strict=True)
        ]
        joined = {name: torch.cat([one[name] for one in passes]).flatten(0, 1) for name in passes[0]}
        return AussSegmentationOutput(
            logits=real.unpack(joined["logits"]),
            class_queries_logits=real.unpack_classes(joined["class_queries_logits"]),
            audio_queries=audio_queries,
            fused_queries=real.unpack(joined["fused_queries"]),
        )


# A network that makes masks, in PyTorch or exported.
AnyAuss = AussForAudioVisualSegmentation | ExportedAuss

__all__ = ["AnyAuss", "ExportedAuss", "is_export", "part_file"]
