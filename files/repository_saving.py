"""Base classes that let the models, the processors and the pipeline save a whole model repository.

A repository holds the code of all these classes, so its writer, `hub/repository.py`, imports them. They must not
import the writer in return. Importing auss calls `register_repository_writer`, which tells these classes the writer.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo

_writer: dict[str, Callable[..., Any]] = {}


def register_repository_writer(save: Callable[..., Any], push: Callable[..., CommitInfo]) -> None:
    """
    Sets the functions that do the work of `RepositoryMixin`.

    Args:
        save: does the work of `save_pretrained`. Its arguments are the object, a function that saves the object as
            Transformers does, and the method's own arguments.
        push: does the work of `push_to_hub`. Its arguments are the object and the method's own arguments.
    """
    _writer.update(save=save, push=push)


class RepositoryMixin:
    """Makes `save_pretrained` and `push_to_hub` also write the code, an `auto_map` and a model card. The saved object
    then loads where auss is not installed."""

    @classmethod
    def register_for_auto_class(cls, *args, **kwargs) -> None:
        """Does nothing. auss saves the code in any case, and the code saving of Transformers would fail."""

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        push_to_hub: bool = False,
        with_code: bool | None = None,
        **kwargs,
    ):
        """Saves to a folder as Transformers does, and adds the code files and a model card.

        Args:
            save_directory: the folder, made if missing. A README.md that somebody wrote or edited stays as it is.
            push_to_hub: also push to the Hub. The repository is `repo_id`, or has the folder's name by default.
            with_code: whether to write the code files and the card. By default they are written into every folder
                except folders named `checkpoint-NUMBER`, the names of `Trainer`'s checkpoints.
            kwargs: further arguments of Transformers' `save_pretrained` and of `push_to_hub`.

        Raises:
            FileExistsError: the folder has a Python file with the name of a code file, and auss did not write this
                file or somebody edited it. Nothing is written then. `with_code=False` ignores such files.
        """
        folder = Path(save_directory)
        return _writer["save"](self, self._save_itself, folder, push_to_hub=push_to_hub, with_code=with_code, **kwargs)

    def _save_itself(self, folder: Path, **kwargs):
        """Saves as Transformers does. The pipeline overrides this method, because Transformers saves too little."""
        return super().save_pretrained(folder, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str | None = "50GB",
        tags: list[str] | None = None,
    ) -> CommitInfo:
        """Uploads the files that `save_pretrained` writes to the Hub, in one commit. A missing repository is made.

        The arguments are those of Transformers. The model card on the Hub is renewed unless somebody has edited it. If
        the Hub has no card, and somebody wrote one in the folder that the model was loaded from, this card is pushed.

        Raises:
            huggingface_hub.errors.HfHubHTTPError: the Hub refuses, for example because the token may not write.
        """
        return _writer["push"](
            self,
            repo_id,
            commit_message=commit_message,
            commit_description=commit_description,
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
            max_shard_size=max_shard_size,
            tags=tags,
        )


class PartRepositoryMixin(RepositoryMixin):
    """A `RepositoryMixin` for the parts of a processor. Such a part keeps every key of its file."""

    @classmethod
    def from_dict(cls, values: dict[str, Any], *args, **kwargs):
        """Reads a dictionary as Transformers does, but ignores `auto_map`. Every save writes a new `auto_map`."""
        values = {name: value for name, value in values.items() if name != "auto_map"}
        return super().from_dict(values, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]


__all__ = ["PartRepositoryMixin", "RepositoryMixin", "register_repository_writer"]
