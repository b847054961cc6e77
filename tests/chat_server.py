"""An OpenAI-compatible server on loopback whose behaviour a test decides, request by request."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ChatServer:
    """What the server was asked, and where it listens.

    Args:
        url: to give to the client.
        requests: bodies of the requests, in order of arrival.
        most_at_once: requests that were open at the same time, at most.
    """

    url: str
    requests: list[dict] = field(default_factory=list)
    most_at_once: int = 0


class Drop(Exception):
    """Raised by a behaviour to close the connection without an answer."""


@contextmanager
def chat_server(
    answer: Callable[[dict], str | tuple[int, str]], delay: float = 0.0, drip: float = 0.0
) -> Iterator[ChatServer]:
    """Serve `/v1/chat/completions` on a free port.

    Args:
        answer: from a request's body to the text to say, or to `(status, raw body)`; [`Drop`] drops the connection.
        delay: seconds before each answer.
        drip: seconds between the bytes of each answer.
    """
    lock = threading.Lock()
    open_now = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            nonlocal open_now
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                open_now += 1
                state.requests.append(body)
                state.most_at_once = max(state.most_at_once, open_now)
            try:
                time.sleep(delay)
                said = answer(body)
            except Drop:
                self.close_connection = True
                return
            finally:
                with lock:
                    open_now -= 1
            status, raw = said if isinstance(said, tuple) else (200, json.dumps(completion(said)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw.encode())))
            self.end_headers()
            try:
                for piece in [raw.encode()] if not drip else (bytes([byte]) for byte in raw.encode()):
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(drip)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = ChatServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str) -> dict:
    """A chat completion as servers give it."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "test",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
