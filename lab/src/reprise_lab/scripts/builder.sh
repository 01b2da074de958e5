#!/usr/bin/env bash
# Run a command in a throw-away copy of the node's root, with the host's network, for buildah and skopeo.
# Arguments: HOME CHECKOUT COMMAND... Run under `unshare -m`, so that no mount outlives it.
set -euo pipefail
LAB=$1 CHECKOUT=$2 W=$1/run/builder; shift 2
mount --make-rprivate /
rm -rf --one-file-system "$W"; mkdir -p "$W"
mount -t tmpfs builder "$W"
mkdir -p "$W"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=$LAB/rootfs,upperdir=$W/upper,workdir=$W/work" "$W/root"
R=$W/root
mount -t proc proc "$R/proc"
mount --rbind /dev "$R/dev"
mkdir -p "$R"/lab/{store,cache,layouts,bases,bin,oci} "$R/checkout" "$R/run/containers" "$R/var/lib/containerd"
mkdir -p "$LAB"/{store,cache,images,bases,tmp,oci,containerd}
mount --bind "$LAB/store" "$R/lab/store"
mount --bind "$LAB/cache" "$R/lab/cache"
mount --bind -o ro "$LAB/images" "$R/lab/layouts"
mount --bind -o ro "$LAB/bases" "$R/lab/bases"
mount --bind "$LAB/oci" "$R/lab/oci"
mount --bind "$LAB/containerd" "$R/var/lib/containerd"
mount --bind "$LAB/tmp" "$R/var/tmp"
mount --bind -o ro "$CHECKOUT" "$R/checkout"
for f in /etc/resolv.conf /etc/hosts; do cat "$f" >"$R$f" 2>/dev/null || true; done
# The host may reach its registries through a CA of its own: its bundle comes along.
cat "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" >"$R/etc/ssl/certs/ca-certificates.crt"
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$R/etc/containers/policy.json"
printf '[storage]\ndriver = "overlay"\ngraphroot = "/lab/store"\nrunroot = "/run/containers/storage"\n' >"$R/etc/containers/storage.conf"
exec chroot "$R" "$@"
