"""Requests to a hub: redirects, the token, retries, and every answer checked before a byte of it is believed.

Nothing here knows of models or files of a model; `hub.py` says what is asked for. What an answer may not be is a
WeighError with a rule of `HUB-`. Exit codes: 6 where the hub cannot be reached or stays busy, 5 where a budget is
spent, 4 where it does not have what was named, 3 where it does not let us in or answers what it may not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urljoin, urlsplit
from weakref import finalize

from weigh.places import addresses
from weigh.types import Limits, WeighError

if TYPE_CHECKING:
    import httpx2

HOPS = 5
BUSY = frozenset({408, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
ANSWER_BYTES = 16 * 2**20
"""Of one answer in JSON."""
WHOLE_BYTES = 2**20
"""A file up to this size is taken whole from a server that serves no ranges."""
CONNECTIONS = 16

Keep = Callable[[int, bytes], None]
"""Called with the offset and the bytes as they come."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try, in seconds."""

    attempts: int = 5
    """In a row without a byte."""
    timeout_s: float = 20.0
    """To connect, and between two bytes."""
    pause_s: float = 0.5
    """Before the second attempt; it doubles."""
    longest_pause_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of a repository, and what its answers must say."""

    url: str
    label: str
    """What errors call it."""
    size: int
    commit: str
    sha256: str | None


class _AgainError(Exception):
    """What is worth another attempt, and how long the server asks to wait."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Requests:
    """One conversation with one hub: its connections, and what is left of the budget. Threads may share it."""

    def __init__(self, endpoint: str, token: str | None, limits: Limits, patience: Patience) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self.patience = patience
        self.bytes = 0
        """Of bodies, so far."""
        self.requests = 0
        self._token = token
        self._client = _client(patience)
        finalize(self, self._client.close)
        self._spent_s = 0.0
        self._since: float | None = None
        self._lock = Lock()
        self._moved: dict[str, str] = {}
        """Where the hub last sent us for a file; such addresses expire."""
        self._tags: dict[str, str] = {}

    # ----------------------------------------------------------------------------------------------- budgets

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time spent inside against the budget."""
        if self._since is not None:
            yield
            return
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._spent_s += time.monotonic() - self._since
            self._since = None

    def _check_time(self, label: str) -> None:
        now = 0.0 if self._since is None else time.monotonic() - self._since
        if self._spent_s + now > self.limits.fetch_seconds:
            message = f"fetching takes longer than {self.limits.fetch_seconds:g} s"
            raise _error(message, "HUB-TIME", label, hint=_lift("fetch_seconds"), exit_code=5)

    def _count(self, nbytes: int, label: str) -> None:
        with self._lock:
            self.bytes += nbytes
        if self.bytes > self.limits.fetched_bytes:
            message = f"more than {self.limits.fetched_bytes:,} bytes would be fetched"
            raise _error(message, "HUB-BYTES", label, hint=_lift("fetched_bytes"), exit_code=5)

    # ---------------------------------------------------------------------------------------------- questions

    def answer(self, url: str, label: str) -> tuple[bytes, str | None]:
        """A JSON text, and the address of the next page where there is one.

        Errors: those of `_refuse`, HUB-SIZE (exit 5), HUB-BUSY, HUB-UNREACHABLE (exit 6).
        """
        found = b""
        following: str | None = None

        def attempt() -> int:
            nonlocal found, following
            parts: list[bytes] = []
            with self._response(url, {}, label) as response:
                if response.status_code != 200:
                    raise _error(f"the hub answers {response.status_code}", "HUB-STATUS", label)
                for chunk in response.iter_raw():
                    parts.append(chunk)
                    self._count(len(chunk), label)
                    self._check_time(label)
                    if sum(map(len, parts)) > ANSWER_BYTES:
                        message = f"the answer is longer than {ANSWER_BYTES:,} bytes"
                        raise _error(message, "HUB-SIZE", label, exit_code=5)
                following = response.links.get("next", {}).get("url")
            found = b"".join(parts)
            return 0

        self._persevere(attempt, label)
        if following is not None:
            following = _joined(url, following, label)
            if _origin(following) != _origin(self.endpoint):
                raise _error("the list goes on at another host", "HUB-LISTING", label)
        return found, following

    def fetch(self, wanted: Wanted, begin: int, end: int, keep: Keep) -> None:
        """The bytes from `begin` up to `end`, as they come; what a broken connection brought is not asked for again.

        Errors: those of `_refuse`, HUB-RANGE, HUB-LENGTH, HUB-ENCODING, HUB-CHANGED, HUB-REDIRECT, HUB-BYTES and
        HUB-TIME (exit 5), HUB-BUSY and HUB-UNREACHABLE (exit 6).
        """
        at = begin

        def attempt() -> int:
            nonlocal at
            start = at
            asked = {"Range": f"bytes={at}-{end - 1}"}
            try:
                with self._response(wanted.url, asked, wanted.label, wanted) as response:
                    for chunk in self._body(response, wanted, at, end):
                        keep(at, chunk)
                        at += len(chunk)
            except _AgainError:
                if at == start:
                    raise
            return end - at

        self._persevere(attempt, wanted.label)

    def _persevere(self, attempt: Callable[[], int], label: str) -> None:
        """Repeat until nothing is missing. Attempts that bring something are not counted: the budgets end them."""
        failures = 0
        missing: int | None = None
        while missing != 0:
            self._check_time(label)
            try:
                missing = attempt()
                failures = 0
            except _AgainError as cause:
                failures += 1
                self._pause(cause, failures, label)

    def _pause(self, cause: _AgainError, failures: int, label: str) -> None:
        asked = cause.wait_s
        if asked is not None and asked > self.patience.longest_pause_s:
            message = f"the hub is busy and asks to wait {asked:,.0f} s"
            raise _error(message, "HUB-BUSY", label, hint="try again later", exit_code=6) from cause
        if failures >= self.patience.attempts:
            message = f"the hub cannot be reached: {cause}"
            hint = f"is {self.endpoint} the right address (HF_ENDPOINT), and is there a connection?"
            raise _error(message, "HUB-UNREACHABLE", label, hint=hint, exit_code=6) from cause
        pause = self.patience.pause_s * 2 ** (failures - 1) if asked is None else asked
        time.sleep(min(pause, self.patience.longest_pause_s))

    # ------------------------------------------------------------------------------------------------ answers

    @contextmanager
    def _response(
        self, url: str, headers: Mapping[str, str], label: str, wanted: Wanted | None = None
    ) -> Iterator[httpx2.Response]:
        """The answer behind all redirects. The token goes to the hub's own host and to no other."""
        import httpx2

        here = self._moved.get(url, url)
        try:
            for _ in range(HOPS):
                self._check_time(label)
                own = _origin(here) == _origin(self.endpoint)
                token = {"Authorization": f"Bearer {self._token}"} if own and self._token else {}
                with self._lock:
                    self.requests += 1
                with self._client.stream("GET", here, headers={**headers, **token}) as response:
                    if wanted is not None:
                        _require_same(response, wanted)
                    if response.status_code in REDIRECTS:
                        here = self._redirected(response, here, label)
                        continue
                    expired = not own and response.status_code in (401, 403, 404, 410)
                    if expired and self._moved.pop(url, None) is not None:
                        raise _AgainError("the address that the hub gave has expired", 0.0)
                    self._require_success(response, label)
                    if not own:
                        self._moved[url] = here
                    yield response
                    return
            raise _error(f"more than {HOPS} redirects", "HUB-REDIRECT", label)
        except httpx2.TransportError as cause:
            raise _AgainError(f"{type(cause).__name__}: {cause}"[:200]) from cause
        except httpx2.InvalidURL as cause:
            raise _error(f"not an address: {cause}", "HUB-REDIRECT", label) from cause

    def _redirected(self, response: httpx2.Response, here: str, label: str) -> str:
        there = _joined(here, response.headers.get("Location", ""), label)
        kind = urlsplit(there).scheme
        if kind not in ("http", "https") or there == here:
            raise _error("the hub redirects to nowhere", "HUB-REDIRECT", label)
        if kind == "http" and urlsplit(here).scheme == "https":
            raise _error("the hub redirects from https to http", "HUB-REDIRECT", label)
        if _origin(there) != _origin(self.endpoint) and self._in_public:
            addresses.require_public(there, label)
        return there

    @cached_property
    def _in_public(self) -> bool:
        """Whether the hub itself lies in the internet. One in a private network may redirect to its neighbours."""
        return addresses.is_public(self.endpoint)

    def _require_success(self, response: httpx2.Response, label: str) -> None:
        status = response.status_code
        if status in BUSY:
            raise _AgainError(f"it answers {status}", _wait_s(response.headers.get("Retry-After")))
        if status not in (200, 206):
            _refuse(status, response.headers.get("X-Error-Code", ""), label, bool(self._token))
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _error("the answer is compressed, which was not asked for", "HUB-ENCODING", label)

    def _body(self, response: httpx2.Response, wanted: Wanted, begin: int, end: int) -> Iterator[bytes]:
        """The bytes of the range, neither more nor fewer."""
        self._pin(response, wanted)
        skip = 0
        if response.status_code == 206:
            _require_range(response, wanted, begin, end)
        elif wanted.size > WHOLE_BYTES:
            message = "the server sends whole files only, so a header would cost as much as the model"
            raise _error(message, "HUB-RANGE", wanted.label, hint="download the model and name its folder")
        else:
            _require_length(response, wanted.size, wanted.label)
            skip = begin
        left = end - begin
        for chunk in response.iter_raw():
            self._count(len(chunk), wanted.label)
            self._check_time(wanted.label)
            part = chunk[skip:] if skip else chunk
            skip -= len(chunk) - len(part)
            if len(part) > left and response.status_code == 206:
                raise _error("the server sends more than was asked for", "HUB-LENGTH", wanted.label)
            if part:
                yield part[:left]
            left -= min(left, len(part))
            if not left and response.status_code != 206:
                return
        if left:
            raise _AgainError(f"the connection broke {left:,} bytes before the end")

    def _pin(self, response: httpx2.Response, wanted: Wanted) -> None:
        """Answers of one file carry one validator: another one means that the file was replaced meanwhile."""
        tag = response.headers.get("ETag")
        if tag is not None and self._tags.setdefault(wanted.url, tag) != tag:
            raise _changed(wanted.label)


