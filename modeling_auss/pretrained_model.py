"""The base class of both models: initial weights, loading and saving, and the attention implementations."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils.output_capturing import OutputRecorder
from typing_extensions import Self

from ..configuration.configuration_auss import AussConfig
from ..files.model_files import check_weight_files
from ..files.repository_saving import RepositoryMixin
from .attention import Attention
from .audio_queries import SpaceProjector
from .fusion_decoder import FusionBlock, FusionDecoder
from .image_backbone import usable_attention


class AussPreTrainedModel(RepositoryMixin, PreTrainedModel):
    """Weight initialisation, loading and saving, and the choice of an attention implementation."""

    config: AussConfig
    config_class = AussConfig
    base_model_prefix = "auss"
    main_input_name = "pixel_values"
    input_modalities = ["video", "audio"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["FusionBlock", "DependencyCatcherLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {
        "hidden_states": FusionBlock,
        "attentions": OutputRecorder(Attention, index=1, layer_name="masked_attention"),
    }

    if TYPE_CHECKING:
        # PreTrainedModel wraps these methods, so type checkers do not see that they are methods.
        def to(self, *args: Any, **kwargs: Any) -> Self: ...

        def cuda(self, *args: Any) -> Self: ...

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, *args: Any, **kwargs: Any):
        """
        Loads a model as Transformers does. If the model is a folder, its weight files are checked first.

        Raises:
            ValueError: a weights file of the folder is damaged, empty or a Git LFS pointer, or the folder's index
                names a file outside the folder.
            PermissionError: a weights file may not be read.
        """
        if pretrained_model_name_or_path is not None and os.path.isdir(pretrained_model_name_or_path):
            check_weight_files(Path(pretrained_model_name_or_path) / (kwargs.get("subfolder") or ""))
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """
        Sets the initial weights of a module.

        Projections start with Xavier's scheme, as in [5]. Convolutions start with He's scheme, for a VGGish that is
        trained from scratch.
        """
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            for name, statistic in module.named_buffers():  # only batch norm has buffers
                (init.ones_ if name == "running_var" else init.zeros_)(statistic)
        elif isinstance(module, SpaceProjector):
            if module.number_projector is not None:
                init.normal_(module.number_projector, std=module.number_projector.shape[1] ** -0.5)
            if module.query_embedding is not None:
                init.normal_(module.query_embedding, std=self.config.initializer_range)
        elif isinstance(module, FusionDecoder):
            # The product of Eq. 12 sums e terms of unit scale, so its size would be about sqrt(e). The gain makes
            # the mask logits start near 0.
            init.xavier_uniform_(module.mask_head.weight, gain=module.mask_head.in_features**-0.5)
            init.normal_(module.level_embedding)
            if module.query_position_embedding is not None:
                init.normal_(module.query_position_embedding)

    @property
    def image_backbone(self) -> PreTrainedModel:
        """The image backbone, a pretrained network that has its own attention implementation."""
        return cast(PreTrainedModel, self.base_model.get_submodule("image_embedding_extractor.backbone"))

    def set_attn_implementation(self, attn_implementation: str | dict, allow_all_kernels: bool = False) -> None:
        """
        Sets the attention implementation as Transformers does, except that a plain string changes only the parts of
        the model that support it. A ResNet backbone, for example, refuses even "sdpa".

        Args:
            attn_implementation: `"eager"`, `"sdpa"`, `"flash_attention_2"` or another flash kernel. A dict sets each
                part: `""` is this model's own attention, and `"backbone_config"` is the backbone's. Flash kernels take
                no mask per query, so with them masked attention (Eq. 8) still uses sdpa.
            allow_all_kernels: whether to allow kernels from unverified repositories.

        Raises:
            ValueError: the implementation is unknown, or this model cannot use it.
            ImportError: the flash kernel is not installed.
        """
        if isinstance(attn_implementation, str):
            attn_implementation = dict.fromkeys(("", *self.config.sub_configs), attn_implementation)
            attn_implementation["backbone_config"] = usable_attention(self.image_backbone, attn_implementation[""])
        super().set_attn_implementation(attn_implementation, allow_all_kernels)

    def enable_input_require_grads(self) -> None:
        """
        Lets gradients pass reentrant checkpoints when only adapters are trained. PEFT and Trainer call this method.

        The inputs of the checkpointed layers then require a gradient. A2U has such layers, and some backbones do.
        """

        def require_gradient(module: nn.Module, inputs: tuple, output: torch.Tensor | None = None) -> None:
            (inputs[0] if output is None else output).requires_grad_(True)

        # Transformers would add the hook to the backbone's input embeddings. Swin's embeddings return a tuple, on
        # which the hook would fail, so add a hook before the whole backbone.
        embeddings, backbone = self.get_input_embeddings(), self.image_backbone
        self._require_grads_hooks = []
        if embeddings is not None:
            self._require_grads_hooks.append(embeddings.register_forward_hook(require_gradient))
        if backbone.supports_gradient_checkpointing:
            self._require_grads_hooks.append(backbone.register_forward_pre_hook(require_gradient))


__all__ = ["AussPreTrainedModel"]
