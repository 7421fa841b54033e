"""The chart as Helm renders it."""
import pathlib
import subprocess

import yaml

CHART = pathlib.Path(__file__).parents[2] / "helm" / "understudy"


def render(helm, values, kubernetes="1.37.0", chart=CHART):
    done = subprocess.run([helm, "template", "understudy", chart, "--namespace", "understudy", "--kube-version", kubernetes, "--values", "-"],
                          input=yaml.safe_dump(values), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def rendered(helm, values, kind, name):
    """One object of what is rendered."""
    code, text, said = render(helm, values)
    assert code == 0, said
    return next(d for d in yaml.safe_load_all(text) if d and d["kind"] == kind and d["metadata"]["name"] == name)
