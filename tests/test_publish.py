# ruff: noqa: F811 (fixtures are imported, and asked for by name)
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file
from transformers import AutoTokenizer, pipeline

import audiollm
from audiollm.commands import main
from audiollm.demo.listen import Listener
from audiollm.eval.run import Settings, evaluate_system
from audiollm.eval.tables import overall_table
from audiollm.hub import PublishError
from audiollm.hub.card import CardFacts, model_card
from audiollm.hub.publish import model_publication
from audiollm.hub.space import page_files
from audiollm.modeling_audiollm import AudioEmotionReasoningPipeline
from audiollm.processing.alignment import CTC_NAME
from audiollm.redact import HIDDEN
from audiollm.training.checkpoints import save_merged
from audiollm.training.facts import training_facts, write_facts
from audiollm.training.sft import train
from tests.hub_server import hub_server
from tests.tiny import like_a_voice, tiny_model_and_processor
from tests.tiny_run import config, corpus  # noqa: F401


class Parrot:
    """Says of every clip the same; so it is right about some of them."""

    name, fingerprint = "parrot", "1"

    def answer_batch(self, audios, questions):
        return ['The speaker sounds sad. They say "I lost it", so <b>sad</b>.'] * len(audios)

    def describe(self):
        return {"folder": "/home/somebody/run"}


