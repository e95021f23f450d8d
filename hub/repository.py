"""Saves and pushes whole repositories: weights, configurations, code and a model card.

The models, the processors and the pipeline call these functions through `files/repository_saving.py`. Transformers'
own way, `register_for_auto_class`, copies a class's file as it is, which fails for files that import across folders,
and adds neither the pipeline nor a card.
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

# Which class of which code file answers each Auto class, as the `auto_map` of a saved configuration says it.
CONFIG_CLASS = {"AutoConfig": "configuration_auss.AussConfig"}
MODELING_FILE = "modeling_auss"
PROCESSOR_CLASSES = {
    "AutoProcessor": "processing_auss.AussProcessor",
    "AutoFeatureExtractor": "feature_extraction_auss.AussFeatureExtractor",
    "AutoVideoProcessor": "video_processing_auss.AussVideoProcessor",
}
# How `pipeline` finds the task in config.json. `pt` must be a name that Transformers itself has.
CUSTOM_PIPELINES = {
    TASK: {"impl": "pipeline.AudioVisualSegmentationPipeline", "pt": ["AutoModel"], "type": "multimodal"}
}
MODEL_FILE = "config.json"
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
# Transformers has this name as `trainer_utils.PREFIX_CHECKPOINT_DIR`, in a module that takes a second to import.
TRAINER_CHECKPOINT = re.compile(r"checkpoint-\d+")
# Arguments of `save_pretrained` that only say how to push.
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
    """A pipeline's model; anything else itself."""
    return getattr(saved, "model", saved)


def model_class(saved: object) -> str | None:
    """The class to load a saved model with, "file.Class": its own, or the first of its bases that auss defines.

    None for processors.
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
    """Says in the configurations in `folder` which code files to load them with; `saved` is what was saved there."""
    model = model_class(saved)
    if model and (folder / MODEL_FILE).is_file():
        auto_map = {**CONFIG_CLASS, "AutoModel": model, **PROCESSOR_CLASSES}
        edit_json(folder / MODEL_FILE, {"auto_map": auto_map, "custom_pipelines": CUSTOM_PIPELINES})
    for name in PROCESSOR_FILES:
        if (folder / name).is_file():
            edit_json(folder / name, {"auto_map": PROCESSOR_CLASSES}, parts=("feature_extractor", "video_processor"))


def origin(saved: object, folder: Path) -> Path | None:
    """The folder that a saved model was loaded from, if its weights there are still those now in `folder`.

    What was measured of the weights there is true of these too; after more training it would not be.
    """
    name = getattr(model_of(saved), "name_or_path", "")
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not name or not weights or not Path(name).is_dir():
        return None
    source = Path(name)
    same, _, _ = filecmp.cmpfiles(source, folder, weights, shallow=False)
    return source if sorted(same) == weights else None


def remote_card(api: HfApi, repo_id: str, token: bool | str | None, revision: str | None) -> str | None:
    """The text of the repository's model card, None if it has none."""
    try:
        return Path(api.hf_hub_download(repo_id, CARD_FILE, token=token, revision=revision)).read_text(
            encoding="utf-8"
        )
    except RemoteEntryNotFoundError:
        return None


def choose_card(folder: Path, saved: object, repo_id: str, remote: str | None, tags: list[str] | None) -> None:
    """Leaves in `folder`, about to be pushed, the card to push: none where the repository's own shall stay."""
    card = folder / CARD_FILE
    if not card.is_file():  # an adapter's
        return
    if remote is not None and not (model_class(saved) and is_untouched(remote)):
        card.unlink()
        return
    source = origin(saved, folder)
    if source is not None and (source / CARD_FILE).is_file():
        shutil.copyfile(source / CARD_FILE, card)
    tags = [*(getattr(model_of(saved), "model_tags", None) or ()), *(tags or ())]
    write_card(folder, repo_id, tags, source)


def has_configuration(folder: Path) -> bool:
    """Whether a model or processors are saved in `folder`. Of an adapter alone there is no such file."""
    return any((folder / name).is_file() for name in (MODEL_FILE, *PROCESSOR_FILES))


def is_trainer_checkpoint(folder: Path) -> bool:
    """Whether the folder is named as `Trainer` names its checkpoints."""
    return TRAINER_CHECKPOINT.fullmatch(os.path.basename(os.path.abspath(folder))) is not None


def write_code_and_card(folder: Path, saved: object) -> None:
    """Adds to what Transformers saved in `folder` what loads it without auss, and says what it is."""
    write_code(folder)
    # Processors know nothing of a model that lies beside them: where there is a card, they leave it.
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
    """Does `RepositoryMixin.save_pretrained`, whose arguments these are.

    Args:
        saved: a model, a processor or a part of one, or a pipeline.
        save_itself: saves it as Transformers does; called with `folder` and what `kwargs` has for Transformers.

    Returns:
        What `save_itself` returns.
    """
    push_arguments = {name: kwargs.pop(name) for name in PUSH_ARGUMENTS if name in kwargs}
    writes = kwargs.get("is_main_process", True) and is_first_process()
    if with_code is None:
        with_code = not is_trainer_checkpoint(folder)
    # An adapter is saved without a configuration, and without code: its base model has both.
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
    """Does `RepositoryMixin.push_to_hub`, whose arguments these are, for the object `saved`."""
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
