#!/usr/bin/env python3
"""Draws a terminal's screen as SVG: text with colour sequences from stdin, the picture to stdout.

Knows what the cows and ci/picture.sh need: ASCII, half blocks, LF, bold, dim, and colours. Anything else is an error, not a
wrong picture. The same input gives the same bytes.
"""

import re
import sys
from typing import NamedTuple
from xml.sax.saxutils import escape

# A cell is twice as high as wide, so charasay's pixels, two cells each, are square. In most monospace fonts a character
# is 0.6 em wide: 9 px at 15 px. textLength corrects the others.
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, BASELINE = 9, 18, 15, 13
MARGIN = 18
# Not black, since the cows' outlines nearly are.
SCREEN, TEXT, BOLD_TEXT = "#2b303b", "#c4c8d0", "#ffffff"

# The colours that a terminal chooses itself: 30 to 37, then 90 to 97.
ANSI = (
    ("#343d46", "#bf616a", "#a3be8c", "#ebcb8b", "#8fa1b3", "#b48ead", "#8fbcbb", "#c4c8d0"),
    ("#65737e", "#d08770", "#b9d1a4", "#f5dda8", "#a9bacb", "#caa6c4", "#a9d6d5", "#ffffff"),
)
GROUNDS = {38: "foreground", 48: "background"}
DIMMED = 0.6  # what is left of a dim colour; the rest is the screen's

# Which halves of its cell a block paints, the upper and the lower. They are rectangles: a font may leave gaps.
BLOCKS = {"\u2580": (True, False), "\u2584": (False, True), "\u2588": (True, True)}

TOKEN = re.compile(r"\x1b\[([0-9;]*)m|([ -~\u2580\u2584\u2588])|(\n)")


class Style(NamedTuple):
    """How a character looks; a colour that is None is the terminal's own."""

    background: str | None = None
    foreground: str | None = None
    bold: bool = False
    dim: bool = False

    def ink(self):
        """The colour of the character itself."""
        colour = self.foreground or (BOLD_TEXT if self.bold else TEXT)
        if not self.dim:
            return colour
        pairs = zip(*(bytes.fromhex(hexadecimal[1:]) for hexadecimal in (colour, SCREEN)))
        return rgb(*(round(screen + DIMMED * (own - screen)) for own, screen in pairs))


def rgb(*parts):
    return "#%02x%02x%02x" % parts


