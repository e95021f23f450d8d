"""The table of all tests that do not run, or run differently than in Transformers, with the reasons."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from re import search


@dataclass(frozen=True)
class Skip:
    """
    Args:
        kind: a key of `KINDS`.
        why: the reason, as docs/conformance.md gives it.
        message: what the tests say as they skip, a regular expression.
        tests: which may say it: patterns of `Class::test`.
    """

    kind: str
    why: str
    message: str
    tests: tuple[str, ...] = ("*",)

    def lists(self, test: str, message: str) -> bool:
        return bool(search(self.message, message)) and any(fnmatchcase(test, pattern) for pattern in self.tests)


# What the harness itself leaves out or changes; conftest.py skips those that name a test.
OURS = {
    "*::test_model_get_set_embeddings": "skipped: the test requires that the input embeddings are an `nn.Embedding` "
    "of tokens. Our input embeddings are W_2 of Eq. 1, which turns sound into queries",
    "test_resize_embeddings = False": "switched off: the tests resize a vocabulary, and the network has none",
    "test_all_params_have_gradient = False": "switched off with Swin only: the Swin backbone of Transformers has a "
    "last norm, and no feature map passes through it",
    "does_processor_return_mm_offsets": "returns False: the original looks for methods that replace text in the first "
    "base class of a processor, and that class does not always have such methods",
}

KINDS = {
    "ours": "left out by our harness",
    "hardware": "hardware and its kernels",
    "text": "text and its generation",
    "part": "a part that the network does not have",
    "once": "skipped with one kind of backbone, run with another",
    "theirs": "no video processor of this release runs these tests",
}

SKIPS = (
    Skip("ours", OURS["*::test_model_get_set_embeddings"], "asks that the input emb", ("*::test_model_get_set_emb*",)),
    Skip("ours", OURS["test_resize_embeddings = False"], "test_resize_embeddings is set to", ("*::test_resize_*",)),
    Skip("hardware", "the tests need one GPU or several", "^test requires (multiple accelerators|accelerator|MPS)$"),
    Skip(
        "hardware",
        "the tests need flash attention kernels, which need a GPU; `test_attention.py` tests which kernel gets a mask",
        "^test requires (Flash Attention( 3| 4)?|the kernels library)$",
    ),
    Skip(
        "hardware",
        "the tests resize a vocabulary under DeepSpeed, on GPUs",
        "^test requires deepspeed$",
        ("*::test_resize_*",),
    ),
    Skip(
        "hardware",
        "layers that are split over several GPUs",
        "not have a TP plan",
        ("*::test_t*_tp_plan*", "*::test_tp_*"),
    ),
    Skip(
        "text",
        "embeddings of tokens as an input, and caches of tokens",
        "doesn't use `inputs_embeds`|Do not take a cache",
        ("*::test_inputs_emb*", "*::test_bc_cache_*"),
    ),
    Skip("text", "the loss of a language model", "language modeling head to check", ("*_loss_*",)),
    Skip("text", "chat templates", "chat template", ("AussProcessorTest::*template*",)),
    Skip("text", "chats with videos", "requires Torchcodec", ("AussProcessorTest::*template*",)),
    Skip("text", "a tokenizer", "tokenizer attribute not present", ("AussProcessorTest::*",)),
    Skip(
        "text",
        "positions of pictures, videos and sounds in a text",
        "text inputs|images with text|_get_num_multimodal_tokens",
        ("AussProcessorTest::*",),
    ),
    Skip("part", "pictures as an input", "image_processor attribute not pres", ("AussProcessorTest::*",)),
    Skip("part", "rotary positions of tokens", "RoPE", ("*rope*",)),
    Skip("part", "learned positions of tokens", "position embeddings", ("*::test_resize_position_vector_embeddings",)),
    Skip("part", "a sliding window over tokens", "sliding window", ("*::test_sliding_window_mask",)),
    Skip("part", "a mixture of experts", "grouped_mm|sparse experts|output_router_logits"),
    Skip("part", "layers that stay in float32", "_keep_in_fp32_modules", ("*::test_keep_in_fp32_*",)),
    Skip("part", "weights with other names in older files", "No conversion found", ("*_mapp*",)),
    Skip(
        "part",
        "a language model with an encoder beside it",
        "language sub-model",
        ("*::test_sdpa_can_dispatch_composite_mod*",),
    ),
    Skip(
        "part",
        "the pipelines of other tasks",
        "not in `self.pipeline_model_mapping`|requires PyTesseract|`run_pipeline_test` is currently not implemented",
        ("AussPipelineTest::*",),
    ),
    Skip(
        "once",
        "attention in the backbone: run with Swin",
        "not (a )?composite|does not support SDPA|don't support sdpa",
        (
            "AussWith*::test_can_set_attention_dynamically*",
            "AussWith*::test_attn_implementation_composite_models",
            "AussWith*::test_sdpa_can_dispatch_composite_models",
        ),
    ),
    Skip(
        "once",
        "backbones without attention: run with ResNet and timm",
        "does not support SDPA",
        ("AussWithSwinTest::test_sdpa_can_dispatch_non_composite_models",),
    ),
    Skip(
        "theirs",
        "the tests require `size` as a dict, or a decorator that Transformers has removed",
        "does not have dict size|No validation found",
        ("AussVideoProcessorTest::*",),
    ),
)


def listed(test: str, message: str) -> Skip | None:
    """The entry for a test that skipped with `message`, if there is one."""
    return next((skip for skip in SKIPS if skip.lists(test, message)), None)
