"""Checks that both configurations share. They refuse names that are not fields, and numbers out of their range."""

import difflib
import json
import math
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

from transformers.generation.configuration_utils import GenerationConfig
from transformers.utils import logging

from ..files.errors import InputError

logger = logging.get_logger(__name__)

MOST_LABELS = 255  # labels are 0 ... 254, because the label 255 marks pixels that nobody annotated

# Names that Transformers accepts beside the declared fields, or that its earlier releases wrote into config.json.
TRANSFORMERS_NAMES = {
    *("attn_implementation", "auto_map", "custom_pipelines", "experts_implementation", "name_or_path", "num_labels"),
    *("output_attentions", "per_layer_config", "quantization_config", "torch_dtype"),
    *("add_cross_attention", "cross_attention_hidden_size", "decoder_start_token_id", "finetuning_task"),
    *("is_decoder", "prefix", "pruned_heads", "sep_token_id", "task_specific_params", "tf_legacy_loss"),
    *("tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class", "torchscript", "use_bfloat16", "use_cache"),
}


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object. Raises ValueError if it names something twice: Python would silently take the last one."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(f"it names {next(name for name in names if names.count(name) > 1)!r} more than once")
    return made


def read_json_object(path: Path) -> dict[str, Any]:
    """
    Returns the object in a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not JSON, or its JSON is not an object, or an object names something twice. The
            message names the file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=named_once)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested too deeply
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a JSON object, {{...}}, got {type(values).__name__}")
    return values


def check_number(name: str, value: Any, low: float, high: float = math.inf, open_end: bool = False) -> None:
    """Raises ValueError unless `value` is a finite number from `low` to `high`. `open_end` excludes `high` itself."""
    in_range = not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
    if not in_range or (open_end and value == high):
        expected = f"a number of at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"
        raise InputError(f"{name} must be {expected}{' (exclusive)' if open_end else ''}, got {value!r}")


def check_count(name: str, value: Any, low: int = 1) -> None:
    """Raises ValueError unless `value` is a whole number of at least `low`."""
    if isinstance(value, bool) or value < low:
        raise InputError(f"{name} must be at least {low}, got {value!r}")


def check_label_names(id2label: Any, label2id: Any, num_labels: Any) -> None:
    """
    Raises ValueError for labels that Transformers cannot use. The check must run before Transformers makes a name for
    every label, which never ends for a huge `num_labels`.

    Args:
        id2label, label2id: dictionaries, or None.
        num_labels: the number of labels, or None.
    """
    for name, value in (("id2label", id2label), ("label2id", label2id)):
        if value is not None and not isinstance(value, dict):
            raise InputError(f"{name} must be a dictionary of names of labels, got {value!r}")
    if num_labels is not None and not (type(num_labels) is int and 2 <= num_labels <= MOST_LABELS):
        raise InputError(f"num_labels must be 2 to {MOST_LABELS}, including label 0 for silent, got {num_labels!r}")


class KnownFieldsMixin:
    """Makes the constructor refuse a misspelt field. Transformers alone would accept it silently."""

    attribute_map: ClassVar[dict[str, str]]

    def __post_init__(self, **kwargs):
        self.check_names(kwargs)
        super().__post_init__(**kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    @classmethod
    def field_names(cls) -> list[str]:
        """Returns the names of all declared fields. Transformers makes every configuration a dataclass."""
        return [field.name for field in fields(cls)]  # pyright: ignore[reportArgumentType]

    @classmethod
    def unknown_names(cls, names: Iterable[str]) -> list[str]:
        """Returns, in alphabetical order, the names that are not fields and that Transformers does not know either."""
        known = TRANSFORMERS_NAMES | set(cls.field_names()) | cls.attribute_map.keys()
        known |= GenerationConfig._get_default_generation_params().keys()
        # A file may hold the value of a property or of a class constant such as model_type, but not of a method.
        return sorted(
            name
            for name in names
            if name not in known and not name.startswith("_") and callable(getattr(cls, name, callable))
        )

    @classmethod
    def check_names(cls, names: Iterable[str]) -> None:
        """Raises ValueError for names that are not fields. The message suggests similar field names."""
        unknown = cls.unknown_names(names)
        if unknown:
            meant = [match for name in unknown for match in difflib.get_close_matches(name, cls.field_names(), n=1)]
            hint = f": is {' and '.join(meant)} meant?" if meant else ""
            raise InputError(f"{cls.__name__} has no field {', '.join(unknown)}{hint}")

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs) -> Any:
        """
        Reads a dictionary as Transformers does. A saved configuration may come from another version of auss. Names in
        it that are not fields therefore raise no error: they are kept, and a warning lists them.
        """
        unknown = cls.unknown_names(config_dict)
        if unknown:
            logger.warning(f"{cls.__name__} has no field {', '.join(unknown)}: what the file says there has no effect")
        known = {name: value for name, value in config_dict.items() if name not in unknown}
        loaded = super().from_dict(known, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        for name in unknown:
            if not hasattr(cls, name):
                setattr(loaded[0] if isinstance(loaded, tuple) else loaded, name, config_dict[name])
        return loaded


__all__ = ["KnownFieldsMixin", "check_count", "check_label_names", "check_number", "named_once", "read_json_object"]
