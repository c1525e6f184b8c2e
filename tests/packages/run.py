#!/usr/bin/env python3
"""The Debian package, the static build and the crate, as those get them who install them.

usage: run.py [NAME...]        of deb, static, crate; all of them otherwise

The Debian package is really installed, started, changed, removed and purged: root on Debian or Ubuntu, where no claude-proxy
is installed. env:
  CLAUDE_PROXY_BIN=path      the program in the Debian package (a release build is made otherwise)
  CLAUDE_PROXY_STATIC=path   the static program (it is built otherwise)
"""
from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "harness"))

from checks import Skip, run  # noqa: E402
from upstream import Upstream, whole  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
ETC = Path("/etc/claude-proxy")
UNIT = Path("/usr/lib/systemd/system/claude-proxy.service")
NOBODY = 65534


def sh(*command, ok: bool = True, **more) -> str:
    """What a command prints, both ways; it has to end with 0."""
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, **more)
    assert done.returncode == 0 or not ok, f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}"
    return done.stdout


def ask(url: str, body: dict | None = None, **headers) -> dict:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": "application/json", **headers}), timeout=20) as r:
        return json.load(r)


QUESTION = {"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}


class Service:
    """A program that serves until it is told to end; what it says first is where."""

    def __init__(self, command: list, env: dict, uid: int | None = None, cwd: str = "/") -> None:
        self.log = tempfile.NamedTemporaryFile(prefix="claude-proxy-package-", suffix=".log")
        more = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        self.proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env, cwd=cwd, **more)
        until = time.monotonic() + 30
        while not (found := re.search(r"https?://[\w.]+:(\d+)", self.text())):
            assert self.proc.poll() is None and time.monotonic() < until, f"{command} does not serve: {self.text()}"
            time.sleep(0.05)
        self.url = f"http://127.0.0.1:{found[1]}"

    def text(self) -> str:
        return Path(self.log.name).read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(20)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()


# --- the Debian package -----------------------------------------------------------

