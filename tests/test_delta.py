# ruff: noqa: F811 (fixtures are imported, and asked for by name)
"""A delta and its bases make the model that was trained; what does not belong together or is not whole is refused."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalEntryNotFoundError
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor, LlamaConfig, LlamaForCausalLM, WhisperConfig, WhisperModel

from audiollm.commands import main
from audiollm.commands.demo import choose_model
from audiollm.demo import about
from audiollm.hub import PublishError
from audiollm.hub.publish import model_publication
from audiollm.modeling_audiollm import AudioLLMForConditionalGeneration
from audiollm.samples.base import scratch
from audiollm.training import bases as bases_module
from audiollm.training import delta as delta_module
from audiollm.training.assemble import assemble
from audiollm.training.bases import BaseError
from audiollm.training.checkpoints import gather_tensors, merge_checkpoint, save_origin, save_trainable
from audiollm.training.delta import merge_delta, merged_in_cache, read_delta
from audiollm.training.facts import FACTS_NAME
from audiollm.training.lora import lora_settings
from audiollm.training.schedule import part_of
from audiollm.training.sft import train
from tests.tiny import ENCODERS, TEXTS, tiny_extractor, tiny_model_and_processor
from tests.tiny_run import config, corpus  # noqa: F401


HUB = {"speech": "openai/whisper-mini", "emotion": "openai/whisper-mini", "text": "me/talks"}
FACTS = {"format": 1, "corpora": [{"name": "acted", "title": "Acted", "licence": "CC BY-NC-SA 4.0"}]}
WEIGHTS = "model.safetensors"
LORA = {"r": 4}


def save_text(folder: Path, texts=TEXTS, hidden=32):
    """A language model that knows no audio tokens, with its tokenizer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "AUDIO_TOKENS", ())
        tokenizer = scratch.train_tokenizer(list(texts) * 20, 320)
    sizes = {"hidden_size": hidden, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    config = LlamaConfig(**sizes, vocab_size=len(tokenizer), tie_word_embeddings=True, **special)
    model = LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_checkpoint(section, folder: Path, lora=LORA):
    """What a training of `section` would save: adapters with alignment, and LoRA, as if they had learnt."""
    model, processor = assemble(section)
    model.add_speech_alignment()
    settings = lora_settings(lora, model) if lora else None
    wrapped = get_peft_model(model, LoraConfig(**settings)) if settings else model
    learnt = ("speech_adapter", "emotion_adapter", "adapter", "lora")
    new = (*learnt, "emotion_encoder") if "config" in (section.get("add_emotion") or {}) else learnt
    names = {name for name, _ in wrapped.named_parameters() if part_of(name) in new}
    for name, parameter in wrapped.named_parameters():
        if name in names:
            parameter.data = parameter.data + 0.1 * torch.randn_like(parameter)
    for name, buffer in wrapped.named_buffers():
        if "running_" in name and part_of(name) in learnt:
            buffer.data = buffer.data + torch.rand_like(buffer)
    folder.mkdir(parents=True)
    save_trainable(gather_tensors(wrapped, names), folder)
    save_origin({"model": section, "lora": settings}, model.config, processor, folder)
    (folder.parent / FACTS_NAME).write_text(json.dumps(FACTS))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Bases in folders, a checkpoint of a training on them, and its deltas in fp32 and bf16."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("made")
    WhisperModel(WhisperConfig(**ENCODERS["whisper"])).save_pretrained(folder / "whisper")
    tiny_extractor("whisper").save_pretrained(folder / "whisper")
    save_text(folder / "llama")
    whisper, llama = str(folder / "whisper"), str(folder / "llama")
    parts = {"speech": whisper, "emotion": whisper, "text": llama, "window_seconds": 1, "speech_tokens": 10}
    parts |= {"emotion_tokens": 2, "emotion_layer_mix": True, "audio_tokens": "clip", "emotion_adapter_norm": "batch"}
    save_checkpoint({"parts": parts}, folder / "run" / "checkpoint-1")
    for dtype in ("float32", "bfloat16", "int8"):
        assert main(delta_words(folder, folder / dtype, "--dtype", dtype)) == 0
    return folder


def delta_words(made, out, *more, licence="cc-by-nc-4.0"):
    named = [f"{kind}={name}" for kind, name in HUB.items()]
    return ["delta", str(made / "run/checkpoint-1"), str(out), "--licence", licence, "--base", *named, *more]


@pytest.fixture
def given(made, tmp_path):
    """Copies of the bases, to be damaged; emotion and speech are the same on the Hub."""
    for name in ("whisper", "llama"):
        shutil.copytree(made / name, tmp_path / name)
    return {"speech": str(tmp_path / "whisper"), "text": str(tmp_path / "llama")}


def refusal(words, capsys) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    return said[0]


def merge_words(delta, out, given):
    return ["merge", delta, "--out", out, "--base", *(f"{kind}={place}" for kind, place in given.items())]


def settings(file: Path):
    """What a file of settings says, but for where on this machine parts came from."""
    return json.loads(file.read_text(), object_hook=lambda said: {k: said[k] for k in said if k != "_name_or_path"})


def test_a_merged_delta_is_the_merged_checkpoint(made, given, tmp_path, tone, capsys):
    merge_checkpoint(made / "run/checkpoint-1", tmp_path / "expected")
    assert main(merge_words(str(made / "float32"), str(tmp_path / "whole"), given)) == 0
    assert "note:" not in capsys.readouterr().err
    expected, found = (load_file(tmp_path / name / WEIGHTS) for name in ("expected", "whole"))
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    for name in ("config.json", "processor_config.json", "generation_config.json"):
        assert settings(tmp_path / "whole" / name) == settings(tmp_path / "expected" / name), name
    answers = []
    for name in ("expected", "whole"):
        model = AutoModel.from_pretrained(tmp_path / name, trust_remote_code=True)
        processor = AutoProcessor.from_pretrained(tmp_path / name, trust_remote_code=True)
        inputs = processor(text=processor.prompt("How do they feel?"), audio=[tone(0.7)], return_tensors="pt")
        answers.append(model.generate(**inputs, max_new_tokens=8, do_sample=False))
    assert torch.equal(*answers)


@pytest.mark.parametrize("dtype, most", [("bfloat16", 0.02), ("int8", 0.05)])
def test_rounded_it_answers_nearly_the_same(made, given, tmp_path, tone, dtype, most):
    merge_checkpoint(made / "run/checkpoint-1", tmp_path / "expected")
    merge_delta(made / dtype, tmp_path / "whole", given)
    logits = []
    for name in ("expected", "whole"):
        model = AudioLLMForConditionalGeneration.from_pretrained(tmp_path / name)
        processor = AutoProcessor.from_pretrained(tmp_path / name)
        inputs = processor(text=processor.prompt("How do they feel?"), audio=[tone(0.7)], return_tensors="pt")
        logits.append(model(**inputs).logits)
    assert 0 < (logits[0] - logits[1]).norm() / logits[0].norm() < most


def test_int8_halves_it(made):
    sizes = {dtype: (made / dtype / "trained.safetensors").stat().st_size for dtype in ("bfloat16", "int8")}
    assert sizes["int8"] < 0.75 * sizes["bfloat16"]  # scales and names weigh much where rows are short
    assert PeftConfig.from_pretrained(str(made / "int8" / "lora")).r == 4


def test_a_delta_holds_what_learnt_and_neither_weights_nor_tokenizer_of_its_bases(made):
    delta = made / "bfloat16"
    names = {path.relative_to(delta).as_posix() for path in delta.rglob("*") if path.is_file()}
    assert names == {
        *("README.md", "LICENSE", "delta.json", "training.json", "config.json", "generation_config.json"),
        *("processor_config.json", "chat_template.jinja", "trained.safetensors", "bases.safetensors"),
        *("lora/adapter_config.json", "lora/adapter_model.safetensors"),
    }
    trained = load_file(delta / "trained.safetensors")
    rows = trained.pop("new rows of model.language_model.embed_tokens.weight")
    assert rows.shape == (3, 32) and {part_of(name) for name in trained} == {"speech_adapter", "emotion_adapter"}
    assert any("alignment" in name for name in trained) and any("mixes" in name for name in trained)
    counts = [name for name in trained if name.endswith("num_batches_tracked")]
    running = {name for name in trained if name.endswith(("running_mean", "running_var"))}
    assert len(counts) == 1 and {trained[name].dtype for name in running} == {torch.float32}
    assert {trained[name].dtype for name in set(trained) - {*counts, *running}} == {torch.bfloat16}
    for name in names:
        assert str(made).encode() not in (delta / name).read_bytes(), name


def test_its_lora_is_peft_s_own(made, given, tmp_path):
    merge_delta(made / "float32", tmp_path / "whole", given)
    base, _ = assemble({"parts": {"window_seconds": 1, "speech_tokens": 10, "emotion_tokens": 2, **given}})
    wrapped = PeftModel.from_pretrained(base, str(made / "float32" / "lora"))
    merged = load_file(tmp_path / "whole" / WEIGHTS)
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    torch.testing.assert_close(wrapped.merge_and_unload().state_dict()[name], merged[name])


def test_the_card_says_which_licence_what_it_belongs_to_and_what_it_hears(made, tmp_path):
    assert (
        main(delta_words(made, tmp_path / "named", "--hears", "It hears <b>plain</b> English.", "--name", "mini")) == 0
    )
    card = ModelCard.load(tmp_path / "named" / "README.md")
    assert card.data.license == "cc-by-nc-4.0" and set(card.data.base_model) == set(HUB.values())
    assert "**mini**" in card.text and "It hears &lt;b&gt;plain&lt;/b&gt; English." in card.text
    assert "audiollm merge named --out build/mini" in card.text


def test_a_licence_that_its_corpora_forbid_is_refused(made, tmp_path, capsys):
    said = refusal(delta_words(made, tmp_path / "free", licence="apache-2.0"), capsys)
    assert "Acted (CC BY-NC-SA 4.0), which forbids commercial use" in said and not (tmp_path / "free").exists()


def test_a_checkpoint_that_does_not_say_what_it_learnt_from_gets_no_licence(made, tmp_path, capsys):
    shutil.copytree(made / "run" / "checkpoint-1", tmp_path / "run" / "checkpoint-1")
    words = delta_words(made, tmp_path / "free")
    words[1] = str(tmp_path / "run" / "checkpoint-1")
    assert "does not say which corpora it learnt from" in refusal(words, capsys)
    shutil.copy(made / "run" / FACTS_NAME, tmp_path / "run" / "checkpoint-1")
    assert main(words) == 0


def test_a_folder_that_was_trained_on_needs_a_name_on_the_hub(made, tmp_path, capsys):
    words = ["delta", made / "run/checkpoint-1", tmp_path / "out", "--licence", "mit"]
    assert "speech: the run had its weights from the folder" in refusal(words, capsys)
    assert "--base vision: this model was made of speech" in refusal([*words, "--base", "vision=me/sees"], capsys)
    assert "is no name on the Hub" in refusal([*words, "--base", "speech=/data/x"], capsys)
    assert not (tmp_path / "out").exists()


def quantized(tensors, bits=4):
    """As a quantiser leaves them: matrices in groups of 16 with one scale, vectors as they were."""

    def rounded(tensor):
        if tensor.dim() < 2:
            return tensor
        groups = tensor.reshape(-1, 16) if tensor.numel() % 16 == 0 else tensor.reshape(1, -1)
        scales = groups.abs().amax(-1, keepdim=True).clamp(min=1e-9) / (2 ** (bits - 1) - 1)
        return ((groups / scales).round() * scales).reshape(tensor.shape)

    return {name: rounded(tensor) for name, tensor in tensors.items()}


def change_weights(folder, change):
    file = Path(folder) / WEIGHTS
    tensors = {name: tensor.contiguous() for name, tensor in change(load_file(file)).items()}
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()}, None),
        (lambda tensors: {name: tensor.half() for name, tensor in tensors.items()}, "0.0"),
        (quantized, "these weights are not bit for bit those that the delta was trained on"),
    ],
    ids=["bfloat16", "float16", "4 bits"],
)
def test_rounded_bases_are_taken_and_it_is_said(made, given, tmp_path, capsys, change, said):
    change_weights(given["text"], change)
    assert main(merge_words(str(made / "bfloat16"), str(tmp_path / "whole"), given)) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: text:")]
    assert (said is None and not notes) or said in notes[0]
    merged = json.loads((tmp_path / "whole" / "merged.json").read_text())
    assert merged["bases"]["text"]["exact"] is (said is None) and merged["bases"]["speech"]["exact"]


