"""Saved and pushed repositories are complete, and load without a question where auss is installed."""

import json
import pickle

import peft
import pytest
import torch
import transformers
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from packaging.version import Version
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor, AutoVideoProcessor
from transformers.integrations.peft import MIN_PEFT_VERSION
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

import auss
from auss.hub import repository
from auss.hub.flat_code import code_files
from auss.hub.model_card import CARD_FILE, is_untouched

TASK = "audio-visual-segmentation"
HEADS = "modeling_auss.AussForAudioVisualSegmentation"


class OwnModel(auss.AussForAudioVisualSegmentation):
    """A model class that a user defines in a file of the user's own."""


@pytest.fixture(autouse=True)
def no_questions(monkeypatch):
    """Fails a test in which Transformers asks at the keyboard whether it may run code."""

    def refuse(question):
        raise AssertionError(f"asked: {question}")

    monkeypatch.setattr("builtins.input", refuse)


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def save_figures(folder, data="/nowhere"):
    """Writes the files in which `auss train` records its arguments and its scores."""
    arguments = {"data": data, "name": "s4", "steps": 1, "batch_size": 1, "image_size": 32}
    (folder / "arguments.json").write_text(json.dumps(arguments))
    (folder / "history.json").write_text(json.dumps([{"step": 1, "validation_M_J": 0.5, "validation_M_F": 0.75}]))


def test_a_pipeline_saves_model_processor_code_and_card(segmenter, tmp_path):
    segmenter.save_pretrained(tmp_path)
    saved = {path.name for path in tmp_path.iterdir()}
    assert saved == {"config.json", "model.safetensors", "processor_config.json", CARD_FILE, *code_files()}
    config, processor = read_json(tmp_path / "config.json"), read_json(tmp_path / "processor_config.json")
    assert config["auto_map"]["AutoConfig"] == "configuration_auss.AussConfig"
    assert config["auto_map"]["AutoModel"] == HEADS
    assert config["custom_pipelines"][TASK]["impl"] == "pipeline.AudioVisualSegmentationPipeline"
    for name, part in (("AutoProcessor", processor), ("AutoFeatureExtractor", processor["feature_extractor"])):
        assert part["auto_map"][name] == config["auto_map"][name]
    assert processor["video_processor"]["auto_map"]["AutoVideoProcessor"] == config["auto_map"]["AutoVideoProcessor"]


def test_every_class_that_is_named_is_in_its_file():
    references = [*repository.CONFIG_CLASS.values(), *repository.PROCESSOR_CLASSES.values(), HEADS]
    references += [pipeline["impl"] for pipeline in repository.CUSTOM_PIPELINES.values()]
    for reference in references:
        file, name = reference.split(".")
        assert f"\nclass {name}(" in code_files()[f"{file}.py"].read_text(encoding="utf-8")
    for pipeline in repository.CUSTOM_PIPELINES.values():
        assert all(hasattr(transformers, name) for name in pipeline["pt"])


def test_auto_model_names_the_class_that_was_saved(tiny_model, tiny_config, tmp_path):
    tiny_model.auss.save_pretrained(tmp_path / "base")
    assert read_json(tmp_path / "base" / "config.json")["auto_map"]["AutoModel"] == "modeling_auss.AussModel"
    auss.AussForAudioVisualSegmentation.from_pretrained(tmp_path / "base").save_pretrained(tmp_path / "heads")
    assert read_json(tmp_path / "heads" / "config.json")["auto_map"]["AutoModel"] == HEADS
    OwnModel(tiny_config).save_pretrained(tmp_path / "own")
    assert read_json(tmp_path / "own" / "config.json")["auto_map"]["AutoModel"] == HEADS


@pytest.mark.parametrize("trust_remote_code", [None, False, True])
def test_installed_classes_load_it_without_being_asked(segmenter, clip, tmp_path, trust_remote_code):
    segmenter.save_pretrained(tmp_path)
    for auto_class, expected in (
        (AutoConfig, auss.AussConfig),
        (AutoModel, transformers.PreTrainedModel),
        (AutoProcessor, auss.AussProcessor),
        (AutoFeatureExtractor, auss.AussFeatureExtractor),
        (AutoVideoProcessor, auss.AussVideoProcessor),
    ):
        loaded = auto_class.from_pretrained(tmp_path, trust_remote_code=trust_remote_code)
        assert isinstance(loaded, expected) and type(loaded).__module__.startswith("auss.")
    loaded = transformers.pipeline(TASK, model=str(tmp_path), trust_remote_code=trust_remote_code, device=-1)
    assert type(loaded) is type(segmenter) and type(loaded.model) is type(segmenter.model)
    for frame, expected in zip(loaded(clip), segmenter(clip), strict=True):
        assert frame[0]["score"] == expected[0]["score"] and frame[0]["mask"] == expected[0]["mask"]


