"""Cuts recorded calls: fewer of them, folds by errand, without a tool.

usage: splits.py first N FILE FOLDER [OTHERS] | fold I K FILE FOLDER | absent TOOL FILE FOLDER
"""
import json
import pathlib
import random
import sys


def copy_description(file, folder):
    agent = pathlib.Path(file).name.split(".")[0] + ".agent.json"
    (pathlib.Path(folder) / agent).write_text(pathlib.Path(file).with_name(agent).read_text())


def first(n, file, folder, others="all"):
    """The first n train rows and so many others, as a file of the same name,
    beside the agent's description."""
    copy_description(file, folder)
    left = {kind: float("inf") if most == "all" else int(most) for kind, most in ((True, n), (False, others))}
    with open(file) as lines, open(pathlib.Path(folder) / pathlib.Path(file).name, "w") as out:
        for line in lines:
            train = json.loads(line).get("split") == "train"
            left[train] -= 1
            if left[train] >= 0:
                out.write(line)


def fold(i, k, file, folder):
    """The file with every errand of the i-th of k folds held out, and all others
    to train on. Trajectories of one errand (their ids differ in the last number)
    are in one fold. Lines are shuffled, the same way each time, so that the first
    of them, which are all that a budget may reach, are of all errands."""
    copy_description(file, folder)
    errands = {}
    rows = []
    with open(file) as lines:
        for line in lines:
            row = json.loads(line)
            number = errands.setdefault(row["id"].rsplit("-", 1)[0], len(errands))
            row["split"] = "test" if number % int(k) == int(i) else "train"
            rows.append(row)
    random.Random(0).shuffle(rows)
    with open(pathlib.Path(folder) / pathlib.Path(file).name, "w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def absent(tool, file, folder):
    """The file without any train row whose reply calls the tool; test rows that do
    are marked novel."""
    copy_description(file, folder)
    with open(file) as lines, open(pathlib.Path(folder) / pathlib.Path(file).name, "w") as out:
        for line in lines:
            row = json.loads(line)
            if "reply" not in row:
                sys.exit(f"{file}: its lines are whole conversations, which show the tool in every later turn; calls of one turn are needed")
            calls = [c["function"]["name"] for c in row["reply"].get("tool_calls") or []]
            if tool in calls:
                if row["split"] == "train":
                    continue
                row["novel"] = True
            out.write(json.dumps(row) + "\n")


COMMANDS = {f.__name__: f for f in (first, fold, absent)}

if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    COMMANDS[what](*rest)
