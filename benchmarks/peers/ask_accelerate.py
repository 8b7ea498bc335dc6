"""accelerate's own function behind `accelerate estimate-memory`, from a hub."""

import contextlib
import io
import json

from accelerate.commands.estimate import create_empty_model
from accelerate.utils import calculate_maximum_sizes

with contextlib.redirect_stdout(io.StringIO()):
    model = create_empty_model("org/model", library_name="transformers")
total, _ = calculate_maximum_sizes(model)
# It counts float32 and divides by what the type takes less.
print(json.dumps({"parameters": total // 4, "weights": total // 2, "total": total // 2}))
