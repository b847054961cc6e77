"""A training output as a repository of the Hub: which files go, to a folder or to the Hub itself."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi

import audiollm

from ..corpora.places import ClipPlaces
from ..corpora.schema import EMOTION_TASKS, read_rows
from ..eval.results import PREDICTIONS, VERDICTS, read_run
from ..eval.tables import Table, class_table, interval_table, overall_table
from ..files import replacing
from ..processing.alignment import CTC_NAME
from ..processing.audio import AudioError
from ..redact import redact, special_tokens
from ..training.delta import is_delta
from ..training.facts import FACTS_NAME, dataset_card_facts
from . import PublishError
from .card import CardFacts, count_parameters, model_card


CONFIG, README, LICENCE = "config.json", "README.md", "LICENSE"
# What a checkpoint consists of, beside its weights and the code that `config.json` names. Nothing else goes: a suffix
# says nothing about what is in a file, and pickles (.bin, .pt, .pkl) can run code when they are loaded.
NAMES = frozenset(
    (
        *(CONFIG, "generation_config.json", "processor_config.json", "preprocessor_config.json"),
        *("chat_template.jinja", "chat_template.json", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "normalizer.json"),
        *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "model.safetensors.index.json", CTC_NAME),
    )
)
WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
# Of these, settings that a trainer or tokenizer leaves there may name folders of the machine.
SETTINGS = (
    *(CONFIG, "generation_config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json"),
)
TEXTS = (
    "chat_template",
    "added_tokens_decoder",
    "additional_special_tokens",
    "extra_special_tokens",
    "stop_strings",
)  # stay as they are
EMISSIONS = "emissions.csv"  # codecarbon's, which transformers' CodeCarbonCallback writes into the output folder
_IMPORT = re.compile(r"^\s*from\s+\.(\w+)\s+import", re.M)


@dataclass(frozen=True)
class Publication:
    """Files of a repository.

    Args:
        files: where each comes from (a path) or what it holds (bytes), by its path in the repository.
        left_out: names of files of the checkpoint that do not go.
    """

    files: Mapping[str, Path | bytes]
    left_out: Sequence[str] = ()

    def listing(self) -> str:
        """Names and sizes, one a line, with their sum."""
        sizes = {name: _size(content) for name, content in self.files.items()}
        width = max(map(len, sizes))
        lines = [f"{name:<{width}} {_human(size):>10}" for name, size in sizes.items()]
        lines.append(f"{'in all':<{width}} {_human(sum(sizes.values())):>10}")
        if self.left_out:
            lines.append(f"left out: {', '.join(self.left_out)}")
        return "\n".join(lines)

    def write(self, folder: str | Path) -> Path:
        """Write all files into a folder.

        Raises:
            PublishError: if it holds other files, which would seem to be part of the publication.
        """
        folder = Path(folder)
        others = [
            name
            for path in (folder.rglob("*") if folder.is_dir() else ())
            if path.is_file() and (name := path.relative_to(folder).as_posix()) not in self.files
        ]
        if others:
            raise PublishError(f"{folder} holds other files ({', '.join(others[:3])}); give a new or empty folder.")
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, "wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
        return folder

    def push(self, repo_id: str, private: bool = False, repo_type: str = "model", space_sdk: str | None = None) -> str:
        """Commit all files to a repository of the Hub in one commit, making the repository if need be.

        Args:
            repo_id: `OWNER/NAME`; the token is the one of `hf auth login`, or of the environment (`HF_TOKEN`).
            private: whether a new repository is private.
            repo_type: `model` or `space`.
            space_sdk: of a new space.

        Returns:
            The address of the commit.
        """
        api = HfApi()
        api.create_repo(repo_id, private=private, repo_type=repo_type, space_sdk=space_sdk, exist_ok=True)
        operations = [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in self.files.items()
        ]
        return api.create_commit(repo_id, operations, commit_message="Publish", repo_type=repo_type).commit_url


def model_publication(
    run: str | Path,
    repo_id: str | None = None,
    name: str | None = None,
    results: Sequence[str | Path] = (),
    samples: str | Path | None = None,
    sample_count: int = 3,
    samples_split: str = "test",
    audio_roots: Sequence[str | Path] = (),
) -> Publication:
    """What a training output (or a model folder in it) publishes.

    Args:
        run: output folder of a training, which holds `model/`; or a folder that `save_pretrained` wrote.
        repo_id: where it is to go on the Hub; the card then says how to load it from there.
        name: heading of the card; by default the repository's or the run's.
        results: `results.json` files of this model, or folders of evaluation runs.
        samples: corpus folder whose clips are shown, if its licence is stated.
        sample_count: how many, of as many labels as there are.
        samples_split: of that corpus.
        audio_roots: folders whose clips may be shown, beside that of the corpus.

    Raises:
        PublishError: if the folder is no checkpoint, misses code or processor, or the clips have no licence.
    """
    run = Path(run)
    model = run / "model" if (run / "model" / CONFIG).is_file() else run
    home = model.parent if model.name == "model" else model
    if is_delta(model):
        raise PublishError(
            f"{model}: is a delta, ready to upload as it is; for the whole model `audiollm merge` it first."
        )
    config = _read_config(model)
    files, left_out = _checkpoint_files(model, config)
    training = next(
        (_read_json(folder / FACTS_NAME) for folder in (home, model) if (folder / FACTS_NAME).is_file()), None
    )
    measured = [public(_read_results(path)) for path in results]
    if training is not None:
        training = public(training)
        files[FACTS_NAME] = _json_bytes(training)
    names = set()
    for result in measured:
        result_name = _unused(f"{Path(result['settings']['data']).name}-{result['settings']['split']}", names)
        files[f"results/{result_name}.json"] = _json_bytes(result)
    clips = choose_samples(samples, samples_split, sample_count, audio_roots) if samples else []
    files |= {clip["path"]: Path(clip.pop("source")) for clip in clips}
    facts = CardFacts(
        name=name or (repo_id or home.resolve().name).rpartition("/")[-1],
        model_id=repo_id or "FOLDER",
        config=config,
        parameters=count_parameters(
            [path for path in files.values() if isinstance(path, Path) and WEIGHTS.fullmatch(path.name)]
        ),
        training=training,
        results=measured,
        tables=_tables(results, measured),
        clips=clips,
        clip_url=repo_id and f"{HfApi().endpoint}/{repo_id}/resolve/main",
        carbon=_emissions(home / EMISSIONS),
        home=home,
    )
    files[LICENCE] = Path(audiollm.__file__).parent / LICENCE
    files[README] = (str(model_card(facts)).rstrip() + "\n").encode("utf-8")
    return Publication(dict(sorted(files.items())), left_out)


def choose_samples(
    corpus: str | Path, split: str, count: int, audio_roots: Sequence[str | Path] = ()
) -> list[dict[str, str]]:
    """Clips of a corpus to listen to, one of each emotion in turn: `path` in the repository, `source`, title, licence.

    Raises:
        PublishError: if the corpus states no licence (`license:` at the top of its `README.md`), or one under which
            nothing may be passed on; or if a clip lies elsewhere, or is no audio.
    """
    licence = dataset_card_facts(corpus)["licence"]
    if not licence or licence in ("other", "unknown"):
        raise PublishError(
            f"{corpus}: no licence is stated, so its recordings can't be published. If you may pass them on, say so "
            "in its README.md: `license: ...` between two lines of `---` at the top."
        )
    by_label: dict[str, list[dict]] = {}
    for row in read_rows(corpus, split):
        if row["task"] == "er" and row["label"]:
            by_label.setdefault(row["label"], []).append(row)
    turns = [row for turn in zip_longest(*by_label.values()) for row in turn if row is not None][:count]
    places = ClipPlaces(corpus, audio_roots)
    try:
        sources = [places.clip(row["audio"]["path"]) for row in turns]
    except AudioError as error:
        raise PublishError(str(error)) from error
    taken: set[str] = set()
    return [
        {
            "path": f"samples/{_unused(Path(row['audio']['path']).stem, taken)}{Path(row['audio']['path']).suffix}",
            "source": source,
            "title": f"{row['label']}: {row['transcript']}" if row["transcript"] else row["label"],
            "licence": str(licence),
        }
        for row, source in zip(turns, sources)
    ]


def public(facts: Any) -> Any:
    """Facts without secrets, folders of the machine they come from, and command lines."""
    return redact(_without_commands(facts))


def _without_commands(facts: Any) -> Any:
    if isinstance(facts, Mapping):
        return {key: _without_commands(item) for key, item in facts.items() if key != "command"}
    return [_without_commands(item) for item in facts] if isinstance(facts, list) else facts


def _read_config(model: Path) -> dict[str, Any]:
    if not (model / CONFIG).is_file():
        raise PublishError(
            f"{model}: no {CONFIG} here or in its folder `model`; give the output folder of a training."
        )
    return _read_json(model / CONFIG)


def _checkpoint_files(model: Path, config: Mapping[str, Any]) -> tuple[dict[str, Path | bytes], list[str]]:
    """Files of the model's folder that go, by name, and names of those that stay."""
    here = {path.name: path for path in sorted(model.iterdir()) if path.is_file() or path.is_symlink()}
    code = _code_names(config, model, here)
    names = [name for name in here if name in NAMES or name in code or WEIGHTS.fullmatch(name)]
    if not any(map(WEIGHTS.fullmatch, names)):
        raise PublishError(f"{model}: no model*.safetensors; save the model with `save_pretrained` first.")
    missing = [name for name in ("processor_config.json", "chat_template.jinja") if name not in names]
    if missing:
        raise PublishError(f"{model}: {', '.join(missing)} missing; save the processor there too.")
    files: dict[str, Path | bytes] = {}
    tokens = special_tokens(model)
    for name in names:
        _check_place(here[name], model)
        files[name] = here[name]
        if name in SETTINGS:
            said = _read_json(here[name])
            public_ones = redact(said, texts=tokens) | {key: said[key] for key in TEXTS if key in said}
            files[name] = here[name] if public_ones == said else _json_bytes(public_ones)
    return files, [name for name in here if name not in (*names, README, LICENCE)]


