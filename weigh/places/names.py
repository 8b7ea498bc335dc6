"""The name that a model has on a hub, and in every store that keeps the hub's names: `org/name[@revision][/file]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(
    rf"(?P<repository>{_PART}/{_PART})"
    r"(?:@(?P<revision>refs/[^/@]+/[^/@]+|[^/@]+))?"
    r"(?:/(?P<file>[^@\\\0]*))?"
)
_ALONE = re.compile(rf"(?P<repository>{_PART})(?:@(?P<revision>[^/@]+))?")
"""Of the hub's first years: no organisation."""


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository, its revision (a branch, a tag, `refs/pr/N` or a commit; empty = main) and a file or folder in it.

    A branch whose name holds a `/` is named by its commit.
    """

    repository: str
    revision: str = ""
    file: str = ""

    @classmethod
    def parse(cls, word: str, *, alone: bool = False) -> HubName | None:
        """The name that a word is, None where it can be none; `alone` allows one without an organisation."""
        match = _NAME.fullmatch(word) or (_ALONE.fullmatch(word) if alone else None)
        if match is None:
            return None
        found = match.groupdict(default="")
        pieces = f"{found['repository']}/{found.get('file', '')}/{found['revision']}".split("/")
        if any(piece in (".", "..") or "--" in found["repository"] or ".." in found["repository"] for piece in pieces):
            return None
        return cls(found["repository"], found["revision"], found.get("file", "").strip("/"))

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repository + revision + (f"/{self.file}" if self.file else "")
