"""Files of a repository of the Hugging Face Hub, out of its cache or fetched into it."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def unreachable(repository: str, files: Sequence[str], source: str) -> FileNotFoundError:
    """The error that says how to fetch the files elsewhere."""
    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
    local = repository.rpartition("/")[2]
    return FileNotFoundError(
        f"backbone weights {source!r}: {' or '.join(files)} of {repository} is neither a file here nor in the cache "
        f"({constants.HF_HUB_CACHE}), and {why}. Where there is a network, run `hf download {repository} --local-dir "
        f"{local}`, copy the folder here, and give it as backbone weights"
    )


def fetch_file(repository: str, revision: str | None, names: Sequence[str], source: str) -> Path | None:
    """The path in the cache of the first of `names` that the repository has; None if it has none of them."""
    absent: list[Exception] = []
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision))
        except LocalEntryNotFoundError as error:  # not in the cache, and no answer: perhaps another of the names is
            absent.append(error)
        except GatedRepoError as error:
            raise PermissionError(
                f"backbone weights {source!r}: {repository} is gated. Accept its conditions at "
                f"{constants.ENDPOINT}/{repository}, then run `hf auth login`"
            ) from error
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
            version = f" at revision {revision!r}" if revision else ""
            raise FileNotFoundError(
                f"backbone weights {source!r}: there is no such file or folder here, and no repository {repository}"
                f"{version} on the Hugging Face Hub, or none that this user may read (`hf auth login`)"
            ) from error
        except EntryNotFoundError:
            continue
        except HfHubHTTPError as error:
            raise OSError(
                f"backbone weights {source!r}: the Hub did not give {name} of {repository}: {error}"
            ) from error
    if absent:
        raise unreachable(repository, names, source) from absent[0]
    return None


def fetch_repository(
    repository: str, revision: str | None, wanted: Sequence[Sequence[str]], source: str
) -> tuple[Path, list[str]]:
    """
    Fetches files by huggingface_hub, with its cache, its token and its HF_HUB_OFFLINE.

    Args:
        repository: "owner/name".
        revision: a branch, tag or commit; None is the main branch.
        wanted: of each group of names the first that there is; config.json alone may be missing.
        source: what the user gave, for messages.

    Returns:
        The folder in the cache, and the names of the files fetched.

    Raises:
        FileNotFoundError: the Hub has no such repository or file, or cannot be reached; PermissionError: it is gated.
    """
    paths = []
    for names in wanted:
        path = fetch_file(repository, revision, names, source)
        if path is None and "config.json" not in names:
            raise FileNotFoundError(
                f"backbone weights {source!r}: {repository} has none of {', '.join(names)} on the Hugging Face Hub"
            )
        paths += [path] if path is not None else []
    return paths[-1].parent, [path.name for path in paths]


__all__ = ["fetch_repository"]
