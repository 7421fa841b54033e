#!/bin/sh
# Puts the pinned ONNX Runtime library under the cache folder and prints its
# path. The library comes out of the PyPI wheel; only its hash is trusted.
# Safe to run again: what is there with the right hash is not fetched.
# usage: onnxruntime.sh [MACHINE]: x86_64 or aarch64, this one by default
#   UNDERSTUDY_ONNXRUNTIME_VARIANT=gpu  NVIDIA's build, with its execution providers
#                                       beside it; CUDA itself is not in it
set -eu

variant=${UNDERSTUDY_ONNXRUNTIME_VARIANT:-cpu}
case "$variant" in
cpu)
    version=1.32.0
    package=onnxruntime
    place=$version
    ;;
gpu)
    # Its wheel comes after the other: this is the newest. For CUDA 13 and cuDNN 9.
    version=1.31.1
    package=onnxruntime-gpu
    place=$version-gpu
    ;;
*)
    echo "onnxruntime.sh: UNDERSTUDY_ONNXRUNTIME_VARIANT is \"$variant\" and must be cpu or gpu" >&2
    exit 1
    ;;
esac
machine=${1:-$(uname -m)}
# The cache folder as env.sh and the binary have it; another machine's and the GPU's lie
# beside it, and are taken only where they are named.
cache=${UNDERSTUDY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/understudy}/onnxruntime/$place
[ "$machine" = "$(uname -m)" ] || cache=$cache-$machine
library=$cache/libonnxruntime.so

platform=manylinux_2_28_$machine
wheel=$(echo "$package" | tr - _)-$version-cp311-cp311-$platform.whl
# Hash and name of each further file, which the library looks for beside itself.
more=
case "$(uname -s)-$machine-$variant" in
Linux-x86_64-cpu)
    wheel_sha256=5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d
    library_sha256=6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f
    ;;
Linux-aarch64-cpu)
    wheel_sha256=2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c
    library_sha256=49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a
    ;;
Linux-x86_64-gpu)
    wheel_sha256=e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6
    library_sha256=5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303
    more="086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d libonnxruntime_providers_shared.so
d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137 libonnxruntime_providers_cuda.so
1882ee49fdb0e6fc2d272b00cfaf9a3310bf8580a34385c0eec4d82014ea172e libonnxruntime_providers_tensorrt.so"
    ;;
*)
    echo "onnxruntime.sh: no pinned build for $(uname -s) $machine ($variant); set ORT_DYLIB_PATH to a libonnxruntime of version $version" >&2
    exit 1
    ;;
esac

holds() { [ -f "$2" ] && [ "$(sha256sum "$2" | cut -d' ' -f1)" = "$1" ]; }
all_hold() {
    holds "$library_sha256" "$1/libonnxruntime.so" || return 1
    [ -z "$more" ] || (cd "$1" && echo "$more" | sed 's/ /  /' | sha256sum --check --status 2>/dev/null)
}

if ! all_hold "$cache"; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.partial.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    if ! python3 -m pip download --quiet --no-deps --no-input --disable-pip-version-check \
        --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 \
        --platform "$platform" --dest "$work" "$package==$version" >&2; then
        echo "onnxruntime.sh: pip could not fetch $wheel; check the network, or set ORT_DYLIB_PATH to a libonnxruntime of version $version" >&2
        exit 1
    fi
    if ! holds "$wheel_sha256" "$work/$wheel"; then
        echo "onnxruntime.sh: $wheel does not have the pinned sha256 $wheel_sha256; it was not used" >&2
        exit 1
    fi
    mkdir "$work/out"
    python3 - "$work/$wheel" "libonnxruntime.so.$version" "$more" "$work/out" <<'PYTHON'
import os, shutil, sys, zipfile
wheel, library, more, out = sys.argv[1:]
names = {library: "libonnxruntime.so", **{line.split()[1]: line.split()[1] for line in more.splitlines()}}
with zipfile.ZipFile(wheel) as packed:
    for member, name in names.items():
        with packed.open("onnxruntime/capi/" + member) as source, open(os.path.join(out, name), "wb") as to:
            shutil.copyfileobj(source, to)
PYTHON
    all_hold "$work/out" || {
        echo "onnxruntime.sh: a library in $wheel does not have its pinned sha256" >&2
        exit 1
    }
    mv "$work/out"/* "$cache/"
fi
echo "$library"