def test_what_was_loaded_is_saved_alike(segmenter, tmp_path):
    segmenter.save_pretrained(tmp_path / "first")
    for before, after in (("first", "second"), ("second", "third")):
        again = transformers.pipeline(TASK, model=str(tmp_path / before), device=-1)
        assert not hasattr(again.model.config, "custom_pipelines") and not hasattr(again.model.config, "auto_map")
        assert again.processor.to_dict() == segmenter.processor.to_dict()
        again.save_pretrained(tmp_path / after)
    # Compare the second folder with the third. The first has no `dtype` in its configuration, but loading sets one.
    for path in (tmp_path / "second").iterdir():
        if path.name != CARD_FILE:
            assert path.read_bytes() == (tmp_path / "third" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("part", ["feature_extractor", "video_processor"])
def test_a_part_saved_alone_is_whole_too(processor, tmp_path, part):
    getattr(processor, part).save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.json")
    assert read_json(file)["auto_map"] == repository.PROCESSOR_CLASSES
    assert {path.name for path in tmp_path.iterdir()} == {file.name, CARD_FILE, *code_files()}
    loaded = type(getattr(processor, part)).from_pretrained(tmp_path)
    assert loaded.to_dict() == getattr(processor, part).to_dict()


def test_transformers_own_registration_changes_nothing(tiny_model, processor, tmp_path):
    for saved in (tiny_model, processor, processor.feature_extractor, processor.video_processor):
        type(saved).register_for_auto_class()
        assert type(saved)._auto_class is None
        saved.save_pretrained(tmp_path / type(saved).__name__)
        assert (tmp_path / type(saved).__name__ / "modeling_auss.py").is_file()


def test_models_and_configurations_can_be_pickled_after_loading(segmenter, tmp_path):
    segmenter.save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path)
    copy = pickle.loads(pickle.dumps(model))
    assert type(copy) is type(model) and copy.config.to_dict() == model.config.to_dict()


def test_shards_and_other_processes(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    loaded = auss.AussForAudioVisualSegmentation.from_pretrained(tmp_path / "shards")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), tiny_model.parameters(), strict=True))
    tiny_model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not list((tmp_path / "other").glob("*.py"))


@pytest.mark.skipif(
    Version(peft.__version__) < Version(MIN_PEFT_VERSION),
    reason=f"Transformers adds adapters of peft>={MIN_PEFT_VERSION}",
)
def test_an_adapter_gets_nothing_of_a_whole_model(tiny_model, at_hub, tmp_path):
    tiny_model.add_adapter(peft.LoraConfig(target_modules=["class_head"]))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "loss.py").touch()  # an adapter has no code, so this file does no harm
    tiny_model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "loss.py").unlink()
    saved = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert saved == {"adapter_config.json", "adapter_model.safetensors"}
    tiny_model.push_to_hub("someone/adapter", token=at_hub.token)
    assert at_hub.files("someone/adapter").keys() == saved


def test_a_written_card_stays_and_an_own_one_is_renewed(tiny_model, processor, tmp_path):
    tiny_model.save_pretrained(tmp_path / "own")
    save_figures(tmp_path / "own")
    processor.save_pretrained(tmp_path / "own")
    assert "M_J" not in (tmp_path / "own" / CARD_FILE).read_text()  # a processor does not know the scores
    tiny_model.save_pretrained(tmp_path / "own")
    assert "| 0.500 | 0.750 |" in (tmp_path / "own" / CARD_FILE).read_text()
    (tmp_path / "own" / CARD_FILE).write_text("# Mine\n")
    tiny_model.save_pretrained(tmp_path / "own")
    processor.save_pretrained(tmp_path / "own")
    assert (tmp_path / "own" / CARD_FILE).read_text() == "# Mine\n"


def test_figures_come_along_with_the_weights_they_were_measured_with(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "run")
    save_figures(tmp_path / "run")
    model = auss.AussForAudioVisualSegmentation.from_pretrained(tmp_path / "run")
    model.save_pretrained(tmp_path / "same")
    assert "| 0.500 | 0.750 |" in (tmp_path / "same" / CARD_FILE).read_text()
    with torch.no_grad():
        model.class_head.bias += 1
    model.save_pretrained(tmp_path / "trained-on")
    assert "M_J" not in (tmp_path / "trained-on" / CARD_FILE).read_text()


