"""A model on a hub, `org/name[@revision][/file]`: lists its repository and mounts it, so that only headers are fetched.

The hub is that of HF_ENDPOINT (https://huggingface.co), the token that of HF_TOKEN or of `hf auth login`, and with
HF_HUB_OFFLINE nothing is contacted. The addresses asked are those of huggingface_hub 2.4.0 (`hf_api.py`): `api/models/
ID/revision/REVISION`, `api/models/ID/tree/COMMIT?recursive=true` and `ID/resolve/COMMIT/FILE`.
"""

from __future__ import annotations

import configparser
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import quote

from weigh import files, volumes
from weigh.formats import json_text
from weigh.places import hub_kept, hub_requests
from weigh.places.hub_requests import Patience, Requests
from weigh.places.hub_volume import HubVolume, Stored
from weigh.places.names import HubName
from weigh.types import Limits, WeighError

PREFIX = "hub:"
ENDPOINT = "https://huggingface.co"
COMMIT = re.compile(r"[0-9a-f]{40}")
DIGEST = re.compile(r"[0-9a-f]{64}")
VALUES_A_FILE = 40
"""Brackets and commas of a file's entry in the list."""
PATIENCE = Patience()


def mount(name: HubName, limits: Limits, patience: Patience | None = None) -> Path:
    """Make a repository readable like a folder; the path that stands for it, or for the file named in it.

    Errors: HUB-OFFLINE (exit 6), EXTRA-MISSING (exit 2), HUB-UNKNOWN and HUB-REVISION (exit 4) with near names,
    HUB-NAME, HUB-LISTING, FOLDER-FILES (exit 5), those of `hub_requests`.
    """
    requests = _connect(name, limits, patience or PATIENCE)
    with requests.timed():
        commit = _commit(name, requests, limits)
        held = _listed(name, commit, requests, limits)
    key = hub_kept.key_of(requests.endpoint, name.repository, commit).hex()
    kept = hub_kept.Kept(hub_kept.folder() / "hub" / key)
    root = Path(f"{PREFIX}{name.repository}@{commit}")
    volumes.mount(root, HubVolume(requests, name.repository, commit, held, kept))
    if name.file and name.file not in held and not any(other.startswith(name.file + "/") for other in held):
        near = get_close_matches(name.file, held, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"the repository holds {len(held):,} files"
        message = f"the repository holds no file {name.file[:200]!r}"
        raise WeighError(message, rule="HUB-UNKNOWN", path=root, hint=hint, exit_code=4)
    return root / name.file if name.file else root


def offline() -> bool:
    """Whether the user forbids any contact."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in ("1", "ON", "YES", "TRUE")


def _connect(name: HubName, limits: Limits, patience: Patience) -> Requests:
    if offline():
        raise WeighError(
            f"`{name}` is not on this machine, and HF_HUB_OFFLINE forbids to ask the hub",
            rule="HUB-OFFLINE",
            hint="unset HF_HUB_OFFLINE, or name a file, a folder or a catalogue name",
            exit_code=6,
        )
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT
    if not re.match(r"https?://[^/]", endpoint):
        message = f"HF_ENDPOINT is {endpoint[:100]!r}, which is no address"
        raise WeighError(message, rule="HUB-ENDPOINT", hint="it begins with https://", exit_code=2)
    return Requests(endpoint, _token(), limits, patience)


def _token() -> str | None:
    """The user's token, None where there is none. Error: HUB-TOKEN (exit 2)."""
    try:
        from huggingface_hub import errors, get_token
    except ImportError as cause:
        raise hub_requests.missing_extra() from cause
    hint = "log in again: hf auth login; or set HF_TOKEN"
    own = [getattr(errors, name) for name in ("HTTPError", "OIDCError", "DeviceCodeError") if hasattr(errors, name)]
    try:
        token = get_token()
    # A token's file may be unreadable, or no text, or stale where the hub that renews it cannot be reached.
    except (OSError, ValueError, LookupError, configparser.Error, *own) as cause:
        message = f"the token of the hub cannot be had: {type(cause).__name__}: {str(cause)[:200]}"
        raise WeighError(message, rule="HUB-TOKEN", hint=hint, exit_code=2) from cause
    if token is not None and not (token.isascii() and token.isprintable()):
        message = "the token of the hub holds characters that no token has"
        raise WeighError(message, rule="HUB-TOKEN", hint=hint, exit_code=2)
    return token


def _commit(name: HubName, requests: Requests, limits: Limits) -> str:
    """The commit that a revision stands for at this moment; everything is read from it."""
    if COMMIT.fullmatch(name.revision):
        return name.revision
    label = f"hub:{name}"
    url = f"{requests.endpoint}/api/models/{name.repository}/revision/{quote(name.revision or 'main', safe='')}"
    try:
        text, _ = requests.answer(f"{url}?expand=sha", label)
    except WeighError as refusal:
        if refusal.rule == "HUB-UNKNOWN":
            near = _near(name, requests, limits)
            refusal.hint = f"did you mean {', '.join(near)}? {refusal.hint}" if near else refusal.hint
        raise
    found = json_text.parse(text, Path(label), limits, json_text.CONFIGURATION_VALUES).get("sha")
    if type(found) is not str or not COMMIT.fullmatch(found):
        raise WeighError("the hub does not say which commit this is", rule="HUB-LISTING", path=label)
    return found


def _near(name: HubName, requests: Requests, limits: Limits) -> list[str]:
    """Repositories of a similar name; none where the hub has no search."""
    url = f"{requests.endpoint}/api/models?limit=3&search={quote(name.repository.rpartition('/')[2])}"
    try:
        rows = _rows(requests.answer(url, "hub:search")[0], "hub:search", limits)
    except WeighError:
        return []
    ids = [row.get("id") for row in rows]
    return [one for one in ids if type(one) is str and HubName.parse(one) is not None]


def _listed(name: HubName, commit: str, requests: Requests, limits: Limits) -> dict[str, Stored]:
    """Every file of a commit, page by page."""
    label = f"hub:{name}"
    url: str | None = f"{requests.endpoint}/api/models/{name.repository}/tree/{commit}?recursive=true"
    held: dict[str, Stored] = {}
    entries = 0
    while url is not None:
        text, url = requests.answer(url, label)
        rows = _rows(text, label, limits)
        entries += max(len(rows), 1)
        if entries > limits.files:
            message = f"the repository holds more than {limits.files:,} files and folders"
            raise WeighError(message, rule="FOLDER-FILES", path=label, hint=files.lift("files"), exit_code=5)
        for row in rows:
            if row.get("type") == "file":
                path, stored = _stored(row, label)
                if path in held:
                    raise WeighError(f"the hub lists {path[:200]!r} twice", rule="HUB-LISTING", path=label)
                held[path] = stored
    return held


def _rows(text: bytes, label: str, limits: Limits) -> list[dict[str, Any]]:
    """The objects of a JSON list. The bounds are those of any JSON; the object around it is ours."""
    front = b'{"rows":'
    whole = json_text.parse(front + text + b"}", Path(label), limits, VALUES_A_FILE * limits.files, start=-len(front))
    rows = whole.get("rows")
    if len(whole) != 1 or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WeighError("the hub's list is no list of files", rule="HUB-LISTING", path=label)
    return rows


def _stored(row: dict[str, Any], label: str) -> tuple[str, Stored]:
    large = row.get("lfs") if isinstance(row.get("lfs"), dict) else {}
    path, size, oid = row.get("path"), row.get("size"), row.get("oid")
    digest = large.get("oid") if isinstance(large, dict) else None
    if isinstance(large, dict) and large:
        size = large.get("size")
    if type(path) is not str or type(size) is not int or not 0 <= size < 2**63 or type(oid) is not str:
        raise WeighError("the hub lists a file without name, size or digest", rule="HUB-LISTING", path=label)
    if files.leads_out(path) or path != "/".join(part for part in path.split("/") if part not in ("", ".")):
        message = f"the hub lists {path[:200]!r}, which is no name of a file in a folder"
        raise WeighError(message, rule="HUB-NAME", path=label)
    stated = digest if type(digest) is str and DIGEST.fullmatch(digest) else None
    return path, Stored(size, stated or oid[:200], stated)
