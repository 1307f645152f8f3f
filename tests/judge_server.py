"""A small server with the OpenAI routes, on loopback: a judge that follows a rule, or a model.

As a process: `python -m tests.judge_server --fault 429 --every 3`; it prints its port.
"""

import argparse
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Body = dict[str, Any]
Rule = Callable[[Body], Body]  # gives the choice that is answered
ANSWERS = re.compile(r'<answer (?:model|assistant)="\w+">\n(.*?)\n</answer>', re.DOTALL)


def shown(body: Body) -> list[str]:
    """Give the two answers of a judge's prompt, in the order it shows them."""
    return ANSWERS.findall(body["messages"][-1]["content"])


def longer(body: Body) -> Body:
    """Prefer the longer answer, by its name; a tie goes to the first."""
    first, second = map(len, shown(body))
    arena = 'assistant="A"' in body["messages"][-1]["content"]
    names = ("My verdict: [[A>B]]", "My verdict: [[B>A]]") if arena else ("m", "M")
    return said(names[second > first])


def said(text: str, logprobs: dict[str, float] | None = None) -> Body:
    """Make a choice of a text, with log-probs of its first token if there are some."""
    choice: Body = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if logprobs is not None:
        listed = [{"token": token, "logprob": value} for token, value in logprobs.items()]
        choice["logprobs"] = {"content": [{"token": text[:1], "top_logprobs": listed}]}
    return choice


class Server(ThreadingHTTPServer):
    """Counts what it is asked. Every so many requests it fails in the way that `fault` says."""

    daemon_threads = True

    def __init__(self, rule: Rule, fault: str = "", every: int = 1, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.rule, self.fault, self.every = rule, fault, every
        self.delay = 0.0
        self.asked: list[Body] = []  # answered with a verdict
        self.requests = self.busy = self.busiest = 0
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def twice(self) -> list[str]:
        """List the requests that were answered more than once."""
        counted = Counter(json.dumps(body["messages"]) for body in self.asked)
        return [key for key, count in counted.items() if count > 1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # the name is given
        pass

    def do_GET(self) -> None:  # the name is given
        if self.path == "/v1/counts":
            with self.server.lock:
                twice, asked = len(self.server.twice), len(self.server.asked)
            self._send(200, {"twice": twice, "asked": asked, "requests": self.server.requests})
        elif self.server.fault == "401":
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            self._send(401, {"error": {"message": f"Incorrect API key provided: {key}"}})
        else:
            self._send(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self) -> None:  # the name is given
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.requests += 1
            number = server.requests
            server.headers.append({k.lower(): v for k, v in self.headers.items()})
            server.times.append(time.monotonic())
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        try:
            time.sleep(server.delay)
            if server.fault and (number - 1) % server.every == 0:
                self._fail(server.fault, body)
            else:
                self._judge(body)
        finally:
            with server.lock:
                server.busy -= 1

    def _judge(self, body: Body) -> None:
        choice = self.server.rule(body)
        with self.server.lock:
            self.server.asked.append(body)
        usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
        self._send(200, {"object": "chat.completion", "choices": [choice], "usage": usage})

    def _fail(self, fault: str, body: Body) -> None:
        if fault == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            self.wfile.flush()
            self.close_connection = True
        elif fault == "slow":
            time.sleep(1.5)
            self._judge(body)
        elif fault == "nonsense":
            self._send(200, ["no", "completion"])
        elif fault == "html":
            self._send(200, "<html>a proxy's page</html>")
        else:
            status, _, message = fault.partition(" ")
            self._send(int(status), {"error": {"message": message or "try again"}})

    def _send(self, status: int, content: Any) -> None:
        payload = json.dumps(content).encode() if not isinstance(content, str) else content.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.send_header("Retry-After-Ms", "20")
        self.end_headers()
        self.wfile.write(payload)


@contextmanager
def serving(rule: Rule = longer, fault: str = "", every: int = 1) -> Iterator[Server]:
    """Lend a server in a thread of this process."""
    server = Server(rule, fault, every)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def model(folder: Path) -> Rule:
    """Let a policy answer as a judge: greedily, with the log-probs of its first token."""
    import torch

    from mutual_taught.models.load import load_policy

    policy = load_policy(folder, "float32")
    lock = threading.Lock()

    def rule(body: Body) -> Body:
        tokenizer = policy.tokenizer
        ids = tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        tokens: list[int] = []
        first: dict[str, float] = {}
        with lock, torch.inference_mode():
            for _ in range(body.get("max_tokens", 8)):
                logps = policy.model(input_ids=ids).logits[0, -1].float().log_softmax(-1)
                if not first:
                    best = logps.topk(body.get("top_logprobs") or 1)
                    for value, token in zip(best.values, best.indices, strict=True):
                        first.setdefault(tokenizer.decode([int(token)]), float(value))
                token = int(logps.argmax())
                if token == tokenizer.eos_token_id:
                    break
                tokens.append(token)
                ids = torch.cat([ids, torch.tensor([[token]])], 1)
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        return said(text, first if body.get("logprobs") else None)

    return rule


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--fault", default="")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    rule = longer if given.policy is None else model(given.policy)
    server = Server(rule, given.fault, given.every)
    server.delay = given.delay
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