def test_push(at_hub, segmenter, tmp_path):
    """A push makes one commit and uploads the weights as a large file. The pushed files equal the saved ones."""
    segmenter.save_pretrained(tmp_path / "saved")
    segmenter.push_to_hub("someone/auss-test", token=at_hub.token, commit_message="First")
    pushed = at_hub.files("someone/auss-test")
    assert len(at_hub.commits["someone/auss-test"]) == 2  # the Hub's empty commit, and the push
    assert {name for name in pushed if name != CARD_FILE} == {
        path.name for path in (tmp_path / "saved").iterdir() if path.name != CARD_FILE
    }
    for name in pushed.keys() - {CARD_FILE}:
        assert pushed[name] == (tmp_path / "saved" / name).read_bytes()
    assert list(at_hub.large_files.values()) == [pushed["model.safetensors"]]
    assert 'model="someone/auss-test"' in pushed[CARD_FILE].decode()


def test_push_in_parts_whatever_comes_first(at_hub, tiny_model, processor):
    for first, second in ((tiny_model, processor), (processor, tiny_model)):
        repo_id = f"someone/{type(first).__name__}"
        for saved in (first, second):
            saved.push_to_hub(repo_id, token=at_hub.token, tags=["first"])
        pushed = at_hub.files(repo_id)
        assert pushed.keys() == {"config.json", "model.safetensors", "processor_config.json", *code_files(), CARD_FILE}
        assert "pipeline(" in pushed[CARD_FILE].decode() and "- first" in pushed[CARD_FILE].decode()


def test_push_leaves_somebodys_card_and_brings_ones_own(at_hub, tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path / "run")
    (tmp_path / "run" / CARD_FILE).write_text("---\nlicense: mit\n---\n# Mine\n")
    model = AutoModel.from_pretrained(tmp_path / "run")
    model.push_to_hub("someone/one", token=at_hub.token)
    assert at_hub.files("someone/one")[CARD_FILE].decode().endswith("# Mine\n")
    tiny_model.push_to_hub("someone/one", token=at_hub.token)
    assert at_hub.files("someone/one")[CARD_FILE].decode().endswith("# Mine\n")


@pytest.mark.parametrize(("branch", "arguments"), [("v2", {"revision": "v2"}), ("refs/pr/1", {"create_pr": True})])
def test_push_elsewhere_than_to_main(at_hub, tiny_model, branch, arguments):
    tiny_model.push_to_hub("someone/one", token=at_hub.token, **arguments)
    assert at_hub.files("someone/one") == {} and "config.json" in at_hub.files("someone/one", branch)


def test_installed_classes_load_a_pushed_one_without_being_asked(at_hub, segmenter, clip):
    segmenter.push_to_hub("someone/auss-test", token=at_hub.token)
    assert isinstance(AutoProcessor.from_pretrained("someone/auss-test"), auss.AussProcessor)
    # If no task is given, Transformers asks the Hub for the task, and the Hub reads it from the card.
    for task in (TASK, None):
        loaded = transformers.pipeline(task, model="someone/auss-test", device=-1)
        assert type(loaded) is type(segmenter) and loaded(clip) == segmenter(clip)


def test_save_and_push_at_once(at_hub, segmenter, tiny_model, tmp_path):
    segmenter.save_pretrained(tmp_path / "a", push_to_hub=True, repo_id="someone/a", token=at_hub.token)
    tiny_model.save_pretrained(tmp_path / "b", push_to_hub=True, repo_id="someone/b", token=at_hub.token)
    assert "processor_config.json" in at_hub.files("someone/a")
    assert "model.safetensors" in at_hub.files("someone/b")
    assert is_untouched((tmp_path / "a" / CARD_FILE).read_text())


def test_push_that_is_refused_says_so(at_hub, tiny_model):
    with pytest.raises(HfHubHTTPError, match="401"):
        tiny_model.push_to_hub("someone/one", token="hf_wrong")
    assert at_hub.commits == {}


def test_push_that_cannot_see_whether_there_is_a_card_stops(at_hub, tiny_model, monkeypatch):
    """If the push went on, it could overwrite a card that somebody wrote."""
    tiny_model.push_to_hub("someone/one", token=at_hub.token)

    def unreachable(*args, **kwargs):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(HfApi, "hf_hub_download", unreachable)
    with pytest.raises(LocalEntryNotFoundError):
        tiny_model.push_to_hub("someone/one", token=at_hub.token)
    assert len(at_hub.commits["someone/one"]) == 2


