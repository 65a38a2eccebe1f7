#!/usr/bin/env bash
# `make kind-gpu`: a kind cluster whose node has this machine's GPUs, the device plugin, the chart. Not run by the
# project on a machine with a GPU: see docs/gpu-nodes.md.
#
#   RUNNER=recon3d/runner:0.1.0-nvdiffrec OPERATOR=recon3d/operator:0.1.0 charts/kind-gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
name=recon3d-gpu runner=${RUNNER:-recon3d/runner:0.1.0-nvdiffrec} operator=${OPERATOR:-recon3d/operator:0.1.0}

fail() { echo "[kind-gpu] error: $*" >&2; exit 1; }
for program in docker kind kubectl helm nvidia-smi; do
  command -v "$program" >/dev/null || fail "$program is not on the PATH"
done
nvidia-smi -L || fail "the NVIDIA driver does not answer"
docker info 2>/dev/null | grep -q 'Default Runtime: nvidia' ||
  fail "Docker's default runtime must be nvidia: sudo nvidia-ctk runtime configure --runtime=docker --set-as-default"
docker image inspect "$runner" >/dev/null 2>&1 || fail "there is no image $runner; docs/images.md says how to build it"
docker image inspect "$operator" >/dev/null 2>&1 || docker build -q -f Dockerfile.operator -t "$operator" .

kind get clusters | grep -qx "$name" || kind create cluster --name "$name" --config - <<'YAML'
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraMounts:
      # How the NVIDIA runtime is told which GPUs a container gets.
      - {hostPath: /dev/null, containerPath: /var/run/nvidia-container-devices/all}
YAML
node=$name-control-plane
docker exec "$node" bash -ec '
  command -v nvidia-ctk >/dev/null && exit
  apt-get update -qq && apt-get install -y -qq curl gpg >/dev/null
  curl -fsSL https://nvidia.github.io/libnvidia-container/gpgkey | gpg --dearmor -o /usr/share/keyrings/nvidia.gpg
  echo "deb [signed-by=/usr/share/keyrings/nvidia.gpg] https://nvidia.github.io/libnvidia-container/stable/deb/amd64 /" \
    > /etc/apt/sources.list.d/nvidia.list
  apt-get update -qq && apt-get install -y -qq nvidia-container-toolkit >/dev/null
  nvidia-ctk runtime configure --runtime=containerd --config=/etc/containerd/config.toml
  systemctl restart containerd'
kubectl --context "kind-$name" apply -f - <<'YAML'
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: nvidia}
handler: nvidia
YAML
helm --kube-context "kind-$name" upgrade --install nvidia-device-plugin nvidia-device-plugin \
  --repo https://nvidia.github.io/k8s-device-plugin -n nvidia-device-plugin --create-namespace \
  --set runtimeClassName=nvidia --wait
kind load docker-image --name "$name" "$runner" "$operator"
helm --kube-context "kind-$name" upgrade --install recon3d charts/recon3d -n recon3d --create-namespace \
  -f charts/recon3d/values-rtx3090.yaml --set image.registry= \
  --set "image.runner.repository=${runner%:*},image.runner.tag=${runner##*:}" \
  --set "image.operator.repository=${operator%:*},image.operator.tag=${operator##*:}" "$@" --wait
helm --kube-context "kind-$name" test recon3d -n recon3d
