"""Saves and pushes whole repositories: weights, configurations, code and a model card.

The models, the processors and the pipeline call these functions through `files/repository_saving.py`. Transformers
itself offers `register_for_auto_class`. That function copies a class's file unchanged, which fails for a file that
imports across folders. It adds neither the pipeline nor a card.
"""

import filecmp
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.errors import RemoteEntryNotFoundError

from ..files.file_rights import file_stamps, follow_umask
from ..files.whole_files import write_whole
from .flat_code import check_code, write_code
from .model_card import CARD_FILE, TASK, is_untouched, write_card

# Auto class -> "file.Class", the class that it loads. The `auto_map` of a saved configuration holds these entries.
CONFIG_CLASS = {"AutoConfig": "configuration_auss.AussConfig"}
MODELING_FILE = "modeling_auss"
PROCESSOR_CLASSES = {
    "AutoProcessor": "processing_auss.AussProcessor",
    "AutoFeatureExtractor": "feature_extraction_auss.AussFeatureExtractor",
    "AutoVideoProcessor": "video_processing_auss.AussVideoProcessor",
}
# `pipeline` finds the task by this entry of config.json. `pt` must name a class of Transformers itself.
CUSTOM_PIPELINES = {
    TASK: {"impl": "pipeline.AudioVisualSegmentationPipeline", "pt": ["AutoModel"], "type": "multimodal"}
}
MODEL_FILE = "config.json"
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
# Transformers defines this name as `trainer_utils.PREFIX_CHECKPOINT_DIR`, but importing that module takes a second.
TRAINER_CHECKPOINT = re.compile(r"checkpoint-\d+")
# The arguments of `save_pretrained` that concern only the push.
PUSH_ARGUMENTS = (
    "repo_id",
    "commit_message",
    "commit_description",
    "private",
    "token",
    "revision",
    "create_pr",
    "tags",
)


def is_first_process() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0)


def model_of(saved: object) -> object:
    """Returns the model of a pipeline, and any other object itself."""
    return getattr(saved, "model", saved)


def model_class(saved: object) -> str | None:
    """Returns the class that loads a saved model, as "file.Class". This is the model's own class if auss defines it,
    and otherwise the first base class that auss defines. Returns None for processors.
    """
    for cls in type(model_of(saved)).__mro__:
        if cls.__module__.rpartition(".")[2] == MODELING_FILE:
            return f"{MODELING_FILE}.{cls.__name__}"
    return None