class Deb:
    def __init__(self) -> None:
        if os.geteuid() != 0 or not shutil.which("dpkg"):
            raise Skip("it is installed for real: root, on Debian or Ubuntu")
        if shutil.which("claude-proxy") or ETC.exists() or "install ok" in sh("dpkg-query", "-W", "-f", "${Status}", "claude-proxy", ok=False):
            raise Skip("a claude-proxy is installed here")
        self.dir = tempfile.TemporaryDirectory(prefix="claude-proxy-deb-")
        self.path = subprocess.run([ROOT / "scripts/deb", self.dir.name], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
        self.files = [line.split(None, 5) for line in sh("dpkg-deb", "--contents", self.path).splitlines()]
        self.modes = {f[5][1:]: f[0] for f in self.files}


def what_it_says_of_itself(deb: Deb) -> None:
    fields = dict(re.findall(r"^ ?(\w[\w-]*): (.+)$", sh("dpkg-deb", "--field", deb.path), re.M))
    assert fields["Package"] == "claude-proxy" and fields["Version"] == f"{VERSION}-1", fields
    assert len(fields["Description"]) <= 80, fields["Description"]
    # No library but the C library, and libgcc_s where the linker wants it.
    needs = {re.split(r"[ (]", d)[0] for d in fields["Depends"].split(", ")}
    assert needs <= {"libc6", "libgcc-s1"}, fields["Depends"]
    conffiles = sh("dpkg-deb", "--info", deb.path, "conffiles").split()
    assert sorted(conffiles) == [f"{ETC}/config.json", f"{ETC}/env"], conffiles


def everything_is_in_its_place(deb: Deb) -> None:
    pages = [f"/usr/share/man/man1/{p.name}.gz" for p in (ROOT / "man").glob("*.1")]
    wanted = {f"{ETC}/config.json": "-rw-r--r--", f"{ETC}/env": "-rw-------", "/usr/bin/claude-proxy": "-rwxr-xr-x"}
    for path in ["/usr/share/bash-completion/completions/claude-proxy", "/usr/share/zsh/vendor-completions/_claude-proxy",
                 "/usr/share/fish/vendor_completions.d/claude-proxy.fish", "/usr/share/claude-proxy/config.schema.json", str(UNIT),
                 *(f"/usr/share/doc/claude-proxy/{n}" for n in ("README.md", "README.Debian", "copyright", "changelog.gz",
                                                              "changelog.Debian.gz", "examples/config.example.json")), *pages]:
        wanted[path] = "-rw-r--r--"
    got = {path: deb.modes.get(path) for path in wanted}
    assert got == wanted, {k: v for k, v in got.items() if v != wanted[k]}
    assert len(pages) > 8 and all(f[1] == "0/0" for f in deb.files)


def lintian_has_nothing_to_say(deb: Deb) -> None:
    if not shutil.which("lintian"):
        raise Skip("no lintian (Debian, Ubuntu: apt-get install lintian)")
    said = sh("lintian", "--allow-root", deb.path, ok=False)
    found = [line for line in said.splitlines() if re.match("[EW]: ", line)]
    assert not found, "\n".join(found)


def it_installs_and_starts_nothing(deb: Deb) -> None:
    sh("dpkg", "-i", deb.path)
    sh("/usr/bin/claude-proxy", "--version")
    assert f"claude-proxy {VERSION}" in sh("claude-proxy", "--version")
    assert not list(Path("/etc/systemd/system").glob("*.wants/claude-proxy.*")), "it is enabled"
    assert stat.S_IMODE((ETC / "env").stat().st_mode) == 0o600
    done = json.loads(sh("claude-proxy", "--quiet", "check-config", "--json", ETC / "config.json"))
    assert done["findings"] == [], done
    schema = json.loads((ETC / "config.json").read_text())["$schema"]
    assert json.loads(Path(schema).read_text()) == json.loads((ROOT / "config.schema.json").read_text())


def the_unit_is_one(deb: Deb) -> None:
    text = UNIT.read_text()
    assert re.search(r"^ExecStart=/usr/bin/claude-proxy .*serve", text, re.M), text
    assert re.search(r"^EnvironmentFile=-?/etc/claude-proxy/env$", text, re.M), text
    if not shutil.which("systemd-analyze"):
        raise Skip("no systemd-analyze")
    said = sh("systemd-analyze", "verify", "--man=no", UNIT, ok=False)
    assert "claude-proxy" not in said, said


def unit_command() -> tuple[list, dict]:
    """ExecStart and Environment of the unit, as systemd would have them, without its sandbox."""
    text = re.sub(r"\\\n\s*", " ", UNIT.read_text())
    env = {"PATH": "/usr/bin:/bin"}
    for line in re.findall(r"^Environment=(.+)$", text, re.M):
        env.update(word.split("=", 1) for word in shlex.split(line))
    for line in (ETC / "env").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            env.update([line.split("=", 1)])
    return shlex.split(re.search(r"^ExecStart=(.+)$", text, re.M)[1]), env


def it_serves_as_its_unit_starts_it(deb: Deb) -> None:
    upstream = Upstream()
    upstream.play(whole("Hello from the package."))
    config = json.loads((ETC / "config.json").read_text())
    config["ak"], config["port"] = "${CLAUDE_PROXY_KEY}", 0
    config["providers"][0] |= {"base_url": upstream.url, "api_key": "${UPSTREAM_KEY}"}
    (ETC / "config.json").write_text(json.dumps(config, indent=2))
    with open(ETC / "env", "a") as env:
        env.write("CLAUDE_PROXY_KEY=key-of-the-clients-1\nUPSTREAM_KEY=key-of-the-upstream-2\n")
    command, env = unit_command()
    try:
        with Service(command, env, uid=NOBODY) as service:
            assert ask(f"{service.url}/health")["health"] == "ok"
            answer = ask(f"{service.url}/v1/messages", QUESTION, **{"x-api-key": "key-of-the-clients-1"})
            assert answer["content"] == [{"type": "text", "text": "Hello from the package."}], answer
            assert upstream.only.headers["authorization"] == "Bearer key-of-the-upstream-2"
            assert "key-of-the" not in service.text(), service.text()
        assert service.proc.returncode == 0, service.text()
    finally:
        upstream.stop()


def man_pages_are_found(deb: Deb) -> None:
    if not shutil.which("man"):
        raise Skip("no man")
    for page in (ROOT / "man").glob("*.1"):
        assert sh("man", "-w", page.stem).strip() == f"/usr/share/man/man1/{page.name}.gz"
    text = sh("man", "-P", "cat", "claude-proxy-serve", env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert "--capture" in text and "warning" not in text.lower().split("\n")[0], text[:500]


def completions_load(deb: Deb) -> None:
    ask_bash = """source /usr/share/bash-completion/completions/claude-proxy || exit 1
        COMP_LINE='claude-proxy ser' COMP_POINT=16 COMP_WORDS=(claude-proxy ser) COMP_CWORD=1
        $(complete -p claude-proxy | sed 's/.*-F \\([^ ]*\\).*/\\1/') claude-proxy ser claude-proxy
        printf '%s\\n' "${COMPREPLY[@]}" """
    assert sh("bash", "--norc", "-c", ask_bash).split() == ["serve"]
    if shutil.which("zsh"):
        load = "autoload -Uz compinit; compinit -D; (( $+functions[_claude-proxy] )) && print -r -- $_comps[claude-proxy]"
        assert sh("zsh", "-fc", load).strip() == "_claude-proxy"
    if shutil.which("fish"):
        assert "serve" in sh("fish", "-c", "complete -C 'claude-proxy ser'")


def an_upgrade_keeps_what_the_operator_wrote(deb: Deb) -> None:
    before = (ETC / "config.json").read_text(), (ETC / "env").read_text()
    sh("dpkg", "-i", deb.path)
    assert ((ETC / "config.json").read_text(), (ETC / "env").read_text()) == before
    assert stat.S_IMODE((ETC / "env").stat().st_mode) == 0o600


def removing_it_keeps_the_configuration(deb: Deb) -> None:
    sh("dpkg", "-r", "claude-proxy")
    assert not shutil.which("claude-proxy") and not UNIT.exists()
    assert "key-of-the-upstream-2" in (ETC / "env").read_text() and (ETC / "config.json").exists()


def purging_it_leaves_nothing(deb: Deb) -> None:
    state = Path("/var/lib/claude-proxy")
    state.mkdir(mode=0o700, exist_ok=True)
    sh("dpkg", "--purge", "claude-proxy")
    own = [path for path in deb.modes if "claude-proxy" in path]
    left = [path for path in [*own, str(state)] if os.path.lexists(path)]
    assert len(own) > 30 and not left, left
    assert sh("dpkg-query", "-W", "-f", "${Status}", "claude-proxy", ok=False).startswith("dpkg-query: no packages found")


DEB = [what_it_says_of_itself, everything_is_in_its_place, lintian_has_nothing_to_say, it_installs_and_starts_nothing, the_unit_is_one,
       it_serves_as_its_unit_starts_it, man_pages_are_found, completions_load, an_upgrade_keeps_what_the_operator_wrote,
       removing_it_keeps_the_configuration, purging_it_leaves_nothing]


# --- the static program -------------------------------------------------------------

class Static:
    def __init__(self) -> None:
        given = os.environ.get("CLAUDE_PROXY_STATIC")
        self.path = Path(given).resolve() if given else self.build()

    @staticmethod
    def build() -> Path:
        target = f"{os.uname().machine}-unknown-linux-musl"
        if not shutil.which("musl-gcc"):
            raise Skip("no C compiler for musl (Debian, Ubuntu: apt-get install musl-tools)")
        if target not in sh("rustup", "target", "list", "--installed"):
            sh("rustup", "target", "add", target)
        subprocess.run(["cargo", "build", "--locked", "--release", "--target", target], cwd=ROOT, check=True)
        return target_directory() / target / "release/claude-proxy"


def it_needs_no_library(static: Static) -> None:
    said = sh("ldd", static.path, ok=False)
    assert "statically linked" in said or "not a dynamic executable" in said, said
    # No interpreter: the kernel alone starts it.
    headers = sh("readelf", "--program-headers", static.path)
    assert "INTERP" not in headers, headers
    assert "linux-musl (release)" in sh(static.path, "--version")


def it_runs_where_there_is_nothing_else(static: Static) -> None:
    if os.geteuid() != 0:
        raise Skip("chroot needs root")
    with tempfile.TemporaryDirectory(prefix="claude-proxy-empty-") as empty:
        shutil.copy(static.path, f"{empty}/claude-proxy")
        said = sh("chroot", empty, "/claude-proxy", "demo")
        assert "Done:" in said, said


def it_finds_names_and_trusts_the_system(static: Static) -> None:
    if not shutil.which("openssl"):
        raise Skip("no openssl for a certificate")
    with tempfile.TemporaryDirectory(prefix="claude-proxy-static-") as tmp:
        cert, key = f"{tmp}/cert.pem", f"{tmp}/key.pem"
        sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", key,
           "-out", cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
           "-addext", "basicConstraints=critical,CA:FALSE")
        upstream = Upstream()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        upstream._server.socket = context.wrap_socket(upstream._server.socket, server_side=True)
        upstream.play(whole("Over TLS."))
        config = {"port": 0, "default_model": "m", "providers": [
            {"base_url": f"https://localhost:{upstream.port}", "api_key": "k", "models": [{"id": "m"}]}]}
        Path(f"{tmp}/config.json").write_text(json.dumps(config))
        command = [str(static.path), "serve", "--config", f"{tmp}/config.json"]
        clean = {"PATH": "/usr/bin:/bin", "HOME": tmp}
        try:
            with Service(command, {**clean, "SSL_CERT_FILE": cert}, cwd=tmp) as service:
                answer = ask(f"{service.url}/v1/messages", QUESTION)
                assert answer["content"][0]["text"] == "Over TLS.", answer
            # And nobody whom the system does not vouch for.
            with Service(command, clean, cwd=tmp) as service:
                try:
                    answer = ask(f"{service.url}/v1/messages", QUESTION)
                    raise AssertionError(f"it trusts a stranger: {answer}")
                except urllib.error.HTTPError as e:
                    assert e.code == 502 and "certificate" in e.read().decode(), e
        finally:
            upstream.stop()


STATIC = [it_needs_no_library, it_runs_where_there_is_nothing_else, it_finds_names_and_trusts_the_system]


# --- the crate ---------------------------------------------------------------------

def target_directory() -> Path:
    done = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"], cwd=ROOT, check=True,
                          stdout=subprocess.PIPE)
    return Path(json.loads(done.stdout)["target_directory"])


