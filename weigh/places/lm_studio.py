"""LM Studio's store: `<publisher>/<model>/<file>` below its folder of models, with the names that the hub gives them.

Its home is what ~/.lmstudio-home-pointer holds, else ~/.cache/lm-studio where that is there, else ~/.lmstudio
(lmstudio-ai/lmstudio.js, `findLMStudioHome.ts`); the models lie in its folder `models`. Where the user moved them,
`settings.json` in the home says so under `downloadsFolder`: no documented key, but seen in descriptions of
installations, so it is used only where it names a folder that is there.
"""

from __future__ import annotations

from pathlib import Path

from weigh import files
from weigh.formats import json_text
from weigh.places.names import HubName
from weigh.places.record import Found, Store
from weigh.types import Limits, WeighError

POINTER = ".lmstudio-home-pointer"
POINTER_BYTES = 4096
SETTINGS = "settings.json"
MOVED = "downloadsFolder"
PROJECTOR = "mmproj"


def folders() -> tuple[Path, ...]:
    """The folder of models that the user chose, and the usual one of each home."""
    homes = [home for home in (_pointed(), Path.home() / ".cache" / "lm-studio", Path.home() / ".lmstudio") if home]
    moved = [folder for folder in map(_moved, homes) if folder]
    return tuple(dict.fromkeys((*moved, *(home / "models" for home in homes))))


def find(word: str, limits: Limits) -> Found | None:
    """A model by `publisher/model` or `publisher/model/file`.

    A folder that holds one model beside its projector is that model.
    """
    name = HubName.parse(word)
    if name is None or name.revision:
        return None
    for folder in folders():
        path = folder / name.repository / name.file
        if path.exists():
            return _model(path, str(name), limits)
    return None


def _model(path: Path, name: str, limits: Limits) -> Found:
    shown = f"{STORE.id}:{name}"
    if not path.is_dir():
        return Found(shown, path)
    names = [one for one in files.listed(files.locate(path), limits)[0] if one.endswith(".gguf")]
    models = [one for one in names if PROJECTOR not in one.lower()]
    if len(models) == 1 and len(names) > 1:
        apart = ", ".join(one for one in names if one not in models)
        return Found(f"{shown}/{models[0]}", path / models[0], (f"not counted, a projector beside it: {apart}",))
    return Found(shown, path)


def _pointed() -> Path | None:
    pointer = Path.home() / POINTER
    if not pointer.is_file():
        return None
    with files.opened(files.locate(pointer.parent), POINTER) as file:
        text = files.read_at(file, 0, min(file.size, POINTER_BYTES)).decode("utf-8", "replace").strip()
    return Path(text) if text and "\0" not in text else None


def _moved(home: Path) -> Path | None:
    """The folder that the settings name; settings that cannot be read name none, and `folders` has the usual one."""
    if not (home / SETTINGS).is_file():
        return None
    try:
        with files.opened(files.locate(home), SETTINGS) as file:
            said = json_text.configuration(file, Limits()).get(MOVED)
    except WeighError:
        return None
    folder = Path(said) if type(said) is str and "\0" not in said else None
    return folder if folder is not None and folder.is_absolute() and folder.is_dir() else None


STORE = Store(
    id="lmstudio",
    name="LM Studio",
    folders=folders,
    find=find,
    source="https://lmstudio.ai/docs/basics/import-model",
)
