"""Finds the folder of a trained model: a folder on this machine, or a repository of the Hugging Face Hub."""

from pathlib import Path

from huggingface_hub import _CACHED_NO_EXIST, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..configuration.configuration_auss import AussConfig, read_json_object
from ..files.errors import InputError
from ..files.model_files import HUB_ID, shard_files

CONFIG_FILE = "config.json"
# The other files of a model. A repository has some of each; its code is not downloaded, since nothing would run it.
SETTINGS_FILES = ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json")
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"


def is_local(source: str | Path) -> bool:
    """Whether a model's name means a folder on this machine, even if there is no such folder. Only OWNER/NAME means a
    repository, and only if nothing here has that name."""
    path = Path(source)
    try:
        exists = path.exists() or path.is_symlink()
    except (OSError, ValueError):  # not permitted, or no possible name of a file
        exists = True
    return exists or HUB_ID.fullmatch(str(source)) is None


def fetch_optional(repository: str, name: str, revision: str | None) -> Path | None:
    """Downloads a file of a repository. Returns None if the repository does not have it."""
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except LocalEntryNotFoundError:
        # The Hub did not answer. The cache notes the files that a repository was asked for and does not have.
        known = try_to_load_from_cache(repository, name, cache_dir=constants.HF_HUB_CACHE, revision=revision)
        if constants.HF_HUB_OFFLINE or known is _CACHED_NO_EXIST:
            return None
        raise
    except EntryNotFoundError:
        return None


def fetch(repository: str, revision: str | None) -> Path:
    """Downloads a model with huggingface_hub, which uses its cache, its token and its setting HF_HUB_OFFLINE."""
    config = Path(hf_hub_download(repository, CONFIG_FILE, revision=revision))
    model_type = read_json_object(config).get("model_type")
    if model_type != AussConfig.model_type:  # found out before gigabytes of weights are downloaded
        raise InputError(
            f"{repository} on the Hugging Face Hub must hold a model of type {AussConfig.model_type!r}, got "
            f"{model_type!r}"
        )
    for name in SETTINGS_FILES:
        fetch_optional(repository, name, revision)
    if fetch_optional(repository, WEIGHTS_FILE, revision) is None:
        index = Path(hf_hub_download(repository, INDEX_FILE, revision=revision))
        for shard in shard_files(index):
            hf_hub_download(repository, shard.name, revision=revision)
    return config.parent


def model_folder(source: str | Path) -> Path:
    """
    Returns the folder of a trained model. A repository of the Hub is downloaded into the cache of huggingface_hub.

    Args:
        source: a folder; or OWNER/NAME, or OWNER/NAME@REVISION, of the Hub if nothing here has that name.

    Raises:
        FileNotFoundError: there is no such folder here and no such model on the Hub, or the Hub cannot be reached.
        PermissionError: the repository is gated.
        ValueError: the repository holds a model of another type.
        OSError: the Hub refuses to give the files.
    """
    match = HUB_ID.fullmatch(str(source))
    if match is None or is_local(source):
        return Path(source)
    repository, revision = match["repo"], match["revision"]
    version = f" at revision {revision!r}" if revision else ""
    try:
        return fetch(repository, revision)
    except LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
        raise FileNotFoundError(
            f"model {str(source)!r} is no folder here, {repository}{version} is not in the cache of the Hugging Face "
            f"Hub ({constants.HF_HUB_CACHE}), and {why}. Where there is a network, run `hf download {repository} "
            f"--local-dir {repository.rpartition('/')[2]}`, and copy the folder here"
        ) from error
    except GatedRepoError as error:
        raise PermissionError(
            f"model {str(source)!r}: {repository} is gated. Accept its conditions at {constants.ENDPOINT}/"
            f"{repository}, then run `hf auth login`"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError, EntryNotFoundError) as error:
        raise FileNotFoundError(
            f"model {str(source)!r} is no folder here, and the Hugging Face Hub has no model {repository}{version}, "
            "or none that this user may read (`hf auth login`)"
        ) from error
    except HfHubHTTPError as error:
        raise OSError(f"model {str(source)!r}: the Hub did not give {repository}{version}: {error}") from error


__all__ = ["is_local", "model_folder"]