def edit_json(file: Path, values: dict[str, Any], parts: tuple[str, ...] = ()) -> None:
    """Sets top-level values in a JSON file, and in those of its top-level dictionaries that `parts` names."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for part in (content, *(content[name] for name in parts if name in content)):
        part.update(values)
    write_whole(file, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_auto_map(folder: Path, saved: object) -> None:
    """Writes into the configurations in `folder` which code files load them. `saved` is the object saved there."""
    model = model_class(saved)
    if model and (folder / MODEL_FILE).is_file():
        auto_map = {**CONFIG_CLASS, "AutoModel": model, **PROCESSOR_CLASSES}
        edit_json(folder / MODEL_FILE, {"auto_map": auto_map, "custom_pipelines": CUSTOM_PIPELINES})
    for name in PROCESSOR_FILES:
        if (folder / name).is_file():
            edit_json(folder / name, {"auto_map": PROCESSOR_CLASSES}, parts=("feature_extractor", "video_processor"))


def origin(saved: object, folder: Path) -> Path | None:
    """Returns the folder that a saved model was loaded from, if both folders have the same weights; otherwise None.

    Results that were measured with the loaded weights hold for equal weights, but not after more training.
    """
    name = getattr(model_of(saved), "name_or_path", "")
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not name or not weights or not Path(name).is_dir():
        return None
    source = Path(name)
    same, _, _ = filecmp.cmpfiles(source, folder, weights, shallow=False)
    return source if sorted(same) == weights else None


def remote_card(api: HfApi, repo_id: str, token: bool | str | None, revision: str | None) -> str | None:
    """Returns the text of the model card on the Hub, or None if the repository has no card."""
    try:
        return Path(api.hf_hub_download(repo_id, CARD_FILE, token=token, revision=revision)).read_text(
            encoding="utf-8"
        )
    except RemoteEntryNotFoundError:
        return None


def choose_card(folder: Path, saved: object, repo_id: str, remote: str | None, tags: list[str] | None) -> None:
    """Prepares the card in `folder` for the push. Removes it if the card that is on the Hub shall stay."""
    card = folder / CARD_FILE
    if not card.is_file():  # an adapter has no card
        return
    if remote is not None and not (model_class(saved) and is_untouched(remote)):
        card.unlink()
        return
    source = origin(saved, folder)
    # A link might lead to a file that nobody wants to publish.
    if source is not None and (source / CARD_FILE).is_file() and not (source / CARD_FILE).is_symlink():
        shutil.copyfile(source / CARD_FILE, card)
    tags = [*(getattr(model_of(saved), "model_tags", None) or ()), *(tags or ())]
    write_card(folder, repo_id, tags, source)


def has_configuration(folder: Path) -> bool:
    """Whether a model or processors are saved in `folder`. An adapter alone has no configuration file."""
    return any((folder / name).is_file() for name in (MODEL_FILE, *PROCESSOR_FILES))


def is_trainer_checkpoint(folder: Path) -> bool:
    """Whether the folder has a name that `Trainer` gives to checkpoints."""
    return TRAINER_CHECKPOINT.fullmatch(os.path.basename(os.path.abspath(folder))) is not None


def write_code_and_card(folder: Path, saved: object) -> None:
    """Adds the code files and the model card to the files that Transformers saved in `folder`."""
    write_code(folder)
    # A processor does not know the model in the same folder, so saving a processor keeps a card that exists.
    if model_class(saved) or not (folder / CARD_FILE).exists():
        write_card(folder, results=origin(saved, folder))


def save_repository(
    saved: Any,
    save_itself: Callable[..., Any],
    folder: Path,
    push_to_hub: bool = False,
    with_code: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Does the work of `RepositoryMixin.save_pretrained`. The arguments that are not listed here are the same.

    Args:
        saved: a model, a processor, a part of a processor, or a pipeline.
        save_itself: saves the object as Transformers does. Its arguments are `folder` and the rest of `kwargs`.

    Returns:
        The result of `save_itself`.
    """
    push_arguments = {name: kwargs.pop(name) for name in PUSH_ARGUMENTS if name in kwargs}
    writes = kwargs.get("is_main_process", True) and is_first_process()
    if with_code is None:
        with_code = not is_trainer_checkpoint(folder)
    # An adapter is saved without configuration and code, because its base model has both.
    is_adapter = getattr(saved, "_hf_peft_config_loaded", False)
    if writes and with_code and (not is_adapter or has_configuration(folder)):
        check_code(folder, "pass with_code=False to save without code")
    before = file_stamps(folder) if writes else {}
    result = save_itself(folder, **kwargs)
    if writes:
        follow_umask(path for path, stamp in file_stamps(folder).items() if before.get(path) != stamp)
        write_auto_map(folder, saved)
        if with_code and has_configuration(folder):
            write_code_and_card(folder, saved)
        if push_to_hub:
            saved.push_to_hub(push_arguments.pop("repo_id", folder.resolve().name), **push_arguments)
    return result


def push_repository(
    saved: Any,
    repo_id: str,
    *,
    commit_message: str | None,
    commit_description: str | None,
    private: bool | None,
    token: bool | str | None,
    revision: str | None,
    create_pr: bool,
    max_shard_size: int | str | None,
    tags: list[str] | None,
) -> CommitInfo:
    """Does the work of `RepositoryMixin.push_to_hub` for the object `saved`. The other arguments are the same."""
    api = HfApi(library_name="auss")
    repo_id = api.create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
    if revision is not None and not create_pr and not revision.startswith("refs/pr"):
        api.create_branch(repo_id, branch=revision, token=token, exist_ok=True)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        saved.save_pretrained(folder, with_code=True, max_shard_size=max_shard_size)
        choose_card(folder, saved, repo_id, remote_card(api, repo_id, token, revision), tags)
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message or f"Upload {type(saved).__name__}",
            commit_description=commit_description,
            token=token,
            revision=revision,
            create_pr=create_pr,
        )


__all__ = ["CUSTOM_PIPELINES", "PROCESSOR_CLASSES", "PROCESSOR_FILES", "push_repository", "save_repository"]
