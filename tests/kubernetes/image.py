#!/usr/bin/env python3
"""Makes an OCI image as a tar, without a registry, a daemon or root, for
`ctr images import`. What comes out depends on the inputs alone.

usage: image.py OUT.tar NAME:TAG [--program SRC:DST]… [--file SRC:DST]… [--tree SRC:DST]…
                [--deb PACKAGE]… [--link DST=TARGET]… [--env K=V]… [--entrypoint WORD]… [--user U]

--program brings the shared libraries that the program needs; --deb unpacks a
Debian package (its scripts are not run, its dependencies not followed).
"""
import argparse
import glob
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile

MERGED = ("bin", "sbin", "lib", "lib64")
NOT_NEEDED = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/")


class Layer:
    """The files of an image, by path."""

    def __init__(self):
        self.entries = {}
        for name in MERGED:
            self.link(name, "usr/" + name, merged=True)
            self.directory("usr/" + name)
        for name in ("etc", "proc", "sys", "dev", "run", "var"):
            self.directory(name)
        self.directory("tmp", 0o1777)

    def _put(self, path, entry_type, data=None, mode=0o755, target=""):
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.directory(parent)
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.linkname, info.size = entry_type, mode, target, len(data or b"")
        self.entries[path] = (info, data)

    @staticmethod
    def _place(path):
        path = path.strip("/").removeprefix("./")
        return "usr/" + path if path.split("/", 1)[0] in MERGED and "/" in path else path

    def directory(self, path, mode=0o755):
        self._put(self._place(path), tarfile.DIRTYPE, mode=mode)

    def link(self, path, target, merged=False):
        self._put(path if merged else self._place(path), tarfile.SYMTYPE, target=target, mode=0o777)

    def file(self, path, data, mode=0o755):
        self._put(self._place(path), tarfile.REGTYPE, data, mode)

    def program(self, source, path):
        self.file(path, read(source))
        listed = subprocess.run(["ldd", source], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            self.file(library, read(os.path.realpath(library)))

    def tree(self, source, path):
        for folder, folders, files in os.walk(source):
            folders[:] = sorted(f for f in folders if f != "__pycache__")
            for name in sorted(files):
                at = os.path.join(folder, name)
                self.file(os.path.join(path, os.path.relpath(at, source)), read(at), 0o755 if os.access(at, os.X_OK) else 0o644)

    def deb(self, package, folder):
        if not glob.glob(f"{folder}/{package}_*.deb"):
            os.makedirs(folder, exist_ok=True)
            subprocess.run(["apt-get", "-o", "APT::Sandbox::User=root", "download", "-qq", package], cwd=folder, check=True)
        archive = sorted(glob.glob(f"{folder}/{package}_*.deb"))[-1]
        raw = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(raw)) as packed:
            for member in packed:
                name = member.name.removeprefix("./").strip("/").removeprefix(".")
                if not name or name in MERGED or (name + "/").startswith(NOT_NEEDED):
                    continue
                if member.isreg() or member.islnk():
                    self.file(name, packed.extractfile(member).read(), member.mode)
                elif member.issym():
                    self.link(name, member.linkname)
                elif member.isdir():
                    self.directory(name, member.mode)

    def tar(self):
        return tar(self.entries[path] for path in sorted(self.entries))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def tar(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as packed:
        for info, data in entries:
            packed.addfile(info, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def pair(text, by=":"):
    first, _, second = text.partition(by)
    return first, second


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("name")
    for option in ("program", "file", "tree", "deb", "link", "env", "entrypoint"):
        parser.add_argument("--" + option, action="append", default=[])
    parser.add_argument("--user")
    parser.add_argument("--debs", default="debs", help="where packages are kept")
    args = parser.parse_args()

    layer = Layer()
    for package in args.deb:
        layer.deb(package, args.debs)
    for source, path in map(pair, args.program):
        layer.program(source, path)
    for source, path in map(pair, args.file):
        layer.file(path, read(source), 0o755 if os.access(source, os.X_OK) else 0o644)
    for source, path in map(pair, args.tree):
        layer.tree(source, path)
    for path, target in (pair(link, "=") for link in args.link):
        layer.link(path, target)

    blobs = {}

    def blob(data, media):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": "application/vnd.oci.image." + media, "digest": "sha256:" + digest, "size": len(data)}

    def text(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    packed = blob(layer.tar(), "layer.v1.tar")
    config = {"Env": ["PATH=/usr/local/bin:/usr/bin", *args.env]}
    if args.entrypoint:
        config["Entrypoint"] = args.entrypoint
    if args.user:
        config["User"] = args.user
    described = blob(text({"architecture": "amd64", "os": "linux", "config": config,
                           "rootfs": {"type": "layers", "diff_ids": [packed["digest"]]}}), "config.v1+json")
    manifest = blob(text({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                          "config": described, "layers": [packed]}), "manifest.v1+json")
    manifest["annotations"] = {"io.containerd.image.name": args.name}
    manifest["platform"] = {"architecture": "amd64", "os": "linux"}
    files = {"oci-layout": text({"imageLayoutVersion": "1.0.0"}),
             "index.json": text({"schemaVersion": 2, "manifests": [manifest]}),
             **{"blobs/sha256/" + digest: data for digest, data in blobs.items()}}

    def entry(name):
        info = tarfile.TarInfo(name)
        info.size = len(files[name])
        return info, files[name]

    with open(args.out, "wb") as out:
        out.write(tar(entry(name) for name in sorted(files)))


if __name__ == "__main__":
    main()
