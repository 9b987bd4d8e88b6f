#!/usr/bin/env bash
# Builds the two images, ursa:local and ursa-etcd:local (or $URSA_IMAGE and $URSA_ETCD_IMAGE).
#
# The base images are the official ones, or $PYTHON_IMAGE and $ETCD_IMAGE. Where no registry can be reached, stand-ins
# are made from Debian packages (root on Debian or Ubuntu); where the build has no network, from wheels fetched here.
# Needs the variables that engine.sh prints. Exit code 77: the base images cannot be had, the reason is said.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

official_python=python:3.11-slim-bookworm
official_etcd=quay.io/coreos/etcd:v3.5.21
standin_python=ursa-standin/python:3.11-bookworm
standin_etcd=ursa-standin/etcd:3.5-trixie
ursa_image=${URSA_IMAGE:-ursa:local}
etcd_image=${URSA_ETCD_IMAGE:-ursa-etcd:local}
wheelhouse=$root/.cache/wheelhouse
pull_timeout_s=300

is_local() { docker image inspect "$1" > /dev/null 2>&1; }

# usage: base <chosen by the user, or empty> <official> <stand-in> <function that makes it>; prints the one to use
base() {
    local chosen=$1 official=$2 standin=$3 make=$4 image=${1:-$2}
    if is_local "$image"; then echo "$image"; return; fi
    if [ -z "$chosen" ] && is_local "$standin"; then echo "$standin"; return; fi
    say "images: pulling $image"
    if timeout "$pull_timeout_s" docker pull --quiet "$image" > /dev/null 2> "$cache/pull.log" < /dev/null; then echo "$image"; return; fi
    say "images: it cannot be pulled: $(tail -n 1 "$cache/pull.log")"
    [ -z "$chosen" ] || die "the image $chosen is neither here nor to be had"
    if ! is_root || ! has_apt; then
        give_up "$official cannot be pulled, and making a stand-in needs root on Debian or Ubuntu"
    fi
    say "images: making the stand-in $standin from Debian packages"
    "$make" || give_up "$official cannot be pulled, and no stand-in could be made from $debian_mirror"
    echo "$standin"
}

bootstrap() {
    local tar=$1
    shift
    have mmdebstrap && [ -r "$debian_keyring" ] || apt_install mmdebstrap debian-archive-keyring || return 1
    quietly "mmdebstrap-$(basename "$tar" .tar)" mmdebstrap --format=tar --keyring="$debian_keyring" \
        --aptopt='Acquire::Languages "none"' "$@" "$tar" "$debian_mirror"
}

# As slim as the official one: a Python with venv, the C++ library that wheels expect, root certificates.
make_python() {
    local tar=$cache/python.tar
    bootstrap "$tar" --variant=essential --include=python3,python3-venv,libstdc++6,ca-certificates \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' bookworm &&
        docker import --change 'CMD ["python3"]' "$tar" "$standin_python" > /dev/null && rm -f "$tar"
}

# As the official one: etcd, etcdctl and nothing to run but them. The packages are only unpacked.
make_etcd() {
    local tar=$cache/etcd.tar
    bootstrap "$tar" --variant=extract --include=base-files,libc6,etcd-server,etcd-client trixie &&
        docker import --change 'CMD ["etcd"]' "$tar" "$standin_etcd" > /dev/null && rm -f "$tar"
}

# Wheels for the image's Python, whatever Python this machine has; made anew when the dependencies change.
fetch_wheels() {
    local python=python3 stamp=$wheelhouse/.for wanted machine
    if [ -x "$root/.venv/bin/python" ]; then python=$root/.venv/bin/python; fi
    wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)
    [ "$(cat "$stamp" 2> /dev/null)" != "$wanted" ] || return 0
    machine=$(uname -m)
    say "images: fetching wheels"
    rm -rf "$wheelhouse" && mkdir -p "$wheelhouse"
    "$python" - "$root/pyproject.toml" > "$wheelhouse/requirements.txt" << 'PYTHON'
import sys, tomllib
print(*tomllib.load(open(sys.argv[1], "rb"))["project"]["dependencies"], "setuptools>=69", sep="\n")
PYTHON
    if quietly wheels "$python" -m pip download --quiet --disable-pip-version-check --dest "$wheelhouse" \
        --requirement "$wheelhouse/requirements.txt" --constraint "$root/constraints.txt" --only-binary=:all: --python-version 3.11 --implementation cp \
        --abi cp311 --abi abi3 --abi none --platform "manylinux_2_28_$machine" --platform "manylinux_2_17_$machine" \
        --platform "manylinux2014_$machine"; then
        echo "$wanted" > "$stamp"
    else
        say "images: no wheels could be fetched here; the build will ask the index itself"
        rm -rf "$wheelhouse"
    fi
}

build() {
    quietly "build-$1" docker build --file "$root/deploy/image/Dockerfile" --target "$1" --tag "$2" \
        --build-arg "PYTHON_IMAGE=$python_image" --build-arg "ETCD_IMAGE=$etcd_base" "$root"
}

python_image=$(base "${PYTHON_IMAGE:-}" "$official_python" "$standin_python" make_python)
etcd_base=$(base "${ETCD_IMAGE:-}" "$official_etcd" "$standin_etcd" make_etcd)
fetch_wheels
say "images: building $ursa_image and $etcd_image from $python_image and $etcd_base"
build ursa "$ursa_image" || die "the image $ursa_image could not be built"
build etcd "$etcd_image" || die "the image $etcd_image could not be built"
# Layers that an older build left without a name.
docker image prune --force --filter label=org.opencontainers.image.title=ursa > /dev/null 2>&1 || true
