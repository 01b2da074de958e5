#!/usr/bin/env bash
# Becomes a node's pid 1, in fresh mount, pid, uts, ipc and cgroup namespaces. Arguments: NAME HOME RUN_DIR CGROUP (v1 or v2).
# pid 1 is catatonit -P: it reaps what conmon leaves behind and waits.
set -euo pipefail
NAME=$1 LAB=$2 N=$3 R=$3/root CGROUP=$4
CONTROLLERS="cpu cpuacct cpuset memory devices freezer blkio pids systemd"
hostname "$NAME"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$LAB/rootfs,upperdir=$N/upper,workdir=$N/work" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"
# One version only, as the hybrid layout is refused by some tools. The cgroup namespace shows our own subtree as root.
if [ "$CGROUP" = v2 ]; then
  mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
else
  mount -t tmpfs -o mode=755 cgroup "$R/sys/fs/cgroup"
  for c in $CONTROLLERS; do
    mkdir "$R/sys/fs/cgroup/$c"
    o=$c; [ "$c" = systemd ] && o=none,name=systemd
    mount -t cgroup -o "$o" cgroup "$R/sys/fs/cgroup/$c"
  done
fi
# A private /dev: the host's would be shared with every container's device nodes.
mount -t tmpfs -o mode=755 dev "$R/dev"
while read -r n maj min; do mknod -m 666 "$R/dev/$n" c "$maj" "$min"; done <<'LIST'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
kmsg 1 11
tty 5 0
LIST
mkdir "$R"/dev/{pts,shm,mqueue}
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 shm "$R/dev/shm"
mount -t mqueue mqueue "$R/dev/mqueue"
ln -s pts/ptmx "$R/dev/ptmx"; ln -s /proc/self/fd "$R/dev/fd"
for i in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${i%:*}" "$R/dev/${i#*:}"; done
for d in run tmp; do mount -t tmpfs -o mode=1777 $d "$R/$d"; done
chmod 755 "$R/run"
mkdir -m 700 "$R/run/reprise"
# Image layers and volumes need a real file system below them: an overlay cannot be an overlay's upper.
for d in var/lib/containers var/lib/containerd var/lib/kubelet var/log var/lib/reprise; do
  mkdir -p "$R/$d" "$N/data/$d"; mount --bind "$N/data/$d" "$R/$d"
done
mkdir -p "$R"/lab/{bin,pki,store,layers} "$R/opt/reprise/bin"
if [ -d "$LAB/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots" ]; then
  mount --bind -o ro "$LAB/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots" "$R/lab/layers"
fi
mount --bind -o ro "$LAB/engine" "$R/opt/reprise/bin"
mount --bind -o ro "$LAB/bin" "$R/lab/bin"
mount --bind -o ro "$N/pki" "$R/lab/pki"
mount --bind "$LAB/store" "$R/lab/store"
mount -o remount,bind,ro "$R/lab/store"
# The lab's CRIU only: it may not ask for another user's limits, see native/limits.c.
printf '#!/bin/sh\nLD_PRELOAD=/lab/bin/limits.so exec /usr/sbin/criu "$@"\n' >"$R/usr/local/sbin/criu"
chmod 755 "$R/usr/local/sbin/criu"
cd "$R"
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
mount --make-rshared /   # the kubelet wants its mounts to propagate
sysctl -qw net.ipv4.ip_forward=1
touch /run/lab-node
exec /usr/bin/catatonit -P
