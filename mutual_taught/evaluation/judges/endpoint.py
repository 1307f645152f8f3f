"""An OpenAI-compatible server: asked with patience, and what it says read with suspicion."""

import ipaddress
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mutual_taught.config.judging import Endpoint
from mutual_taught.errors import EndpointError, InputError
from mutual_taught.evaluation.judges.reply import Reply
from mutual_taught.evaluation.judges.request import Request
from mutual_taught.terminal.progress import line
from mutual_taught.terminal.signs import excerpt

if TYPE_CHECKING:
    from openai import OpenAI

LOOK = 10.0  # seconds to wait for the first sign of a server
LARGEST_COUNT = 2**31  # of tokens; what says more is not to be believed
REFUSED = (400, 413, 422)  # the request itself is at fault, such as one that is too long
SECRET = 8  # letters of a key that verdicts cannot have by chance, as they can have "m"
# What the client would tell every server of this machine.
UNTOLD = ("OS", "Arch", "Runtime", "Runtime-Version", "Lang", "Package-Version", "Async")
# What some models do not take, by the word in their server's refusal, and what is done then.
UNKNOWN = {
    "logprob": ("log-probs", "its texts decide"),
    "max_tokens": ("max_tokens", "it is given max_completion_tokens"),
    "temperature": ("a temperature", "it may say another thing another time"),
}


class RefusedRequest(Exception):  # noqa: N818  # an outcome that callers count, no error of ours
    """A server does not take one request; others it may take."""


def key_of(settings: Endpoint) -> str:
    """Read the key from the environment; a text that stands for none where none is wanted.

    Raises:
        InputError: the variable is not set, or has what no header can carry.
    """
    if settings.key_variable is None:
        return "none"
    name = settings.key_variable
    if not (key := os.environ.get(name, "").strip()):
        shown = name if name.isupper() else "the variable that it names"  # it may be a key
        raise InputError(
            f"judge.endpoint.key_variable: {shown} is not set in the environment; "
            "expected the judge's key in it; export it, or take no variable for a server without "
            "keys"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"judge.endpoint.key_variable: {name} holds letters beyond ASCII, or "
            "several lines; expected a key on one line; export it again"
        )
    return key


class JudgeClient:
    """A server that is asked from several threads at once.

    Raises:
        InputError: it has no address, or no key.
    """

    def __init__(self, settings: Endpoint) -> None:
        if settings.base_url is None:
            raise InputError(
                "judge.endpoint.base_url is None; expected the address of an "
                "OpenAI-compatible server, such as http://127.0.0.1:8000/v1"
            )
        self.settings, self.address = settings, settings.base_url
        self._key = key_of(settings)
        self._client = _client(settings, self._key)
        self._without: set[str] = set()
        self._pace = Pace(settings.requests_per_minute)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def look(self) -> None:
        """See whether the server is there and takes the key, before anything is asked.

        Raises:
            EndpointError: it is not, or does not.
        """
        import openai

        try:
            self._client.with_options(max_retries=0, timeout=LOOK).models.list(
                extra_headers=_untold()
            )
        except openai.APIConnectionError as error:
            raise self._fault(error) from None
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise self._fault(error) from None
        except (openai.OpenAIError, ValueError):
            pass  # not every server lists its models

    def ask(self, request: Request) -> Reply:
        """Ask, and ask again after a while where the server is slow, busy or broken.

        Raises:
            RefusedRequest: the server does not take this request.
            EndpointError: it gave no answer that can be read, however often it was asked.
        """
        import openai

        tried = 0
        while tried <= self.settings.retries:
            without = frozenset(self._without)
            try:
                if (reply := read_reply(self._sent(request, without))) is not None:
                    return self._without_key(reply)
                tried += 1
            except openai.APIStatusError as error:
                if error.status_code == 400 and self._learnt(str(error), request, without):
                    continue
                if error.status_code in REFUSED:
                    raise RefusedRequest(self._said(error)) from None
                raise self._fault(error) from None
            except openai.OpenAIError as error:
                raise self._fault(error) from None
        raise EndpointError(
            f"{self.address}: {tried} answers were none of an OpenAI-compatible server; expected "
            "choices with a message; look at the server's log"
        )

    def _sent(self, request: Request, without: frozenset[str]) -> str:
        """Send a request, as often as the client's own retries allow; give the body."""
        room = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
        extra: dict[str, Any] = {room: request.max_tokens}
        if "temperature" not in without:
            extra["temperature"] = 0.0
        if request.top_logprobs and "logprob" not in without:
            extra |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        self._pace.wait()
        create = self._client.chat.completions.with_raw_response.create
        messages: Any = request.messages
        sent: Any = create(model=request.model, messages=messages, extra_headers=_untold(), **extra)
        return str(sent.text)

    def _learnt(self, said: str, request: Request, without: frozenset[str]) -> bool:
        """Note what the model does not take, if that is why it refused; say so once.

        Args:
            said: the refusal.
            request: what was refused.
            without: what it went without: other threads may have learnt more meanwhile.
        """
        for word, (what, consequence) in UNKNOWN.items():
            if word in said.lower() and word not in without:
                if word not in self._without:
                    line(f"{request.model} does not take {what}: {consequence}")
                self._without.add(word)
                return True
        return False

    def _said(self, error: Exception) -> str:
        """Give an error's own words on one line, without the key."""
        cause = error.__cause__
        text = f"{error} {type(cause).__name__}: {cause}" if cause is not None else str(error)
        known = self.settings.key_variable is not None
        return excerpt(text.replace(self._key, "***") if known else text)

    def _without_key(self, reply: Reply) -> Reply:
        """Mask the key where a server says it back, because replies are stored and shared."""
        if len(self._key) < SECRET:
            return reply
        listed = reply.logprobs and {
            token.replace(self._key, "***"): value for token, value in reply.logprobs.items()
        }
        return reply._replace(text=reply.text.replace(self._key, "***"), logprobs=listed)

    def _fault(self, error: Exception) -> EndpointError:
        return EndpointError(
            f"{self.address}: {type(error).__name__}: {self._said(error)}; expected an answer; "
            f"{_advice(error)}; verdicts so far are kept, and asking again goes on from them"
        )