def test_python_files_of_the_users_stop_the_saving_before_anything_is_written(segmenter, tiny_model, tmp_path):
    (tmp_path / "pipeline.py").write_text("print('mine')\n")
    for saved in (segmenter, segmenter.processor, segmenter.processor.video_processor, tiny_model):
        with pytest.raises(FileExistsError, match=r"code: pipeline\.py\. Nothing was written"):
            saved.save_pretrained(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["pipeline.py"]
    assert (tmp_path / "pipeline.py").read_text() == "print('mine')\n"
    (tmp_path / "pipeline.py").rename(tmp_path / "my_pipeline.py")
    for _ in range(2):
        segmenter.save_pretrained(tmp_path)
    assert (tmp_path / "my_pipeline.py").read_text() == "print('mine')\n"


@pytest.fixture
def make_trainer(tiny_model, processor, make_inputs, tmp_path):
    def make(**options):
        clips = make_inputs(batch=2, frames=1)
        clips["labels"] = torch.randint(2, (2, 1, 32, 32), generator=torch.Generator().manual_seed(0))
        rows = [{name: value[index] for name, value in clips.items()} for index in range(2)]
        arguments = transformers.TrainingArguments(
            str(tmp_path / "run"), max_steps=2, save_steps=1, use_cpu=True, report_to=[], disable_tqdm=True, **options
        )
        return transformers.Trainer(tiny_model, arguments, train_dataset=rows, processing_class=processor)

    return make


def test_trainer_puts_code_beside_its_result_and_not_into_checkpoints(make_trainer, segmenter, tmp_path):
    (tmp_path / "run" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint-2" / "loss.py").write_text("print('mine')\n")
    trainer = make_trainer()
    trainer.train()
    trainer.save_model(str(tmp_path / "result"))
    assert code_files().keys() | {CARD_FILE} <= {path.name for path in (tmp_path / "result").iterdir()}
    assert repository.TRAINER_CHECKPOINT.fullmatch(f"{PREFIX_CHECKPOINT_DIR}-12")
    for step in (1, 2):
        checkpoint = tmp_path / "run" / f"checkpoint-{step}"
        saved = {path.name for path in checkpoint.iterdir()}
        assert {"config.json", "model.safetensors", "processor_config.json"} <= saved
        assert saved & {CARD_FILE, *code_files()} == ({"loss.py"} if step == 2 else set())
        # Trainer pushes these two files as well, and the processor adds the code files to the push.
        for name in ("config.json", "processor_config.json"):
            assert read_json(checkpoint / name)["auto_map"] == read_json(tmp_path / "result" / name)["auto_map"]
        assert type(transformers.pipeline(TASK, model=str(checkpoint), device=-1)) is type(segmenter)


def test_what_trainer_pushes_on_the_way_has_its_code_once(make_trainer, at_hub):
    trainer = make_trainer(
        push_to_hub=True, hub_model_id="someone/run", hub_token=at_hub.token, hub_strategy="checkpoint"
    )
    trainer.train()
    trainer.push_to_hub()
    pushed = at_hub.files("someone/run")
    assert {name for name in pushed if name.endswith(".py")} == code_files().keys()
    assert "model.safetensors" in pushed and "last-checkpoint/model.safetensors" in pushed


@pytest.mark.parametrize(("folder", "with_code"), [("model", None), ("checkpoint", None), ("checkpoint-1", True)])
def test_code_is_written_unless_it_is_not_wanted(segmenter, tmp_path, folder, with_code):
    for saved in (segmenter, segmenter.model, segmenter.processor, segmenter.processor.video_processor):
        place, bare = (tmp_path / type(saved).__name__ / name for name in (folder, "bare"))
        saved.save_pretrained(place, with_code=with_code)
        written = {path.name for path in place.iterdir()}
        assert {CARD_FILE, *code_files()} <= written
        bare.mkdir()
        (bare / "loss.py").write_text("print('mine')\n")
        saved.save_pretrained(bare, with_code=False)
        assert {path.name for path in bare.iterdir()} == written - {CARD_FILE, *code_files()} | {"loss.py"}
        assert (bare / "loss.py").read_text() == "print('mine')\n"
        for path in bare.glob("*.[!p]*"):
            assert path.read_bytes() == (place / path.name).read_bytes(), path.name
