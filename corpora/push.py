"""Pushing to the Hub: the Parquet folder with its card, in one upload.

`push_to_hub` of datasets 5.2 would not make it less: to fill files of a bounded size it reads all clips once before,
then the rows once for each split, and it writes of the card only the head, so that the licence and what was left out
would come in a commit after the data. The folder is also what `--dry-run` shows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from .export import Note, export


def push(
    rows: Path,
    name: str,
    private: bool = True,
    dry_run: Path | None = None,
    drop_problems: bool = False,
    note: Note = print,
    audio_roots: Sequence[str | Path] = (),
) -> str:
    """Push rows to the Hub as a dataset with a card.

    The token is the one that `hf auth login` stored, or `HF_TOKEN`.

    Args:
        rows: as for [`verify`].
        name: `owner/dataset`.
        private: whether only its owner sees it. Most speech corpora may not be passed on.
        dry_run: write what would be uploaded to this folder instead.
        drop_problems: as for [`export`].
        note: is told what is left out.
        audio_roots: as for [`export`].

    Returns:
        Address of the dataset, or the folder of the dry run.
    """
    if dry_run is not None:
        export(rows, dry_run, "parquet", drop_problems, note, audio_roots)
        return str(dry_run)
    from huggingface_hub import HfApi

    api = HfApi()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / name.rsplit("/", 1)[-1]
        export(rows, folder, "parquet", drop_problems, note, audio_roots)
        url = api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(repo_id=name, repo_type="dataset", folder_path=str(folder))
    return str(url)
