"""Models in the stores of other programs: found by the names that those programs use, read only, faults told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.places import shards
from weigh import places
from weigh.commands import show, source
from weigh.places import huggingface_cache, lm_studio, ollama
from weigh.types import Limits, WeighError

COMMIT = "a" * 40
OTHER = "b" * 40
links = pytest.mark.skipif(os.name != "posix", reason="the cache is made of symbolic links")


def refused(word: str) -> WeighError:
    with pytest.raises(WeighError) as caught:
        source.load(word)
    return caught.value


def tensors(word: str) -> int:
    return len(source.load(word).inventory.tensors)


# ---------------------------------------------------------------------------------------- Hugging Face's cache


def cached(cache: Path, name: str, commit: str = COMMIT, revision: str | None = "main", count: int = 5) -> Path:
    """A repository in the cache, with links to blobs as the library makes them."""
    repository = cache / ("models--" + name.replace("/", "--"))
    snapshot, blobs = repository / "snapshots" / commit, repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir(exist_ok=True)
    made = repository / "made"
    made.mkdir()
    shards.safetensors(made, 2, count, 10**5)
    for path in list(made.iterdir()):
        blob = blobs / f"{commit[0]}{len(list(blobs.iterdir())):063d}"
        path.rename(blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    made.rmdir()
    if revision is not None:
        reference = repository / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)
    return repository


@pytest.fixture
def cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hf"))
    return home / "hf"


@links
@pytest.mark.parametrize("word", ["org/model", "hf:org/model", "org/model@main", f"org/model@{COMMIT}"])
def test_a_repository_of_the_cache_is_found_by_its_id(cache: Path, word: str) -> None:
    cached(cache, "org/model")
    model = source.load(word)
    assert len(model.inventory.tensors) == 10
    assert COMMIT in model.inventory.source


@links
def test_the_folder_of_a_repository_and_a_file_of_it_can_be_named(cache: Path) -> None:
    repository = cached(cache, "org/model")
    assert tensors(str(repository)) == 10
    assert tensors("org/model/model-00001-of-00002.safetensors") == 10
    assert refused("hf:org/model/nothing.gguf").rule == "MODEL-UNKNOWN"


@links
def test_a_repository_without_an_organisation_is_found(cache: Path) -> None:
    cached(cache, "some-old-model")
    assert tensors("some-old-model") == 10


@links
@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "~/one"}, "one"),
        ({"HUGGINGFACE_HUB_CACHE": "~/two"}, "two"),
        ({"HF_HOME": "~/three"}, "three/hub"),
        ({"XDG_CACHE_HOME": "~/four"}, "four/huggingface/hub"),
        ({"HF_HUB_CACHE": "~/one", "HF_HOME": "~/three"}, "one"),
    ],
)
def test_the_cache_lies_where_the_library_would_put_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cached(home / place, "org/model")
    assert huggingface_cache.folders() == (home / place,)
    assert tensors("org/model") == 10


@links
def test_a_branch_is_the_commit_that_it_last_stood_for(cache: Path) -> None:
    repository = cached(cache, "org/model", revision="refs/pr/7")
    cached(cache, "org/model", OTHER, revision="v2", count=3)
    assert tensors("org/model@refs/pr/7") == 10
    assert tensors("org/model@v2") == 6
    said = refused("org/model")
    assert said.rule == "CACHE-MANY"
    assert COMMIT in said.message
    assert refused(str(repository)).rule == "CACHE-MANY"


@links
def test_the_only_revision_of_the_cache_needs_no_name(cache: Path) -> None:
    cached(cache, "org/model", revision=None)
    assert tensors("org/model") == 10


@links
def test_a_revision_that_is_not_in_the_cache_is_asked_of_the_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(cache, "org/model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused("org/model@v9").rule == "HUB-OFFLINE"
    assert refused("hf:org/model@v9").rule == "MODEL-UNKNOWN"


@links
def test_a_repository_of_which_nothing_came_is_told(cache: Path) -> None:
    repository = cached(cache, "org/model")
    for path in (repository / "snapshots" / COMMIT).iterdir():
        path.unlink()
    said = refused("org/model")
    assert (said.rule, said.exit_code) == ("CACHE-EMPTY", 3)
    assert "hub:org/model" in said.hint


@links
def test_a_download_that_did_not_finish_is_told(cache: Path) -> None:
    repository = cached(cache, "org/model")
    (repository / "blobs" / ("c" * 64 + ".incomplete")).write_bytes(b"x")
    assert any("did not finish: 1" in warning for warning in show.run("org/model").warnings)
    (repository / "snapshots" / COMMIT / "model-00002-of-00002.safetensors").unlink()
    said = refused("org/model")
    assert said.rule == "INDEX-MISSING"
    assert "hub:org/model" in said.hint


@links
def test_a_broken_link_and_a_broken_reference_are_told(cache: Path) -> None:
    repository = cached(cache, "org/model")
    blob = (repository / "snapshots" / COMMIT / "model-00002-of-00002.safetensors").resolve()
    blob.unlink()
    assert refused("org/model").rule in ("INDEX-MISSING", "FILE-MISSING")
    (repository / "refs" / "main").write_text("../../../etc")
    assert refused("org/model").rule == "CACHE-REFERENCE"


@links
def test_a_snapshot_does_not_lead_out_of_its_repository(cache: Path, tmp_path: Path) -> None:
    repository = cached(cache, "org/model")
    link = repository / "snapshots" / COMMIT / "model-00002-of-00002.safetensors"
    secret = tmp_path / "secret.safetensors"
    link.resolve().rename(secret)
    link.unlink()
    link.symlink_to(secret)
    assert refused("org/model").rule == "FILE-OUTSIDE"


# -------------------------------------------------------------------------------------------------------- Ollama


def pulled(store: Path, way: str, *more: tuple[str, int], kind: str = "model") -> Path:
    """A model in Ollama's store; `more` are further layers (kind, bytes)."""
    blobs = store / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    blob = blobs / ("sha256-" + "1" * 64)
    size = shards.gguf(blob, 4, 20, 10**5)
    layers = [(kind, "1" * 64, size), *((other, "2" * 64, nbytes) for other, nbytes in more)]
    manifest = store / "manifests" / way
    manifest.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"mediaType": ollama.KIND + k, "digest": f"sha256:{d}", "size": n} for k, d, n in layers]
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": rows}))
    return manifest


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("registry.ollama.ai/library/llama3.2/latest", ["llama3.2", "llama3.2:latest", "ollama:llama3.2"]),
        ("registry.ollama.ai/library/llama3.2/1b", ["llama3.2:1b", "library/llama3.2:1b"]),
        ("registry.ollama.ai/someone/model/q4_K_M", ["someone/model:q4_K_M", "ollama:someone/model:q4_K_M"]),
        ("hf.co/org/name-GGUF/Q8_0", ["hf.co/org/name-GGUF:Q8_0"]),
    ],
)
def test_a_model_of_ollama_is_found_by_its_name(home: Path, way: str, words: list[str]) -> None:
    pulled(home / ".ollama" / "models", way)
    for word in words:
        assert tensors(word) == 4


