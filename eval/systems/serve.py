"""Serve any model that answers questions about recordings as an OpenAI-compatible audio endpoint.

For models that need an environment of their own (SALMONN, WavLLM, Qwen-Audio): this file imports the standard library
only and runs from Python 3.8 on, so copy it there, write a function `answer(path, question) -> str`, and run

    python serve.py my_model:answer --name salmonn --port 8000

Then, from here: `audiollm eval --system endpoint:salmonn@http://HOST:8000/v1 ...`. Requests are answered one
at a time, for such models rarely answer several.
"""

import argparse
import base64
import importlib
import json
import os
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


MAX_BYTES = 256 * 2**20
MAX_SECONDS = 600  # for a whole request to come in


class RequestError(ValueError):
    """A request that is not what this server takes."""


def read_request(body):
    """`(wav bytes, question)` of a chat completion's body; the last user turn counts."""
    turns = [turn for turn in body.get("messages", []) if turn.get("role") == "user"]
    parts = turns[-1].get("content") if turns else None
    if not isinstance(parts, list):
        raise RequestError("the user's content must be a list with one `input_audio` and one `text` part.")
    sounds = [part["input_audio"] for part in parts if part.get("type") == "input_audio"]
    texts = [part["text"] for part in parts if part.get("type") == "text"]
    if len(sounds) != 1 or not texts:
        raise RequestError("a question needs one `input_audio` part and a `text` part.")
    sound = base64.b64decode(sounds[0]["data"], validate=True)
    if not sound or sounds[0].get("format", "wav") != "wav":
        raise RequestError('`input_audio` must hold a WAV file in base64, with `format` "wav".')
    return sound, "\n".join(texts)


def make_server(answer, name="model", host="127.0.0.1", port=8000):
    """A server that asks `answer(path of a WAV file, question)`; start it with `serve_forever()`."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60  # seconds that a client may be silent

        def do_POST(self):
            length = self.headers.get("Content-Length") or ""
            if not length.isdigit() or int(length) > MAX_BYTES:
                self.close_connection = True
                status = 413 if length.isdigit() else 411
                return self._send(status, {"error": {"message": "the request is too large, or says no length."}})
            raw = self._body(int(length))
            if raw is None:
                self.close_connection = True
                return self._send(408, {"error": {"message": "the request did not come in time."}})
            if not self.path.endswith("/chat/completions"):
                return self._send(404, {"error": {"message": "only /v1/chat/completions is served."}})
            try:
                sound, question = read_request(json.loads(raw))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                return self._send(400, {"error": {"message": str(error)}})
            try:
                with lock:
                    said = _ask(answer, sound, question)
            except Exception as error:  # the model's own, whatever it is: the client shall see it
                return self._send(500, {"error": {"message": f"{type(error).__name__}: {error}"}})
            message = {"role": "assistant", "content": said}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._send(200, {"id": "1", "object": "chat.completion", "created": 0, "model": name, "choices": [choice]})

        def _body(self, length):
            """The request's body, or None if it is cut short or does not come in time."""
            raw, start = bytearray(), time.monotonic()
            try:
                while len(raw) < length and time.monotonic() - start < MAX_SECONDS:
                    chunk = self.rfile.read1(min(length - len(raw), 1 << 16))
                    if not chunk:
                        break
                    raw += chunk
            except OSError:
                return None
            return bytes(raw) if len(raw) == length else None

        def _send(self, status, content):
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    return server


def _ask(answer, sound, question):
    handle, path = tempfile.mkstemp(suffix=".wav")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(sound)
        return str(answer(path, question))
    finally:
        os.unlink(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answer", help="MODULE:FUNCTION")
    parser.add_argument("--name", default="model", help="what the model is called")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    module, _, function = options.answer.partition(":")
    answer = getattr(importlib.import_module(module), function or "answer")
    server = make_server(answer, options.name, options.host, options.port)
    print(f"serving {options.name} at http://{options.host}:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