class Crate:
    def __init__(self) -> None:
        target = target_directory()
        # Named, it is where the crate is tried as well: what it depends on is built there already.
        self.env = {**os.environ, "CARGO_TERM_COLOR": "never", "CARGO_TARGET_DIR": str(target)}
        done = subprocess.run(["cargo", "package", "--locked", "--allow-dirty"], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=self.env)
        self.said, self.code = done.stdout, done.returncode
        self.path = target / f"package/claude-proxy-{VERSION}.crate"


def it_packs_and_builds_without_a_warning(crate: Crate) -> None:
    assert crate.code == 0, crate.said[-3000:]
    # The one that is true until there is a public address.
    warnings = [line for line in crate.said.splitlines() if line.startswith("warning:")]
    assert set(warnings) <= {"warning: manifest has no documentation, homepage or repository"}, warnings
    assert "Verifying" in crate.said, crate.said


def it_is_lean_and_whole(crate: Crate) -> None:
    assert crate.path.stat().st_size < 2 * 2**20, crate.path.stat().st_size
    with tarfile.open(crate.path) as tar:
        names = {n.split("/", 1)[1] for n in tar.getnames()}
        manifest = tar.extractfile(f"claude-proxy-{VERSION}/Cargo.toml").read().decode()
    assert {"README.md", "LICENSE", "CHANGELOG.md", "Cargo.lock", "docs/crate.md", "config.schema.json", "man/claude-proxy.1",
            "contrib/debian/config.json", "tests/vectors.rs", "tests/targets/mod.rs"} <= names
    odd = [n for n in names if re.match(r"fuzz/|\.ci|benches/(rig|results|instructions)|target|dist|.*\.(png|svg)$", n)]
    assert not odd, odd
    assert 'readme = "docs/crate.md"' in manifest