def test_the_store_that_ollama_was_told_to_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", "~/elsewhere")
    pulled(home / "elsewhere", "registry.ollama.ai/library/m/latest")
    assert ollama.folders() == (home / "elsewhere",)
    assert tensors("ollama:m") == 4


def test_layers_that_are_not_the_model_are_told(home: Path) -> None:
    more = (("projector", 7_000), ("adapter", 500), ("template", 10), ("params", 5), ("license", 99))
    pulled(home / ".ollama" / "models", "registry.ollama.ai/library/m/latest", *more)
    told = " ".join(show.run("m").warnings)
    assert "a projector (the part that sees) of 7,000 bytes, an adapter of 500 bytes" in told
    assert "license, params, template" in told


def test_a_model_of_ollama_without_its_weights_is_told(home: Path) -> None:
    store = home / ".ollama" / "models"
    manifest = pulled(store, "registry.ollama.ai/library/m/latest")
    (store / "blobs" / ("sha256-" + "1" * 64)).unlink()
    said = refused("m")
    assert said.rule == "OLLAMA-MISSING"
    assert "ollama pull m" in said.hint
    pulled(store, "registry.ollama.ai/library/m/latest", kind="tensor; name=a")
    assert refused("m").rule == "OLLAMA-LAYERS"
    manifest.write_text("{")
    assert refused("m").rule == "JSON-SYNTAX"


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"layers": {}},
        {"layers": [1]},
        {"layers": [{"mediaType": "x", "digest": "sha256:../../../etc/passwd", "size": 1}]},
        {"layers": [{"mediaType": "x", "digest": "sha256:" + "1" * 64, "size": "1"}]},
    ],
)
def test_a_manifest_that_is_none_is_refused(home: Path, manifest: object) -> None:
    path = pulled(home / ".ollama" / "models", "registry.ollama.ai/library/m/latest")
    path.write_text(json.dumps(manifest))
    assert refused("m").rule == "OLLAMA-MANIFEST"


