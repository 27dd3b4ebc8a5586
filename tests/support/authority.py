"""A certificate authority of the tests' own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority of one's own, by openssl."""

    folder: Path

    @property
    def certificate(self) -> str:
        """Its certificate, as PEM."""
        return (self.folder / "ca.crt").read_text()

    def openssl(self, *arguments: str) -> None:
        """openssl in its folder."""
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def make(self) -> Authority:
        """Makes its key and its certificate."""
        self.folder.mkdir()
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-addext", "basicConstraints=critical,CA:TRUE")
        self.openssl(
            *KEY, "-x509", "-days", "2", "-subj", f"/CN={self.folder.name}", "-keyout", "ca.key", "-out", "ca.crt", *usage
        )
        return self

    def sign(self, *names: str) -> tuple[str, str]:
        """Key and certificate of a server with those names, as PEM."""
        self.openssl(*KEY, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr")
        listed = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names)
        lines = (f"subjectAltName={listed}", "extendedKeyUsage=serverAuth", "basicConstraints=CA:FALSE")
        keys = ("subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid")
        (self.folder / "server.ext").write_text("\n".join((*lines, *keys)))
        signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "server.ext")
        self.openssl("x509", "-req", "-in", "server.csr", "-out", "server.crt", *signer)
        return (self.folder / "server.key").read_text(), (self.folder / "server.crt").read_text()


KEY = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