def palette(index):
    """xterm's colour of this number: the cube and the greys. The first sixteen depend on the terminal."""
    if 16 <= index < 232:
        place = index - 16
        return rgb(*(55 + 40 * level if level else 0 for level in (place // 36, place // 6 % 6, place % 6)))
    if 232 <= index < 256:
        return rgb(*(8 + 10 * (index - 232),) * 3)
    sys.exit(f"ansi2svg: no colour {index} in the palette's fixed part, 16 to 255")


def style_after(parameters, style):
    """`style` after an SGR sequence."""
    codes = [int(code or 0) for code in parameters.split(";")]
    while codes:
        match codes:
            case [0, *codes]:
                style = Style()
            case [1, *codes]:
                style = style._replace(bold=True)
            case [2, *codes]:
                style = style._replace(dim=True)
            case [22, *codes]:
                style = style._replace(bold=False, dim=False)
            case [39, *codes]:
                style = style._replace(foreground=None)
            case [49, *codes]:
                style = style._replace(background=None)
            case [38 | 48 as ground, 5, index, *codes]:
                style = style._replace(**{GROUNDS[ground]: palette(index)})
            case [38 | 48 as ground, 2, r, g, b, *codes] if max(r, g, b) < 256:
                style = style._replace(**{GROUNDS[ground]: rgb(r, g, b)})
            case [code, *codes] if code // 10 in (3, 9) and code % 10 < 8:
                style = style._replace(foreground=ANSI[code // 90][code % 10])
            case _:
                sys.exit(f"ansi2svg: the sequence ESC [ {parameters} m is not known")
    return style


def rows_of_cells(screen):
    """Each row's cells as (character, style)."""
    rows, style, at = [[]], Style(), 0
    while at < len(screen):
        token = TOKEN.match(screen, at)
        if not token:
            sys.exit(f"ansi2svg: row {len(rows)} has {screen[at]!r}, which is no ASCII, half block or colour")
        at = token.end()
        parameters, character, _ = token.groups()
        if parameters is not None:
            style = style_after(parameters, style)
        elif character:
            rows[-1].append((character, style))
        else:
            rows.append([])
    return rows


def put_cursor(rows, column, row):
    """Shows the cursor there, as a terminal does: with the colours of text and screen exchanged."""
    cells = rows[row]
    cells.extend([(" ", Style())] * (column + 1 - len(cells)))
    cells[column] = cells[column][0], Style(background=TEXT, foreground=SCREEN)


def runs(keys):
    """Equal neighbours, as (begin, end, key)."""
    begin = 0
    for at in range(1, len(keys) + 1):
        if at == len(keys) or keys[at] != keys[begin]:
            yield begin, at, keys[begin]
            begin = at


def painted(cell):
    """The colours of a cell's upper and lower half."""
    character, style = cell
    return [style.ink() if inked else style.background for inked in BLOCKS.get(character, (False, False))]


def rectangles(rows):
    """By colour, [column, row, width, height] in halves of rows. Equal runs below each other are one rectangle."""
    by_colour, above = {}, {}
    halves = [[painted(cell)[half] for cell in row] for row in rows for half in (0, 1)]
    for y, half in enumerate(halves):
        here = {}
        for begin, end, colour in runs(half):
            if colour is None:
                continue
            rectangle = above.get((begin, end, colour))
            if rectangle:
                rectangle[3] += 1
            else:
                rectangle = [begin, y, end - begin, 1]
                by_colour.setdefault(colour, []).append(rectangle)
            here[begin, end, colour] = rectangle
        above = here
    return by_colour


def texts(rows):
    """(column, row, text, colour, bold), without two blanks in a row, which XML readers may read as one."""
    for y, row in enumerate(rows):
        for begin, end, (ink, bold) in runs([(style.ink(), style.bold) for _, style in row]):
            letters = "".join(" " if character in BLOCKS else character for character, _ in row[begin:end])
            for word in re.finditer(r"\S+(?: \S+)*", letters):
                yield begin + word.start(), y, word.group(), ink, bold


def svg(rows, title):
    width = max(map(len, rows)) * CELL_WIDTH + 2 * MARGIN
    height = len(rows) * CELL_HEIGHT + 2 * MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    yield f"<title>{escape(title)}</title>"
    yield f'<rect width="{width}" height="{height}" rx="10" fill="{SCREEN}"/>'
    yield f'<g transform="translate({MARGIN} {MARGIN}) scale({CELL_WIDTH} {CELL_HEIGHT})" shape-rendering="crispEdges">'
    for colour, boxes in rectangles(rows).items():
        yield f'<g fill="{colour}">'
        yield from (f'<rect x="{x}" y="{y / 2:g}" width="{w}" height="{h / 2:g}"/>' for x, y, w, h in boxes)
        yield "</g>"
    yield "</g>"
    yield f'<g font-family="monospace" font-size="{FONT_SIZE}" fill="{TEXT}">'
    for column, row, text, ink, bold in texts(rows):
        x, y = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT + BASELINE
        style = ' font-weight="bold"' * bold + f' fill="{ink}"' * (ink != TEXT)
        length = f'textLength="{len(text) * CELL_WIDTH}" lengthAdjust="spacingAndGlyphs"'
        yield f'<text x="{x}" y="{y}" {length}{style}>{escape(text)}</text>'
    yield "</g>"
    yield "</svg>"


def main():
    if len(sys.argv) not in (2, 4):
        sys.exit("usage: ansi2svg.py TITLE [COLUMN ROW] <SCREEN >PICTURE, where the cursor is in that cell, counted from 0")
    sys.stdin.reconfigure(encoding="utf-8")
    rows = rows_of_cells(sys.stdin.read().rstrip("\n"))
    if len(sys.argv) == 4:
        put_cursor(rows, *map(int, sys.argv[2:]))
    print("\n".join(svg(rows, sys.argv[1])))


if __name__ == "__main__":
    main()
