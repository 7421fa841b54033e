"""One line a task out of `understudy tasks --json`, for the demo's screen.

usage: stages.py ROUND < tasks.json
"""
import json
import sys


def line(row):
    stage = row["stage"] + (f" {row['step'][0]}/{row['step'][1]}" if row["step"] else "")
    parts = [f"{row['name'][:26]:26} {stage:12} {row['calls']:5} calls"]
    if row["served"]:
        parts.append(f"{row['served']} served")
    if row["coverage"] is not None:
        parts.append(f"coverage {100 * row['coverage']:.0f} %")
    if row["agreement"]:
        a = row["agreement"]
        parts.append(f"agreement {100 * a['mean']:.1f} % ({100 * a['low']:.0f}–{100 * a['high']:.0f})")
    if row["waits_for"]:
        parts.append(f"waits for {row['waits_for']}")
    return ", ".join(parts)


print(f"\nround {sys.argv[1]}")
for row in sorted(json.load(sys.stdin), key=lambda r: r["name"]):
    print("  " + line(row))
