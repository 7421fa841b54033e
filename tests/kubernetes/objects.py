"""What single objects of the chart promise to pods that run, engines that come and go, and
whoever looks for them."""
import json
import re

import yaml

from rendering import CHART, render, rendered


def documents(helm, values):
    code, text, said = render(helm, values)
    assert code == 0, said
    return [document for document in yaml.safe_load_all(text) if document]


def pods_keep_their_port(helm):
    """Another gatewayPort has another ConfigMap: a container that starts again reads the one that it has."""
    def names(**sidecar):
        values = {"sidecar": sidecar}
        settings = json.loads(rendered(helm, values, "ConfigMap", "understudy-injector")["data"]["injector.json"])["injection"]
        rules = rendered(helm, values, "ClusterRole", "understudy-injector")["rules"]
        (written,) = (rule["resourceNames"] for rule in rules if rule["resources"] == ["configmaps"] and rule["verbs"] == ["patch"])
        return settings["variablesConfigMap"], written
    assert names() == ("understudy-variables", ["understudy-variables", "understudy-ca"])
    # What writes the one before, until the upgrade is through, may go on.
    assert names(gatewayPort=5151) == ("understudy-variables-5151", ["understudy-variables", "understudy-variables-5151", "understudy-ca"])
    assert names(gatewayPort=4141.0, variablesConfigMap="urls")[0] == "urls"
    assert names(gatewayPort=6161, variablesConfigMap="urls")[0] == "urls-6161"


def engines_are_reached(helm):
    """A pod of a node without an engine asks another's, unless that was ruled out."""
    def service(version, **engine):
        code, text, said = render(helm, {"engine": engine}, version)
        assert code == 0, said
        (spec,) = (d["spec"] for d in yaml.safe_load_all(text) if d and (d["kind"], d["metadata"]["name"]) == ("Service", "understudy-engine"))
        return spec.get("internalTrafficPolicy"), spec.get("trafficDistribution")
    each = {"kind": "DaemonSet"}
    wanted = {"1.29.0": None, "1.32.9": None, "1.33.0": "PreferClose", "1.33.5-gke.100": "PreferClose", "1.34.0": "PreferSameNode", "1.37.0": "PreferSameNode"}
    for version, near in wanted.items():
        assert service(version, **each) == (None, near), version
        assert service(version, **each, sameNodeOnly=True) == ("Local", None), version
        # Of a Deployment any engine may be asked.
        assert service(version) == (None, None), version


def live_asks_bring_engines(helm):
    """Trials are no reason for another engine; what is asked for is what the engine exports."""
    values = {"engine": {"autoscaling": {"enabled": True}}}
    ((metric,),) = (d["spec"]["metrics"] for d in documents(helm, values) if d["kind"] == "HorizontalPodAutoscaler")
    name, labels = metric["pods"]["metric"]["name"], metric["pods"]["metric"]["selector"]["matchLabels"]
    exported = (CHART.parents[1] / "shadow" / "engine" / "src" / "metrics.rs").read_text()
    (row,) = re.findall(r"struct Row \{(.*?)\}", exported, re.DOTALL)
    (prefix,) = re.findall(r'with_prefix\("(\w+)"\)', exported)
    assert f'all.register("{name.removeprefix(prefix + "_")}"' in exported, name
    assert labels == {"priority": "live"} and "priority: &" in row and '("live", live, ' in exported, labels


def monitors_are_found(helm):
    """A Prometheus that looks for a label finds all that is for it, with our own labels, too."""
    monitoring = {"monitors": True, "rules": True, "dashboards": True, "labels": {"release": "prom", "app.kubernetes.io/version": "mine"}}
    found = [d for d in documents(helm, {"monitoring": monitoring}) if d["apiVersion"].startswith("monitoring.coreos.com/")]
    assert sorted(d["kind"] for d in found) == ["PodMonitor", "PodMonitor", "PrometheusRule", "ServiceMonitor"], found
    for document in found:
        labels = document["metadata"]["labels"]
        assert monitoring["labels"].items() <= labels.items() and labels["app.kubernetes.io/name"] == "understudy", labels


def pods_can_be_had_and_admitted(helm):
    """Each pod of the chart's has the registry's credentials, and says what it takes."""
    values = {"image": {"pullSecrets": ["registry"]}, "collector": {"enabled": True, "jaeger": "jaeger:4317"}, "prePull": {"enabled": True}}
    pods = {d["metadata"]["name"]: d["spec"] if d["kind"] == "Pod" else d["spec"]["template"]["spec"]
            for d in documents(helm, values) if d["kind"] in ("Pod", "Deployment", "DaemonSet")}
    assert "understudy-test" in pods and len(pods) == 5, pods.keys()
    for name, pod in pods.items():
        assert pod["imagePullSecrets"] == [{"name": "registry"}], name
        for container in pod["containers"] + pod.get("initContainers", []):
            assert {"requests", "limits"} <= container["resources"].keys(), f"{name}: {container}"


def fit(helm):
    pods_keep_their_port(helm)
    engines_are_reached(helm)
    live_asks_bring_engines(helm)
    monitors_are_found(helm)
    pods_can_be_had_and_admitted(helm)
