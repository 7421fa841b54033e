#!/usr/bin/env python3
"""The chart without a cluster: what it renders is what Kubernetes has, in every
version that it promises; each value that is documented changes what is rendered;
what has to agree with something else does; and a bad value is refused with a
sentence that names it.

usage: chart.py HELM HELM-DOCS
"""
import copy
import json
import pathlib
import re
import subprocess
import sys

import kubernetes_validate
import yaml
from kubernetes_validate import utils

CHART = pathlib.Path(__file__).parents[2] / "helm" / "understudy"
# The first with native sidecars, to the newest whose schemas there are.
VERSIONS = sorted({utils.major_minor(v) for v in utils.all_versions() if utils.Version(v) >= utils.Version("1.29")}, key=utils.Version)
# Custom resources of the Prometheus operator, whose schemas are not Kubernetes' own.
FOREIGN = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
# Another value for each documented one; what is not here is changed by its type.
OTHER = {
    "image.pullPolicy": "Always", "image.pullSecrets": ["registry"],
    "config": {"policy": {"tau": 0.97}, "providers": {"openai": {"base_url": "https://llm.test/v1"}}},
    "sidecar.variables": {"OPENAI_BASE_URL": "http://127.0.0.1:4141/other"},
    "sidecar.env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "llm"}}}],
    "sidecar.resources": {"limits": {"memory": "512Mi"}},
    "injector.resources": {"limits": {"memory": "256Mi"}},
    "injector.excludedNamespaces": ["other"], "injector.nodeSelector": {"a": "b"},
    "injector.tolerations": [{"key": "a", "operator": "Exists"}], "injector.affinity": {"podAntiAffinity": {}},
    "engine.kind": "DaemonSet", "engine.model.from": "claim", "engine.model.claim": "models", "engine.config": {"engine": {"threads": 4}}, "engine.namespaces": ["agents"],
    "engine.gpu.runtimeClassName": "nvidia", "engine.gpu.executionProviders": ["cuda"], "engine.gpu.tolerations": [{"key": "a", "operator": "Exists"}],
    "engine.image.digest": "sha256:" + "0" * 64, "engine.resources": {"limits": {"memory": "8Gi"}},
    "engine.inPod.resources": {"limits": {"memory": "2Gi"}},
    "prePull.nodeSelector": {"a": "b"}, "prePull.tolerations": [{"key": "a", "operator": "Exists"}],
    "engine.nodeSelector": {"a": "b"}, "engine.tolerations": [{"key": "a", "operator": "Exists"}],
    "collector.jaeger": "jaeger.test:4317", "collector.config": {"service": {"telemetry": {"logs": {"level": "warn"}}}},
    "collector.resources": {"limits": {"memory": "512Mi"}},
    "engine.affinity": {"podAntiAffinity": {}}, "sidecar.journalSize": "2Gi", "engine.model.size": "4Gi",
}
# What has to be set beside a value for it to matter.
BESIDE = {
    **{f"engine.autoscaling.{key}": {"engine.autoscaling.enabled": True} for key in ("minReplicas", "maxReplicas", "waiting")},
    "collector.enabled": {"collector.jaeger": "jaeger:4317"}, "collector.jaeger": {"collector.enabled": True},
    **{f"collector.{key}": {"collector.enabled": True, "collector.jaeger": "jaeger:4317"} for key in ("image", "replicas", "tls", "config", "resources")},
    "prePull.nodeSelector": {"prePull.enabled": True}, "prePull.tolerations": {"prePull.enabled": True},
    "engine.model.claim": {"engine.model.from": "claim"}, "engine.model.image": {"engine.model.from": "image"}, "engine.model.from": {"engine.model.claim": "models"},
    "engine.inPod.resources": {"engine.inPod.image": "models"}, **{f"engine.gpu.{key}": {"engine.gpu.enabled": True} for key in ("count", "runtimeClassName", "tolerations", "executionProviders")},
}
REFUSED = {
    "sidecar.gatewayPort=80": "gatewayPort", "engine.kind=StatefulSet": "kind", "image.pullPolicy=Sometimes": "pullPolicy",
    "sidecar.journalSize=lots": "journalSize", "sidecar.jurnalSize=1Gi": "jurnalSize", "engine.model.from=claim": "claim", "engine.model.from=image": "image",
    "injector.replicas=0": "replicas", "sidecar.variables.OPENAI_BASE_URL=https://elsewhere": "OPENAI_BASE_URL",
    "certificates.settleSeconds=0": "settleSeconds", "sidecar.healthPort=4141": "are both 4141",
    "sidecar.variables.OPENAI_BASE_URL=http://127.0.0.1:41410/v1": "does not lead to sidecar.gatewayPort, which is 4141",
    "sidecar.resources.requests.memory=1Gi": "sidecar.resources.requests.memory is 1Gi, which is above its limit of 192Mi",
    "sidecar.resources.limits.cpu=10m": "sidecar.resources.requests.cpu is 20m",
    "engine.inPod.resources.requests.cpu=2,engine.inPod.resources.limits.cpu=1500m": "engine.inPod.resources.requests.cpu is 2",
    "collector.enabled=true": "collector.jaeger is empty", "collector.jaeger=http://jaeger:4317": "jaeger", "collector.replicas=0": "replicas",
    "sidecar.env[0].value=x": "env", "sidecar.env[0].name=not a name": "env",
    "engine.gpu.executionProviders={cuda,rocm}": "executionProviders", "engine.gpu.executionProviders={cuda,cuda}": "executionProviders",
    "engine.image.digest=0123": "digest", "engine.image=other": "image",
}


