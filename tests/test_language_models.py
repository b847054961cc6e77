import json
import time

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from audiollm.language_models import ServerModel
from audiollm.language_models.journal import Journal, JournalError
from audiollm.language_models.local import LocalModel
from tests.chat_server import Drop, chat_server
from tests.tiny import tiny_tokenizer


def user(text):
    return [{"role": "user", "content": text}]


@pytest.fixture
def quick(monkeypatch):
    """Retries of the client without their pauses."""
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *args, **kwargs: 0.01)


def test_a_server_is_asked_concurrently_and_every_request_gets_its_own_reply():
    with chat_server(lambda body: body["messages"][0]["content"].upper(), delay=0.02) as server:
        model = ServerModel("m", server.url, concurrency=6)
        replies = dict(model.ask(user(f"word {n}") for n in range(40)))
    assert {n: reply.text for n, reply in replies.items()} == {n: f"WORD {n}" for n in range(40)}
    assert 3 <= server.most_at_once <= 6
    assert replies[0].prompt_tokens == 5 and replies[0].new_tokens == 2


def test_requests_are_drawn_only_as_they_are_needed():
    drawn = []

    def requests():
        for number in range(1000):
            drawn.append(number)
            yield user("x")

    with chat_server(lambda body: "y") as server:
        replies = ServerModel("m", server.url, concurrency=2).ask(requests())
        next(replies)
        assert len(drawn) <= 6
        replies.close()


@pytest.mark.parametrize(
    "failure", [(429, "{}"), (500, "oops"), (503, "{}"), (408, "{}"), "drop"], ids=lambda failure: str(failure)[:5]
)
def test_passing_failures_are_survived(quick, failure):
    fails = {"left": 3}

    def answer(body):
        if fails["left"]:
            fails["left"] -= 1
            if failure == "drop":
                raise Drop
            return failure
        return "fine"

    with chat_server(answer) as server:
        replies = dict(ServerModel("m", server.url, concurrency=2).ask([user("a"), user("b")]))
    assert [replies[n].text for n in (0, 1)] == ["fine", "fine"]


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ((500, "{}"), "InternalServerError"),
        ((401, '{"error": {"message": "bad key"}}'), "bad key"),
        ((200, "no json"), ""),
        ((200, '{"choices": []}'), "no text"),
        ((200, '{"choices": [{"message": {"role": "assistant", "content": null}}]}'), "no text"),
    ],
)
def test_a_lasting_failure_is_a_reply_with_its_error_and_disturbs_no_other(quick, said, named):
    with chat_server(lambda body: said if body["messages"][0]["content"] == "bad" else "good") as server:
        replies = dict(ServerModel("m", server.url, retries=1).ask([user("a"), user("bad"), user("b")]))
    assert replies[0].text == replies[2].text == "good"
    assert replies[1].text is None and named in replies[1].error


def test_a_time_out_is_a_reply_with_its_error(quick):
    with chat_server(lambda body: "late", delay=0.5) as server:
        (reply,) = dict(ServerModel("m", server.url, retries=0, timeout=0.1).ask([user("a")])).values()
    assert reply.text is None and "Timeout" in reply.error


def test_a_server_without_schemas_is_asked_without():
    def answer(body):
        return (400, '{"error": {"message": "response_format"}}') if "response_format" in body else "fine"

    with chat_server(answer) as server:
        model = ServerModel("m", server.url, concurrency=1)
        replies = dict(model.ask([user("a"), user("b"), user("c")], schema={"type": "object"}))
    assert [replies[n].text for n in range(3)] == ["fine"] * 3
    assert sum("response_format" in body for body in server.requests) == 1


@pytest.mark.parametrize("status, body", [(404, "{}"), (422, "no"), (500, "{}"), (200, '{"choices": null}')])
def test_a_server_that_fails_by_a_schema_without_a_word_is_asked_without(status, body):
    with chat_server(lambda asked: (status, body) if "response_format" in asked else "fine") as server:
        model = ServerModel("m", server.url, concurrency=1, retries=0)
        replies = dict(model.ask([user(str(n)) for n in range(5)], schema={"type": "object"}))
    assert [replies[n].text for n in range(5)] == ["fine"] * 5
    assert sum("response_format" in asked for asked in server.requests) == 3


