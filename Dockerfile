# One image for the sidecar, the engine and the injector. It has no shell and no
# package manager, and runs as nobody in particular.
#
#   docker build --platform linux/amd64,linux/arm64 --tag understudy:0.1.0 .
#
# Each platform is built on a builder of its own: ONNX Runtime's library has to be
# that platform's too.
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

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="understudy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Records an agent's calls, and lets a small model answer what it has earned"
COPY --from=build /src/target/release/understudy /src/target/release/understudy-injector /usr/bin/
COPY --from=build /out/libonnxruntime.so /usr/lib/understudy/libonnxruntime.so
# A volume that is mounted here belongs to whom we run as.
COPY --from=build --chown=65532:65532 /state /var/lib/understudy
ENV ORT_DYLIB_PATH=/usr/lib/understudy/libonnxruntime.so
USER 65532:65532
ENTRYPOINT ["understudy"]
CMD ["serve"]