def moved_norms(tensors):
    return {name: tensor * 1.02 if "norm" in name else tensor for name, tensor in tensors.items()}


def other_matrix(tensors):
    name = next(name for name in tensors if "layers.1.mlp" in name)
    return {**tensors, name: torch.randn_like(tensors[name]) * tensors[name].std()}


@pytest.mark.parametrize(
    "part, damage, said",
    [
        ("text", lambda path: change_weights(path, moved_norms), "more than a rounding"),
        ("text", lambda path: change_weights(path, other_matrix), "layers.1.mlp"),
        ("text", lambda path: change_weights(path, lambda tensors: quantized(tensors, 2)), "more than a rounding"),
        ("text", lambda path: save_text(path, hidden=64), "other weights than those that belong here"),
        ("text", lambda path: save_text(path, texts=["words of quite another sort"]), "another tokenizer"),
        ("text", lambda path: cut(path / WEIGHTS), "is cut off or damaged"),
        ("text", lambda path: cut(path / "tokenizer.json"), "is cut off or damaged"),
        ("text", lambda path: (path / WEIGHTS).unlink(), "model.safetensors is missing"),
        ("text", lambda path: (path / "tokenizer.json").unlink(), "tokenizer"),
        ("text", lambda path: half_of_the_shards(path), "model-00002-of-00002.safetensors is missing"),
        ("speech", lambda path: (path / "config.json").unlink(), "config.json is missing"),
        ("speech", lambda path: other_whisper(path), "other weights than those that belong here"),
        ("speech", lambda path: other_whisper(path, encoder_layers=1), "is only in one of them"),
        ("speech", lambda path: save_text(path), "is a llama model"),
    ],
)
def test_what_is_no_base_of_it_is_refused_and_nothing_is_left(made, given, tmp_path, capsys, part, damage, said):
    damage(Path(given[part]))
    there = sorted(tmp_path.iterdir())
    error = refusal(merge_words(made / "bfloat16", tmp_path / "whole", given), capsys)
    assert said in error and part in error and sorted(tmp_path.iterdir()) == there