@pytest.mark.parametrize("refused", ["max_tokens", "temperature", "seed"])
def test_what_a_reasoning_model_refuses_is_left_out_or_renamed(refused):
    def answer(asked):
        said = f'{{"error": {{"message": "Unsupported parameter: \'{refused}\' is not supported with this model."}}}}'
        return (400, said) if refused in asked else "fine"

    with chat_server(answer) as server:
        model = ServerModel("m", server.url, concurrency=1)
        replies = dict(model.ask([user("a"), user("b")]))
    assert [replies[n].text for n in range(2)] == ["fine", "fine"] and len(server.requests) == 3
    last = server.requests[-1]
    assert refused not in last and (refused != "max_tokens" or last["max_completion_tokens"] == 256)


@pytest.mark.parametrize(
    "message, text",
    [
        (None, None),
        ({}, None),
        ({"content": None}, None),
        ({"content": [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]}, "hello"),
        ({"content": "half \ud83d of a pair"}, "half \ufffd of a pair"),
        ({"content": 5}, None),
    ],
)
def test_every_form_of_a_message_is_text_or_a_reason(message, text):
    with chat_server(lambda asked: (200, json.dumps({"choices": [{"message": message}]}))) as server:
        ((_, reply),) = ServerModel("m", server.url).ask([user("a")])
    assert reply.text == text and (text is not None or "holds no text" in reply.error)


@pytest.mark.parametrize("body", ["[" * 100_000, "{}", "not json", '{"choices": []}', "NaN", '{"choices": [7]}', ""])
def test_an_answer_of_another_form_is_a_reason_and_no_crash(body):
    with chat_server(lambda asked: (200, body)) as server:
        ((_, reply),) = ServerModel("m", server.url).ask([user("a")])
    assert reply.text is None and len(reply.error) < 400


def test_an_answer_of_megabytes_is_given_up():
    with chat_server(lambda asked: (200, "x" * (9 << 20))) as server:
        ((_, reply),) = ServerModel("m", server.url, retries=0).ask([user("a")])
    assert reply.text is None and "8 MiB" in reply.error


def test_a_server_that_drips_has_a_deadline():
    with chat_server(lambda asked: "slow", drip=0.2) as server:
        began = time.monotonic()
        ((_, reply),) = ServerModel("m", server.url, retries=0, timeout=1.0).ask([user("a")])
    assert reply.text is None and "imed out" in reply.error and time.monotonic() - began < 10


@pytest.mark.parametrize("secret", ["sk-veryverysecret1234567890", "one-that-has-no-known-form"])
@pytest.mark.parametrize("before", [0, 50, 120, 290])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, '{{"error": {{"message": "{}"}}}}'),
        (200, '{{"error": {{"message": "{}"}}}}'),
        (200, '{{"choices": [{{"message": null}}], "note": "{}"}}'),
        (200, "<html>{}</html>"),
    ],
)
def test_a_key_that_a_server_echoes_is_no_part_of_the_reason(status, body, before, secret):
    echo = (status, body.format("x" * before + " wrong: " + secret))
    with chat_server(lambda asked: echo) as server:
        ((_, reply),) = ServerModel("m", server.url, api_key=secret, retries=0).ask([user("a")])
    assert reply.text is None and len(reply.error) <= 300 and secret[:8] not in reply.error
    assert before > 50 or "wrong" in reply.error


@pytest.fixture
def checkpoint(tmp_path):
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def test_a_local_model_answers_in_batches_what_it_answers_alone(checkpoint):
    model = LocalModel(checkpoint, batch_size=3, max_new_tokens=5, device="cpu")
    texts = ["hello", "what does she feel and why", "a", "my old dog is gone", "b c d"]
    together = dict(model.ask(user(text) for text in texts))
    alone = [next(iter(dict(model.ask([user(text)])).values())) for text in texts]
    assert [together[n].text for n in range(5)] == [reply.text for reply in alone]
    assert all(reply.new_tokens <= 5 for reply in together.values())


def test_a_journal_gives_back_what_was_written_and_drops_a_half_line(tmp_path):
    path = tmp_path / "sub" / "j.jsonl"
    with Journal(path) as journal:
        journal.append({"id": "a", "x": "ä\n"})
        journal.append({"id": "b", "x": 1})
        journal.append({"id": "b", "x": 2})
    with path.open("a") as file:
        file.write('{"id": "c", "x"')
    with Journal(path) as journal:
        assert journal.entries == {"a": {"id": "a", "x": "ä\n"}, "b": {"id": "b", "x": 2}}
        assert "a" in journal and "c" not in journal
        journal.append({"id": "c", "x": 3})
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "b", "b", "c"]


def test_a_broken_line_inside_a_journal_is_named(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"id": "a"}\nnonsense\n{"id": "b"}\n')
    with pytest.raises(JournalError, match="line 2"):
        Journal(path)
