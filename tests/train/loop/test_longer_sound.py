import pytest
import torch

from auss.hub.trained_model import load_trained
from auss.train.loop.longer_sound import hear_longer


def test_clips_of_five_seconds_keep_their_masks_and_the_new_columns_learn(
    tiny_model, make_inputs, tiny_processor, tmp_path
):
    inputs = make_inputs(batch=1, frames=2)
    with torch.no_grad():
        before = tiny_model(**inputs)
    hear_longer(tiny_model, 10)
    with torch.no_grad():
        after = tiny_model(**inputs)
    assert torch.equal(after.logits, before.logits) and torch.equal(after.audio_queries, before.audio_queries)
    tiny_model.save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    model, _ = load_trained(tmp_path)
    assert model.config.num_audio_examples == 10
    longer = make_inputs(batch=1, frames=2, examples=10)
    outputs = model(**longer, labels=torch.ones(1, 2, 32, 32, dtype=torch.long))
    outputs.loss.backward()
    gradient = model.auss.audio_query_generator.space_projector.number_projector.grad
    assert gradient.shape == (8, 10) and (gradient[:, 5:] != 0).any(0).all()
    # The sound of the second half is heard once the new columns have weights.
    with torch.no_grad():
        model.auss.audio_query_generator.space_projector.number_projector -= gradient
        changed = {**longer, "input_features": longer["input_features"].clone()}
        changed["input_features"][:, 7] = 0.0
        assert not torch.equal(model(**changed).logits, model(**longer).logits)


def test_what_cannot_hear_longer_says_so(make_config, tiny_model):
    with pytest.raises(ValueError, match="num_audio_examples must be at least the network's 5, got 4"):
        hear_longer(tiny_model, 4)
    model = type(tiny_model)(make_config(number_projector=False, num_queries=5))
    with pytest.raises(ValueError, match="without number_projector has a query for each of its 5 sound examples"):
        hear_longer(model, 10)
    learned = type(tiny_model)(make_config(audio_input=False, query_embedding=True))
    hear_longer(learned, 10)  # this network does not hear any sound
    assert learned.config.num_audio_examples == 10
