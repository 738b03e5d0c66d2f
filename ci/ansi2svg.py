#!/usr/bin/env python3
"""Draws a terminal's screen as SVG: text with colour sequences from stdin, the picture to stdout.

Knows what charasay's cows and ci/picture.sh need: ASCII, LF, bold, and backgrounds of the 256-colour palette or in RGB.
Anything else is an error, not a wrong picture. The same input gives the same bytes.
"""

import re
import sys
from xml.sax.saxutils import escape

# A cell is twice as high as wide, so charasay's pixels, two cells each, are square. In most monospace fonts a character
# is 0.6 em wide: 9 px at 15 px. textLength corrects the others.
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, BASELINE = 9, 18, 15, 13
MARGIN = 18
# Not black, since the cows' outlines nearly are.
SCREEN, TEXT, BOLD_TEXT = "#2b303b", "#c4c8d0", "#ffffff"

TOKEN = re.compile(r"\x1b\[([0-9;]*)m|([ -~])|(\n)")


def palette(index):
    """xterm's colour of this number: the cube and the greys. The first sixteen depend on the terminal."""
    if 16 <= index < 232:
        place = index - 16
        return tuple(55 + 40 * level if level else 0 for level in (place // 36, place // 6 % 6, place % 6))
    if 232 <= index < 256:
        return (8 + 10 * (index - 232),) * 3
    sys.exit(f"ansi2svg: no colour {index} in the palette's fixed part, 16 to 255")


def colour_state(parameters, background, bold):
    """Background and boldness after an SGR sequence."""
    match [int(code or 0) for code in parameters.split(";")]:
        case [0]:
            return None, False
        case [1]:
            return background, True
        case [22]:
            return background, False
        case [49]:
            return None, bold
        case [48, 5, index]:
            return "#%02x%02x%02x" % palette(index), bold
        case [48, 2, *rgb] if len(rgb) == 3 and max(rgb) < 256:
            return "#%02x%02x%02x" % tuple(rgb), bold
    sys.exit(f"ansi2svg: the sequence ESC [ {parameters} m is not known")


def rows_of_cells(screen):
    """Each row's cells as (character, background or None, bold)."""
    rows, background, bold, at = [[]], None, False, 0
    while at < len(screen):
        token = TOKEN.match(screen, at)
        if not token:
            sys.exit(f"ansi2svg: row {len(rows)} has {screen[at]!r}, which is neither ASCII nor a colour")
        at = token.end()
        parameters, character, _ = token.groups()
        if parameters is not None:
            background, bold = colour_state(parameters, background, bold)
        elif character:
            rows[-1].append((character, background, bold))
        else:
            rows.append([])
    return rows


def runs(keys):
    """Equal neighbours, as (begin, end, key)."""
    begin = 0
    for at in range(1, len(keys) + 1):
        if at == len(keys) or keys[at] != keys[begin]:
            yield begin, at, keys[begin]
            begin = at


def rectangles(rows):
    """By colour, [column, row, width, height] in cells. Equal runs below each other are one rectangle."""
    by_colour, above = {}, {}
    for y, row in enumerate(rows):
        here = {}
        for begin, end, colour in runs([background for _, background, _ in row]):
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
    """(column, row, text, bold), without two blanks in a row, which XML readers may read as one."""
    for y, row in enumerate(rows):
        for begin, end, bold in runs([bold for _, _, bold in row]):
            for word in re.finditer(r"\S+(?: \S+)*", "".join(character for character, _, _ in row[begin:end])):
                yield begin + word.start(), y, word.group(), bold


def svg(rows, title):
    width = max(map(len, rows)) * CELL_WIDTH + 2 * MARGIN
    height = len(rows) * CELL_HEIGHT + 2 * MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    yield f"<title>{escape(title)}</title>"
    yield f'<rect width="{width}" height="{height}" rx="10" fill="{SCREEN}"/>'
    yield f'<g transform="translate({MARGIN} {MARGIN}) scale({CELL_WIDTH} {CELL_HEIGHT})" shape-rendering="crispEdges">'
    for colour, boxes in rectangles(rows).items():
        yield f'<g fill="{colour}">'
        yield from (f'<rect x="{x}" y="{y}" width="{w}" height="{h}"/>' for x, y, w, h in boxes)
        yield "</g>"
    yield "</g>"
    yield f'<g font-family="monospace" font-size="{FONT_SIZE}" fill="{TEXT}">'
    for column, row, text, bold in texts(rows):
        x, y = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT + BASELINE
        style = f' font-weight="bold" fill="{BOLD_TEXT}"' if bold else ""
        length = f'textLength="{len(text) * CELL_WIDTH}" lengthAdjust="spacingAndGlyphs"'
        yield f'<text x="{x}" y="{y}" {length}{style}>{escape(text)}</text>'
    yield "</g>"
    yield "</svg>"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: ansi2svg.py TITLE <SCREEN >PICTURE")
    print("\n".join(svg(rows_of_cells(sys.stdin.read().rstrip("\n")), sys.argv[1])))
