"""`helm test`: have the built-in example reconstructed, say how it goes, fail unless it comes out well."""

import json
import os
import ssl
import sys
import time
import urllib.request

FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
SERVER = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
JOBS = f"{SERVER}/apis/recon3d.io/v1alpha1/namespaces/{os.environ['NAMESPACE']}/reconstructionjobs"
TLS = ssl.create_default_context(cafile=f"{FOLDER}/ca.crt")
JOB = {
    "apiVersion": "recon3d.io/v1alpha1",
    "kind": "ReconstructionJob",
    "metadata": {"generateName": "helm-test-"},
    "spec": {
        "input": {"builtin": "example"},
        "profile": "fast",
        "nvdiffrec": {"resolution": 96, "iterations": 4},
        "mesh": {"maxFaces": 8000},
        "texture": {"size": 512},
        "output": {"formats": ["glb"]},
        "quality": {"psnrNormal": 15, "psnrWarning": 10, "ssimNormal": 0.5, "ssimWarning": 0.3},
        "ttlSecondsAfterFinished": 600,
    },
}


def call(method, url, body=None):
    """Return the API server's answer."""
    with open(f"{FOLDER}/token", encoding="utf-8") as file:
        headers = {"Authorization": f"Bearer {file.read()}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30, context=TLS) as answer:
        return json.load(answer)


job = call("POST", JOBS, JOB)
address = f"{JOBS}/{job['metadata']['name']}"
end, said = time.monotonic() + float(os.environ["TIMEOUT_S"]), ""
while True:
    status = call("GET", address).get("status", {})
    phase, progress = status.get("phase", "new"), status.get("progress", {})
    text = (
        f"{phase} {progress.get('percent', 0)} % {progress.get('stage', '')} {status.get('queuePosition', '')}".strip()
    )
    if text != said:
        print(text, flush=True)
        said = text
    if phase in ("Completed", "Failed", "Cancelled") or time.monotonic() > end:
        break
    time.sleep(1)
print(json.dumps(status.get("error") or status.get("summary") or status.get("conditions"), indent=1))
call("DELETE", address)
sys.exit(phase != "Completed")