def _advice(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        return "give the right key in the variable of judge.endpoint.key_variable"
    if status == 404:
        return "look at judge.model and judge.endpoint.base_url, which ends in /v1 mostly"
    if status == 429:
        return "lower judge.endpoint.concurrency or requests_per_minute, or raise retries"
    return "look whether the server is up and judge.endpoint.base_url is its address"


def _client(settings: Endpoint, key: str) -> "OpenAI":
    import openai

    assert settings.base_url is not None
    own = is_loopback(settings.base_url)  # no proxy stands before this machine itself
    return openai.OpenAI(
        api_key=key,
        base_url=settings.base_url,
        timeout=settings.timeout_seconds,
        max_retries=settings.retries,
        http_client=openai.DefaultHttpxClient(trust_env=not own),
    )


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _untold() -> dict[str, Any]:
    from openai import Omit

    return {f"X-Stainless-{name}": Omit() for name in UNTOLD}


class Pace:
    """So many starts a minute, evenly: whoever is early waits."""

    def __init__(self, per_minute: int | None) -> None:
        self._gap = 0.0 if per_minute is None else 60 / per_minute
        self._next, self._lock = 0.0, threading.Lock()

    def wait(self) -> None:
        """Wait for one's turn."""
        if not self._gap:
            return
        with self._lock:
            turn = max(time.monotonic(), self._next)
            self._next = turn + self._gap
        time.sleep(max(0.0, turn - time.monotonic()))


def read_reply(body: str) -> Reply | None:
    """Read a chat completion; None where it is none."""
    try:
        whole = json.loads(body)
        choice = whole["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if not isinstance(text, str | None):
        return None
    prompt, completion = (_count(whole, f"{name}_tokens") for name in ("prompt", "completion"))
    whole_text = (text or "").encode(errors="replace").decode()  # half a character is none
    return Reply(whole_text, _logprobs(choice), prompt, completion)


def _count(whole: dict[str, Any], name: str) -> int:
    try:
        count = whole["usage"][name]
    except (KeyError, TypeError):
        return 0
    return count if type(count) is int and 0 <= count < LARGEST_COUNT else 0


def _logprobs(choice: dict[str, Any]) -> dict[str, float] | None:
    """Read the log-probs listed for the first token; None where one is none."""
    try:
        listed = choice["logprobs"]["content"][0]["top_logprobs"]
        found = {str(one["token"]): float(one["logprob"]) for one in listed}
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return found if found and all(-1e9 < value <= 0 for value in found.values()) else None