def put(values, path, value):
    *folders, last = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    values[last] = value


def leaves(values, path=""):
    for key, value in values.items():
        at = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value and at not in OTHER:
            yield from leaves(value, at)
        else:
            yield at, value


def other(path, value):
    if path in OTHER:
        return OTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value + "x" if value else "x"


def render(helm, values, kubernetes="1.37.0"):
    done = subprocess.run([helm, "template", "understudy", CHART, "--namespace", "understudy", "--kube-version", kubernetes, "--values", "-"],
                          input=yaml.safe_dump(values), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def check(text, version):
    for document in filter(None, yaml.safe_load_all(text)):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)


def in_step(helm_docs):
    """The page of values is what is made of them, and none is without a word."""
    made = subprocess.run([helm_docs, "--dry-run", "--log-level", "error", "--chart-search-root", CHART], capture_output=True, text=True, check=True).stdout
    page = CHART / "README.md"
    assert made.strip() == page.read_text().strip(), f"{page} is out of step with values.yaml: run helm-docs --chart-search-root {CHART}"
    rows = [line for line in made.splitlines() if line.startswith("| `")]
    bare = [line for line in rows if line.rstrip().endswith("|  |")]
    assert rows and not bare, f"values without a word: {bare}"
    print(f"{len(rows)} values are documented")


def rendered(helm, values, kind, name):
    """One object of what is rendered."""
    code, text, said = render(helm, values)
    assert code == 0, said
    return next(d for d in yaml.safe_load_all(text) if d and d["kind"] == kind and d["metadata"]["name"] == name)


def models_are_found(helm):
    """What the init container fetches lies where the engine looks for it."""
    names = {"chat": "gemma3-270m", "embed": "another-embedder"}
    for gpu in (False, True):
        values = {"image": {"tag": "7"}, "engine": {"model": names, "gpu": {"enabled": gpu}}}
        pod = rendered(helm, values, "Deployment", "understudy-engine")["spec"]["template"]["spec"]
        (pull,), (engine,) = pod["initContainers"], pod["containers"]
        told, asked = ({v["name"]: v["value"] for v in c["env"]} for c in (pull, engine))
        fetched, read = ({m["name"]: m["mountPath"] for m in c["volumeMounts"]}["models"] for c in (pull, engine))
        # `understudy model pull NAME` writes models/NAME into the cache.
        assert fetched == told["UNDERSTUDY_STATE_CACHE"] + "/models", fetched
        assert pull["args"] == ["model", "pull", *names.values(), *(["--gpu"] if gpu else [])], pull["args"]
        for kind, name in names.items():
            assert asked[f"UNDERSTUDY_MODEL_{kind.upper()}"] == f"{read}/{name}"
        assert (pull["image"], engine["image"]) == ("understudy-pull:7", "understudy:7")


def gpus_are_used(helm):
    """An engine with a GPU asks for one, stands where they are, and computes on it; its image may be its own."""
    def pod(gpu, **values):
        values = {"image": {"tag": "7"}, "engine": {**values, "gpu": gpu}}
        return rendered(helm, values, "Deployment", "understudy-engine")["spec"]["template"]["spec"]

    def providers(pod):
        return {v["name"]: v["value"] for v in pod["containers"][0]["env"]}.get("UNDERSTUDY_ENGINE_EXECUTION_PROVIDERS")
    own = [{"key": "mine", "operator": "Exists"}]
    plain, gpu = pod({"enabled": False}, tolerations=own), pod({"enabled": True}, tolerations=own)
    # What the engine tries by itself is its own to say.
    assert providers(plain) is None and plain["tolerations"] == own, plain
    assert "nvidia.com/gpu" not in plain["containers"][0]["resources"]["limits"], plain
    assert providers(gpu) == "tensorrt,cuda,cpu", gpu
    assert gpu["tolerations"] == [*own, {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}], gpu
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1, gpu
    assert "tolerations" not in pod({"enabled": True, "tolerations": []})
    chosen = {"enabled": True, "executionProviders": ["cuda"]}
    assert providers(pod(chosen)) == "cuda"
    assert providers(pod(chosen, config={"engine": {"execution_providers": ["cuda", "cpu"]}})) == "cuda,cpu"

    def images(image):
        return {c["image"] for part in ("containers", "initContainers") for c in pod({"enabled": True}, image=image)[part]}
    # Models are fetched by the same image, whatever they are computed on.
    assert images({}) == {"understudy:7", "understudy-pull:7"}
    assert images({"repository": "understudy-gpu"}) == {"understudy-gpu:7", "understudy-pull:7"}
    assert images({"repository": "understudy-gpu", "tag": "8"}) == {"understudy-gpu:8", "understudy-pull:7"}
    digest = "sha256:" + "0" * 64
    assert images({"tag": "8", "digest": digest}) == {"understudy@" + digest, "understudy-pull:7"}


