import numpy as np
import torch
from transformers import Wav2Vec2FeatureExtractor

from audiollm.eval.systems import load_system
from audiollm.modeling_audiollm import Emotion2VecConfig, Emotion2VecForAudioClassification
from tests.tiny import ENCODERS


def test_emotion2vec_answers_with_its_likeliest_emotion_and_the_sentiment_of_it(tmp_path):
    model = Emotion2VecForAudioClassification(Emotion2VecConfig(**ENCODERS["emotion2vec"]))
    with torch.no_grad():  # "<unk>" is likeliest, then "happy": only the emotion may be answered
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 0, 0, 5, 0, 0, 0, 0, 9]))
    model.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False).save_pretrained(tmp_path)
    system = load_system(f"emotion2vec:{tmp_path}")
    clips = [np.random.default_rng(0).normal(0, 0.1, size).astype(np.float32) for size in (8_000, 12_345)]
    answers = system.answer_batch(clips, ["How does the speaker feel?", "Name the sentiment of the speaker."])
    assert answers == ["The speaker sounds happy.", "The sentiment is positive."]
    assert system.answer(clips[0], "How does the speaker feel?") == answers[0]
