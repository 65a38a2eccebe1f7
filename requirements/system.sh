#!/usr/bin/env bash
# Sees to the system packages that a step needs: installs what is missing when root, else names it and fails.
#
#   requirements/system.sh test|blender|node|images
set -euo pipefail

# What proves a package present (a command, or a shared library's name) and the package that brings it.
test_needs="chromium|chromium-browser|google-chrome:chromium"
# Open3D, the optional cross-check of the tests, and Blender as a module link against these.
shared_libs="libGL.so.1:libgl1 libgomp.so.1:libgomp1 libX11.so.6:libx11-6 libusb-1.0.so.0:libusb-1.0-0"
blender_libs="libXxf86vm.so.1:libxxf86vm1 libXfixes.so.3:libxfixes3 libXi.so.6:libxi6 libxkbcommon.so.0:libxkbcommon0
  libSM.so.6:libsm6 libICE.so.6:libice6 libEGL.so.1:libegl1 libXrender.so.1:libxrender1"
# A real Kubernetes node, for tests.
node_needs="containerd:containerd runc:runc /usr/lib/cni/bridge|/opt/cni/bin/bridge:containernetworking-plugins nft:nftables
  iptables:iptables conntrack:conntrack ip:iproute2 nsenter:util-linux gcc:gcc debootstrap:debootstrap curl:curl"
# Images without a Docker engine, and a node to run them on.
image_needs="$node_needs buildah:buildah"
docker info >/dev/null 2>&1 && image_needs=""

case ${1:-} in
  test) needs="$test_needs $shared_libs" ;;
  blender) needs="$shared_libs $blender_libs" ;;
  node) needs="$node_needs" PATH=$PATH:/sbin:/usr/sbin ;;
  images) needs="$image_needs" PATH=$PATH:/sbin:/usr/sbin ;;
  *) echo "usage: system.sh test|blender|node|images" >&2; exit 2 ;;
esac

libraries=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p)
present() { # any of the names parted by |
  local name
  for name in ${1//|/ }; do
    case $name in
      *.so.*) grep -qF "$name" <<<"$libraries" && return ;;
      *) command -v "$name" >/dev/null && return ;;
    esac
  done
  return 1
}

missing=()
for need in $needs; do
  present "${need%%:*}" || missing+=("${need##*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "[system] installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "[system] error: this step needs ${missing[*]}. Debian/Ubuntu: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
