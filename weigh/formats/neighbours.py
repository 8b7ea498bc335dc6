"""Files of external data that lie beside a model: each is opened once, and what may not be used is refused.

For readers of formats that keep tensors outside their own file. The rules are the reader's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from weigh import files
from weigh.types import Limits, WeighError


@dataclass(slots=True)
class Neighbours:
    """Sizes of the files that external data lie in."""

    folder: Path
    limits: Limits
    too_many: str
    """Rule that refuses more files than the limit."""
    hard_link: str
    """Rule that refuses a file that has a second name."""
    sizes: dict[str, int] = field(default_factory=dict)

    def size(self, name: str) -> int:
        """Errors: the two rules, the first with exit code 5, and those of `files.opened`."""
        if name not in self.sizes:
            if len(self.sizes) >= self.limits.files:
                message = f"external data lie in more than {self.limits.files:,} files"
                raise WeighError(message, rule=self.too_many, path=self.folder, hint=files.lift("files"), exit_code=5)
            with files.opened(self.folder, name) as file:
                if file.links > 1:
                    raise WeighError(
                        "the file of external data has a second name elsewhere (a hard link)",
                        rule=self.hard_link,
                        path=file.path,
                        hint=f"if you trust it, copy it: cp {file.path.name} copy && mv copy {file.path.name}",
                    )
                self.sizes[name] = file.size
        return self.sizes[name]
