#!/bin/sh
# Puts the pinned ONNX Runtime library under the cache folder and prints its
# path. The library comes out of the PyPI wheel; only its hash is trusted.
# Safe to run again: what is there with the right hash is not fetched.
# usage: onnxruntime.sh [MACHINE]: x86_64 or aarch64, this one by default
set -eu

version=1.32.0
machine=${1:-$(uname -m)}
# The cache folder as env.sh and the binary have it; another machine's lies beside it.
cache=${UNDERSTUDY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/understudy}/onnxruntime/$version
[ "$machine" = "$(uname -m)" ] || cache=$cache-$machine
library=$cache/libonnxruntime.so

platform=manylinux_2_28_$machine
wheel=onnxruntime-$version-cp311-cp311-$platform.whl
case "$(uname -s)-$machine" in
Linux-x86_64)
    wheel_sha256=5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d
    library_sha256=6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f
    ;;
Linux-aarch64)
    wheel_sha256=2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c
    library_sha256=49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a
    ;;
*)
    echo "onnxruntime.sh: no pinned build for $(uname -s) $machine; set ORT_DYLIB_PATH to a libonnxruntime of version $version" >&2
    exit 1
    ;;
esac

holds() { [ -f "$2" ] && [ "$(sha256sum "$2" | cut -d' ' -f1)" = "$1" ]; }

if ! holds "$library_sha256" "$library"; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/.partial.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    if ! python3 -m pip download --quiet --no-deps --no-input --disable-pip-version-check \
        --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 \
        --platform "$platform" --dest "$work" "onnxruntime==$version" >&2; then
        echo "onnxruntime.sh: pip could not fetch $wheel; check the network, or set ORT_DYLIB_PATH to a libonnxruntime of version $version" >&2
        exit 1
    fi
    if ! holds "$wheel_sha256" "$work/$wheel"; then
        echo "onnxruntime.sh: $wheel does not have the pinned sha256 $wheel_sha256; it was not used" >&2
        exit 1
    fi
    python3 - "$work/$wheel" "onnxruntime/capi/libonnxruntime.so.$version" "$work/lib" <<'PYTHON'
import shutil, sys, zipfile
wheel, member, out = sys.argv[1:]
with zipfile.ZipFile(wheel).open(member) as source, open(out, "wb") as to:
    shutil.copyfileobj(source, to)
PYTHON
    holds "$library_sha256" "$work/lib" || {
        echo "onnxruntime.sh: the library in $wheel does not have the pinned sha256 $library_sha256" >&2
        exit 1
    }
    mv "$work/lib" "$library"
fi
echo "$library"
