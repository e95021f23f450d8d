"""The configuration of the AUSS network (Ling et al. 2023). The settings of a training run are in `train/`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import logging

from ..files.errors import InputError
from .field_checks import (
    TRANSFORMERS_NAMES,
    KnownFieldsMixin,
    check_count,
    check_label_names,
    check_number,
    read_json_object,
)

logger = logging.get_logger(__name__)

PRESETS_FOLDER = Path(__file__).parent / "presets"
# The label of pixels that nobody annotated.
IGNORED_LABEL = 255

# Fields that are finite numbers of at least 0.
NOT_NEGATIVE = (
    *("aqdl_weight", "aqml_weight", "class_weight", "dice_weight", "mask_focal_weight", "mask_cross_entropy_weight"),
    *("no_object_weight", "query_distance_threshold", "initializer_range"),
)

# Fields that take one of a few words.
CHOICES = {
    "confidence_schedule": ("increasing", "fixed"),
    "unmatched_queries": ("no_object", "silent", "free"),
    "segments_by": ("label", "component"),
}

# Fields about what a network has learned. They do not pass from a trained model's config.json to a new network.
LEARNED = ("training_progress", "trained_categories")

if TYPE_CHECKING:
    Read = TypeVar("Read")

    class ReadAs(Generic[Read]):
        """A field that accepts an object, a dictionary or None. Reading the field gives the object made from it."""

        def __get__(self, instance: Any, owner: Any) -> Read: ...

        def __set__(self, instance: Any, value: Read | dict | None) -> None: ...


def warn_of_unknown_backbone_fields(backbone: dict[str, Any]) -> None:
    """Warns of names in a saved backbone's configuration that its class does not read. They have no effect."""
    known_class = CONFIG_MAPPING[backbone["model_type"]] if backbone.get("model_type") in CONFIG_MAPPING else None
    if known_class is None or backbone["model_type"] == "timm_backbone":  # this type passes unknown names on
        return
    known = TRANSFORMERS_NAMES | known_class().to_dict().keys() | known_class.attribute_map.keys()
    unknown = sorted(name for name in backbone if name not in known and not hasattr(known_class, name))
    if unknown:
        logger.warning(
            f"backbone_config, a {known_class.__name__}, has no field {', '.join(unknown)}: what the file says there "
            "has no effect"
        )


@strict
class AussAudioConfig(KnownFieldsMixin, PreTrainedConfig):
    r"""
    The VGGish audio encoder (Hershey et al. 2017). The defaults describe the standard network. Public weights fit it.

    Args:
        stage_channels: channels of each stage of 3x3 convolutions; a 2x2 max-pooling ends every stage.
        stage_depths: convolutions in each stage.
        hidden_features: width of the two hidden fully connected layers.
        embedding_size: e_0, the features of one 0.96 s example.
        batch_norm: normalise after each convolution and each linear layer. VGGish does not normalise. Without
            normalisation, an encoder trained from scratch gives nearly the same features for every sound.
        num_mel_bins, num_frames: size of one log-mel example, bands by 10 ms frames.
        frozen: never train the encoder. [49] freezes it with AudioSet weights. `load_audio_weights` sets this field.

    Raises:
        ValueError: a field is unknown.
        huggingface_hub.errors.StrictDataclassError: a field has a wrong type, a size is below 1, or the two lists of
            stages differ in length.
    """

    model_type = "auss_audio"
    base_config_key = "audio_config"

    stage_channels: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    stage_depths: list[int] | tuple[int, ...] = (1, 1, 2, 2)
    hidden_features: int = 4096
    embedding_size: int = 128
    batch_norm: bool = False
    num_mel_bins: int = 64
    num_frames: int = 96
    frozen: bool = False

    def validate_stages(self):
        """Checks that each stage has channels and a depth."""
        if len(self.stage_channels) != len(self.stage_depths):
            raise InputError(
                f"stage_channels and stage_depths must have the same length, got {len(self.stage_channels)} "
                f"and {len(self.stage_depths)}"
            )
        for name in ("stage_channels", "stage_depths"):
            for value in getattr(self, name):
                check_count(name, value)

    def validate_sizes(self):
        """Checks that every size is at least 1, including the size of the maps after the last stage."""
        for name in ("hidden_features", "embedding_size", "num_mel_bins", "num_frames"):
            check_count(name, getattr(self, name))
        smallest = 2 ** len(self.stage_channels)
        if min(self.num_mel_bins, self.num_frames) < smallest:
            raise InputError(
                f"num_mel_bins and num_frames must be at least {smallest} for {len(self.stage_channels)} stages, "
                f"because each stage halves them, got {self.num_mel_bins} and {self.num_frames}"
            )