def corpus_folder(folder, licence="cc-by-4.0"):
    """A corpus of three clips, with or without a licence on its card."""
    folder.mkdir()
    rows = []
    for number, label in enumerate(("sad", "sad", "happy")):
        soundfile.write(folder / f"{number}.wav", np.full(800, 0.1, np.float32), 16_000)
        row = {"id": str(number), "corpus": "ours", "task": "er", "audio": f"{number}.wav", "question": "How?"}
        rows.append({**row, "label": label, "answer": label, "transcript": "i lost it", "seconds": 0.05})
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\npretty_name: Our | corpus\n---\n# It\n")
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training output: merged model with a CTC head, facts, a checkpoint, and files that must stay."""
    folder = tmp_path_factory.mktemp("outputs") / "run"
    torch.manual_seed(0)
    model, processor = tiny_model_and_processor(emotion="emotion2vec")
    save_merged(model, processor, folder / "model")
    corpus = folder.parent / "corpus"
    rows = corpus_folder(corpus)
    config = {
        "model": {"parts": {"speech": "openai/whisper-tiny.en", "text": "/models/secret/smol", "emotion": None}},
        "data": {"train": [str(corpus)]},
        "lora": {"r": 7},
        "training": {"learning_rate": 0.001, "output_dir": str(folder)},
    }
    plan = {"rounds": [{"tasks": ["er"], "train": ["emotion_adapter", "lora"]}], "stops": [20], "rows": {"er": 3}}
    write_facts(training_facts(config, rows, {**plan, "window": 2}, 20, 90.0, {}), folder)
    for home in (folder / "model", folder / "checkpoint-20"):
        home.mkdir(exist_ok=True)
        save_file({"projection.bias": torch.zeros(29)}, home / CTC_NAME)
    (folder / "model" / "optimizer.bin").write_bytes(b"pickle")
    (folder / "emissions.csv").write_text("emissions,duration\n0.0012,5\n0.0003,6\n")
    return folder


@pytest.fixture(scope="module")
def results(run):
    """The folder of an evaluation."""
    settings = Settings(system=str(run / "model"), data=str(run.parent / "corpus"), label_set="sad,happy")
    evaluate_system(settings, run.parent / "eval", Parrot(), progress=False, command="eval /home/somebody/run")
    return run.parent / "eval"


def test_a_run_publishes_weights_code_processor_card_results_licence_and_aligner(run, results):
    publication = model_publication(run, results=[results])
    expected = {
        "README.md",
        "LICENSE",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "chat_template.jinja",
        "tokenizer.json",
        "pipeline_audiollm.py",
        "modeling_audiollm.py",
        "processing_audiollm.py",
        "training.json",
        CTC_NAME,
        "results/corpus-test.json",
    }
    assert expected <= set(publication.files)
    assert publication.files[CTC_NAME].parent == run / "model"
    assert not [name for name in publication.files if "checkpoint" in name]
    assert publication.left_out == ["optimizer.bin"]
    assert not [name for name in publication.files if name.endswith((".bin", ".pt", ".pkl"))]


def test_the_ctc_head_of_a_training_finds_words_in_the_published_folder(config, tmp_path):
    head = {"projection.weight": torch.randn(29, 16), "projection.bias": torch.zeros(29)}
    save_file(head, f"{config['model']['checkpoint']}/{CTC_NAME}")
    config |= {"schedule": [{"tasks": ["er"], "train": ["emotion_adapter"]}], "lora": None}
    train(config)
    assert main(["publish", str(tmp_path / "out"), "--out", str(tmp_path / "hub")]) == 0
    aligner = Listener.load(str(tmp_path / "hub")).aligner
    assert torch.equal(aligner.weight, head["projection.weight"])


def test_nothing_published_names_a_folder_of_the_machine(run, results):
    publication = model_publication(run, results=[results])
    texts = {name: c.decode() if isinstance(c, bytes) else "" for name, c in publication.files.items()}
    for name, text in texts.items():
        assert "/home/" not in text and "secret" not in text and str(run.parent) not in text, name


def test_files_travel_by_name_and_links_that_lead_out_are_refused(run, tmp_path):
    model = shutil.copytree(run / "model", tmp_path / "model")
    for name in ("token.txt", "credentials.py", "notes.json", "adapter_model.safetensors", "model.py", ".env"):
        (model / name).write_text("{}")
    publication = model_publication(model)
    assert not {"token.txt", "credentials.py", "notes.json", "model.py", ".env"} & set(publication.files)
    assert {"token.txt", "credentials.py", "adapter_model.safetensors"} <= set(publication.left_out)
    (tmp_path / "passwd").write_text("root")
    (model / "vocab.txt").symlink_to(tmp_path / "passwd")
    with pytest.raises(PublishError, match="vocab.txt: is a link that leads out"):
        model_publication(model)


def test_a_snapshot_of_the_hubs_cache_can_be_published(run, tmp_path):
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(run / "model", blobs)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert "model.safetensors" in model_publication(snapshot).files


def test_settings_travel_without_secrets_and_folders(run, tmp_path):
    home = shutil.copytree(run, tmp_path / "run")
    facts = json.loads((home / "training.json").read_text())
    facts["config"]["training"] |= {"hub_token": "open sesame", "run_name": "in /home/me/runs/7"}
    facts["config"]["judge"] = "server:m@http://me:pw@host:8000/v1?key=open"
    (home / "training.json").write_text(json.dumps(facts))
    config = json.loads((home / "model" / "config.json").read_text()) | {"_name_or_path": "/home/me/base"}
    (home / "model" / "config.json").write_text(json.dumps(config))
    files = model_publication(home).files
    for name in ("training.json", "config.json", "README.md"):
        text = files[name].decode()
        assert not any(secret in text for secret in ("sesame", "/home", "pw@", "key=")), name
    assert json.loads(files["training.json"])["config"]["judge"] == "server:m@http://host:8000/v1"
    assert json.loads(files["config.json"])["auto_map"] == config["auto_map"]


def test_special_tokens_of_a_tokenizer_travel_and_secrets_beside_them_do_not(run, tmp_path):
    model = shutil.copytree(run / "model", tmp_path / "model")
    added = {"eot_token": "[/INST]", "boi_token": "<start_of_image>"}
    tokenizer = AutoTokenizer.from_pretrained(model, extra_special_tokens=added)
    tokenizer.save_pretrained(model)
    settings = json.loads((model / "tokenizer_config.json").read_text())
    assert settings["boi_token"] == "<start_of_image>" and settings["model_specific_special_tokens"] == added
    settings |= {"call_token": {"content": "[/INST]", "special": True}, "end_tokens": ["[/INST]", "<start_of_image>"]}
    settings_with_secret = {**settings, "hub_token": "open sesame"}
    (model / "tokenizer_config.json").write_text(json.dumps(settings_with_secret))
    generation = json.loads((model / "generation_config.json").read_text()) | {"stop_strings": ["[/CALL]", "</s>"]}
    (model / "generation_config.json").write_text(json.dumps(generation))
    folder = model_publication(model).write(tmp_path / "published")
    assert json.loads((folder / "tokenizer_config.json").read_text()) == {**settings, "hub_token": HIDDEN}
    assert json.loads((folder / "generation_config.json").read_text()) == generation
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert len(AutoTokenizer.from_pretrained(folder)) == len(tokenizer)


def test_facts_are_written_without_secrets_and_folders(tmp_path):
    config = {"training": {"hub_token": "sesame", "output_dir": "/home/me/runs/7"}, "data": {"train": ["/home/me/x"]}}
    text = write_facts({"config": config}, tmp_path).read_text()
    assert "sesame" not in text and "/home" not in text and '"output_dir": "7"' in text


def test_the_card_is_filled_from_the_files_alone(run, results, tmp_path):
    card = ModelCard((model_publication(run, repo_id="me/mine", results=[results]).files["README.md"]).decode())
    text, data = card.text, card.data
    assert "# mine" in text and 'model="me/mine"' in text
    assert "| Our \\| corpus | cc-by-4.0 | 3 er | 3 | 0.00 |" in text
    assert "| 1 to 20 | er | emotion adapter, lora |" in text
    assert "LoRA of rank 7" in text and "1.5 g CO2" in text
    figures = json.loads((results / "results.json").read_text())["figures"]
    assert figures["er"]["weighted_average"] == pytest.approx(66.67, abs=0.01)
    assert re.search(r"66\.7 \[\d+\.\d, 100\.0\]", text) and "0 unscored by the judge rule" in text
    assert "must not decide about people" in text and "consent" in text
    assert data.license == "apache-2.0" and data.base_model == ["openai/whisper-tiny.en"]
    found = {(entry.metric_type, entry.metric_value) for entry in data.eval_results}
    assert found == {("accuracy", 66.67), ("balanced_accuracy", 50.0), ("f1", 66.67)}
    judged = next(entry for entry in data.eval_results if entry.metric_type == "accuracy")
    assert judged.metric_args == {"judge": "rule", "labels": ["sad", "happy"]}
    assert judged.dataset_name == "corpus" and judged.dataset_split == "test"


def test_a_card_without_facts_says_so_and_invents_nothing(run):
    config = json.loads((run / "model" / "config.json").read_text())
    text = model_card(CardFacts("bare", "FOLDER", config, {})).text
    assert "Not recorded" in text and "without an evaluation" in text
    assert "CO2" not in text and "By class" not in text and "None:" in text


@pytest.mark.parametrize(
    "section, speech, emotion, base_models",
    [
        ({"parts": {"speech": "me/hears", "emotion": "near/by", "text": "me/talks"}}, "me/hears", "near/by", 2),
        ({"checkpoint": "me/one", "add_emotion": {"encoder": "speech_encoder"}}, "me/one", "a copy of the speech", 1),
        ({"checkpoint": "near/by", "add_emotion": {"config": {}}}, "near/by", "random weights", 0),
        ({"scratch": {}}, "random weights", "random weights", 0),
    ],
)
def test_the_card_says_where_the_weights_of_each_part_began(run, tmp_path, section, speech, emotion, base_models):
    (tmp_path / "near" / "by").mkdir(parents=True)
    config = json.loads((run / "model" / "config.json").read_text())
    training = json.loads((run / "training.json").read_text()) | {"config": {"model": section}}
    card = model_card(CardFacts("it", "FOLDER", config, {}, training, home=tmp_path / "build" / "run"))
    assert f"| speech encoder | whisper | {speech}" in card.text
    assert f"| emotion encoder | emotion2vec | {emotion}" in card.text
    assert len(card.data.base_model or ()) == base_models


HOSTILE = "![x](https://example.org/p.png)<img src=x onerror=alert(1)>|`a`\n# H\n[l](javascript:x)"


def test_no_text_from_data_is_markup_in_the_card():
    part = {"model_type": HOSTILE}
    config = {"emotion_labels": [HOSTILE], "fusion": HOSTILE, "speech_config": part, "text_config": part}
    corpus = {"name": HOSTILE, "title": HOSTILE, "licence": HOSTILE, "rows": {HOSTILE: 3}}
    training = {
        "config": {"model": {"parts": {"speech": HOSTILE}}, "training": {"learning_rate": HOSTILE}},
        "corpora": [{**corpus, "clips": 1, "hours": None, "speakers": None}],
        "plan": {"rounds": [{"tasks": [HOSTILE], "train": [HOSTILE]}], "stops": [9], "window": 2},
        "steps": 9,
        "seconds": 1.0,
        "hardware": {"devices": {HOSTILE: 2}, "cpu_cores": 2, "processes": 1},
        "versions": {HOSTILE: HOSTILE},
    }
    result = {
        "settings": dict.fromkeys(("data", "split", "judge", "normalizer"), HOSTILE),
        "counts": {"rows": 1, "unscored": 0, "errors": 0},
        "label_sets": {"er": {"labels": [HOSTILE]}},
        "figures": {"er": {"weighted_average": 1.0}, "evidence": {}},
        "system": {"name": HOSTILE},
    }
    clip = {"path": f"samples/{HOSTILE}", "title": HOSTILE, "licence": HOSTILE}
    card = model_card(CardFacts(HOSTILE, "F", config, {}, training, [result], [overall_table([result])], [clip]))
    assert "<img" not in card.text and "\n# H" not in card.text
    assert not re.search(r"(?<!\\)\]\((?!samples/)", card.text) and not re.search(r"(?<!\\)!\[", card.text)


def test_sample_clips_need_a_stated_licence_and_show_different_labels(run, tmp_path):
    corpus_folder(tmp_path / "free")
    corpus_folder(tmp_path / "unknown", licence=None)
    with pytest.raises(PublishError, match="no licence is stated"):
        model_publication(run, samples=tmp_path / "unknown")
    publication = model_publication(run, repo_id="me/mine", samples=tmp_path / "free", sample_count=2)
    assert {"samples/0.wav", "samples/2.wav"} <= set(publication.files)
    card = publication.files["README.md"].decode()
    assert "me/mine/resolve/main/samples/0.wav" in card and "(samples/2.wav) (cc-by-4.0)" in card
    assert "<b>" not in ModelCard(card).text


def test_a_dry_run_lists_files_and_sizes_and_writes_nothing(run, tmp_path, capsys):
    assert main(["publish", str(run), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    listing = capsys.readouterr().out
    size = (run / "model" / "model.safetensors").stat().st_size
    assert f"{size / 1e3:.1f} kB" in listing and "README.md" in listing and "left out: optimizer.bin" in listing
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("removed", ["evidence.py", "processor_config.json", "model.safetensors", "config.json"])
def test_a_checkpoint_that_would_not_load_elsewhere_is_refused(run, tmp_path, capsys, removed):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (run / "model").iterdir():
        if path.name != removed:
            (broken / path.name).symlink_to(path)
    assert main(["publish", str(broken), "--out", str(tmp_path / "out")]) == 2
    assert removed.split(".")[0] in capsys.readouterr().err


def test_a_folder_with_other_files_is_not_written_to(run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["publish", str(run), "--out", str(tmp_path)]) == 2
    assert "notes.txt" in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1


def test_a_space_holds_the_code_that_its_page_imports_and_no_file_that_happens_to_lie_there(tmp_path):
    package = tmp_path / "audiollm"
    home = Path(audiollm.__file__).parent
    for room in ("demo", "reporting", "modeling_audiollm", "processing", "corpora", "eval"):
        shutil.copytree(home / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    for path in home.glob("*.py"):
        shutil.copy(path, package)
    for name in ("demo/credentials.json", "demo/token.py", "reporting/templates/notes.html", "secrets.py"):
        (package / name).write_text("{}")
    found = {path.relative_to(package).as_posix() for path in page_files(package)}
    assert {"__init__.py", "registration.py", "demo/app.py", "processing/audio.py"} <= found
    assert {"reporting/templates/style.css", "reporting/templates/parts.html", "demo/__init__.py"} <= found
    assert not [name for name in found if "credentials" in name or "token.py" in name or "notes" in name]
    assert not [name for name in found if name.startswith("eval/") or name in ("secrets.py", "train_sft.py")]


ELSEWHERE = textwrap.dedent("""
    import importlib.util, json, sys
    source, clip = sys.argv[1:]
    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "audiollm":
                raise ImportError("the package is not to be used here")
    sys.meta_path.insert(0, Refuse())
    from transformers import AutoTokenizer, pipeline
    pipe = pipeline("audio-emotion-reasoning", model=source, max_new_tokens=6, trust_remote_code=True)
    answers = {"plain": pipe(clip), "asked": pipe(clip, question="Who?"), "cues": pipe(clip, return_cues=True)["cues"]}
    assert "audiollm" not in sys.modules
    print(json.dumps(answers))
    """)


def answers_elsewhere(source, clip, folder, **environment):
    """What a process without the package and without the checkout answers."""
    process = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, str(source), str(clip)],
        cwd=folder,
        env={"HF_HOME": str(folder / "hf"), "PATH": "", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, like_a_voice(1.3), 16_000, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def expected(run, clip):
    """The answers in this process, from the training output."""
    pipe = pipeline(
        "audio-emotion-reasoning",
        model=str(run / "model"),
        pipeline_class=AudioEmotionReasoningPipeline,
        max_new_tokens=6,
    )
    return {
        "plain": pipe(str(clip)),
        "asked": pipe(str(clip), question="Who?"),
        "cues": pipe(str(clip), return_cues=True)["cues"],
    }


def assert_same(found, expected):
    assert found["plain"]["generated_text"] == expected["plain"]["generated_text"]
    assert found["plain"]["label"] == expected["plain"]["label"]
    assert found["asked"] == expected["asked"]
    assert found["cues"] == pytest.approx(expected["cues"])
    assert found["plain"]["scores"] == pytest.approx(expected["plain"]["scores"], abs=1e-5)


def test_the_written_folder_answers_the_same_in_an_isolated_process(run, results, clip, expected, tmp_path):
    assert main(["publish", str(run), "--out", str(tmp_path / "out"), "--results", str(results)]) == 0
    assert_same(answers_elsewhere(tmp_path / "out", clip, tmp_path, HF_HUB_OFFLINE="1"), expected)


def push_elsewhere(endpoint, folder, *arguments):
    """Run the command line against a hub, in a process of its own: the endpoint is read at import."""
    return subprocess.run(
        [sys.executable, "-m", "audiollm", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **hub_environment(endpoint, folder)},
        capture_output=True,
        text=True,
    )


def hub_environment(endpoint, folder):
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": "hf_test",
        "HF_HOME": str(folder / "hf"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def test_a_pushed_model_answers_the_same_when_loaded_by_name(run, clip, expected, tmp_path):
    with hub_server() as hub:
        pushed = push_elsewhere(hub.url, tmp_path, "publish", run, "--push", "me/mine", "--private")
        assert pushed.returncode == 0, pushed.stderr[-3000:]
        repository = hub.repositories["model", "me/mine"]
        assert repository.private and len(repository.commits) == 1
        assert "model.safetensors" in repository.large and "config.json" not in repository.large
        environment = hub_environment(hub.url, tmp_path / "other")
        assert_same(answers_elsewhere("me/mine", clip, tmp_path, **environment), expected)
        assert any("/resolve/" in path and path.endswith("/model.safetensors") for path in hub.requested)
        again = push_elsewhere(hub.url, tmp_path, "publish", run, "--push", "me/mine")
        assert again.returncode == 0, again.stderr[-3000:]
        assert len(repository.commits) == 1  # nothing changed, so nothing is committed


def test_a_push_without_the_right_to_write_is_one_clear_error(run, tmp_path):
    with hub_server(token="another") as hub:
        pushed = push_elsewhere(hub.url, tmp_path, "publish", run, "--push", "me/mine")
        assert pushed.returncode == 2
        assert pushed.stderr.strip().splitlines()[0].startswith("error: ") and "Traceback" not in pushed.stderr
