"""Writes a page for every module from its docstrings: python docs/build_api.py [FOLDER], or make api-docs."""

import pkgutil
import sys
from pathlib import Path

import pdoc

import besnet


def build(folder: Path) -> None:
    """Write HTML that needs no server."""
    for name in besnet.__all__:  # imported when they are asked for, and pdoc only shows what is there
        setattr(besnet, name, getattr(besnet, name))
    rooms = [f"besnet.{room.name}" for room in pkgutil.iter_modules(besnet.__path__) if room.name != "__main__"]
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("besnet", *rooms, output_directory=folder)


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "build/api")
    build(out)
    print(f"page: {out / 'besnet.html'}")