def cut(file: Path):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def half_of_the_shards(folder: Path):
    names = list(load_file(folder / WEIGHTS))
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    places = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(names)}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def other_whisper(folder: Path, **sizes):
    torch.manual_seed(1)
    WhisperModel(WhisperConfig(**{**ENCODERS["whisper"], **sizes})).save_pretrained(folder)


@pytest.mark.parametrize(
    "name, damage, said",
    [
        ("config.json", lambda file: file.write_text(file.read_text().replace("clip", "window")), "changed by hand"),
        ("delta.json", lambda file: file.write_text(file.read_text().replace("me/talks", "me/tells")), "by hand"),
        ("delta.json", cut, "is cut off or damaged"),
        ("delta.json", lambda file: file.unlink(), "no such file"),
        ("trained.safetensors", cut, "cut off or damaged"),
        ("lora/adapter_model.safetensors", lambda file: file.unlink(), "adapter_model.safetensors is missing"),
        ("chat_template.jinja", lambda file: file.unlink(), "chat_template.jinja is missing"),
        ("README.md", lambda file: file.write_text("figures"), None),
    ],
)
def test_a_delta_that_is_not_as_it_was_written_is_refused(made, given, tmp_path, capsys, name, damage, said):
    shutil.copytree(made / "bfloat16", tmp_path / "delta")
    damage(tmp_path / "delta" / name)
    words = merge_words(tmp_path / "delta", tmp_path / "whole", given)
    if said is None:
        assert main([str(word) for word in words]) == 0
    elif name == "delta.json" and said == "no such file":
        assert "is none (it has no delta.json)" in refusal(words, capsys)
    else:
        assert said in refusal(words, capsys) and not (tmp_path / "whole").exists()


