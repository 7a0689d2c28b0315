#!/usr/bin/env bash
# Builds the image with buildah and tries it, where there is no Docker engine: sudo tests/docker/build.sh [BASE_IMAGE]
#
# Without BASE_IMAGE it makes one of Debian bookworm. It needs the network, 8 GB of disk and some minutes. WORK=FOLDER
# keeps images and layers there for the next run; otherwise nothing is left behind. With TEST_DATA, the folder of the
# tests' reference models, it serves a Keras model and a SavedModel too.
#
# buildah's chroot isolation has neither a read-only root nor a PID namespace, so the image is started in two ways: the demo
# by `buildah run`; then the demo and mounted models as by `docker run --read-only --tmpfs /tmp -v ...:/models:ro`, in mount
# and PID namespaces that this script makes. There the server is process 1, as under Docker. The network is the machine's.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

base="${1:-}"
image=localhost/tf_serving_flask_app
container=tf_serving_flask_app-trial
uid=10001
server='' runner='' log=''

say() { printf '== %s\n' "$*" >&2; }
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  [ ! -f "$log" ] || tail -n 20 "$log" >&2
  exit 1
}

[ "$(id -u)" = 0 ] || fail "Run it as root: buildah's chroot isolation mounts file systems."
missing=()
for tool in buildah chroot curl jq mount pgrep unshare $([ -n "$base" ] || echo debootstrap); do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
[ "${#missing[@]}" = 0 ] || fail "Install what is missing: ${missing[*]} (on Debian: apt install buildah curl debootstrap jq procps)"
if pgrep -u "$uid" >/dev/null; then fail "Processes of user $uid are running; the trial tells its own by that number."; fi

work="${WORK:-$(mktemp -d /var/tmp/docker-trial.XXXXXX)}"
mkdir -p "$work/tmp" "$work/models"
work="$(readlink -f "$work")"
export TMPDIR="$work/tmp" BUILDAH_ISOLATION=chroot
store() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }

family() { # PID: it and all that it started
  local child
  for child in $(pgrep -P "$1"); do family "$child"; done
  echo "$1"
}

