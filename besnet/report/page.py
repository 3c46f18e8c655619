"""One self-contained HTML page: headings, tables and pictures, nothing fetched from anywhere."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from besnet.files import write_text
from besnet.text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6875; --line: #d8dee5;
  --paper: #fbfcfd; --accent: #1f6f8b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ee; --soft: #9aa7b4; --line: #33404d; --paper: #12181f; --accent: #6cc0dc; }
  img.plot { background: #fbfcfd; border-radius: 6px; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 72rem; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; color: var(--accent) }
p { max-width: 48rem } p, h1, h2, figcaption, summary, .card { overflow-wrap: anywhere }
p.warning { border: 2px solid #b5523b; border-radius: 6px; padding: .5rem .8rem; font-weight: 600 }
p.soft, figcaption { color: var(--soft); font-size: .9rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap }
td.number, th.number { text-align: right } th { color: var(--soft); font-weight: 600 }
figure { margin: 1rem 0; overflow-x: auto } img { max-width: 100%; height: auto; display: block }
.row { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: flex-start } .row figure { max-width: 100% }
summary { cursor: pointer; color: var(--accent); margin: .6rem 0 }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0 }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; min-width: 7rem }
.card b { display: block; font-size: 1.6rem; font-weight: 600 } .card span { color: var(--soft); font-size: .85rem }
code, pre { font: .85rem/1.4 ui-monospace, monospace } pre { overflow-x: auto; white-space: pre-wrap;
  word-break: break-all }
"""

# on a narrow screen a figure scrolls sideways rather than get smaller than this, when nobody could read its names
DENSE, SPARSE = 640, 336
MOST_CELL, MOST_CODE = 160, 100_000  # characters
MOST_ROWS = 2000  # of a table

Cell = str | int | float | None


class Strong(str):
    """A cell in bold."""


def escaped(text: str, most: int = 2000) -> str:
    """Text for HTML: nothing in it is markup, moves a cursor or is endless."""
    return html.escape("\n".join(visible(line) for line in text[:most].split("\n")) + ("…" if len(text) > most else ""))


class Page:
    """A page that is built from top to bottom; all text is escaped."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.parts = [f"<h1>{escaped(title, MOST_CELL)}</h1>"]
        if subtitle:
            self.parts.append(f'<p class="soft">{escaped(subtitle)}</p>')

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.parts.append(f"<h2>{escaped(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self.parts.append(f"<p>{escaped(text)}</p>")

    def warning(self, text: str) -> None:
        """A paragraph that nobody overlooks."""
        self.parts.append(f'<p class="warning">{escaped(text)}</p>')

    def code(self, text: str) -> None:
        """Text as a terminal shows it."""
        self.parts.append(f"<pre>{escaped(text, MOST_CODE)}</pre>")

    def cards(self, cards: Sequence[tuple[str, str]]) -> None:
        """The few numbers that matter most: (value, what it is) each."""
        inner = "".join(f'<div class="card"><b>{escaped(v)}</b><span>{escaped(w)}</span></div>' for v, w in cards)
        self.parts.append(f'<div class="cards">{inner}</div>')

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Cell]], folded: str = "") -> None:
        """A table; a column of numbers is aligned right. None is an empty cell, floats get 3 digits.

        folded: a line to click on, behind which a long table is hidden.
        """
        numeric = [
            any(isinstance(row[i], int | float) for row in rows)
            and all(row[i] is None or isinstance(row[i], int | float) for row in rows)
            for i in range(len(headers))
        ]
        if len(rows) > MOST_ROWS:
            self.text(f"The first {MOST_ROWS:,} of {len(rows):,} rows.")
            rows = rows[:MOST_ROWS]
        line = [self._row("th", headers, numeric)] + [self._row("td", row, numeric) for row in rows]
        table = f'<div class="wide"><table>{"".join(line)}</table></div>'
        self.parts.append(f"<details><summary>{escaped(folded)}</summary>{table}</details>" if folded else table)

    @staticmethod
    def _row(tag: str, cells: Sequence[Cell], numeric: Sequence[bool]) -> str:
        def show(cell: Cell) -> str:
            text = "" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else escaped(str(cell), MOST_CELL)
            return f"<b>{text}</b>" if isinstance(cell, Strong) else text

        kinds = [' class="number"' if number else "" for number in numeric]
        inner = "".join(f"<{tag}{kind}>{show(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))
        return f"<tr>{inner}</tr>"

    def figure(self, figure: "Figure", caption: str = "", dense: bool = False) -> None:
        """A matplotlib figure, as a PNG inside the page; the figure is closed.

        dense: small print all over, so that on a narrow screen it scrolls sideways sooner than shrink.
        """
        self.parts.append(self._figure(figure, caption, dense))

    def figures(self, figures: Sequence[tuple["Figure", str]]) -> None:
        """Dense figures with their captions, side by side where there is room."""
        inner = "".join(self._figure(figure, caption, dense=True) for figure, caption in figures)
        self.parts.append(f'<div class="row">{inner}</div>')

    def picture(self, image: "Image", caption: str = "") -> None:
        """A Pillow image, as a JPEG inside the page."""
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="jpeg", quality=85)
        self.parts.append(self._image(buffer.getvalue(), "jpeg", min(image.width, DENSE), caption, "photo"))

    def _figure(self, figure: "Figure", caption: str, dense: bool) -> str:
        from besnet.report.drawing import png

        data = png(figure)
        width = int.from_bytes(data[16:20], "big")
        return self._image(data, "png", min(width, DENSE if dense else SPARSE), caption, "plot")

    @staticmethod
    def _image(data: bytes, kind: str, least: int, caption: str, style: str) -> str:
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        below = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
        alt = html.escape(visible(caption), quote=True)
        return f'<figure><img class="{style}" style="min-width:{least}px" src="{source}" alt="{alt}">{below}</figure>'

    def html(self) -> str:
        """The whole page as text."""
        head = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
            f"<title>{escaped(self.title)}</title><style>{STYLE}</style></head><body>"
        )
        return head + "\n".join(self.parts) + "</body></html>\n"

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        write_text(path, self.html())
