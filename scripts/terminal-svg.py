#!/usr/bin/env python3
"""A terminal's screen as an SVG: reads what `tmux capture-pane -e -p` prints (colours as escape sequences), writes the picture.

How docs/images/demo.svg was made, with `tollgate demo` running in the pane:
    tmux capture-pane -e -p -t demo | scripts/terminal-svg.py "tollgate demo" > docs/images/demo.svg
"""
import html
import re
import sys

CELL_WIDTH, CELL_HEIGHT, MARGIN, BAR, SIZE = 8.4, 18, 16, 34, 14
PALETTE = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 34: "#79c0ff", 35: "#d2a8ff", 36: "#a5d6ff", 37: "#f0f6fc", 90: "#8b949e"}
PLAIN, DIM, GROUND, FRAME = "#d0d7de", "#8b949e", "#0d1117", "#161b22"


def runs(line):
    """Texts of one look each: (text, colour, is bold)."""
    colour, bold = PLAIN, False
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if not part.startswith("\x1b["):
            if part:
                yield part, colour, bold
            continue
        for code in (int(code or 0) for code in part[2:-1].split(";")):
            if code == 0:
                colour, bold = PLAIN, False
            elif code == 1:
                bold = True
            elif code == 2:
                colour = DIM
            elif code == 22:
                bold = False
            elif code == 39:
                colour = PLAIN
            else:
                colour = PALETTE.get(code, colour)


def main():
    title = html.escape(sys.argv[1] if len(sys.argv) > 1 else "")
    lines = sys.stdin.read().rstrip("\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    columns = max(len(re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()) for line in lines)
    width, height = MARGIN * 2 + columns * CELL_WIDTH, BAR + MARGIN * 1.5 + len(lines) * CELL_HEIGHT
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}">')
    print(f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/><path d="M0 8a8 8 0 0 1 8-8H{width - 8:.0f}a8 8 0 0 1 8 8v{BAR - 8}H0z" fill="{FRAME}"/>')
    for at, colour in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        print(f'<circle cx="{20 + at * 18}" cy="{BAR / 2:.0f}" r="5.5" fill="{colour}"/>')
    print(f'<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,\'DejaVu Sans Mono\',monospace" font-size="{SIZE}">')
    print(f'<text x="{width / 2:.0f}" y="{BAR / 2 + 5:.0f}" fill="{DIM}" text-anchor="middle">{title}</text>')
    for row, line in enumerate(lines):
        column, y = 0, BAR + MARGIN + row * CELL_HEIGHT + SIZE / 2
        for text, colour, bold in runs(line):
            # Of runs of spaces only the width counts; every word stands where its column is, whatever the font.
            for word in re.finditer(r"\S+(?: \S+)*", text):
                x, length = MARGIN + (column + word.start()) * CELL_WIDTH, len(word.group()) * CELL_WIDTH
                weight = ' font-weight="bold"' if bold else ""
                print(f'<text x="{x:.1f}" y="{y:.0f}" textLength="{length:.1f}" fill="{colour}"{weight}>{html.escape(word.group())}</text>')
            column += len(text)
    print("</g></svg>")


main()