def _check_place(path: Path, model: Path):
    """Refuse a link to somewhere else: what is there was not saved with this model."""
    target, home = path.resolve(), model.resolve()
    cached = home.parent.parent / "blobs"  # of the Hub's cache, whose snapshots consist of links
    if target.parent not in (home, cached if home.parent.name == "snapshots" else home):
        raise PublishError(f"{path}: is a link that leads out of {model}; copy what it should hold there.")


def _code_names(config: Mapping[str, Any], model: Path, files: Mapping[str, Path]) -> set[str]:
    """Names of the Python files that the checkpoint loads, and those load.

    Raises:
        PublishError: if they are not all there: the checkpoint would load for us and for nobody else.
    """
    references = [*(config.get("auto_map") or {}).values()]
    references += [task["impl"] for task in (config.get("custom_pipelines") or {}).values()]
    if not references:
        raise PublishError(f"{model / CONFIG}: names no code (`auto_map`); save the model with this package.")
    processor = _read_json(files["processor_config.json"]) if "processor_config.json" in files else {}
    references += [*(processor.get("auto_map") or {}).values()]
    named = [name for some in references for name in ([some] if isinstance(some, str) else some) if name]
    waiting, seen = [name.split("--")[-1].split(".")[0] for name in named], set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        if f"{module}.py" not in files:
            raise PublishError(f"{model}: {module}.py is missing, which the checkpoint needs; save the model again.")
        waiting += _IMPORT.findall(files[f"{module}.py"].read_text(encoding="utf-8"))
    return {f"{module}.py" for module in seen}


def _read_results(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    if not path.is_file():
        raise PublishError(f"{path}: no results; make them with `audiollm eval`.")
    return _read_json(path)


def _tables(paths: Sequence[str | Path], results: Sequence[dict[str, Any]]) -> list[Table]:
    """The main figures, and those by class, with intervals where the answers are at hand to draw them from."""
    tables = [overall_table(results)] if results else []
    for path, result in zip(map(Path, paths), results):
        folder = path if path.is_dir() else path.parent
        run = read_run(folder) if (folder / PREDICTIONS).is_file() and (folder / VERDICTS).is_file() else None
        for task in EMOTION_TASKS:
            if task in result["figures"]:
                tables.append(class_table([result], task) if run is None else interval_table([run], task))
    return tables


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise PublishError(f"{path}: is not JSON ({error}).") from error


def _emissions(path: Path) -> float | None:
    """Grams of CO2 equivalents over all sessions that codecarbon logged, None if it logged nothing."""
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        return 1000 * sum(float(row["emissions"]) for row in csv.DictReader(file))


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def _unused(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    taken.add(free)
    return free


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _human(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


__all__ = ["Publication", "choose_samples", "model_publication", "public"]
