"""The lab's certificates and kubeconfigs, with openssl only. What exists is kept."""

import base64
import json

from reprise_lab.paths import API_IP, NODES, PKI
from reprise_lab.shell import run

API = f"https://{API_IP}:6443"


def cert(name: str, subject: str, san: str = "", *, ca: bool = False) -> None:
    """Issue PKI/name.crt and .key for subject; san in openssl's form ('DNS:a,IP:b')."""
    crt, key, config = PKI / f"{name}.crt", PKI / f"{name}.key", PKI / f"{name}.cnf"
    if crt.exists():
        return
    usage = "keyCertSign,cRLSign,digitalSignature" if ca else "digitalSignature"
    extensions = [f"basicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}", f"keyUsage=critical,{usage}"]
    extensions += [] if ca else ["extendedKeyUsage=serverAuth,clientAuth"]
    extensions += [f"subjectAltName={san}"] if san else []
    config.write_text("[req]\ndistinguished_name=dn\nx509_extensions=x\n[dn]\n[x]\n" + "\n".join(extensions) + "\n")
    signer = [] if ca else ["-CA", PKI / "ca.crt", "-CAkey", PKI / "ca.key"]
    new = crt.with_suffix(".new")
    run("openssl", "req", "-x509", "-config", config, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", 3650, "-subj", subject, "-keyout", key, "-out", new, *signer)  # fmt: skip
    new.rename(crt)  # the certificate appears last: an interrupted run is repeated
    config.unlink()


def kubeconfig(name: str) -> None:
    files = (("ca", "ca.crt"), ("crt", f"{name}.crt"), ("key", f"{name}.key"))
    data = {k: base64.b64encode((PKI / f).read_bytes()).decode() for k, f in files}
    path = PKI / f"{name}.kubeconfig"  # JSON is YAML
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": API, "certificate-authority-data": data["ca"]}}],
        "users": [{"name": name, "user": {"client-certificate-data": data["crt"], "client-key-data": data["key"]}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
    }  # fmt: skip
    path.write_text(json.dumps(document, indent=1))
    path.chmod(0o600)


def init() -> None:
    """The CA and everything it signs, for the control plane and both nodes."""
    PKI.mkdir(parents=True, exist_ok=True)
    cert("ca", "/CN=reprise-lab", ca=True)
    names = ",".join(f"DNS:kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local"))
    cert("apiserver", "/CN=kube-apiserver", f"{names},DNS:localhost,IP:{API_IP},IP:10.96.0.1,IP:127.0.0.1")
    if not (PKI / "sa.pub").exists():
        run("openssl", "genrsa", "-out", PKI / "sa.key", 2048)
        run("openssl", "rsa", "-in", PKI / "sa.key", "-pubout", "-out", PKI / "sa.pub")
    cert("apiserver-kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    subjects = {"admin": "/O=system:masters/CN=admin"}
    subjects |= {n: f"/CN=system:{n}" for n in ("kube-controller-manager", "kube-scheduler", "kube-proxy")}
    for name, subject in subjects.items():
        cert(name, subject)
        kubeconfig(name)
    for name, ip in NODES.items():
        cert(name, f"/O=system:nodes/CN=system:node:{name}", f"DNS:{name},IP:{ip}")
        kubeconfig(name)