clean_up() {
  trap - EXIT
  if [ -n "$runner" ]; then
    local started
    mapfile -t started < <(family "$runner")
    kill -KILL "${started[@]}" 2>/dev/null || true
    for _ in {1..50}; do
      kill -0 "${started[@]}" 2>/dev/null || break
      sleep 0.1
    done
    wait "$runner" 2>/dev/null || true
  fi
  store rm --all >/dev/null 2>&1 || true
  [ -n "${WORK:-}" ] || rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- build ---

if [ -z "$base" ]; then
  base=localhost/debian-python:bookworm
  if ! store inspect --type image "$base" >/dev/null 2>&1; then
    say "Making the base image"
    made="$(store from scratch)"
    mounted="$(store mount "$made")"
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$mounted" \
      >"$work/debootstrap.log" || fail "debootstrap failed: $(tail -n 3 "$work/debootstrap.log")"
    rm -rf "$mounted"/var/cache/apt/archives/*.deb "$mounted"/var/lib/apt/lists/*
    store commit --quiet "$made" "$base" >/dev/null
    store rm "$made" >/dev/null
  fi
fi

say "Building on $base"
certificates=/etc/ssl/certs/ca-certificates.crt # this machine's, as there may be a proxy with one of its own
printf '[global]\ncert = %s\n' "$certificates" >"$work/pip.conf"
trust=()
[ ! -f "$certificates" ] || trust=(--volume "$certificates:$certificates:ro" --volume "$work/pip.conf:/etc/pip.conf:ro")
# The format that has a HEALTHCHECK, as Docker's own images.
store bud --format docker --layers --build-arg BASE_IMAGE="$base" "${trust[@]}" --tag "$image" . >"$work/build.log" 2>&1 ||
  fail "the build: $(tail -n 20 "$work/build.log")"

# --- two ways to start it ---

config="$(store inspect --type image "$image" | jq .Docker.config)"
mapfile -t entrypoint < <(jq -r '.Entrypoint[]' <<<"$config")
mapfile -t health < <(jq -r '.Healthcheck.Test[1:][]' <<<"$config")
mapfile -t environ < <(jq -r '.Env[]' <<<"$config")
[ "$(jq -r .User <<<"$config")" = "$uid:$uid" ] || fail "the image's user is not $uid"
[ "$(jq -r .StopSignal <<<"$config")" = SIGTERM ] || fail "the image's stop signal is not SIGTERM"

store from --name "$container" "$image" >/dev/null
root="$(store mount "$container")"
mkdir "$root/models" "$root/data"

by_buildah() { store run --env PORT="$port" --env WEB_CONCURRENCY=2 "$container" "$@"; }

read_only() { # COMMAND...
  unshare --mount --pid --fork --kill-child -- bash -euc '
    root="$1" work="$2" data="$3" user="$4"
    shift 4
    mount -o bind,ro "$root" "$root"
    mount -o bind,ro "$work/models" "$root/models"
    [ -z "$data" ] || mount -o bind,ro "$data" "$root/data"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777,nosuid,nodev,noexec,size=64m tmpfs "$root/dev/shm"
    mount -t tmpfs -o mode=1777,nosuid,nodev,noexec tmpfs "$root/tmp"
    exec chroot --userspec="$user:$user" --groups= "$root" /usr/bin/env -i -C /app "$@"
  ' - "$root" "$work" "${TEST_DATA:+$(readlink -f "$TEST_DATA")}" "${as:-$uid}" \
    "${environ[@]}" PORT="$port" WEB_CONCURRENCY=2 "$@"
}

port="$(comm -23 <(seq 20000 20999) <(ss -Htan 2>/dev/null | grep -oE ':[0-9]+ ' | tr -d ': ' | sort -u) | shuf -n 1)"
url="http://127.0.0.1:$port"

start_server() { # HOW NAME ARGUMENTS...
  log="$work/$2.log"
  "$1" "${entrypoint[@]}" "${@:3}" >"$log" 2>&1 &
  runner=$!
  local deadline=$((SECONDS + 90))
  until curl --silent --fail --max-time 5 "$url/readyz" >/dev/null; do
    kill -0 "$runner" 2>/dev/null || fail "the server ended"
    [ "$SECONDS" -lt "$deadline" ] || fail "the server is not ready after 90 s"
    sleep 0.2
  done
  server="$(pgrep -o -u "$uid" -f -- '-m tf_serving_flask_app')" || fail "no server runs as user $uid"
}

stop_server() {
  local begun elapsed code=0
  begun="$(date +%s%N)"
  kill -TERM "$server"
  while kill -0 "$server" 2>/dev/null; do
    [ $(($(date +%s%N) - begun)) -lt 10000000000 ] || fail "the server runs 10 s after SIGTERM"
    sleep 0.01
  done
  elapsed=$((($(date +%s%N) - begun) / 1000000))
  wait "$runner" || code=$?
  server='' runner=''
  [ "$code" = 0 ] || fail "after SIGTERM the exit code is $code"
  [ "$elapsed" -lt 2000 ] || fail "it took $elapsed ms to stop"
  if pgrep -u "$uid" >/dev/null; then fail "the server left processes behind"; fi
  [ "$(jq -c 'select(type == "object")' "$log" | wc -l)" = "$(wc -l <"$log")" ] || fail "a line of the log is no JSON object"
  say "Stopped after $elapsed ms with code 0; $(wc -l <"$log") lines of log, each one JSON object"
}

expect() { # WHAT JQ-CONDITION CURL-ARGUMENTS...
  local what="$1" condition="$2" answer
  shift 2
  answer="$(curl --silent --show-error --max-time 30 "$@")" || fail "$what: no answer"
  jq -e "$condition" <<<"$answer" >/dev/null || fail "$what: $answer"
  say "$what: $(jq -c 'if type == "object" and has("class") then {class, confidence} else . end' <<<"$answer")"
}

healthy() { read_only "${health[@]}" >"$work/health.log" 2>&1; }

# --- the demo ---

say "The demo, by buildah run"
start_server by_buildah buildah
expect "a picture" '.class == "star"' --form file=@specs/samples/star.jpg "$url/classify"
stop_server

say "The demo, with a read-only root"
[ "$(read_only id -u)" = "$uid" ] || fail "the container does not run as user $uid"
for file in /x /app/x /var/tmp/x /models/x; do
  if written="$(as=0 read_only touch "$file" 2>&1)"; then fail "the container can write $file"; fi
  [[ "$written" == *"Read-only file system"* ]] || fail "writing $file failed for another reason: $written"
done
if healthy; then fail "HEALTHCHECK succeeds with no server"; fi
start_server read_only demo
[ "$(awk '/^NSpid:/ { print $NF }' "/proc/$server/status")" = 1 ] || fail "the server is not process 1 of its container"
healthy || fail "HEALTHCHECK: $(cat "$work/health.log")"
say "HEALTHCHECK: $(cat "$work/health.log")"
expect "a picture" '.class == "star"' --form file=@specs/samples/star.jpg "$url/classify"
# So large that it is spooled: a black bitmap of 1024 by 1024 pixels, 3 MB.
{
  printf 'BM\x36\x00\x30\x00\0\0\0\0\x36\0\0\0\x28\0\0\0\0\x04\0\0\0\x04\0\0\x01\0\x18\0'
  head -c $((24 + 3 * 1024 * 1024)) /dev/zero
} >"$work/black.bmp"
expect "a large upload" 'has("class")' --form "file=@$work/black.bmp" "$url/classify"
expect "a picture of the image" 'keys | length == 8' "$url/classification?file_name=circle.jpg"
stop_server

# --- models mounted at /models ---

say "Models mounted at /models"
cp specs/demo/* "$work/models/"
sed 's/name: shapes$/name: mounted/; s|demo/||' specs/demo.spec >"$work/models/my.spec"
if [ -n "${TEST_DATA:-}" ]; then
  cat >>"$work/models/my.spec" <<'SPEC'
  - name: cifar10
    task: classification
    backend: keras
    path: /data/models/cifar10_resnet/pretrainedResnet.h5
    labels: /data/models/cifar10_resnet/labels.txt
  - {name: half_plus_two, backend: saved_model, path: /data/models/tfserving/saved_model_half_plus_two_cpu}
  - {name: half_plus_two_tf2, backend: saved_model, path: /data/models/tfserving/saved_model_half_plus_two_tf2_cpu}
SPEC
fi
chmod -R a+rX "$work/models"
start_server read_only mounted -s /models/my.spec
expect "a frozen graph" '.class == "heart"' --form file=@specs/samples/heart.jpg --form modelname=mounted "$url/classify"
if [ -n "${TEST_DATA:-}" ]; then
  expect "a Keras model" 'has("class")' --form file=@specs/samples/heart.jpg --form modelname=cifar10 "$url/classify"
  expect "a SavedModel of TensorFlow 1" '.y == [[2.5], [3]]' --json '{"x": [[1], [2]]}' "$url/predict/half_plus_two"
  expect "a SavedModel of TensorFlow 2" '[.[]] == [[2.5]]' --json '{"x": [1]}' "$url/predict/half_plus_two_tf2"
fi
stop_server

say "The image's size, not compressed, on $base ($(store images --noheading --format '{{.Size}}' "$base")):"
store images --noheading --format '{{.Size}}' "$image" | sed -n 1p