@strict
class AussConfig(KnownFieldsMixin, PreTrainedConfig):
    r"""
    The whole network. The defaults are the paper's with ResNet-101 (Sec. 4.2). `from_preset` reads other networks.

    Args:
        backbone_config: any configuration that `AutoBackbone.from_config` takes. The backbone's last map is f_ori.
        audio_config: the VGGish encoder's configuration.
        num_audio_examples: T, the 0.96 s log-mel examples of a clip that A2U's number projector expects.
        num_queries: N (paper: 300).
        hidden_size: e (paper: 2 * e_0 = 256).
        num_attention_heads: heads of every attention. The paper's equations have one head, its references [5] and [37]
            have eight.
        intermediate_size: width of the feed-forward layers in A2U and in the fusion blocks.
        num_audio_layers: N_a, the encoder layers of the Dependency Catcher (paper: 6).
        num_fusion_layers: L, the MATD blocks (paper: 6).
        dropout: applied to attention weights and feed-forward activations.
        query_embedding: add a learned N x e term to the space projector's output W1 A W2. The paper does not add it,
            so there the rank of the queries is T at most.
        audio_input: compute the queries from the sound. Without sound the queries are the learned N x e term alone
            (Table 3, "w/o audio input"), and the network ignores the sound.
        number_projector: use W_1 of Eq. 1. Without W_1 the T examples are the queries, so N = T (Table 4, first row).
        channel_projector: use W_2 of Eq. 1. Without W_2 e must be e_0 (Table 3, "w/ audio input").
        frame_conditioned_queries: project the features of a frame's own sound example and add them to all queries of
            the frame. The paper does not: all frames of a clip start from the same queries.
        query_position_embedding: add a learned N x e position to queries in the fusion blocks, as Mask2Former does.
        feature_strides: strides of f_1 ... f_3, attended in round robin (paper: 8, 4, 2).
        mask_stride: stride of f_4, on which masks are predicted (paper: 1).
        lateral_connections: add the backbone's map of the same stride to every upsampled map. The paper does not.
        mask_threshold: tau of Eq. 13 (paper: 0.5).
        aqdl_weight, aqml_weight, class_weight, dice_weight: lambda_1 ... lambda_4 of Eq. 19 (paper: 2, 2, 5, 5).
        mask_focal_weight: weight of a focal loss over the masks' pixels. This is the second way to read the focal term
            of Eq. 19.
        mask_cross_entropy_weight: weight of a binary cross-entropy over the masks' pixels, as in Mask2Former. The
            paper has no such loss.
        no_object_weight: weight of unmatched queries in the class loss, as in Mask2Former.
        focal_gamma: gamma of both focal losses.
        queries_per_segment: how many queries Hungarian matching gives to each segment. The paper does not say. With
            one query for each segment, there are hardly ever two confident queries, so AQDL and AQML stay 0.
        unmatched_queries: the training target of a query without a segment: `"no_object"`, as in [5, 6]; `"silent"`,
            as the paper's K = 2 can be read; or `"free"` for no target.
        segments_by: `"label"` makes one segment for each label in a frame; `"component"` makes one segment for each
            connected component of a label other than silent.
        deep_supervision: apply the supervised losses to every fusion layer, and to A2U's own queries, as [5] does.
        query_distance_threshold: d_0 of Eq. 16, a squared distance; the paper gives no value.
        confidence_schedule: `"increasing"` (Eq. 22) or `"fixed"` (delta = 0.6).
        training_progress: the finished part of the training run, in [0, 1]. Delta of Eq. 22 follows from it.
            `set_training_progress` changes this field, so a saved model keeps its delta.
        trained_categories: the names of what the model was trained to recognise. They change nothing in the network.
        initializer_range: standard deviation of `query_embedding`'s initial values. If it is not small compared with
            the term that comes from the sound, the queries differ among themselves far more than between sounds.

    Raises:
        ValueError: a field is unknown, or the backbone has an unknown type.
        huggingface_hub.errors.StrictDataclassError: a field has a wrong type; the strides are not descending powers of
            two; the heads or the position embeddings cannot split the hidden size; the confidence schedule is unknown;
            a threshold, exponent, weight or number is out of its range; or the labels are not 0 ... K-1.
    """

    model_type = "auss"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="resnet",
            # f_ori has stride 16, so nothing would read stage 4. The network therefore leaves it out.
            init_kwargs={"depths": [3, 4, 23], "hidden_sizes": [256, 512, 1024], "out_features": ["stage3"]},
        ),
        "audio_config": SubConfigSpec(config_class=AussAudioConfig),
    }
    attribute_map = {"num_hidden_layers": "num_fusion_layers"}
    # Trainer gathers only the logits for evaluation and leaves out these outputs.
    keys_to_ignore_at_inference = [
        "loss_dict",
        "class_queries_logits",
        "masks_queries_logits",
        "audio_queries",
        "fused_queries",
        "hidden_states",
        "attentions",
    ]

    if TYPE_CHECKING:
        backbone_config: ReadAs[PreTrainedConfig] = ReadAs()
        audio_config: ReadAs[AussAudioConfig] = ReadAs()
        id2label: ReadAs[dict[int, str]] = ReadAs()
        num_labels: int = 2  # a property that the constructor also takes as an argument
    else:
        backbone_config: dict | PreTrainedConfig | None = None
        audio_config: dict | AussAudioConfig | None = None
    num_audio_examples: int = 5
    num_queries: int = 300
    hidden_size: int = 256
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    num_audio_layers: int = 6
    num_fusion_layers: int = 6
    dropout: float | int = 0.0
    query_embedding: bool = False
    audio_input: bool = True
    number_projector: bool = True
    channel_projector: bool = True
    frame_conditioned_queries: bool = False
    query_position_embedding: bool = True
    feature_strides: list[int] | tuple[int, ...] = (8, 4, 2)
    mask_stride: int = 1
    lateral_connections: bool = False
    mask_threshold: float = 0.5
    aqdl_weight: float | int = 2.0
    aqml_weight: float | int = 2.0
    class_weight: float | int = 5.0
    dice_weight: float | int = 5.0
    mask_focal_weight: float | int = 5.0
    mask_cross_entropy_weight: float | int = 0.0
    no_object_weight: float | int = 0.1
    focal_gamma: float | int = 2.0
    queries_per_segment: int = 1
    unmatched_queries: str = "no_object"
    segments_by: str = "label"
    deep_supervision: bool = True
    query_distance_threshold: float | int = 1.0
    confidence_schedule: str = "increasing"
    training_progress: float | int = 0.0
    trained_categories: list[str] | tuple[str, ...] | None = None
    initializer_range: float | int = 0.2

    def __post_init__(self, **kwargs):
        # PreTrainedConfig would name the two labels LABEL_0 and LABEL_1.
        if self.id2label is None and self.label2id is None and kwargs.get("num_labels") in (None, 2):
            self.id2label = {0: "silent", 1: "sounding"}
            self.label2id = {"silent": 0, "sounding": 1}
        check_label_names(self.id2label, self.label2id, kwargs.get("num_labels"))
        # AutoModel iterates over `architectures` to choose between the model with heads and the model without heads.
        self.architectures = self.architectures or []
        backbone = self.backbone_config
        if isinstance(backbone, dict) and backbone.get("model_type") not in CONFIG_MAPPING:
            raise InputError(
                "backbone_config must name a type of Transformers' as model_type, such as 'resnet' or "
                f"'timm_backbone', got {backbone.get('model_type')!r}"
            )
        super().__post_init__(**kwargs)

    def validate_strides(self):
        """Checks that the strides are powers of two, and descend from the coarsest map to the map of the masks."""
        strides = [*self.feature_strides, self.mask_stride]
        if not self.feature_strides or any(stride < 1 or stride & (stride - 1) for stride in strides):
            raise InputError(f"feature_strides and mask_stride must be powers of two, got {strides}")
        if any(coarse <= fine for coarse, fine in zip(strides, strides[1:], strict=False)):
            raise InputError(f"feature_strides must descend towards mask_stride, got {strides}")

    def validate_attention(self):
        """Checks that the features split evenly between the heads, and between sines and cosines of two axes."""
        for name in ("hidden_size", "num_attention_heads"):
            check_count(name, getattr(self, name))
        if self.hidden_size % (2 * self.num_attention_heads):
            raise InputError(
                f"hidden_size must be a multiple of twice num_attention_heads, got hidden_size={self.hidden_size} "
                f"and num_attention_heads={self.num_attention_heads}"
            )
        if self.hidden_size % 4:
            raise InputError(
                "hidden_size must be a multiple of 4, because a position is encoded by sines and cosines of its row "
                f"and of its column, got {self.hidden_size}"
            )

    def validate_audio_queries(self):
        """Checks that the queries still differ and have the right size if one of their parts is switched off."""
        if not self.audio_input and not self.query_embedding:
            raise InputError("query_embedding must be True without audio_input: the queries would all be zero")
        if self.audio_input and not self.number_projector and self.num_queries != self.num_audio_examples:
            raise InputError(
                f"num_queries must be num_audio_examples={self.num_audio_examples} without number_projector, got "
                f"{self.num_queries}"
            )
        if self.audio_input and not self.channel_projector and self.hidden_size != self.audio_config.embedding_size:
            raise InputError(
                f"hidden_size must be audio_config.embedding_size={self.audio_config.embedding_size} without "
                f"channel_projector, got {self.hidden_size}"
            )
        if not self.audio_input and self.frame_conditioned_queries:
            raise InputError("frame_conditioned_queries must be False without audio_input: there is no sound to add")

    def validate_choices(self):
        """Checks that each field of `CHOICES` has one of its words."""
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                listed = " or ".join(f'"{value}"' for value in allowed)
                raise InputError(f"{name} must be {listed}, got {getattr(self, name)!r}")

    def validate_ranges(self):
        """Checks that thresholds, exponents, weights and numbers are finite and in their ranges."""
        for name in (
            *("num_queries", "num_audio_examples", "num_fusion_layers", "intermediate_size"),
            "queries_per_segment",
        ):
            check_count(name, getattr(self, name))
        check_count("num_audio_layers", self.num_audio_layers, low=0)
        check_number("dropout", self.dropout, 0, 1, open_end=True)
        check_number("training_progress", self.training_progress, 0, 1)
        for name in NOT_NEGATIVE:
            check_number(name, getattr(self, name), 0)
        if not 0 < self.mask_threshold < 1:
            raise InputError(f"mask_threshold must lie between 0 and 1, got {self.mask_threshold}")
        if not (self.focal_gamma == 0 or 1 <= self.focal_gamma < float("inf")):
            # Between 0 and 1 the gradient of the focal loss is infinite where a class is certain.
            raise InputError(f"focal_gamma must be 0, or 1 or more, got {self.focal_gamma}")

    def validate_labels(self):
        """Checks that there is a label beside silence, and that the labels are numbered from 0."""
        if not 2 <= self.num_labels <= IGNORED_LABEL:
            raise InputError(f"num_labels must be 2 to 255, including label 0 for silent, got {self.num_labels}")
        if sorted(self.id2label) != list(range(self.num_labels)):
            raise InputError(
                f"id2label must have the keys 0 ... {self.num_labels - 1}, a name for each label, got "
                f"{sorted(self.id2label)}"
            )

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        """Reads a dictionary as Transformers does. An installed auss ignores the file's references to remote code."""
        if not cls.__module__.startswith("transformers_modules."):
            # With `custom_pipelines`, `pipeline` asks before it runs remote code, although the task is registered.
            config_dict = {key: config_dict[key] for key in config_dict if key not in ("auto_map", "custom_pipelines")}
        backbone = config_dict.get("backbone_config")
        if isinstance(backbone, dict):
            warn_of_unknown_backbone_fields(backbone)
        saved, asked = config_dict.get("audio_config"), kwargs.get("audio_config")
        if isinstance(asked, dict):
            AussAudioConfig.check_names(asked)
            saved = saved.to_dict() if isinstance(saved, AussAudioConfig) else saved or {}
            saved, kwargs = saved | asked, {name: kwargs[name] for name in kwargs if name != "audio_config"}
        if isinstance(saved, dict):
            config_dict = config_dict | {"audio_config": AussAudioConfig.from_dict(saved)}
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def preset_names(cls) -> list[str]:
        """Returns the names that `from_preset` takes."""
        return sorted(path.stem for path in PRESETS_FOLDER.glob("*.json"))

    @classmethod
    def from_preset(cls, name: str, **overrides) -> "AussConfig":
        """
        Returns the shipped configuration called `name`, or the one in the JSON file `name`, such as a saved model's
        config.json. `overrides` replace its fields.

        Raises:
            ValueError: no preset and no file has that name, the file does not hold a JSON object, or a key of the file
                or an override is not a field.
        """
        path = Path(name) if name.endswith(".json") else PRESETS_FOLDER / f"{name}.json"
        if not path.is_file():
            names = ", ".join(cls.preset_names())
            raise InputError(f"no preset is called {name!r}: use one of {names}, or a JSON file")
        values = {key: value for key, value in read_json_object(path).items() if key not in LEARNED} | overrides
        cls.check_names(values)
        if isinstance(values.get("audio_config"), dict):
            AussAudioConfig.check_names(values["audio_config"])
        try:
            return cls.from_dict(values)
        except (StrictDataclassError, TypeError, KeyError) as error:
            raise InputError(f"preset {name!r}: {error}") from error


__all__ = ["IGNORED_LABEL", "AussAudioConfig", "AussConfig", "read_json_object"]
