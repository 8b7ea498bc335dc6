"""Which words are names on a hub, and which are not."""

from __future__ import annotations

import pytest

from weigh.places.names import HubName


@pytest.mark.parametrize(
    ("word", "repository", "revision", "file"),
    [
        ("org/name", "org/name", "", ""),
        ("org/name@v1.0", "org/name", "v1.0", ""),
        ("org/name@refs/pr/3", "org/name", "refs/pr/3", ""),
        ("org/name@refs/pr/3/a.gguf", "org/name", "refs/pr/3", "a.gguf"),
        ("org/name/sub/a.gguf", "org/name", "", "sub/a.gguf"),
        ("Qwen/Qwen2.5-0.5B_x", "Qwen/Qwen2.5-0.5B_x", "", ""),
        ("org/name/", "org/name", "", ""),
    ],
)
def test_a_name_is_taken_apart_and_put_together(word: str, repository: str, revision: str, file: str) -> None:
    name = HubName.parse(word)
    assert name == HubName(repository, revision, file)
    assert HubName.parse(str(name)) == name


@pytest.mark.parametrize(
    "word",
    ["", "name", "/org/name", "./name", "../name", "org/..", "org//name", "org/name@", "org/a--b", "org/.x", "-o/n",
     "org/name/../x", "org/name@../x", "o rg/name", "org/na\0me", "org\\name", "llama3.2:1b", "C:/models/x",
     "org/" + "n" * 97, "org/name@refs/../x"],
)  # fmt: skip
def test_what_is_no_name_on_a_hub(word: str) -> None:
    assert HubName.parse(word) is None


def test_names_of_the_first_years_have_no_organisation() -> None:
    assert HubName.parse("gpt2") is None
    assert HubName.parse("gpt2@main", alone=True) == HubName("gpt2", "main")
