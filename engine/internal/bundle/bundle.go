// Package bundle reads an OCI bundle's config.json and tells whose container it is.
package bundle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Spec holds the fields of config.json that the engine looks at.
type Spec struct {
	Process struct {
		Args            []string `json:"args"`
		Env             []string `json:"env"`
		ApparmorProfile string   `json:"apparmorProfile"`
		SelinuxLabel    string   `json:"selinuxLabel"`
	} `json:"process"`
	Root struct {
		Path     string `json:"path"`
		Readonly bool   `json:"readonly"`
	} `json:"root"`
	Mounts []struct {
		Destination string `json:"destination"`
		Type        string `json:"type"`
	} `json:"mounts"`
	Linux struct {
		MountLabel string `json:"mountLabel"`
	} `json:"linux"`
	Annotations map[string]string `json:"annotations"`
}

// Identity is who a container is for Kubernetes.
type Identity struct {
	Workload  bool // a container of a pod, not its sandbox
	Runtime   string
	Namespace string
	Pod       string
	PodUID    string
	Container string
}

// Image names the image; which of the fields are set depends on the runtime.
type Image struct{ Requested, Ref, Name string }

// Read parses a bundle's config.json (or a slot's spec.dump).
func Read(path string) (Spec, []byte, error) {
	var spec Spec
	raw, err := os.ReadFile(path)
	if err != nil {
		return spec, nil, err
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return spec, nil, fmt.Errorf("%s: %w", path, err)
	}
	return spec, raw, nil
}

// RootPath returns the root file system's folder.
func (s Spec) RootPath(bundle string) string {
	if filepath.IsAbs(s.Root.Path) {
		return filepath.Clean(s.Root.Path)
	}
	return filepath.Join(bundle, s.Root.Path)
}

// restoreFrom is on a pod that a failover made (packages/contracts, annotations.py).
const restoreFrom = "reprise.dev/restore-from"

// Made reports whether a failover made the pod. containerd passes the annotation only if its drop-in names it (deploy/node).
func (s Spec) Made() bool { return s.Annotations[restoreFrom] != "" }

// CameOf returns the place of the slots that the pod was made to start from, <namespace>/<pod uid>; empty if no failover made it.
func (s Spec) CameOf() string {
	uid, _, named := strings.Cut(s.Annotations[restoreFrom], "/")
	if !named {
		return ""
	}
	return s.Identity().Namespace + "/" + uid
}

// Identity reads the annotations that CRI-O and containerd set.
func (s Spec) Identity() Identity {
	a := s.Annotations
	if kind, ok := a["io.kubernetes.cri-o.ContainerType"]; ok {
		return Identity{
			Workload: kind == "container", Runtime: "cri-o",
			Namespace: a["io.kubernetes.pod.namespace"], Pod: a["io.kubernetes.pod.name"],
			PodUID: a["io.kubernetes.pod.uid"], Container: a["io.kubernetes.container.name"],
		}
	}
	return Identity{
		Workload: a["io.kubernetes.cri.container-type"] == "container", Runtime: "containerd",
		Namespace: a["io.kubernetes.cri.sandbox-namespace"], Pod: a["io.kubernetes.cri.sandbox-name"],
		PodUID: a["io.kubernetes.cri.sandbox-uid"], Container: a["io.kubernetes.cri.container-name"],
	}
}

// Image returns what the runtime wrote down about the image.
func (s Spec) Image() Image {
	a := s.Annotations
	if _, ok := a["io.kubernetes.cri-o.ContainerType"]; ok {
		return Image{
			Requested: a["io.kubernetes.cri-o.Image"], Ref: a["io.kubernetes.cri-o.ImageRef"],
			Name: a["io.kubernetes.cri-o.ImageName"],
		}
	}
	name := a["io.kubernetes.cri.image-name"]
	return Image{Requested: name, Ref: name, Name: name}
}

// Annotate returns config.json with one more annotation, everything else as it was.
func Annotate(raw []byte, key, value string) ([]byte, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, err
	}
	annotations := map[string]string{}
	if old, ok := config["annotations"]; ok {
		if err := json.Unmarshal(old, &annotations); err != nil {
			return nil, err
		}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	encoded, err := json.Marshal(annotations)
	if err != nil {
		return nil, err
	}
	config["annotations"] = encoded
	return json.Marshal(config)
}
