"""Draws a rehearsal's history as SVG: each task's stage, agreement and served
share over the calls of the whole stream.

usage: plot.py VERDICT.json > FILE.svg
"""
import html
import json
import pathlib
import sys

STAGES = {"observing": "#d9d9d9", "shadowing": "#9ecae1", "canary": "#fdd0a2", "live": "#a1d99b"}
WIDTH, LEFT, RIGHT, ROW, STRIP, GAP, TOP = 960, 60, 20, 110, 12, 44, 40


def text(x, y, words, size=12, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{html.escape(str(words))}</text>'


def line(points, colour):
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def task(name, looks, top, x):
    """A strip of stages, under it agreement (dark) and served share (green), 0 to 100 %."""
    y = lambda share: top + STRIP + 6 + (1 - share) * (ROW - STRIP - 6)
    out = [text(LEFT, top - 6, f"{name}: {looks[-1]['calls']} calls, {looks[-1]['stage']}")]
    for here, after in zip(looks, [*looks[1:], looks[-1]]):
        a, b = x(here["after"]), x(after["after"])
        if b > a:
            out.append(f'<rect x="{a:.1f}" y="{top}" width="{b - a + 0.2:.1f}" height="{STRIP}" fill="{STAGES.get(here["stage"], "#fff")}"/>')
    for share in (0, 0.5, 1):
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(share):.1f}" y2="{y(share):.1f}" stroke="#ddd"/>')
        out.append(text(LEFT - 6, y(share) + 4, f"{100 * share:.0f} %", 10, "end"))
    agreement = [(x(look["after"]), y(look["agreement"])) for look in looks if look["agreement"] is not None]
    served = [(x(look["after"]), y(look["served"] / max(look["calls"], 1))) for look in looks]
    return [*out, line(agreement, "#333"), line(served, "#31a354")]


def main():
    verdict = json.loads(pathlib.Path(sys.argv[1]).read_text())
    tasks = {}
    for look in verdict["history"]:
        tasks.setdefault(look["task"], []).append(look)
    last = max((look["after"] for look in verdict["history"]), default=1)
    x = lambda after: LEFT + (WIDTH - LEFT - RIGHT) * after / last
    height = TOP + len(tasks) * (ROW + GAP) + 30
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">')
    print(f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>')
    at = LEFT
    for stage, colour in STAGES.items():
        print(f'<rect x="{at}" y="8" width="12" height="12" fill="{colour}"/>', text(at + 16, 18, stage))
        at += 100
    print(text(at, 18, "dark: agreement by trials, green: share of the task's calls served so far"))
    for i, (name, looks) in enumerate(sorted(tasks.items(), key=lambda t: -t[1][-1]["calls"])):
        print("\n".join(task(name, looks, TOP + GAP / 2 + i * (ROW + GAP), x)))
    print(text(WIDTH - RIGHT, height - 8, f"{last} calls of all tasks", 12, "end"))
    print("</svg>")


main()