# -------------------------------------------------------------------------------------------------- what is checked


def _require_same(response: httpx2.Response, wanted: Wanted) -> None:
    """What the hub says of the file on the way must be what its list said."""
    said = response.headers
    commit, size, digest = said.get("X-Repo-Commit"), said.get("X-Linked-Size"), said.get("X-Linked-Etag")
    other = commit is not None and commit != wanted.commit
    longer = size is not None and size != str(wanted.size)
    differs = digest is not None and wanted.sha256 is not None and digest.strip('"') != wanted.sha256
    if other or longer or differs:
        raise _changed(wanted.label)


def _require_range(response: httpx2.Response, wanted: Wanted, begin: int, end: int) -> None:
    told = response.headers.get("Content-Range", "")
    if told == f"bytes {begin}-{end - 1}/{wanted.size}":
        _require_length(response, end - begin, wanted.label)
        return
    total = told.rpartition("/")[2]
    if told.startswith(f"bytes {begin}-{end - 1}/") and total.isdigit():
        raise _changed(wanted.label)
    message = f"the server sends another range than asked for: {told[:100]!r}"
    raise _error(message, "HUB-RANGE", wanted.label)


def _require_length(response: httpx2.Response, nbytes: int, label: str) -> None:
    told = response.headers.get("Content-Length")
    if told is not None and told != str(nbytes):
        raise _error(f"the server announces {told[:30]!r} bytes, not {nbytes:,}", "HUB-LENGTH", label)


