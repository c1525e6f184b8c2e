#!/usr/bin/env python3
"""contrib/kubernetes against the schemas of Kubernetes, and against what the proxy itself says.

    .venv/kubernetes/bin/python tests/scale/kubernetes.py

$CLAUDE_PROXY_BIN judges the configuration (else the release build, else the debug one).
"""
from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

from run import ROOT, binary

# The oldest version that is still in use somewhere, and the newest that schemas are there for.
VERSIONS = ("1.29", "1.37")
WANTED = {"ConfigMap", "Secret", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}


def load() -> list[tuple[str, dict]]:
    files = sorted((ROOT / "contrib/kubernetes").glob("*.yaml"))
    return [(f.name, doc) for f in files for doc in yaml.safe_load_all(f.read_text())]


def valid(doc: dict, version: str) -> bool:
    try:
        kubernetes_validate.validate(doc, version, strict=True)
    except kubernetes_validate.ValidationError as e:
        print(f"      {doc['kind']}: {e.message} at {'.'.join(map(str, e.path))}")
        return False
    return True


def expect(so: bool, otherwise: object) -> None:
    if not so:
        raise AssertionError(otherwise)


DOCS = load()
ONE = {doc["kind"]: doc for _, doc in DOCS if doc["metadata"]["name"] == "claude-proxy"}
POD = ONE["Deployment"]["spec"]["template"]
BOX = POD["spec"]["containers"][0]
CONFIG = json.loads(ONE["ConfigMap"]["data"]["config.json"])


def schemas() -> None:
    expect({doc["kind"] for _, doc in DOCS} == WANTED, [doc["kind"] for _, doc in DOCS])
    for version in VERSIONS:
        bad = [name for name, doc in DOCS if not valid(doc, version)]
        expect(not bad, bad)
    # They do tell what is wrong.
    for change in (lambda d: d["spec"].update(strateggy={}), lambda d: d["spec"].pop("selector"),
                   lambda d: d["spec"]["template"]["spec"].update(terminationGracePeriodSeconds="long")):
        broken = copy.deepcopy(ONE["Deployment"])
        change(broken)
        expect(not valid(broken, VERSIONS[-1]), "a broken Deployment passes")


def labels() -> None:
    mine = POD["metadata"]["labels"].items()
    spec = {kind: ONE[kind]["spec"] for kind in WANTED - {"ConfigMap", "Secret"}}
    selectors = [spec["Deployment"]["selector"]["matchLabels"], spec["Service"]["selector"], spec["PodDisruptionBudget"]["selector"]["matchLabels"],
                 spec["NetworkPolicy"]["podSelector"]["matchLabels"], POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]]
    expect(all(s.items() <= mine for s in selectors), selectors)
    target = spec["HorizontalPodAutoscaler"]["scaleTargetRef"]
    expect((target["kind"], target["name"]) == ("Deployment", ONE["Deployment"]["metadata"]["name"]), target)
    ports = {p["name"]: p["containerPort"] for p in BOX["ports"]}
    named = [spec["Service"]["ports"][0]["targetPort"], BOX["livenessProbe"]["httpGet"]["port"], BOX["readinessProbe"]["httpGet"]["port"],
             spec["NetworkPolicy"]["ingress"][0]["ports"][0]["port"]]
    expect(set(named) == set(ports) and ports["http"] == CONFIG["port"], (named, ports))
    expect(POD["spec"]["volumes"][0]["configMap"]["name"] == ONE["ConfigMap"]["metadata"]["name"], "the volume")
    expect(BOX["envFrom"][0]["secretRef"]["name"] == ONE["Secret"]["metadata"]["name"], "the environment")
    expect(set(re.findall(r"\$\{(\w+)\}", ONE["ConfigMap"]["data"]["config.json"])) == set(ONE["Secret"]["stringData"]), "keys without a secret")


def numbers() -> None:
    grace = CONFIG["shutdown_grace_seconds"]
    expect(POD["spec"]["terminationGracePeriodSeconds"] >= grace + 10, "the pod is killed before its grace is over")
    expect(ONE["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "a pod goes before the next one is there")
    metric = ONE["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]
    expect(f"| `{metric['metric']['name']}` |" in (ROOT / "docs/metrics.md").read_text(), metric)
    expect(0 < int(metric["target"]["averageValue"]) <= CONFIG["max_concurrent_requests"] * 0.75, metric)
    rule = next(doc for _, doc in DOCS if "values.yaml" in doc.get("data", {}))
    rule = yaml.safe_load(rule["data"]["values.yaml"])["rules"]["custom"][0]
    expect(rule["name"]["as"] == metric["metric"]["name"] and rule["seriesQuery"].startswith(metric["metric"]["name"] + "{"), rule)


def hardened() -> None:
    """What the `restricted` standard for pods asks for, and a root that nobody writes to."""
    pod, box = POD["spec"]["securityContext"], BOX["securityContext"]
    expect(pod["runAsNonRoot"] and pod["runAsUser"] > 0 and pod["seccompProfile"]["type"] == "RuntimeDefault", pod)
    expect(box["capabilities"]["drop"] == ["ALL"] and not box["allowPrivilegeEscalation"] and box["readOnlyRootFilesystem"], box)
    dockerfile = (ROOT / "contrib/Dockerfile").read_text()
    expect(f"USER {pod['runAsUser']}:{pod['runAsGroup']}\n" in dockerfile, "another user than the image's")


def configuration() -> None:
    """The proxy takes the configuration, and the arguments."""
    with tempfile.TemporaryDirectory(prefix="claude-proxy-kubernetes-") as where:
        path = Path(where) / "config.json"
        path.write_text(ONE["ConfigMap"]["data"]["config.json"])
        env = {**os.environ, **{k: f"sk-{k}-0123456789" for k in ONE["Secret"]["stringData"]}}
        done = subprocess.run([binary(), "check-config", str(path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        expect(done.returncode == 0 and "0 warnings" in done.stdout, done.stdout)
        # Up to where the command line is understood: there is no such file.
        args = [a.replace("/etc/claude-proxy/", f"{where}/none/") for a in BOX["args"]]
        done = subprocess.run([binary(), *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        expect(done.returncode == 1 and "cannot read the configuration" in done.stdout and "none/config.json" in done.stdout, (done.returncode, done.stdout))


def main() -> int:
    failed = 0
    tests = (schemas, labels, numbers, hardened, configuration)
    for test in tests:
        try:
            test()
            print(f"ok    {test.__name__}")
        except Exception as e:                                                           # noqa: BLE001
            failed += 1
            print(f"WRONG {test.__name__}: {e!r}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