def settings_agree(helm):
    """What the injector reads follows the values, in whatever form they are written."""
    def settings(**sidecar):
        return json.loads(rendered(helm, {"sidecar": sidecar}, "ConfigMap", "understudy-injector")["data"]["injector.json"])["injection"]
    moved = settings(gatewayPort=5151)
    assert moved["gatewayPort"] == 5151 and all(url.startswith("http://127.0.0.1:5151/") for url in moved["variables"].values()), moved
    assert settings(journalSize=2 << 30)["journalSize"] == "2147483648"
    # As much as the limit is not above it.
    settings(resources={"requests": {"cpu": "1000m", "memory": "0.125Gi"}, "limits": {"cpu": 1, "memory": "128Mi"}})


def traces_arrive(helm):
    """Sidecars send to the chart's collector, which sends on to Jaeger; what is written otherwise holds."""
    collector = {"enabled": True, "jaeger": "jaeger.test:4317"}

    def sidecar(telemetry):
        values = {"collector": collector, "config": {"telemetry": telemetry, "policy": {"tau": 0.97}}}
        settings = rendered(helm, values, "ConfigMap", "understudy-injector")["data"]["injector.json"]
        told = json.loads(settings)["injection"]["environment"]
        assert told["UNDERSTUDY_POLICY_TAU"] == "0.97", told
        return told["UNDERSTUDY_TELEMETRY_ENDPOINT"], told.get("UNDERSTUDY_TELEMETRY_SIGNALS")
    service = rendered(helm, {"collector": collector}, "Service", "understudy-collector")
    ports = {p["name"]: p["port"] for p in service["spec"]["ports"]}
    assert sidecar({}) == (f"http://understudy-collector.understudy.svc:{ports['grpc']}", "traces")
    assert sidecar({"protocol": "http/protobuf", "signals": ["traces", "logs"]}) == (f"http://understudy-collector.understudy.svc:{ports['http']}", "traces,logs")
    assert sidecar({"endpoint": "http://mine:4317"}) == ("http://mine:4317", None)
    told = yaml.safe_load(rendered(helm, {"collector": collector}, "ConfigMap", "understudy-collector")["data"]["config.yaml"])
    assert told["exporters"] == {"otlp": {"endpoint": "jaeger.test:4317", "tls": {"insecure": True}}}, told
    assert told["service"]["pipelines"]["traces"]["exporters"] == ["otlp"], told
    elsewhere = {"collector": {"enabled": True, "config": {"exporters": {"debug": {}}}}}
    told = yaml.safe_load(rendered(helm, elsewhere, "ConfigMap", "understudy-collector")["data"]["config.yaml"])
    assert told["service"]["pipelines"]["traces"]["exporters"] == ["debug"], told


def versions_agree():
    """The image that is built by default is the one that the chart asks for."""
    wanted = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    built = re.findall(r"^ARG VERSION=(.+)$", (CHART.parents[1] / "Dockerfile").read_text(), re.MULTILINE)
    assert built == [wanted], f"Dockerfile has {built}, the chart {wanted}"


def main():
    helm, helm_docs = sys.argv[1:]
    in_step(helm_docs)
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    everything = {"networkPolicy": {"enabled": True}, "collector": {"enabled": True, "jaeger": "jaeger:4317"}, "prePull": {"enabled": True}, "engine": {"gpu": {"enabled": True}, "autoscaling": {"enabled": True}},
                  "monitoring": {"monitors": True, "rules": True, "dashboards": True}}
    for version in VERSIONS:
        for values in ({}, everything, {"engine": {"enabled": False}}):
            code, text, said = render(helm, values, version + ".0")
            assert code == 0, said
            check(text, version)
    print(f"rendered for Kubernetes {', '.join(VERSIONS)}")

    count = 0
    for path, value in leaves(defaults):
        values = {}
        for beside, its in BESIDE.get(path, {}).items():
            put(values, beside, its)
        # Where models come from, or traces go, wants to be known.
        whence = path in ("engine.model.claim", "engine.model.image", "collector.jaeger")
        before = render(helm, {} if whence else copy.deepcopy(values))
        put(values, path, other(path, value))
        code, after, said = render(helm, values)
        assert code == 0, f"{path}: {said}"
        assert after != before[1], f"{path} changes nothing"
        check(after, "1.37")
        count += 1
    print(f"{count} values change what is rendered")
    models_are_found(helm)
    gpus_are_used(helm)
    settings_agree(helm)
    traces_arrive(helm)
    versions_agree()

    code, _, said = render(helm, {}, "1.28.0")
    assert code != 0 and "1.29" in said, said
    for setting, named in REFUSED.items():
        done = subprocess.run([helm, "template", "understudy", CHART, "--set", setting], capture_output=True, text=True)
        assert done.returncode != 0 and named in done.stderr, f"{setting}: {done.stderr or 'was accepted'}"
    print(f"{len(REFUSED)} bad values are refused by name")


if __name__ == "__main__":
    main()
