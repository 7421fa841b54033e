#!/usr/bin/env python3
"""The chart without a cluster: what it renders is what Kubernetes has, in every
version that it promises, with the values of the first chart too; each value that is
documented changes what is rendered; what has to agree with something else does, the
labels that alerts ask for among it; and a bad value is refused with a sentence that
names it.

usage: chart.py HELM HELM-DOCS
"""
import copy
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import kubernetes_validate
import yaml
from kubernetes_validate import utils

import objects
from rendering import CHART, render, rendered

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
    "monitoring.labels": {"release": "kube-prometheus-stack"},
    "engine.strategy": {"type": "Recreate"}, "engine.affinity": {"podAntiAffinity": {}}, "sidecar.journalSize": "2Gi", "engine.model.size": "4Gi",
}
# What has to be set beside a value for it to matter.
BESIDE = {
    **{f"engine.autoscaling.{key}": {"engine.autoscaling.enabled": True} for key in ("minReplicas", "maxReplicas", "waiting")},
    "collector.enabled": {"collector.jaeger": "jaeger:4317"}, "collector.jaeger": {"collector.enabled": True},
    **{f"collector.{key}": {"collector.enabled": True, "collector.jaeger": "jaeger:4317"} for key in ("image", "replicas", "tls", "config", "resources")},
    "prePull.nodeSelector": {"prePull.enabled": True}, "prePull.tolerations": {"prePull.enabled": True},
    "engine.model.claim": {"engine.model.from": "claim"}, "engine.model.image": {"engine.model.from": "image"}, "engine.model.from": {"engine.model.claim": "models"},
    "engine.sameNodeOnly": {"engine.kind": "DaemonSet"}, "monitoring.labels": {"monitoring.monitors": True},
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
    "sidecar.journalSize=32Mi": "sidecar.journalSize is 32Mi, which is less than the 64Mi", "sidecar.journalSize=67108863": "sidecar.journalSize is 67108863",
    "sidecar.env[0].value=x": "env", "sidecar.env[0].name=not a name": "env",
    "engine.gpu.executionProviders={cuda,rocm}": "executionProviders", "engine.gpu.executionProviders={cuda,cuda}": "executionProviders",
    "engine.strategy.type=OnDelete": "strategy", "engine.startSeconds=0": "startSeconds",
    "engine.strategy.type=Recreate,engine.kind=DaemonSet": "engine.strategy is for engine.kind Deployment",
    "engine.sameNodeOnly=true": "engine.sameNodeOnly is for engine.kind DaemonSet",
    "engine.image.digest=0123": "digest", "engine.image=other": "image", "monitoring.labels.release=1": "release",
}


def put(values, path, value):
    *folders, last = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
    values[last] = value


def leaves(values, path=""):
    for key, value in values.items():
        at = f"{path}.{key}" if path else key
        yield from leaves(value, at) if isinstance(value, dict) and value and at not in OTHER else [(at, value)]


def other(path, value):
    if path in OTHER:
        return OTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value + "x" if value else "x"


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


def engines_start(helm):
    """One that loads for long is left to load, and one that takes too much is told so first."""
    def engine(**values):
        spec = rendered(helm, {"engine": values}, "Deployment", "understudy-engine")["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        return spec, container, {v["name"]: v["value"] for v in container["env"]}.get("UNDERSTUDY_ENGINE_MEMORY_LIMIT")
    for seconds in (1800, 45, 1):
        spec, container, _ = engine(startSeconds=seconds)
        start = container["startupProbe"]
        assert 0 <= start["periodSeconds"] * start["failureThreshold"] - seconds < 2, start
        assert spec["progressDeadlineSeconds"] > seconds and "initialDelaySeconds" not in container["livenessProbe"], spec
    gpu = {"enabled": True}
    assert "strategy" not in engine()[0]
    # Else what the API server wrote in for the other strategy would stay, and be refused.
    assert engine(gpu=gpu)[0]["strategy"] == {"type": "Recreate", "rollingUpdate": None}
    rolling = {"rollingUpdate": {"maxSurge": 0}}
    assert engine(gpu=gpu, strategy=rolling)[0]["strategy"] == rolling

    def limit(memory, **config):
        return engine(resources={"limits": {"memory": memory}}, config={"engine": config})[2]
    assert (limit("3Gi"), limit("1.5G"), limit(1 << 33)) == (str(3 << 30), "1500000000", str(8 << 30))
    assert limit("8Gi", memory_limit="6 GiB") == "6 GiB"
    # What the configuration does not take is left to its default, and so is no limit.
    assert limit("64Mi") is None and limit(None) is None


def older_values_do(helm):
    """An upgrade with --reuse-values has all values of the chart before, and none that came since."""
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder) / "understudy"
        shutil.copytree(CHART, chart)
        with tarfile.open(CHART.parents[1] / "tests" / "kubernetes" / "first-chart.tgz") as first:
            (chart / "values.yaml").write_bytes(first.extractfile("understudy/values.yaml").read())
        on = {"enabled": True}
        everything = {"networkPolicy": on, "engine": {"gpu": on}, "monitoring": {"monitors": True, "rules": True, "dashboards": True}}
        for values in ({}, everything, {"engine": {"enabled": False}}, {"engine": {"kind": "DaemonSet"}}, {"policies": {**on, "install": True}}):
            code, text, said = render(helm, values, chart=chart)
            assert code == 0, f"the first chart's values with {values}: {said}"
            check(text, "1.37")


