#!/usr/bin/env bash
# The images that the tests run, as tar files: Understudy's own, with the binaries
# of this build, and those of its peers.
# usage: images.sh FOLDER BIN PROGRAMS SITE
#   BIN       this build's binaries        PROGRAMS  scripts/kubernetes.sh's
#   SITE      site-packages with the OpenAI SDK
set -euo pipefail
here=$(dirname "$(realpath "$0")")
folder=$1 bin=$(realpath "$2") programs=$(realpath "$3") site=$(realpath "$4")
mkdir -p "$folder"
folder=$(realpath "$folder")
image() { local name=$1; shift; python3 "$here/image.py" "$folder/$name.tar" "understudy.test/$name:1" --debs "$folder/debs" "$@"; }
stripped() { strip -o "$folder/.$1" "$bin/$1"; printf '%s' "$folder/.$1"; }

cc -Os -static -s -o "$folder/.pause" "$here/pause.c"
image pause --file "$folder/.pause:/pause" --entrypoint /pause
image understudy --user 65532:65532 --entrypoint understudy \
  --program "$(stripped understudy):/usr/bin/understudy" --program "$(stripped understudy-injector):/usr/bin/understudy-injector" \
  --program "$ORT_DYLIB_PATH:/usr/lib/libonnxruntime.so" --file /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt \
  --env ORT_DYLIB_PATH=/usr/lib/libonnxruntime.so
# For pods that carry an engine of their own: with the models.
image engine --user 65532:65532 --entrypoint understudy --program "$folder/.understudy:/usr/bin/understudy" \
  --program "$ORT_DYLIB_PATH:/usr/lib/libonnxruntime.so" --tree "$UNDERSTUDY_MODELS/smollm2-135m-instruct:/models/chat" \
  --tree "$UNDERSTUDY_MODELS/minilm-l6-v2:/models/embed" --env ORT_DYLIB_PATH=/usr/lib/libonnxruntime.so \
  --env UNDERSTUDY_MODEL_CHAT=/models/chat --env UNDERSTUDY_MODEL_EMBED=/models/embed
image stand-in --user 65532:65532 --program "$(stripped stand-in):/usr/bin/stand-in" --entrypoint stand-in
image jaeger --user 65532:65532 --file "$programs/jaeger:/usr/bin/jaeger" --file "$here/jaeger.yaml:/etc/jaeger.yaml" \
  --entrypoint jaeger --entrypoint=--config --entrypoint /etc/jaeger.yaml
# Jaeger is made of the OpenTelemetry collector's parts, and is one where it is told so.
image collector --user 65532:65532 --file "$programs/jaeger:/usr/bin/jaeger" --entrypoint jaeger
# An agent's own image knows nothing of Understudy. Its first call is tried once.
debs=()
for package in libc6 libgcc-s1 zlib1g libexpat1 libssl3 libffi8 liblzma5 libbz2-1.0 libuuid1 libcrypt1 libpython3.11-minimal \
  python3.11-minimal libpython3.11-stdlib ca-certificates; do debs+=(--deb "$package"); done
image agent "${debs[@]}" --link /usr/bin/python3=python3.11 --tree "$site:/usr/lib/python3/dist-packages" \
  --file "$here/../agents/desk.py:/agent/desk.py" --env DESK_STRICT=1 --user 65532:65532 --entrypoint python3 --entrypoint /agent/desk.py