def cargo_install_installs_it(crate: Crate) -> None:
    with tempfile.TemporaryDirectory(prefix="claude-proxy-install-") as tmp:
        # --debug: what is tried is that it installs, not how fast it is
        subprocess.run(["cargo", "install", "--quiet", "--locked", "--debug", "--path", ROOT, "--root", tmp], check=True,
                       env=crate.env)
        assert f"claude-proxy {VERSION}" in sh(f"{tmp}/bin/claude-proxy", "--version")
        assert "Done:" in sh(f"{tmp}/bin/claude-proxy", "demo")


CRATE = [it_packs_and_builds_without_a_warning, it_is_lean_and_whole, cargo_install_installs_it]


def main() -> int:
    every = {"deb": (Deb, DEB), "static": (Static, STATIC), "crate": (Crate, CRATE)}
    names = sys.argv[1:] or list(every)
    if unknown := set(names) - set(every):
        sys.exit(f"no {' '.join(unknown)}; there are {' '.join(every)}")
    code = 0
    for name in names:
        make, checks = every[name]
        print(f"--- {name}")
        try:
            it = make()
        except Skip as e:
            print(f"skip  {name}: {e}")
            continue
        try:
            code |= run(checks, it)
        finally:
            if name == "deb":
                sh("dpkg", "--purge", "claude-proxy", ok=False)
    return code


if __name__ == "__main__":
    sys.exit(main())
