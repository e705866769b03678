"""Writes the boards' JSON and the drawings of it: `python -m boards`."""

from __future__ import annotations

from boards.files import FOLDER, write

if __name__ == "__main__":
    for file in write():
        print(file.relative_to(FOLDER.parent))
