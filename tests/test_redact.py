import pytest

from audiollm.redact import HIDDEN, redact


@pytest.mark.parametrize(
    "text, public",
    [
        ("server:m@http://me:pw@host:8000/v1?key=1#x", "server:m@http://host:8000/v1"),
        ("https://me:p/w@host/v1, wss://key@host", "https://host/v1, wss://host"),
        ("user:pw@host:8000", "host:8000"),
        ("s3://bucket/x?X-Amz-Signature=abc&y=1", "s3://bucket/x"),
        ("Incorrect API key provided: sk-abc*****xyz. See", "Incorrect API key provided: ***. See"),
        ("{'x-api-key': 'abc', 'Authorization': 'Bearer qwertyuiop'}", "{'x-api-key': '***', 'Authorization': '***'}"),
        ("--api-key abc --token=xyz --max-new-tokens 5", "--api-key *** --token=*** --max-new-tokens 5"),
        ("AWS_SECRET_ACCESS_KEY=foo", "AWS_SECRET_ACCESS_KEY=***"),
        ("got hf_abcdefghijklmnopqrstuv", "got ***"),
        ("error in /home/me/My Data/x.wav: cut", "error in x.wav: cut"),
        ("hub:/srv/me/run and ~/other/run", "hub:run and run"),
        ("/home/me", "~"),
        ("file:///home/me/x.wav", "x.wav"),
        (r"C:\Users\me\x.wav", "x.wav"),
        ("../../home/me/x.wav", "x.wav"),
        ("openai/whisper-tiny.en", "openai/whisper-tiny.en"),
        ("n/a, km/h, 3/4, </think>, eos_token: </s>", "n/a, km/h, 3/4, </think>, eos_token: </s>"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_secrets_and_folders_leave_a_text_and_the_rest_stays(text, public):
    assert redact(text) == public == redact(public)


def test_keys_that_name_a_secret_hide_their_value_and_pieces_of_text_do_not(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "zebra stripes")
    settings = {
        "training": {"hub_token": "x", "push_to_hub_token": None, "apiKey": "x", "headers": {"Authorization": "x"}},
        "audio_token": "<audio>",
        "max_new_tokens": 5,
        "sort_key": "id",
        "error": ["the key zebra stripes is wrong; so is mine-mine"],
    }
    assert redact(settings, secrets=["mine-mine"]) == {
        "training": {
            "hub_token": HIDDEN,
            "push_to_hub_token": None,
            "apiKey": HIDDEN,
            "headers": {"Authorization": HIDDEN},
        },
        "audio_token": "<audio>",
        "max_new_tokens": 5,
        "sort_key": "id",
        "error": ["the key *** is wrong; so is ***"],
    }


def test_paths_stay_in_files_that_stay():
    assert redact("/home/me/x?token=abc http://a:b@c/d", paths=False) == "/home/me/x?token=*** http://c/d"
