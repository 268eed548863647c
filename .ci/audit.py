"""Asks pip-audit and npm audit which packages of the lock files are known to be vulnerable.

Whatever they find fails, unless ACCEPTED names it. A service that isn't reached is told in one line
and fails nothing: not every machine has a network, and a mirror often has the packages alone. What
an index tells with its packages then stands in: PyPI's page of a package has the vulnerabilities of
its newest version and says which versions are yanked, npm's says which are deprecated.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from pip._internal.models.index import PyPI

ROOT = Path(__file__).resolve().parent.parent
PYTHON_LOCKS = (
    ROOT / ".ci" / "requirements.lock",  # has those of python_api, too
    ROOT / "benchmarks" / "runtimes" / "requirements.lock",
)
NODE_PACKAGES = (ROOT / "node_api", ROOT / "benchmarks", ROOT / "benchmarks" / "runtimes")
NPM = Path(sys.executable).parent / "npm"

# What is known and may stay for now, and why: {"GHSA-...": "only on Windows, see ..."}. Also takes
# the package and the version of what is yanked or deprecated: {"example 1.2.3": "..."}.
ACCEPTED: dict[str, str] = {}

Finding = tuple[set[str], str]  # the ids under which it can be accepted, and what is wrong


def main() -> None:
    findings: list[Finding] = []
    for lock in PYTHON_LOCKS:
        findings += audit_python(lock)
    for package in NODE_PACKAGES:
        findings += audit_node(package)
    wrong = [text for ids, text in findings if not ids & ACCEPTED.keys()]
    if wrong:
        sys.exit("\n".join(wrong))


def audit_python(lock: Path) -> Iterator[Finding]:
    # One at a time: it refuses a package that two of them have.
    process = run(
        *[sys.executable, "-m", "pip_audit", f"--requirement={lock}"],
        *["--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off"],
    )
    try:
        packages = json.loads(process.stdout)["dependencies"]
    except ValueError:
        # It has no status of its own for this, and mostly ends with a traceback.
        reasons = re.findall(r".*(?:requests\.exceptions\.|Could not connect).*", process.stderr)
        if not reasons:
            sys.exit(f"pip-audit failed:\n{process.stderr}")
        print(f"Not audited: the Python packages. pip-audit: {reasons[-1]}")
        return
    for package in packages:
        yield from vulnerabilities(package, package.get("vulns", []), "fix_versions")
    unknown = {package["name"] for package in packages if "skip_reason" in package}
    if not unknown:
        print(f"pip-audit: {len(packages)} Python packages audited.")
    else:
        print(
            f"Not audited: {len(unknown)} of {len(packages)} Python packages. pip-audit: its service lacks them"
        )
        locked = re.findall(r"^([\w.-]+)==([\w.!+-]+)", lock.read_text(), re.MULTILINE)
        yield from ask_pypi([pin for pin in dict.fromkeys(locked) if pin[0] in unknown])


def ask_pypi(pins: list[tuple[str, str]]) -> Iterator[Finding]:
    """What stands in for pip-audit where its service has no pages of single versions."""
    audited = 0
    missed = []
    pages = get_all(f"{PyPI.pypi_url}/{name}/json" for name, _ in pins)
    for (name, version), page in zip(pins, pages, strict=True):
        if page is None:
            missed.append(f"{name} {version} (no answer)")
            continue
        yanked = [file for file in page["releases"].get(version, []) if file["yanked"]]
        if yanked:
            text = f"{name} {version}: yanked, {yanked[0]['yanked_reason'] or 'no reason given'}"
            yield {f"{name} {version}"}, text
        newest = page["info"]["version"]
        if newest == version:
            audited += 1
            package = {"name": name, "version": version}
            yield from vulnerabilities(package, page["vulnerabilities"], "fixed_in")
        else:
            missed.append(f"{name} {version} (newest: {newest})")
    rest = f", but not {', '.join(missed)}" if missed else ""
    print(
        f"  Instead: {audited} of {len(pins)} looked up on PyPI's pages of newest versions{rest}."
    )


def vulnerabilities(package: Any, found: list[Any], fixed: str) -> Iterator[Finding]:
    """Both pip-audit's and PyPI's, which name the versions with a fix differently."""
    for each in found:
        if not each.get("withdrawn"):
            versions = ", ".join(each[fixed]) or "no version"
            text = f"{package['name']} {package['version']}: {each['id']}, fixed in {versions}"
            yield {each["id"], *each["aliases"]}, text


def audit_node(package: Path) -> Iterator[Finding]:
    process = run(
        *[str(NPM), "audit", "--json", "--loglevel=silent", "--fetch-retries=0"], cwd=package
    )
    report = json.loads(process.stdout or "{}")
    if "vulnerabilities" in report:
        for vulnerable in report["vulnerabilities"].values():
            for each in vulnerable["via"]:
                if not isinstance(each, str):  # else it only depends on one that is vulnerable
                    text = f"{each['name']} {each['range']}: {each['title']}, {each['url']}"
                    yield {each["url"].rpartition("/")[2]}, text
        total = report["metadata"]["dependencies"]["total"]
        print(f"npm audit: {total} Node packages of {package.name} audited.")
    elif "message" in report:
        print(f"Not audited: the Node packages of {package.name}. npm audit: {report['message']}")
        if "statusCode" in report:  # an answer, so there is somebody to ask
            yield from ask_npm(package)
    else:
        sys.exit(f"npm audit failed:\n{process.stdout}{process.stderr}")


def ask_npm(package: Path) -> Iterator[Finding]:
    """What stands in for npm audit where the registry doesn't do audits."""
    registry = run(str(NPM), "config", "get", "registry", "--loglevel=silent").stdout.strip()
    lock = json.loads((package / "package-lock.json").read_text())["packages"]
    pins = sorted(
        {(path.rpartition("node_modules/")[2], lock[path]["version"]) for path in lock if path}
    )
    asked = 0
    pages = get_all(
        f"{registry.rstrip('/')}/{quote(name, safe='@')}/{version}" for name, version in pins
    )
    for (name, version), page in zip(pins, pages, strict=True):
        if page is not None:
            asked += 1
            if page.get("deprecated"):
                text = f"{name} {version}: deprecated, {page['deprecated']}"
                yield {f"{name} {version}"}, text
    print(
        f"  Instead: {asked} of {len(pins)} looked up in the registry, which tells the deprecated."
    )


def get_all(urls: Iterable[str]) -> list[Any]:
    """The JSON at each, or None."""
    with (
        httpx.Client(follow_redirects=True, timeout=10) as client,
        ThreadPoolExecutor(8) as executor,
    ):

        def get(url: str) -> Any:
            try:
                return client.get(url).raise_for_status().json()
            except (httpx.HTTPError, ValueError):
                return None

        return list(executor.map(get, urls))


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, check=False, cwd=cwd, text=True)


if __name__ == "__main__":
    main()