def test_a_folder_that_holds_another_model_is_left_as_it_is(made, given, tmp_path, capsys):
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / WEIGHTS).write_text("mine")
    for words in (
        merge_words(made / "bfloat16", tmp_path / "whole", given),
        ["merge", made / "run/checkpoint-1", tmp_path / "whole"],
        delta_words(made, tmp_path / "whole"),
    ):
        assert "is there already, with other files" in refusal(words, capsys)
    assert [path.read_text() for path in (tmp_path / "whole").iterdir()] == ["mine"]


def test_bases_come_from_the_hub_by_their_names(made, tmp_path, monkeypatch, capsys):
    asked = []

    def snapshot(name, revision, allow_patterns, local_files_only):
        asked.append((name, revision, local_files_only))
        if name not in HUB.values():
            raise LocalEntryNotFoundError("nothing here\nat all")
        return str(made / ("llama" if name == HUB["text"] else "whisper"))

    monkeypatch.setattr(bases_module, "snapshot_download", snapshot)
    assert main(["merge", str(made / "bfloat16"), str(tmp_path / "whole")]) == 0
    assert asked == [(name, None, False) for name in HUB.values()]
    words = ["merge", made / "bfloat16", tmp_path / "never", "--base", "text=me/gone"]
    error = refusal(words, capsys)
    assert "text: me/gone cannot be had from the Hub (nothing here)" in error and "--base text=FOLDER" in error


