"""AUSS, the audio unmixing and semantic segmentation network (Ling et al. 2023), as Transformers models."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers.utils import logging
from transformers.utils.generic import TransformersKwargs, can_return_tuple
from transformers.utils.output_capturing import capture_outputs
from typing_extensions import Unpack

from ..configuration.configuration_auss import AussConfig
from ..files.errors import InputError
from .audio_encoder import VGGish
from .audio_queries import AudioQueryGenerator, FrameConditioner, spread_frames
from .fusion_decoder import FusionDecoder
from .image_embedding import ImageEmbeddingExtractor, map_size
from .losses.loss import AussLoss
from .losses.query_losses import confidence_threshold
from .model_inputs import RealFrames, check_inputs
from .outputs import AussModelOutput, AussSegmentationOutput
from .pretrained_model import AussPreTrainedModel
from .resized_maps import MaskFeatures, ResizedMaps
from .semantic_inference import semantic_scores

logger = logging.get_logger(__name__)


def in_weights_dtype(values: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """Converts floating-point inputs of `module` to the dtype of its weights. Other inputs stay as they are."""
    # Skip 8-bit weights, because their layers compute in another dtype. A replica of `nn.DataParallel` lists no
    # parameters; then the inputs keep their dtype.
    dtypes = (weight.dtype for weight in module.parameters() if weight.is_floating_point() and weight.itemsize > 1)
    return values.to(next(dtypes, values.dtype)) if values.is_floating_point() else values


class AussModel(AussPreTrainedModel):
    """The network without heads: log-mel to audio queries, frames to embeddings, and their fusion (paper, Fig. 2)."""

    def __init__(self, config: AussConfig):
        super().__init__(config)
        self.audio_encoder = VGGish(config.audio_config) if config.audio_input else None
        # `from_pretrained` builds the model on the meta device. On any other device the weights are random.
        if self.audio_encoder is not None and self.audio_encoder.frozen and self.device.type != "meta":
            logger.warning(
                "audio_config.frozen keeps the audio encoder at random weights, which tell sounds apart badly: load "
                "pretrained ones with load_audio_weights, or leave it False"
            )
        self.audio_query_generator = AudioQueryGenerator(config)
        self.frame_conditioner = FrameConditioner(config) if config.frame_conditioned_queries else None
        self.image_embedding_extractor = ImageEmbeddingExtractor(config)
        self.fusion_decoder = FusionDecoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module | None:
        """
        Returns W_2 of Eq. 1, which turns audio features into queries.

        It plays the role that the token embedding plays in a language model.
        """
        return self.audio_query_generator.space_projector.channel_projector

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces W_2 of Eq. 1 by another module."""
        self.audio_query_generator.space_projector.channel_projector = value

    def audio_features(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Encodes the sound.

        Args:
            input_features: (B, t, 96, 64) log-mel, t at most T.
            input_features_mask: (B, t), 1 for sound and 0 for padding. None means that there is no padding.

        Returns:
            A_ori, (B, T, e_0); and (B, T), 1 for sound. Both are 0 for padding and for examples that a clip lacks.
        """
        input_features = in_weights_dtype(input_features, self.audio_encoder or self.audio_query_generator)
        missing = self.config.num_audio_examples - input_features.shape[1]
        if self.audio_encoder is None:
            features = input_features.new_zeros(*input_features.shape[:2], self.config.audio_config.embedding_size)
        else:
            features = self.audio_encoder(input_features, input_features_mask)
        if input_features_mask is None:
            input_features_mask = torch.ones(input_features.shape[:2], device=input_features.device)
        valid = nn.functional.pad(input_features_mask.to(features.dtype), (0, missing))
        return nn.functional.pad(features, (0, 0, 0, missing)) * valid.unsqueeze(-1), valid

    def audio_queries(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Turns log-mel (B, t, 96, 64) into the audio queries A, (B, N, e).

        Padding and examples that a clip lacks add nothing.
        """
        return self.audio_query_generator(*self.audio_features(input_features, input_features_mask))

    def frame_queries(
        self,
        num_frames: int,
        input_features: torch.Tensor,
        input_features_mask: torch.Tensor | None = None,
        frame_examples: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Computes the queries that enter the fusion decoder. `forward` accepts them in place of the sound.

        Without `config.frame_conditioned_queries` every frame of a clip gets the same queries A. With it, the sound
        at the frame's time is added. In frames that `frame_mask` (B, F) marks as padding the values are arbitrary.

        Returns:
            The audio queries A, (B, N, e); and the queries of each of the F = `num_frames` frames, (B, F, N, e).
        """
        audio_features, valid = self.audio_features(input_features, input_features_mask)
        return self.queries_of_features(num_frames, audio_features, valid, frame_examples, frame_mask)

    def queries_of_features(
        self,
        num_frames: int,
        audio_features: torch.Tensor,
        valid: torch.Tensor,
        frame_examples: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Does the second half of `frame_queries`: it turns encoded sound into queries.

        A caller whose windows of sound overlap encodes every example once and gives the features here.

        Args:
            num_frames, frame_examples, frame_mask: as `frame_queries` takes them.
            audio_features, valid: as `audio_features` returns them, (B, T, e_0) and (B, T).

        Returns:
            As `frame_queries`.
        """
        audio_queries = self.audio_query_generator(audio_features, valid)
        frame_queries = audio_queries.unsqueeze(1).expand(-1, num_frames, -1, -1)
        if self.frame_conditioner is not None:
            if frame_examples is None:
                frame_examples = spread_frames(num_frames, valid, frame_mask)
            frame_queries = self.frame_conditioner(frame_queries, audio_features, frame_examples)
        return audio_queries, frame_queries

    def mask_features(self, outputs: AussModelOutput, pixel_values: torch.Tensor) -> MaskFeatures:
        """
        Returns the object that computes the masks of this model's outputs.

        Args:
            outputs: what `forward` returned for `pixel_values`.
            pixel_values: (B, F, 3, H, W). The result holds B*F frames.
        """
        assert outputs.mask_features is not None  # `forward` always sets it
        size = map_size(pixel_values.shape[-2:], self.config.mask_stride)
        return self.image_embedding_extractor.mask_projection(ResizedMaps(outputs.mask_features.flatten(0, 1), size))

    # A backbone may record its own hidden states and attentions. So the model records its states here, where the
    # backbone does not run, and not in `forward`. `last_hidden_state` has a frame axis and the recorded states have
    # none, so the last recorded state is not tied to it.
    @capture_outputs(tie_last_hidden_states=False)
    def fuse(
        self, queries: torch.Tensor, embeddings: list[ResizedMaps], mask_features: MaskFeatures, **kwargs
    ) -> AussModelOutput:
        """
        Runs the fusion decoder on M frames.

        Args:
            queries: A_0, (M, N, e).
            embeddings: f_1 ... f_3.
            mask_features: f_4 with h.

        Returns:
            An `AussModelOutput` with `mask_features` and `layer_queries` of the M frames.
        """
        layer_queries = self.fusion_decoder(queries, embeddings, mask_features)
        return AussModelOutput(mask_features=mask_features.maps, layer_queries=layer_queries)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        frame_examples: torch.Tensor | None = None,
        frame_queries: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> AussModelOutput:
        """
        Args:
            pixel_values: (B, F, 3, H, W) normalised frames; any F >= 1, H and W. Frames and log-mel may have any
                floating-point dtype. The model converts both to the dtype of its weights.
            input_features: (B, T, 96, 64) log-mel, T at most `config.num_audio_examples`.
            input_features_mask: (B, T), 1 for sound and 0 for padding. None means that there is no padding.
            frame_examples: (B, F) int64, the number of the sound example that plays while each frame is shown. None
                means that the frames spread evenly over the sound. Used only with `config.frame_conditioned_queries`.
            frame_queries: (B, F, N, e), the queries that the method `frame_queries` computed from the sound. Give them
                in place of `input_features` if the frames come in several passes: then the sound is encoded only
                once, and the output has no `audio_queries`. With F = 1 they may be (B, V, N, e) for V sounds. Then
                each frame is encoded once, and the outputs have V frames, one for each sound.
            frame_mask: (B, F), 1 for the frames of a clip and 0 for padding, for clips that differ in length. None
                means that there is no padding. Padding does not change other results or the statistics of batch norm.
                The outputs of padding are zeros.

        Returns:
            An `AussModelOutput`: `last_hidden_state` (B, F, N, e), the fused queries; `audio_queries` (B, N, e);
            `mask_features` (B, F, e, h', w'), see `AussModelOutput`; `layer_queries`, the queries of every layer.

        Raises:
            ValueError: shapes do not agree; both or neither of `input_features` and `frame_queries` are given; or a
                clip has no frame.
        """
        check_inputs(
            self.config, pixel_values, input_features, input_features_mask, frame_examples, frame_queries, frame_mask
        )
        audio_queries, num_frames = None, pixel_values.shape[1]
        if input_features is not None:  # VGGish and A2U compute A (Eq. 1-7)
            audio_queries, frame_queries = self.frame_queries(
                num_frames, input_features, input_features_mask, frame_examples, frame_mask
            )
        assert frame_queries is not None  # `check_inputs` refuses a call without sound and without queries
        real = RealFrames(frame_mask, frame_queries.shape[:2])
        frames = in_weights_dtype(real.pack(pixel_values), self.image_embedding_extractor)
        embeddings, mask_features = self.image_embedding_extractor(frames)  # f_1 ... f_3, and f_4
        if (num_views := frame_queries.shape[1]) > num_frames:
            embeddings = [embedding.repeated(num_views) for embedding in embeddings]
            mask_features = mask_features.repeated(num_views)
        # The L MATD blocks compute A_0 ... A_L (Eq. 8-10 and 13-14).
        fused = self.fuse(real.pack(frame_queries), embeddings, mask_features, return_dict=True, **kwargs)
        layer_queries = tuple(real.unpack(queries) for queries in fused["layer_queries"])
        return AussModelOutput(
            last_hidden_state=layer_queries[-1],
            audio_queries=audio_queries,
            mask_features=real.unpack(fused["mask_features"]),
            layer_queries=layer_queries,
            hidden_states=real.unpack_states(fused.hidden_states),
            attentions=real.unpack_states(fused.attentions),
        )


class AussForAudioVisualSegmentation(AussPreTrainedModel):
    """AUSS with its class head and mask head. It predicts the masks of the sounding objects in every frame."""

    # `forward` accepts **kwargs. Trainer would conclude that the loss is already divided by `num_items_in_batch`, and
    # would not divide it by the number of accumulation steps.
    accepts_loss_kwargs = False

    def __init__(self, config: AussConfig):
        super().__init__(config)
        self.auss = AussModel(config)
        self.class_norm = nn.LayerNorm(config.hidden_size)
        self.class_head = nn.Linear(config.hidden_size, config.num_labels + 1)
        self.loss = AussLoss(config)
        self.confidence_threshold = confidence_threshold(config.training_progress, config.confidence_schedule)
        self.post_init()

    def set_training_progress(self, progress: float) -> None:
        """
        Sets delta of Eq. 22 to its value at this point of the training run.

        Args:
            progress: the finished part of the run, in [0, 1]. It is stored in `config.training_progress` and saved
                with the configuration.

        Raises:
            ValueError: `progress` is outside [0, 1].
        """
        if not 0 <= progress <= 1:
            raise InputError(f"progress must be in [0, 1], got {progress}")
        self.config.training_progress = float(progress)
        self.confidence_threshold = confidence_threshold(progress, self.config.confidence_schedule)

    def heads(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Applies the class head (Eq. 11) and the mask head (Eq. 12) to queries (B, F, N, e) or (M, N, e).

        Returns:
            The class logits (M, N, K + 1) and the mask embeddings g_3(A), (M, N, e).
        """
        queries = queries.flatten(0, -3)
        return self.class_head(self.class_norm(queries)), self.auss.fusion_decoder.mask_head(queries)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        labels: torch.Tensor | Sequence[torch.Tensor] | None = None,
        frame_examples: torch.Tensor | None = None,
        output_masks_queries_logits: bool = False,
        frame_queries: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> AussSegmentationOutput:
        """
        Args:
            pixel_values: (B, F, 3, H, W) normalised frames; any F >= 1, H and W. Frames and log-mel may have any
                floating-point dtype. The model converts both to the dtype of its weights.
            input_features: (B, T, 96, 64) log-mel, T at most `config.num_audio_examples`.
            input_features_mask: (B, T), 1 for sound and 0 for padding. None means that there is no padding.
            labels: (B, F, H, W) integers: class ids, and 255 where nothing is annotated. With labels the loss is
                computed, and `logits` have no gradient. If the labels of the clips differ in size, give a list of
                (F, H, W). The labels of such a list are resized to the size of `pixel_values`.
            frame_examples: (B, F) int64, the number of the sound example of each frame, see `AussModel`.
            output_masks_queries_logits: whether to return the masks of all queries, which are the largest tensor.
            frame_queries: (B, F, N, e) in place of `input_features`, or (B, V, N, e) for V views of one frame, see
                `AussModel`.
            frame_mask: (B, F), 1 for the frames of a clip and 0 for padding, for clips that differ in length. None
                means that there is no padding. Padding and its labels do not change the loss, the gradients or the
                statistics of batch norm, so a clip gets the same result as without padding. In padding frames
                `logits` are 0.

        Returns:
            An `AussSegmentationOutput`: `logits` (B, F, K, h, w) in [0, 1]; `class_queries_logits` (B, F, N, K + 1);
            `masks_queries_logits` (B, F, N, h, w), on request; `audio_queries` (B, N, e); `fused_queries`
            (B, F, N, e); with labels, `loss` and `loss_dict`; on request, `hidden_states` and `attentions`.

        Raises:
            ValueError: shapes do not agree, labels are not class ids, or a clip has no frame.
        """
        sound = (input_features, input_features_mask, frame_examples, frame_queries)
        outputs = self.auss(pixel_values, *sound, frame_mask, return_dict=True, **kwargs)  # A_0 ... A_L and f_4
        real = RealFrames(frame_mask, outputs.last_hidden_state.shape[:2])
        mask_features = self.auss.mask_features(outputs, pixel_values).of_frames(real.places)
        class_logits, mask_embeddings = self.heads(real.pack(outputs.last_hidden_state))  # Eq. 11 and 12
        loss = loss_dict = masks = None
        if labels is not None:
            labels = real.pack_labels(labels, pixel_values, self.config.num_labels)
            earlier = outputs.layer_queries[:-1] if self.config.deep_supervision else ()
            layers = [*(self.heads(real.pack(queries)) for queries in earlier), (class_logits, mask_embeddings)]
            queries = real.pack(outputs.last_hidden_state)
            loss, loss_dict = self.loss(layers, queries, mask_features, labels, self.confidence_threshold)  # Eq. 19
        with torch.set_grad_enabled(labels is None and torch.is_grad_enabled()):
            logits = semantic_scores(class_logits, mask_embeddings, mask_features)  # Eq. 20-21
        if output_masks_queries_logits:
            masks = real.unpack(mask_features.masks(mask_embeddings))  # Eq. 12
        return AussSegmentationOutput(
            loss=loss,
            loss_dict=loss_dict,
            logits=real.unpack(logits),
            class_queries_logits=real.unpack_classes(class_logits),
            masks_queries_logits=masks,
            audio_queries=outputs.audio_queries,
            fused_queries=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = ["AussForAudioVisualSegmentation", "AussModel"]
