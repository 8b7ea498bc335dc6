"""One file per command: `run(plain arguments)` gives an Answer of plain data; nothing here prints.

To add one: write `commands/<name>.py` with a function `run`, and a click command in `cli.py` that calls it.
"""
