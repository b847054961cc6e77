import pytest

from audiollm.modeling_audiollm.encoder_sizes import PUBLISHED_ENCODERS, table


@pytest.mark.parametrize("name", ["whisper-large-v3", "whisper-small", "whisper-tiny", "hubert-xlarge"])
def test_sizes_are_the_papers_to_the_rounding_of_its_table(name):
    encoder = PUBLISHED_ENCODERS[name]
    assert abs(encoder.millions() - encoder.paper_millions) <= 1


def test_every_encoder_of_table_3_is_listed_with_its_configuration_value():
    text = table()
    assert [encoder.paper_millions for encoder in PUBLISHED_ENCODERS.values()] == [637, 88, 8, 962, 164, 93]
    assert all(encoder.source in text for encoder in PUBLISHED_ENCODERS.values())