@pytest.mark.parametrize("word", ["ollama:..", "ollama:../..", "ollama:../../x:y", "ollama:m:..", "ollama:/etc/passwd"])
def test_no_name_leads_out_of_ollamas_store(home: Path, word: str) -> None:
    pulled(home / ".ollama" / "models", "registry.ollama.ai/library/m/latest")
    assert refused(word).rule == "MODEL-UNKNOWN"


# ----------------------------------------------------------------------------------------------------- LM Studio


def test_a_model_of_lm_studio_is_found_by_publisher_and_name(home: Path) -> None:
    model = home / ".lmstudio" / "models" / "maker" / "model-GGUF"
    model.mkdir(parents=True)
    shards.gguf(model / "model-Q4_0.gguf", 3, 10, 10**5)
    assert tensors("maker/model-GGUF") == 3
    assert tensors("lmstudio:maker/model-GGUF/model-Q4_0.gguf") == 3
    shards.gguf(model / "model-Q8_0.gguf", 3, 10, 10**5)
    assert refused("maker/model-GGUF").rule == "FOLDER-MANY"


def test_a_projector_beside_the_model_is_told(home: Path) -> None:
    model = home / ".lmstudio" / "models" / "maker" / "sees-GGUF"
    model.mkdir(parents=True)
    shards.gguf(model / "sees-Q4_0.gguf", 3, 10, 10**5)
    shards.gguf(model / "mmproj-sees-F16.gguf", 2, 10, 10**5)
    answer = show.run("maker/sees-GGUF", tensors=True)
    assert len(answer.result["tensors"]) == 3
    assert any("mmproj-sees-F16.gguf" in warning for warning in answer.warnings)


@pytest.mark.parametrize("kind", ["pointer", "old home", "settings"])
def test_a_moved_store_of_lm_studio_is_found(home: Path, kind: str) -> None:
    place = {"pointer": home / "there", "old home": home / ".cache/lm-studio", "settings": home / ".lmstudio"}[kind]
    models = home / "moved" if kind == "settings" else place / "models"
    (models / "maker" / "model").mkdir(parents=True)
    place.mkdir(exist_ok=True)
    if kind == "pointer":
        (home / lm_studio.POINTER).write_text(f"{place}\n")
    if kind == "settings":
        (place / lm_studio.SETTINGS).write_text(json.dumps({lm_studio.MOVED: str(models)}))
    shards.gguf(models / "maker" / "model" / "a.gguf", 3, 10, 10**5)
    assert tensors("maker/model") == 3


@pytest.mark.parametrize("text", ["{", "[]", '{"downloadsFolder": 3}', '{"downloadsFolder": "no/such"}', '{"a": 1}'])
def test_settings_that_name_no_folder_change_nothing(home: Path, text: str) -> None:
    (home / ".lmstudio").mkdir()
    (home / ".lmstudio" / lm_studio.SETTINGS).write_text(text)
    assert home / ".lmstudio" / "models" in lm_studio.folders()
    assert refused("lmstudio:maker/model").rule == "MODEL-UNKNOWN"


# ------------------------------------------------------------------------------------------------ which of them


@links
def test_a_name_in_two_stores_lists_both(home: Path, cache: Path) -> None:
    cached(cache, "maker/model")
    (home / ".lmstudio" / "models" / "maker" / "model").mkdir(parents=True)
    shards.gguf(home / ".lmstudio" / "models" / "maker" / "model" / "a.gguf", 3, 10, 10**5)
    said = refused("maker/model")
    assert said.rule == "MODEL-MANY"
    assert f"hf:maker/model@{COMMIT}" in said.message
    assert "lmstudio:maker/model" in said.message
    assert tensors("lmstudio:maker/model") == 3
    assert tensors(f"hf:maker/model@{COMMIT}") == 10


def test_a_path_and_a_catalogue_name_come_first(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pulled(home / ".ollama" / "models", "registry.ollama.ai/library/gpt2/latest")
    assert source.load("gpt2").inventory.source == "catalogue:gpt2"
    assert tensors("ollama:gpt2") == 4
    monkeypatch.chdir(tmp_path)
    shards.gguf(tmp_path / "gpt2", 2, 10, 10**5)
    assert tensors("gpt2") == 2


def test_a_name_in_no_store_says_where_was_looked(home: Path) -> None:
    said = refused("no-such-thing:7b")
    assert said.exit_code == 4
    for store in places.STORES:
        for folder in store.folders():
            assert str(folder) in said.where


def test_every_store_has_a_source_and_only_reads(home: Path) -> None:
    for store in places.STORES:
        assert store.source.startswith("https://")
        assert store.find("no/such", Limits()) is None
    assert list(home.iterdir()) == []
