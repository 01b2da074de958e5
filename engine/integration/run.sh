#!/usr/bin/env bash
# Run the integration tests with real runc and real criu in a throw-away copy of a node's root file system.
# Arguments: v1|v2 [arguments of the test binary]. Needs root. ROOTFS is a root file system with runc, criu and iptables.
set -euo pipefail
if [ -z "${REPRISE_INSIDE:-}" ]; then
    VERSION=${1:?v1 or v2}; shift
    HERE=$(cd "$(dirname "$0")" && pwd) BUILD=$(mktemp -d)
    trap 'rm -rf "$BUILD"' EXIT
    cd "$HERE/.."
    GO=$(command -v go || echo /usr/local/go/bin/go)
    export CGO_ENABLED=0
    ./build.sh "$BUILD/reprise-runc" "-X main.version=test -X reprise.dev/engine/internal/entry.ConfigPath=/work/engine.json"
    "$GO" build -o "$BUILD/counter" ./integration/counter
    "$GO" test -c -tags integration -o "$BUILD/integration.test" ./integration
    mkdir "$BUILD/root"
    REPRISE_INSIDE=$VERSION BUILD=$BUILD unshare -m -p -f -n bash "$HERE/run.sh" "$@"
    exit
fi
ROOTFS=${ROOTFS:-$HOME/.cache/reprise-lab/rootfs} R=$BUILD/root
mount --make-rprivate /
mount -t tmpfs engine "$R"
mkdir "$R"/{upper,overlay,root}
mount -t overlay overlay -o "lowerdir=$ROOTFS,upperdir=$R/upper,workdir=$R/overlay" "$R/root"
R=$R/root
mount -t proc proc "$R/proc"
mount --rbind /dev "$R/dev"
mount -t sysfs sysfs "$R/sys"
if [ "$REPRISE_INSIDE" = v2 ]; then
    mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
else
    mount --rbind /sys/fs/cgroup "$R/sys/fs/cgroup"
fi
mount -t tmpfs run "$R/run"
mkdir -p "$R/work"
mount -t tmpfs work "$R/work" # slots on a file system that a test can fill and fsync
cp "$BUILD"/{reprise-runc,counter,integration.test} "$R/work/"
ip link set lo up
mkdir -p "$R/run/netns"
# The node's root must be that of its mount namespace: CRIU dumps nothing below a chroot.
cd "$R"
mkdir -p .host
pivot_root . .host
# bash stays as the first process: it reaps what is left over.
exec chroot . /bin/bash -c 'umount -l /.host; cd /work; export TMPDIR=/work PATH=/usr/sbin:/usr/bin:/sbin:/bin; ./integration.test "$@"; exit $?' integration "$@"