def _refuse(status: int, code: str, label: str, has_token: bool) -> NoReturn:
    """What the hub does not give, by its status and by the header `X-Error-Code`.

    Source: huggingface_hub 2.4.0, `utils/_http.py`, `hf_raise_for_status`.
    """
    key = "is the token that of an account with access?" if has_token else "set HF_TOKEN, or log in: hf auth login"
    if code == "RevisionNotFound":
        raise _error("the repository has no such revision", "HUB-REVISION", label, exit_code=4)
    if code == "GatedRepo":
        hint = f"accept its conditions on its page, and {key}"
        raise _error("the repository is gated", "HUB-DENIED", label, hint=hint)
    if code == "RepoNotFound" or status == 404:
        message = "the hub has no such repository or file, or it is private"
        raise _error(message, "HUB-UNKNOWN", label, hint=f"if it is private: {key}", exit_code=4)
    if status in (401, 403):
        raise _error(f"the hub does not allow this (it answers {status})", "HUB-DENIED", label, hint=key)
    if status == 416:
        raise _error("the file is shorter than the hub's list says", "HUB-RANGE", label)
    raise _error(f"the hub answers {status}", "HUB-STATUS", label)


def _changed(label: str) -> WeighError:
    return _error("the file changed while it was read", "HUB-CHANGED", label, hint="weigh it again")


def _error(message: str, rule: str, label: str, *, hint: str = "", exit_code: int = 3) -> WeighError:
    return WeighError(message, rule=rule, path=label, hint=hint, exit_code=exit_code)


def _lift(limit: str) -> str:
    return f"raise the limit from Python: weigh.load(MODEL, Limits({limit}=...))"


def _wait_s(said: str | None) -> float | None:
    """`Retry-After`: seconds or a date."""
    if said is None:
        return None
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        return max(parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError, OSError):
        return None


def _joined(here: str, there: str, label: str) -> str:
    try:
        return urljoin(here, there)
    except ValueError as cause:
        raise _error(f"not an address: {there[:100]!r}", "HUB-REDIRECT", label) from cause


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    try:
        return parts.scheme, parts.hostname, parts.port or usual
    except ValueError:
        return parts.scheme, parts.hostname, -1


def _client(patience: Patience) -> httpx2.Client:
    """Connections that are used again; redirects are followed by us, and nothing is compressed."""
    try:
        import httpx2
    except ImportError as cause:
        raise missing_extra() from cause
    headers: dict[str, Any] = {"User-Agent": "weigh", "Accept-Encoding": "identity"}
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    timeout = httpx2.Timeout(patience.timeout_s)
    return httpx2.Client(headers=headers, limits=limits, timeout=timeout, follow_redirects=False)


def missing_extra() -> WeighError:
    """What to install to read from a hub."""
    return WeighError(
        "reading from a hub needs packages that are not installed",
        rule="EXTRA-MISSING",
        hint="pip install 'weigh[hub]'",
        exit_code=2,
    )