def test_a_delta_is_merged_once_and_kept_in_the_cache(made, given, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = merged_in_cache(made / "bfloat16", given, offline=True)
    written = (first / WEIGHTS).stat().st_mtime_ns
    assert merged_in_cache(made / "bfloat16", given) == first and first.parent == tmp_path / "cache" / "audiollm"
    assert (first / WEIGHTS).stat().st_mtime_ns == written
    change_weights(given["text"], quantized)
    assert merged_in_cache(made / "bfloat16", given) != first


def test_who_merges_the_same_delta_later_takes_what_was_merged_first(made, given, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    merge, of_others = delta_module._merge, []

    def meanwhile(*words):
        merge(*words)
        if not of_others:
            of_others.append("")
            of_others[0] = merged_in_cache(made / "bfloat16", given)

    monkeypatch.setattr(delta_module, "_merge", meanwhile)
    assert merged_in_cache(made / "bfloat16", given) == of_others[0]
    assert [path.name for path in (tmp_path / "cache" / "audiollm").iterdir()] == [of_others[0].name]


@pytest.fixture
def hub_cache(made, tmp_path, monkeypatch):
    """A function that puts a base into a Hub cache on this machine, as a download would."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def put(name, folder):
        place = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(made / folder, place / "snapshots" / "c0ffee")
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("c0ffee")
        return place / "snapshots" / "c0ffee"

    return put


@pytest.fixture
def at_home(made, tmp_path, monkeypatch):
    """A repository with a small and a tiny model of its own."""
    home = tmp_path / "home"
    shutil.copytree(made / "bfloat16", home / about.SMALL)
    whole_model(home / about.TINY)
    monkeypatch.setattr(about, "own_model", lambda name: home / name)
    return home


def test_the_page_begins_with_the_small_model_where_its_bases_are_on_this_machine(at_home, hub_cache, capsys):
    hub_cache(HUB["speech"], "whisper")
    hub_cache(HUB["text"], "llama")
    place, name, banner = choose_model(None, {})
    assert (Path(place) / WEIGHTS).is_file() and (name, banner) == ("small", "")
    assert "note:" not in capsys.readouterr().err
    assert choose_model(str(at_home / about.SMALL), {})[:2] == (place, "small")


def test_else_with_the_tiny_one_under_a_banner(at_home, hub_cache, capsys):
    hub_cache(HUB["speech"], "whisper")
    (hub_cache(HUB["text"], "llama") / WEIGHTS).unlink()  # as when somebody asked for the tokenizer alone
    place, _, banner = choose_model(None, {})
    assert Path(place) == at_home / about.TINY and "It cannot hear you" in banner and "audiollm merge" in banner
    assert "note: the tiny model answers, not samples/small: text: " in capsys.readouterr().err
    shutil.rmtree(at_home / about.SMALL)
    assert "audiollm merge" not in choose_model(None, {})[2]
    shutil.rmtree(at_home / about.TINY)
    with pytest.raises(ValueError, match="say which model"):
        choose_model(None, {})


def test_folders_that_were_named_and_are_wrong_are_an_error_and_no_reason_for_the_tiny_one(at_home, hub_cache, given):
    with pytest.raises(BaseError, match="text: .* cannot be had"):
        choose_model(None, {"speech": given["speech"]})
    change_weights(given["text"], moved_norms)
    with pytest.raises(BaseError, match="more than a rounding"):
        choose_model(None, given)
    with pytest.raises(ValueError, match="--base is for a delta"):
        choose_model(str(at_home / about.TINY), given)


def test_commands_that_take_a_model_take_a_delta(made, given, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    clip = str(about.example_clips()["sad"])
    named = ["--base", *(f"{kind}={place}" for kind, place in given.items())]
    assert main(["answer", str(made / "bfloat16"), clip, *named]) == 0
    assert "  label      " in capsys.readouterr().out
    pytest.importorskip("gradio", reason="a Space states its version: pip install 'audiollm[demo]'")
    assert main(["space", str(made / "bfloat16"), "--out", str(tmp_path / "space"), *named]) == 0
    assert "name='bfloat16'" in (tmp_path / "space" / "app.py").read_text()
    assert (tmp_path / "space" / "model" / WEIGHTS).is_file()


def test_licence_and_hearing_stay_with_the_merged_model(made, given, tmp_path):
    main(delta_words(made, tmp_path / "delta", "--hears", "It hears plain English."))
    merge_delta(tmp_path / "delta", tmp_path / "whole", given)
    card = ModelCard(model_publication(tmp_path / "whole").files["README.md"].decode())
    assert card.data.license == "cc-by-nc-4.0" and "It hears plain English." in card.text
    with pytest.raises(PublishError, match="is a delta"):
        model_publication(tmp_path / "delta")


def whole_model(folder: Path, **settings) -> str:
    model, processor = tiny_model_and_processor(**settings)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "added",
    [
        None,
        {"encoder": "speech_encoder", "emotion_layer_mix": True},
        {"config": {"model_type": "whisper", **ENCODERS["whisper"]}},
        {"encoder": "whisper", "fusion": "feature"},
    ],
    ids=["a whole model", "a copied encoder", "a new encoder", "feature fusion"],
)
@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "no lora"])
def test_a_run_that_began_with_an_audiollm_has_that_as_its_base(made, tmp_path, added, lora):
    start = whole_model(tmp_path / "start", **({} if added is None else {"emotion": None}))
    section = {"checkpoint": start, "quote_confidence": 0.7}
    public, given = {"model": "me/begins"}, {"model": start}
    if added is not None:
        section["add_emotion"] = {
            name: str(made / "whisper") if value == "whisper" else value for name, value in added.items()
        }
        if added.get("encoder") == "whisper":
            public["emotion"], given["emotion"] = "me/feels", str(made / "whisper")
    save_checkpoint(section, tmp_path / "run" / "checkpoint-7", lora)
    words = [
        "delta",
        tmp_path / "run/checkpoint-7",
        tmp_path / "delta",
        "--licence",
        "cc-by-nc-4.0",
        "--dtype",
        "float32",
    ]
    assert main([*map(str, words), "--base", *(f"{kind}={name}" for kind, name in public.items())]) == 0
    assert read_delta(tmp_path / "delta").facts["bases"].keys() == public.keys()
    merge_checkpoint(tmp_path / "run/checkpoint-7", tmp_path / "expected")
    merge_delta(tmp_path / "delta", tmp_path / "whole", given)
    expected, found = (load_file(tmp_path / name / WEIGHTS) for name in ("expected", "whole"))
    assert expected.keys() == found.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    whole = settings(tmp_path / "whole" / "config.json")
    assert whole == settings(tmp_path / "expected" / "config.json") and whole["quote_confidence"] == 0.7


@pytest.mark.parametrize(
    "lora",
    [
        {"r": 4, "use_dora": True, "target_modules": ["q_proj"]},
        {"r": 4, "use_rslora": True, "rank_pattern": {"q_proj": 2}, "target_modules": "all-linear"},
        {"r": 4, "init_lora_weights": "pissa"},
        {"r": 4, "trainable_token_indices": {"embed_tokens": [5, 6]}},
    ],
    ids=["DoRA", "patterns", "PiSSA", "tokens"],
)
def test_lora_of_any_kind_is_merged_as_the_checkpoint_s(made, tmp_path, lora):
    start = whole_model(tmp_path / "start")
    save_checkpoint({"checkpoint": start}, tmp_path / "run" / "checkpoint-1", lora)
    words = ["delta", str(tmp_path / "run/checkpoint-1"), str(tmp_path / "delta"), "--dtype", "float32"]
    assert main([*words, "--licence", "cc-by-nc-4.0", "--base", "model=me/begins"]) == 0
    merge_checkpoint(tmp_path / "run/checkpoint-1", tmp_path / "expected")
    merge_delta(tmp_path / "delta", tmp_path / "whole", {"model": start})
    expected, found = (load_file(tmp_path / name / WEIGHTS) for name in ("expected", "whole"))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_the_delta_of_a_run_makes_the_model_of_the_run(config, tmp_path):
    config["schedule"] = [
        {"tasks": ["asr"], "train": ["speech_adapter"], "align": 1.0, "lm": 0.0},
        {"tasks": ["er", "sr"], "train": ["emotion_encoder", "emotion_adapter", "lora"]},
    ]
    whole = Path(train(config))
    last = max((tmp_path / "out").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    words = ["delta", str(last), str(tmp_path / "delta"), "--licence", "mit", "--dtype", "float32"]
    assert main([*words, "--base", "model=me/begins"]) == 0
    merge_delta(tmp_path / "delta", tmp_path / "merged", {"model": config["model"]["checkpoint"]})
    expected, found = (load_file(folder / WEIGHTS) for folder in (whole, tmp_path / "merged"))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    assert "| 1 to 3 | asr | speech adapter |" in (tmp_path / "delta" / "README.md").read_text()
