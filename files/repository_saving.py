"""Saving that writes a whole model repository: what the models, the processors and the pipeline inherit.

A repository holds the code of all these classes, so its writer, `hub/repository.py`, stands above them, and they do
not import it. `register_repository_writer` tells them who the writer is. It is called when auss is imported.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo

_writer: dict[str, Callable[..., Any]] = {}


def register_repository_writer(save: Callable[..., Any], push: Callable[..., CommitInfo]) -> None:
    """
    Args:
        save: does `RepositoryMixin.save_pretrained`. It gets the object, a function that saves the object as
            Transformers does, and the method's own arguments.
        push: does `RepositoryMixin.push_to_hub`. It gets the object and the method's own arguments.
    """
    _writer.update(save=save, push=push)


class RepositoryMixin:
    """Makes `save_pretrained` and `push_to_hub` write what loads without auss: code, `auto_map` and a model card."""

    @classmethod
    def register_for_auto_class(cls, *args, **kwargs) -> None:
        """Does nothing: the code is saved in any case, and Transformers' own way of it would fail."""

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        push_to_hub: bool = False,
        with_code: bool | None = None,
        **kwargs,
    ):
        """Saves to a folder as Transformers does, and beside it the code files and a model card.

        Args:
            save_directory: the folder, made if missing. A README.md that somebody wrote or edited stays as it is.
            push_to_hub: also do `push_to_hub`, to the repository `repo_id` or else one of the folder's name.
            with_code: whether to write the code files and the card. By default they are written into every folder but
                those named `checkpoint-NUMBER`, as `Trainer` names its checkpoints.
            kwargs: further arguments of Transformers' `save_pretrained` and of `push_to_hub`.

        Raises:
            FileExistsError: the folder has Python files that auss did not write, or that somebody edited, with names
                of the code files; nothing is written then. Without code such files are in nobody's way.
        """
        folder = Path(save_directory)
        return _writer["save"](self, self._save_itself, folder, push_to_hub=push_to_hub, with_code=with_code, **kwargs)

    def _save_itself(self, folder: Path, **kwargs):
        """What Transformers does; a pipeline's own does too little."""
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
        """Uploads what `save_pretrained` writes to a repository on the Hub, made if missing, in one commit.

        The arguments are Transformers'. The model card is renewed unless somebody has edited it there. A card that
        somebody wrote in the folder that the model was loaded from comes along, if the Hub has none.

        Raises:
            huggingface_hub.errors.HfHubHTTPError: the Hub refuses, for example without a token that may write.
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
    """The same for the parts of a processor, which keep every key of their file."""

    @classmethod
    def from_dict(cls, values: dict[str, Any], *args, **kwargs):
        """As Transformers does, but for `auto_map`: it belongs to the file, and is written anew with each."""
        values = {name: value for name, value in values.items() if name != "auto_map"}
        return super().from_dict(values, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]


__all__ = ["PartRepositoryMixin", "RepositoryMixin", "register_repository_writer"]