def rules_fit(helm):
    """Nobody is told that nothing is recorded where nothing is to be."""
    def alerts(config):
        rules = rendered(helm, {"monitoring": {"rules": True}, "config": config}, "PrometheusRule", "understudy")["spec"]
        return [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    every = alerts({})
    assert alerts({"capture": {"keep_bytes": "2 GiB"}}) == every
    for off in (False, "false"):
        assert [a for a in every if a != "UnderstudyRecordsNothing"] == alerts({"capture": {"enabled": off}}) != every


# Labels that Prometheus gives, or whose values are the cluster's and the agents' own.
OPEN = {"namespace", "pod", "instance", "task", "image", "scope"}


def labels_are_exported():
    """Whoever asks for a label's value, in an alert, a panel or a test, asks for one that there is."""
    root = CHART.parents[1]

    def words(path, block):
        found = re.search(block, (root / path).read_text(), re.DOTALL)
        assert found, f"{path} no longer has {block}"
        return set(re.findall(r'"([a-z_]+)"', found[1]))
    counters = "proxy/gateway/src/counters.rs"
    known = {
        ("understudy_fallbacks_total", "reason"): words(counters, r"const LABELS: [^=]+= \[(.*?)\];"),
        ("understudy_errors_total", "fault"): words(counters, r"impl Fault \{.*?match self \{(.*?)\}"),
        ("understudy_drops_total", "reason"): words("proxy/capture/src/stats.rs", r"fn label\(.*?match self \{(.*?)\}"),
    }
    alerts = yaml.safe_load((CHART / "alerts.yaml").read_text())
    asked = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    for file in sorted((CHART / "dashboards").glob("*.json")):
        asked += [target["expr"] for panel in json.loads(file.read_text())["panels"] for target in panel["targets"]]
    tests = yaml.safe_load((root / "tests" / "kubernetes" / "alerts.yaml").read_text())
    asked += [series["series"] for test in tests["tests"] for series in test["input_series"]]
    count = 0
    for expression in asked:
        for metric, matchers in re.findall(r"(understudy_\w+)\{([^}]*)\}", expression):
            for label, value in re.findall(r'(\w+)\s*[=!]~?\s*"([^"]*)"', matchers):
                if label in OPEN:
                    continue
                assert (metric, label) in known, f"whose values are those of {label} in {expression}?"
                for one in value.split("|"):
                    assert one in known[metric, label], f'{metric} never has {label}="{one}", which is asked for in {expression}'
                    count += 1
    assert count, "nobody asks for any label"
    print(f"{count} values of labels are asked for, and exported")


def settings_agree(helm):
    """What the injector reads follows the values, in whatever form they are written."""
    def settings(**sidecar):
        return json.loads(rendered(helm, {"sidecar": sidecar}, "ConfigMap", "understudy-injector")["data"]["injector.json"])["injection"]
    moved = settings(gatewayPort=5151)
    assert moved["gatewayPort"] == 5151 and all(url.startswith("http://127.0.0.1:5151/") for url in moved["variables"].values()), moved
    assert settings(journalSize=2 << 30)["journalSize"] == "2147483648"
    assert settings(journalSize="64Mi")["journalSize"] == "64Mi"
    # As much as the limit is not above it.
    settings(resources={"requests": {"cpu": "1000m", "memory": "0.125Gi"}, "limits": {"cpu": 1, "memory": "128Mi"}})


def mistakes_are_found_first(helm):
    """`check` has what every sidecar has: the first of two of one name, and nothing that only the pod knows."""
    secret = {"secretKeyRef": {"name": "keys", "key": "llm"}}
    env = [
        {"name": "UNDERSTUDY_POLICY_TAU", "value": "2"}, {"name": "UNDERSTUDY_POLICY_TAU", "value": "0.9"},
        {"name": "UNDERSTUDY_CAPTURE_KEEP_BYTES", "value": "lots"}, {"name": "UNDERSTUDY_STATE_DIR", "value": "/elsewhere"},
        {"name": "UNDERSTUDY_REMOTE_LARGE_BASE_URL", "valueFrom": secret}, {"name": "UNDERSTUDY_REMOTE_LARGE_MODEL", "value": "large"},
        {"name": "LLM_KEY", "valueFrom": secret}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": "UNDERSTUDY_TELEMETRY_ENDPOINT", "value": "http://$(NODE):4317"},
    ]
    stage = {"max_stage": {"canary": {"step": 0}}}
    config = {"policy": {"tau": 0.97, "alpha": 0.1, **stage}, "telemetry": {"endpoint": "http://mine:4317"}, "tasks": {"Look up.now": stage},
              "providers": {"openai": {"prices": {"gpt-4.1": {"input": 2}}}}}
    (check,) = rendered(helm, {"config": config, "sidecar": {"env": env}}, "Deployment", "understudy-injector")["spec"]["template"]["spec"]["initContainers"]
    told = {v["name"]: v["value"] for v in check["env"]}
    assert check["args"] == ["check"] and len(told) == len(check["env"]), check
    assert told == {
        "UNDERSTUDY_STATE_DIR": "/tmp", "UNDERSTUDY_POLICY_TAU": "2", "UNDERSTUDY_POLICY_ALPHA": "0.1",
        "UNDERSTUDY_CAPTURE_KEEP_BYTES": "lots", "UNDERSTUDY_PROVIDERS_OPENAI_PRICES_GPT_4_1_INPUT": "2",
        **{f"UNDERSTUDY_{section}_MAX_STAGE": '{"canary" = {"step" = 0}}' for section in ("POLICY", "TASKS_LOOK_UP_NOW")},
        # What has to be there is, though only the pod knows it.
        "UNDERSTUDY_REMOTE_LARGE_BASE_URL": "http://in-the-pod.invalid", "UNDERSTUDY_REMOTE_LARGE_MODEL": "large",
    }, told


def hosts_are_hosts():
    """The API server takes no `Understudy` at a host that no sidecar would take."""
    definition = json.loads((CHART / "files" / "understudies.json").read_text())
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    rules = [rule["rule"] for rule in spec["properties"]["remote"]["x-kubernetes-validations"]]

    def holds(rule, url):
        parts = re.findall(r"(!?)self\.base_url\.matches\('([^']*)'\)", rule)
        assert " || ".join(f"{no}self.base_url.matches('{pattern}')" for no, pattern in parts) == rule, rule
        return any(bool(re.search(pattern, url)) != bool(no) for no, pattern in parts)
    hosts = {
        True: ["models", "models.example.com", "10.0.0.9", "255.255.255.255", "llama-3.2b", "3.models", "10.0.0.9.models", "0xmodels", "m999"],
        False: ["10.0.0.999", "llama-3.2", "10.0.1", "8", "010.0.0.1", "1.2.3.4.5", "models.0x1f", "0x7f", "models.08", "models.", "-models", ""],
    }
    for taken, all_of_them in hosts.items():
        for url in (f"http://{host}{rest}" for host in all_of_them for rest in ("", "/", "/v1", ":8000", ":8000/v1/")):
            assert all(holds(rule, url) for rule in rules) == taken, url


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
        for values in ({}, everything, {"engine": {"enabled": False}}, {"engine": {"kind": "DaemonSet"}}):
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
    engines_start(helm)
    older_values_do(helm)
    rules_fit(helm)
    labels_are_exported()
    settings_agree(helm)
    mistakes_are_found_first(helm)
    hosts_are_hosts()
    traces_arrive(helm)
    versions_agree()
    objects.fit(helm)

    code, _, said = render(helm, {}, "1.28.0")
    assert code != 0 and "1.29" in said, said
    for setting, named in REFUSED.items():
        done = subprocess.run([helm, "template", "understudy", CHART, "--set", setting], capture_output=True, text=True)
        assert done.returncode != 0 and named in done.stderr, f"{setting}: {done.stderr or 'was accepted'}"
    print(f"{len(REFUSED)} bad values are refused by name")


if __name__ == "__main__":
    main()
