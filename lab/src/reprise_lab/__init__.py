"""Two real Kubernetes nodes on one Linux machine: Kubernetes, CRI-O, runc and CRIU in namespaces, no Docker, no VM."""
